"""Verification: a random sample of the runs that have records is trained a second time, each as a job of its own.

A run that comes out differently fails its job, and the log says where the two differ.
"""


rule verify_run:
    """Train a run a second time and compare it with its record."""
    input:
        needs=files_to_verify_run,
        data=data_of_run,
        own=own_files_to_verify_run,
    output:
        "<results>/verify/{run}.json",
    log:
        "<logs>/verify/{run}.log",
    wildcard_constraints:
        run=r"[\w.-]+/[\w.-]+",
    retries: 0  # what comes out differently does so again
    group:
        group_to_verify_run
    conda:
        "../envs/dualgrad.yaml"
    threads: SETTINGS["threads_per_job"]
    resources:
        gpu=gpus_of_run,
        slot=1,
        runtime=minutes_to_verify_run,
        mem_mb=megabytes_to_verify_run,
    params:
        edition=EDITION,
        trained_by=trained_again_by,
    shell:
        "dualgrad verify {wildcards.run:q} --edition {params.edition:q} --needs {input.needs:q}"
        " --data {input.data:q} --files {input.own:q} --output {output:q} > {log:q} 2>&1"


rule verify:
    input:
        sample_to_verify,
    localrule: True
