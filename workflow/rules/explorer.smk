"""The census explorer: all runs of an edition on one page."""


rule explorer:
    """Put all runs, their trajectories and protocols on one page."""
    input:
        parts_of(COUNTED, ["runs", "trajectories", "epochs"]),
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
    params:
        edition=EDITION,
    shell:
        "dualgrad explorer --edition {params.edition} --output {output} > {log} 2>&1"
