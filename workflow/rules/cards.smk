"""Protocol cards: what each experiment trains, in words and numbers, from the census alone."""


rule cards:
    """Write the protocol cards."""
    input:
        own_files(*CENSUS_SOURCES),
    output:
        "docs/protocols.md",
    log:
        "logs/cards.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        revision=revision("cards"),
    shell:
        "dualgrad cards --output {output:q} > {log:q} 2>&1"
