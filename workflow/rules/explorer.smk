"""The census explorer: all runs of an edition on one page."""


rule explorer:
    """Put all runs, their trajectories and protocols on one page."""
    input:
        parts_of(COUNTED + OWN_EXPERIMENTS, ["runs", "trajectories", "epochs"]),
    output:
        report(
            "<results>/explorer.html",
            caption="../report/explorer.rst",
            category="Census",
            labels={"page": "Explorer", "edition": EDITION},
        ),
    log:
        "<logs>/explorer.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=revision("explorer"),
        shown=shown,
        results=subpath(input[0], ancestor=4),
    shell:
        "dualgrad explorer --edition {params.edition:q} --results {params.results:q} --output {output:q}"
        " > {log:q} 2>&1"
