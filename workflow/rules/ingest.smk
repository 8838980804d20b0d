"""The released archive: its result files become the same tables that trained records become."""


rule ingest:
    """Check and read the published archive."""
    input:
        mapping=collect("{root}/config/released/{file}", root=ROOT, file=["manifest.csv"]),
    output:
        parts_of(COUNTED),
    log:
        "<logs>/ingest.log",
    localrule: True
    shell:
        "dualgrad ingest > {log} 2>&1"
