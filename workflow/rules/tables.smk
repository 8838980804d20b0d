"""Tables: a folder of parts for each experiment, and all of them merged.

A figure reads the parts of the experiments that it shows, so it asks for their runs and no others. The merged tables
are for statistics, claims and readers.
"""

if not INGESTED:

    rule table_parts:
        """Read and check the records of an experiment."""
        input:
            records_of_experiment,
        output:
            collect("<results>/tables/parts/{{experiment}}/{table}.parquet", table=TABLES),
        log:
            "<logs>/tables/{experiment}.log",
        wildcard_constraints:
            experiment=r"[\w-]+",
        localrule: True
        conda:
            "../envs/dualgrad.yaml"
        params:
            edition=EDITION,
            revision=revision("tables"),
            thresholds=thresholds_of_experiment,
            records=subpath(input[0], parent=True),
            part=subpath(output[0], parent=True),
        shell:
            "dualgrad tables {wildcards.experiment:q} --edition {params.edition:q} --records {params.records:q}"
            " --output {params.part:q} > {log:q} 2>&1"


rule merge_tables:
    """Join the tables of all counted experiments."""
    input:
        parts_of(COUNTED),
    output:
        collect("<results>/tables/{table}.parquet", table=TABLES),
    log:
        "<logs>/tables/merge.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=revision("tables"),
        parts=subpath(input[0], ancestor=2),
        folder=subpath(output[0], parent=True),
    shell:
        "dualgrad tables --merge --edition {params.edition:q} --parts {params.parts:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
