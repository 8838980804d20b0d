"""What came of an experiment, published or one's own: a page, the same as JSON, and a figure, by its factors."""


rule experiment_results:
    """Say and draw what came of an experiment."""
    input:
        "<results>/tables/parts/{experiment}/runs.parquet",
    output:
        collect("<results>/experiments/{{experiment}}/{file}", file=RESULT_FILES),
    log:
        "<logs>/experiments/{experiment}.log",
    wildcard_constraints:
        experiment=r"[\w-]+",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=revision("results"),
        shown=shown_of_experiment,
        results=subpath(input[0], ancestor=4),
        folder=subpath(output[0], parent=True),
    shell:
        "dualgrad results {wildcards.experiment:q} --edition {params.edition:q} --results {params.results:q}"
        " --output {params.folder:q} > {log:q} 2>&1"
