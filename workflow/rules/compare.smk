"""Comparison of two editions: the configured one is made, one that is ingested is ingested, another must be there."""

PAIR = [name.strip() for name in (SETTINGS["compare"] or "none").split(",")]
COMPARED = "_".join(PAIR)

if not INGESTED:  # a replication is compared with what was published, too
    for name in dict.fromkeys([*PAIR, "released"]):
        if name != EDITION and is_ingested(ROOT, name):

            rule ingest_compared:
                """Check and read the published archive, beside the edition that is being made."""
                output:
                    parts_of_edition(name),
                    archive=f"{SETTINGS['results_dir']}/{name}/tables/archive.json",
                log:
                    f"{LOGS}/{name}/ingest.log",
                localrule: True
                conda:
                    "../envs/dualgrad.yaml"
                params:
                    revision=revision("ingest"),
                    mapping=inputs.revision(ROOT, "config/released/*"),
                    runs=runs_to_ingest(name),
                    parts=subpath(output.archive, parent=True),
                shell:
                    "dualgrad ingest --output {params.parts:q}/parts > {log:q} 2>&1"


rule compare_editions:
    """Compare two editions."""
    input:
        compared_parts,
    output:
        collect(
            "{results}/compare/{pair}/{file}",
            results=SETTINGS["results_dir"],
            pair=COMPARED,
            file=["conditions.parquet", "phenomena.parquet", "compare.png", "compare.pdf", "summary.md"],
        ),
        page=report(
            f"{SETTINGS['results_dir']}/compare/{COMPARED}/summary.html",
            caption="../report/compare.rst",
            category="Comparison",
            labels={"editions": " and ".join(PAIR)},
        ),
    log:
        f"{LOGS}/compare/{COMPARED}.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        pair=SETTINGS["compare"],
        margin=SETTINGS["compare_margin"],
        revision=revision("compare"),
        titles=[title_of(ROOT, name) for name in PAIR],
        parts=subpath(input[0], ancestor=5),
        folder=subpath(output.page, parent=True),
    shell:
        "dualgrad compare --results {params.parts:q} --output {params.folder:q} > {log:q} 2>&1"
