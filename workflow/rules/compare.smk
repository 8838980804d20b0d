"""Comparison of two editions: the configured one is made, one that is ingested is ingested, another must be there."""

from dualgrad.analysis.compare.pair import is_ingested, pair_of

COMPARE_REVISION = [STATISTICS_REVISION, revision(PACKAGE, "analysis/compare/*.*", "pages/*.*")]
COMPARED_TABLES = ("runs", "trajectories", "epochs", "geometry", "steps")


def parts_of_edition(name):
    """Return the parts of all counted experiments of an edition."""
    return collect(
        "{results}/{name}/tables/parts/{experiment}/{table}.parquet",
        results=SETTINGS["results_dir"],
        name=name,
        experiment=COUNTED,
        table=COMPARED_TABLES,
    )


def compared_parts(wildcards):
    """Return the tables of both editions; says what to do about an edition that this execution cannot make."""
    try:
        names = pair_of(SETTINGS["compare"], "--config")
    except InputError as error:
        raise WorkflowError(str(error))
    for name in names:
        known = name == EDITION or is_ingested(ROOT, name)
        folder = Path(SETTINGS["results_dir"], name, "tables", "parts")
        if not known and not all((folder / experiment / "runs.parquet").is_file() for experiment in COUNTED):
            raise WorkflowError(
                f"{folder}: the tables of edition {name} are not complete. Make them first "
                f"(snakemake tables --config edition={name}), or compare what there is: "
                f"dualgrad compare {' '.join(names)}"
            )
    return [part for name in names for part in parts_of_edition(name)]


COMPARED = SETTINGS["compare"].replace(" ", "").replace(",", "_") if SETTINGS["compare"] else "none"

if not INGESTED:
    for name in COMPARED.split("_"):
        if name != EDITION and is_ingested(ROOT, name):

            rule ingest_compared:
                """Check and read the published archive, beside the edition that is being made."""
                output:
                    parts_of_edition(name),
                log:
                    f"logs/{name}/ingest.log",
                localrule: True
                params:
                    revision=INGEST_REVISION,
                shell:
                    "dualgrad ingest > {log} 2>&1"


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
            labels={"editions": COMPARED.replace("_", " and ")},
        ),
    log:
        f"logs/compare/{COMPARED}.log",
    localrule: True
    params:
        pair=SETTINGS["compare"],
        margin=SETTINGS["compare_margin"],
        revision=COMPARE_REVISION,
    shell:
        "dualgrad compare > {log} 2>&1"
