"""Claims: every published number and statement, measured on the edition's tables, with a verdict."""


rule measure_claims:
    """Measure all claims and write them as a table, as text and as a page."""
    input:
        collect("<results>/tables/{table}.parquet", table=TABLES),
        archive="<results>/tables/archive.json" if INGESTED else [],
        claims=own_files("config/claims.yaml"),
    output:
        "<results>/claims.parquet",
        "<results>/claims.md",
        page=report(
            "<results>/claims.html",
            caption="../report/claims.rst",
            category="Claims",
            labels={"page": "All claims", "edition": EDITION},
        ),
    log:
        "<logs>/claims.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=revision("claims"),
        shown=shown,
        release=release_behind_claims,
        results=subpath(input[0], ancestor=2),
        folder=subpath(output.page, parent=True),
    shell:
        "dualgrad claims --edition {params.edition:q} --tables {params.results:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
