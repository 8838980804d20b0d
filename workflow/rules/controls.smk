"""Controls: uncounted experiments that vary what the published census never varies alone, and what they come to."""


rule answer_controls:
    """Say what the controls come to, with numbers and intervals."""
    input:
        parts_of(CONTROLS, ["runs"]),
    output:
        "<results>/controls.json",
        "<results>/controls.md",
    log:
        "<logs>/controls.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=revision("controls"),
        census=inputs.revision(ROOT, *CENSUS_SOURCES),
        results=subpath(input[0], ancestor=4),
        folder=subpath(output[0], parent=True),
    shell:
        "dualgrad controls --edition {params.edition:q} --results {params.results:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
