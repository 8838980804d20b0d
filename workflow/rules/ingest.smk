"""The released archive: its result files become the same tables that trained records become."""


rule ingest:
    """Check and read the published archive."""
    output:
        parts_of(COUNTED),
        archive="<results>/tables/archive.json",
    log:
        "<logs>/ingest.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        revision=revision("ingest"),
        mapping=inputs.revision(ROOT, "config/released/*"),
        runs=runs_to_ingest(EDITION),
        parts=subpath(output.archive, parent=True),
    shell:
        "dualgrad ingest --output {params.parts:q}/parts > {log:q} 2>&1"
