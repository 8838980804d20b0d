"""The pipeline's front door: what people ask for. How it is made stands in workflow/rules.

    snakemake figures/main                    Figures 1-5 of the configured edition (default: demo)
    snakemake results/demo/runs/A/lam0.35_eta0.4_seed0.json
    snakemake census --config edition=paper

Settings: config/config.yaml. Experiments: config/census. Defaults of the command line: workflow/profiles/default.
"""

from snakemake.utils import min_version

min_version("9.25")


# Jobs run in the environment that runs Snakemake. `--software-deployment-method apptainer` runs them in this image.
container: "envs/dualgrad.sif"


# What `snakemake TARGET --report report.html` says first.
report: "workflow/report/workflow.rst"


# A group of jobs on a cluster runs one by one, so it needs what one of them needs; and the limits are for a submission
# or a machine, not for a cluster. (`slot`: see the profile slurm; without a limit it has no effect.)
resource_scopes:
    gpu="local",
    slot="local",


include: "workflow/rules/common.smk"
include: "workflow/rules/recovery.smk"
include: "workflow/rules/console.smk"
include: "workflow/rules/worker.smk"
include: "workflow/rules/data.smk"


if INGESTED:

    include: "workflow/rules/ingest.smk"

else:

    include: "workflow/rules/runs.smk"
    include: "workflow/rules/verify.smk"
    include: "workflow/rules/controls.smk"


include: "workflow/rules/cards.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/results.smk"
include: "workflow/rules/explorer.smk"
include: "workflow/rules/statistics.smk"
include: "workflow/rules/compare.smk"
include: "workflow/rules/replicate.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/report.smk"


# A target's name may be a path: it is asked for by that name although a folder has it too.
rule:
    name:
        "figures/main"
    default_target: True
    input:
        collect("figures/main/{figure}.{ending}", figure=MAIN_FIGURES, ending=["pdf", "png"]),
    localrule: True


rule:
    name:
        "figures/extended_data"
    input:
        collect("figures/extended_data/{figure}.{ending}", figure=EXTENDED_FIGURES, ending=["pdf", "png"]),
    localrule: True


rule:
    name:
        "figures/audited"
    input:
        collect(
            "figures/audited/{figure}.{ending}",
            figure=MAIN_FIGURES + EXTENDED_FIGURES,
            ending=["pdf", "png"],
        ),
    localrule: True


rule census:
    input:
        CENSUS_FILES,
    localrule: True


if not INGESTED:

    rule controls:
        input:
            "<results>/controls.md",
        localrule: True


# Experiments of one's own, all of them: what came of each, and their statistics. The census need not be there.
rule own:
    input:
        results_of_own,
        "<results>/statistics/own.parquet" if OWN_EXPERIMENTS else [],
    localrule: True


rule tables:
    input:
        collect("<results>/tables/{table}.parquet", table=TABLES),
    localrule: True


rule statistics:
    input:
        collect("<results>/statistics/{statistic}.parquet", statistic=MADE_STATISTICS),
    localrule: True


rule compare:
    input:
        rules.compare_editions.output,
    localrule: True


rule replicate:
    input:
        "<results>/replication/replication.html",
    localrule: True


rule claims:
    input:
        collect("<results>/claims.{ending}", ending=["parquet", "md", "html"]),
    localrule: True


rule report:
    input:
        "<results>/report/index.html",
    localrule: True
