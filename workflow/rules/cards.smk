"""Protocol cards: what each experiment trains, in words and numbers, from the census alone."""


rule cards:
    """Write the protocol cards."""
    input:
        sorted(str(path) for path in (ROOT / "config" / "census").glob("*.yaml")),
    output:
        "docs/protocols.md",
    log:
        "logs/cards.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        revision=revision(PACKAGE, "census/cards.py"),
    shell:
        "dualgrad cards --output {output} > {log} 2>&1"
