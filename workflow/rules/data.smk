"""Data sets (config/datasets): found or fetched once, decoded, checked, and text written as networks read it."""


rule data_set:
    """Find or fetch a data set, decode and check it."""
    output:
        # What was prepared before stays in its place: the command compares with it, and it is there if the command fails.
        content=update("<data>/{name}/{name}.npz"),
        note=update("<data>/{name}/{name}.json"),
    log:
        "logs/data/{name}.log",
    wildcard_constraints:
        name="|".join(CENSUS.datasets),
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        entry=data_set_entry,
        folder=subpath(output.content, ancestor=2),
    shell:
        "dualgrad data {wildcards.name:q} --content --data-dir {params.folder:q} > {log:q} 2>&1"


rule data_tokens:
    """Write a text set as a kind of network reads it."""
    input:
        needed_for_tokens,
    output:
        tokens="<data>/{name}/{reader}.npz",
        note="<data>/{name}/{reader}.json",
    log:
        "logs/data/{name}_{reader}.log",
    wildcard_constraints:
        name="|".join(name for name, one in CENSUS.datasets.items() if one.kind == "text"),
        reader="|".join(READERS),
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        entry=data_set_entry,
        folder=subpath(output.tokens, ancestor=2),
    shell:
        "dualgrad data {wildcards.name:q} --tokens {wildcards.reader:q} --data-dir {params.folder:q} > {log:q} 2>&1"


rule data_distilbert:
    """Fetch the published DistilBERT."""
    output:
        below("<data>", inputs.PRETRAINED),
    log:
        "logs/data/distilbert.log",
    retries: 2
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        folder=subpath(output[0], ancestor=2),
    shell:
        "dualgrad data distilbert --data-dir {params.folder:q} > {log:q} 2>&1"
