"""Data sets: fetched or built once, checked by hash."""


rule data_set:
    """Fetch or build a data set."""
    output:
        arrays="<data>/{name}/{name}.npz",
        note="<data>/{name}/{name}.json",
    log:
        "logs/data/{name}.log",
    wildcard_constraints:
        name="digits|digit_pairs|reviews|cifar10|cifar100",
    retries: 2
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        folder=subpath(output.arrays, ancestor=2),
    shell:
        "dualgrad data {wildcards.name:q} --data-dir {params.folder:q} > {log:q} 2>&1"


rule data_sst2:
    """Fetch SST-2 and write it tokenised for both models."""
    input:
        "<data>/distilbert-base-uncased/tokenizer.json",
    output:
        words="<data>/sst2/words.npz",
        words_note="<data>/sst2/words.json",
        wordpiece="<data>/sst2/wordpiece.npz",
        wordpiece_note="<data>/sst2/wordpiece.json",
    log:
        "logs/data/sst2.log",
    retries: 2
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        folder=subpath(output.words, ancestor=2),
    shell:
        "dualgrad data sst2 --data-dir {params.folder:q} > {log:q} 2>&1"


rule data_distilbert:
    """Fetch the published DistilBERT."""
    output:
        weights="<data>/distilbert-base-uncased/model.safetensors",
        tokenizer="<data>/distilbert-base-uncased/tokenizer.json",
    log:
        "logs/data/distilbert.log",
    retries: 2
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        folder=subpath(output.weights, ancestor=2),
    shell:
        "dualgrad data distilbert --data-dir {params.folder:q} > {log:q} 2>&1"
