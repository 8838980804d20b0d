"""Training: one job per run.

A run is looked up in a plain dict by its one wildcard. What a job depends on: the records and checkpoints of the runs
that it needs, its data set, and, as a parameter, the resolved run itself with the revision of the protocol. So one
edited entry of the census trains the runs that it changes, and no others.
"""


rule train:
    """Train a run."""
    input:
        data=data_of_run,
        needs=files_needed_by_run,
        own=own_files_of_run,
    output:
        "<results>/runs/{run}.json",
    log:
        "<logs>/runs/{run}.log",
    wildcard_constraints:
        run=rf"(?!({SAVING_RUNS})\.json)[\w.-]+/[\w.-]+",
    group:
        group_of_run
    conda:
        "../envs/dualgrad.yaml"
    threads: SETTINGS["threads_per_job"]
    resources:
        gpu=gpus_of_run,
        slot=1,
        runtime=minutes_of_run,
        mem_mb=megabytes_of_run,
    params:
        run=training_of_run,
    shell:
        "dualgrad train {wildcards.run:q} --edition {params.run[edition]:q} --needs {input.needs:q}"
        " --data {input.data:q} --files {input.own:q} --output {output:q} > {log:q} 2>&1"


rule train_and_save:
    """Train a run whose weights other runs start from."""
    input:
        data=data_of_run,
        needs=files_needed_by_run,
        own=own_files_of_run,
    output:
        record="<results>/runs/{run}.json",
        weights="<results>/checkpoints/{run}.pt",
    log:
        "<logs>/runs/{run}.log",
    wildcard_constraints:
        run=SAVING_RUNS,
    group:
        group_of_run
    conda:
        "../envs/dualgrad.yaml"
    threads: SETTINGS["threads_per_job"]
    resources:
        gpu=gpus_of_run,
        slot=1,
        runtime=minutes_of_run,
        mem_mb=megabytes_of_run,
    params:
        run=training_of_run,
    shell:
        "dualgrad train {wildcards.run:q} --edition {params.run[edition]:q} --needs {input.needs:q}"
        " --data {input.data:q} --files {input.own:q} --output {output.record:q} --checkpoint {output.weights:q} > {log:q} 2>&1"
