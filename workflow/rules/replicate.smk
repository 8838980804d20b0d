"""Replication: what of the configured edition has been trained, beside the published rows of the same conditions.

It shows what there is: it trains nothing. (`census` or single records do.)
"""


rule replicate_edition:
    """Put the edition's records beside the published runs."""
    input:
        published=parts_of_edition("released"),
        records=recorded_files,
    output:
        collect(
            "<results>/replication/{file}",
            file=[
                "replication.parquet",
                "seeds.parquet",
                "epochs.parquet",
                "replication.png",
                "replication.md",
            ],
        ),
        page=report(
            "<results>/replication/replication.html",
            caption="../report/replicate.rst",
            category="Replication",
            labels={"edition": EDITION},
        ),
    log:
        "<logs>/replicate.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        revision=revision("replicate"),
        shown=shown,
        kept=inputs.revision(ROOT, "docs/replication/*.csv"),
        edition=EDITION,
        results=subpath(output.page, ancestor=3),
        released=subpath(input[0], ancestor=4),
        folder=subpath(output.page, parent=True),
    shell:
        "dualgrad replicate {params.edition:q} --results {params.results:q} --released {params.released:q}"
        " --output {params.folder:q} > {log:q} 2>&1"
