"""What all rules share: the project, and wildcards turned into what the package works out for a run.

What is worked out here is in `dualgrad.jobs`: a job's inputs, what it asks for, its command line.
"""

import gc
import os
import re
import sys
from functools import cache, partial
from pathlib import Path

from snakemake.exceptions import WorkflowError

try:
    from snakemake.dag import DAG
    from snakemake.jobs import GroupJob
    from snakemake.persistence.file import FilePersistence
    from snakemake.scheduling.job_scheduler import JobScheduler
    from snakemake.settings.types import DeploymentMethod
except ImportError as error:
    raise WorkflowError(
        f"{error}: this Snakemake has moved what this workflow mends; envs/requirements.txt pins one that has not"
    )

try:
    import dualgrad
    from dualgrad.compare.pair import check_compared, is_ingested, newest_comparison, pair_of, title_of
    from dualgrad.census.datasets import READERS
    from dualgrad.figures.captions import CAPTIONS, figure_name
    from dualgrad.figures.sources import (
        EXTENDED_FIGURES,
        FIGURE_EXPERIMENTS,
        FIGURE_PANELS,
        FIGURE_TABLES,
        MAIN_FIGURES,
        VARIANTS,
        experiments_of,
    )
    from dualgrad.files import visible
    from dualgrad.gpus import local_gpus
    from dualgrad.jobs import inputs
    from dualgrad.jobs.ancient_inputs import look_behind
    from dualgrad.jobs.beside import other_code
    from dualgrad.jobs.closing import OTHER_SECONDS, TimeLeft, closing
    from dualgrad.jobs.cluster import ask_squeue_without_accounting, left_in_the_queue
    from dualgrad.jobs.command_line import check_included, check_targets, job_settings, words_for_the_rest
    from dualgrad.jobs.graceful_exit import exit_from_a_thread
    from dualgrad.jobs.own_locks import remove_own_locks
    from dualgrad.jobs.recovery import recover, recover_before_jobs, remove_stale_files
    from dualgrad.jobs.replaced import existing
    from dualgrad.jobs.requests import Requests
    from dualgrad.jobs.revisions import CODE
    from dualgrad.jobs import slurm_plugin
    from dualgrad.jobs.targets import look_at_targets, replaced_unasked
    from dualgrad.jobs.trained_before import changed_settings
    from dualgrad.jobs.warm_worker import WarmWorker, prepare_jobs, share_gpus
    from dualgrad.outcomes import FILES as RESULT_FILES
    from dualgrad.project import controls_of, load_project
    from dualgrad.release.errors import ArchiveError
    from dualgrad.release.manifest import check_named
    from dualgrad.training.verify import recorded_runs, sample_of
    from dualgrad.validation import InputError
except ImportError as error:
    raise WorkflowError(
        f"{error}: the package dualgrad is not installed where this Snakemake runs. "
        "`make setup` builds an environment with both in .venv; elsewhere: pip install -e ."
    )

look_behind(DAG)
exit_from_a_thread(JobScheduler)
remove_own_locks(FilePersistence)
slurm_plugin.mend(GroupJob)

# The folder of this workflow; where it is read from a repository's URL, no folder.
OWN = Path(str(workflow.current_basedir)).parents[1]

# Before any rule names its environment's file, which lies here.
if set("{}") & set(str(OWN)):
    raise WorkflowError(
        f"{OWN}: Snakemake reads braces in a workflow's path as wildcards; move it to a folder without {{ and }}."
    )

# A git without links (on Windows, used from WSL) leaves a file in this one's place, which Snakemake passes over: runs
# would be trained again for cosmetic edits.
if (OWN / "profiles").is_file():
    raise WorkflowError(
        f"{OWN}/profiles: a file where a link should lead to workflow/profiles, so the defaults of the command line are "
        f"missing. In {OWN}: ln -sf workflow/profiles profiles"
    )

# A copied clone has the environment of the one that it was copied from, whose code would run unnoticed.
if problem := other_code(Path(dualgrad.__file__).parent, OWN / "src" / "dualgrad"):
    raise WorkflowError(problem)

# The folder whose `config` is used: the working directory's if it has one (snakedeploy puts it there), else this
# workflow's own. Not workflow.basedir: in a workflow that includes this one as a module, that is the other's folder.
# Results are written below the working directory.
ROOT = next((folder for folder in (Path.cwd(), OWN) if (folder / "config" / "census").is_dir()), None)
if ROOT is None:
    raise WorkflowError(
        f"{Path.cwd()}: config/census is missing. The workflow is read from {OWN}, where folders cannot be "
        "listed, so its folder `config` must lie in the working directory; `snakedeploy deploy-workflow` puts it there."
    )


# Everything that people write is read and checked here, before any job exists.
try:
    PROJECT = load_project(ROOT, config)
    SETTINGS, CENSUS = PROJECT.settings, PROJECT.census
    TOLD = job_settings(PROJECT, config, Path.cwd())
    check_included(workflow, TOLD, config)
    if workflow.is_main_process:
        check_named(PROJECT.archive)
except (InputError, ArchiveError) as error:
    raise WorkflowError(str(error))


# What has been imported and read lives to the end, as most of what Snakemake makes of it does (jobs, files): to look
# through all of that for garbage every few hundred objects is a good part of planning.
gc.freeze()
gc.set_threshold(20_000, 20, 50)

# A trial of an edition is an edition of its own.
EDITION, INGESTED, COUNTED, OWN_EXPERIMENTS = PROJECT.edition, PROJECT.ingested, PROJECT.counted, PROJECT.own
CONTROLS = controls_of(CENSUS)
RECORDED = Path(SETTINGS["results_dir"]) / EDITION
# What trains, and the folder of what it makes, by the names that rules have in a workflow with this one as a module.
TRAINED = {"train": "runs", "train_and_save": "runs", "verify_run": "verify"}
TRAINED = {workflow.modifier.modify_rulename(rule): folder for rule, folder in TRAINED.items()}
TRAINING = [rule for rule, folder in TRAINED.items() if folder == "runs"]
# Targets about what there is: they train nothing for its own sake.
SHOWING = {workflow.modifier.modify_rulename(rule) for rule in ("replicate", "verify")}
TABLES = ("runs", "trajectories", "epochs", "geometry", "steps")
# Results that lie elsewhere, as those of another precision, have logs of their own.
LOGS = inputs.folder_of_logs(SETTINGS["results_dir"])


pathvars:
    results=str(RECORDED),
    logs=f"{LOGS}/{EDITION}",
    data=SETTINGS["data_dir"],


# An environment of the jobs' own, in which they run: conda's or a container. (None by default. No rule names modules
# of the system, so those bring none.)
DEPLOYED = bool(
    workflow.deployment_settings
    and {DeploymentMethod.CONDA, DeploymentMethod.APPTAINER}
    & set(workflow.deployment_settings.deployment_method)
)

# A rule's command is a `dualgrad` command line; in the jobs it is run by the warm worker, with these settings.
try:
    prepare_jobs(
        TOLD,
        deployed=DEPLOYED,
        included=Path(workflow.basedir) not in (OWN, OWN / "workflow"),
    )
except InputError as error:
    raise WorkflowError(str(error))


@cache
def requests():
    """Return what runs ask for. Not before the first job: until then Snakemake does not know who executes them.

    Whether jobs are a cluster's: a dry run is always local, then the groups of the cluster's profile tell.
    """
    dry_on_cluster = workflow.dryrun and bool(workflow.group_settings.group_components)
    return Requests(PROJECT, not workflow.local_exec or dry_on_cluster, bool(local_gpus()))


def refuse(message):
    """End the workflow from within an input function, with a message that stands alone.

    An exception would be shown with a traceback through these files, and passed over where the files that the job
    would make are there from before: their input would be wrong, and nobody would be told.
    """
    logger.error(message)
    raise SystemExit(1)


def check_asked(files, is_made, names):
    """Refuse targets of which it can be said why they cannot be made."""
    try:
        check_targets(files, is_made, names, PROJECT)
    except InputError as error:
        refuse(str(error))


if workflow.is_main_process:
    look_at_targets(DAG, check_asked)


# What a run is, reads and asks for, by its one wildcard.


def training_of_run(wildcards):
    return inputs.training_of(CENSUS.run(wildcards.run), CENSUS)


def files_needed_by_run(wildcards):
    return below("<results>", inputs.needed_files(CENSUS.run(wildcards.run), CENSUS))


def files_to_verify_run(wildcards):
    return below("<results>", inputs.files_to_verify(wildcards.run, CENSUS))


def data_of_run(wildcards):
    """Return the files of a run's data set.

    Ancient where their content is known from the entry: a new download then changes nothing.
    """
    run = CENSUS.run(wildcards.run)
    files = below("<data>", inputs.data_files(run))
    return ancient(files) if inputs.is_fixed(run, CENSUS) else files


def own_files_of_run(wildcards):
    """Return files of one's own that a run reads (labels, trusted examples, a network's module), once checked."""
    return files_of_ones_own([wildcards.run])


def own_files_to_verify_run(wildcards):
    return files_of_ones_own(inputs.trained_to_verify(wildcards.run, CENSUS))


def files_of_ones_own(names):
    """Return such files as inputs that lie in no store; says of one that does not fit what was expected."""
    try:
        files = inputs.files_of_ones_own(names, CENSUS)
    except InputError as error:
        refuse(str(error))
    return [place_of(file) for file in files]


def place_of(file):
    """Return a file of the workflow's folder as an input: from the working directory, where the two are one."""
    return local(str(file if ROOT == Path.cwd() else ROOT / file))


def data_set_entry(wildcards):
    """Return what a data set is. Changed, it is prepared again; its title and people's labels have no part in it."""
    return CENSUS.datasets[wildcards.name].model_dump(mode="json", exclude={"annotations", "title"})


def needed_for_tokens(wildcards):
    """Return the content of a text set, and DistilBERT's tokenizer where its numbers are asked for."""
    return below("<data>", inputs.tokens_need(CENSUS.datasets[wildcards.name], wildcards.reader))


def gpus_of_run(wildcards):
    return requests().gpus


def minutes_of_run(wildcards, attempt):
    return requests().minutes(wildcards.run, attempt)


def megabytes_of_run(wildcards, attempt):
    return requests().megabytes(wildcards.run, attempt)


def minutes_to_verify_run(wildcards, attempt):
    return sum(requests().minutes(run, attempt) for run in inputs.trained_to_verify(wildcards.run, CENSUS))


def megabytes_to_verify_run(wildcards, attempt):
    return max(requests().megabytes(run, attempt) for run in inputs.trained_to_verify(wildcards.run, CENSUS))


def group_of_run(wildcards):
    return requests().group(wildcards.run)


def group_to_verify_run(wildcards):
    """Return the group of a run that is trained a second time; None for a long one, as in training."""
    (run,) = inputs.trained_to_verify(wildcards.run, CENSUS)
    return "verify" if requests().group(run) else None


def below(folder, files):
    return [f"{folder}/{file}" for file in files]


# Runs whose weights other runs start from, as an alternative of a regular expression.
SAVING_RUNS = "|".join(re.escape(name) for name, run in CENSUS.runs.items() if run["saves"])


# What rules depend on whose results are cheap to make again: the code behind them, and what pages show of the census.

PACKAGE = Path(dualgrad.__file__).parent


@cache
def revision(command):
    return inputs.revision(PACKAGE, *CODE[command])


def shown(wildcards):
    return inputs.shown(PROJECT)


def shown_of_experiment(wildcards):
    return inputs.shown(PROJECT, wildcards.experiment)


def release_behind_claims(wildcards):
    """Return what tells the published archive's files: its manifest, and what there is beside the rows in tables."""
    return [inputs.revision(ROOT, "config/released/manifest.csv"), inputs.archive_form(PROJECT)]


def runs_to_ingest(edition):
    """Return a parameter's function: what ingesting takes from the census, whatever edition is configured."""
    return lambda wildcards: inputs.ingested(PROJECT, edition)


# Behind the census as published, which cards and the controls' costs show whatever edition is configured.
CENSUS_SOURCES = ["config/census/*.yaml", "config/datasets/*.yaml", "config/editions/paper.yaml"]


def own_files(*patterns):
    """Return an input function: files of this workflow's own folder, which lie in no store, whatever its name."""
    return lambda wildcards: [
        place_of(path.relative_to(ROOT)) for one in patterns for path in visible(ROOT, one)
    ]


# Tables and what is made of them.


def thresholds_of_experiment(wildcards):
    return inputs.thresholds(wildcards.experiment, CENSUS)


def records_of_experiment(wildcards):
    runs = CENSUS.experiment(wildcards.experiment)["runs"]
    if not runs:
        refuse(f"{wildcards.experiment}: the edition '{EDITION}' trains no run of it")
    return below("<results>/runs", [f"{run}.json" for run in runs])


def results_of(experiments):
    """Return the files that say what came of these experiments."""
    return [f"<results>/experiments/{one}/{file}" for one in experiments for file in RESULT_FILES]


def results_of_own(wildcards):
    """Return what came of all experiments of one's own; says how to write one where there are none."""
    if OWN_EXPERIMENTS:
        return results_of(OWN_EXPERIMENTS)
    why = f"config/census holds no experiments of your own that the edition '{EDITION}' trains"
    if INGESTED:
        why = f"the edition '{EDITION}' trains nothing"
    refuse(f"own: {why}; docs/adding-an-experiment.md says how to write one")


def parts_of(experiments, tables=TABLES, results="<results>"):
    """Return the parts that hold these experiments' tables."""
    return [f"{results}/tables/parts/{one}/{table}.parquet" for one in experiments for table in tables]


def parts_of_edition(name):
    """Return the parts of all counted experiments of an edition."""
    return parts_of(COUNTED, results=f"{SETTINGS['results_dir']}/{name}")


def compared_parts(wildcards):
    """Return the tables of both editions; says what to do about an edition that this execution cannot make."""
    try:
        names = pair_of(SETTINGS["compare"], "--config")
        check_compared(PROJECT, names)
    except InputError as error:
        refuse(str(error))
    return [part for name in names for part in parts_of_edition(name)]


def sample_to_verify(wildcards):
    """Return what says that a run came out the same, for a sample of those that have been trained."""
    recorded = recorded_runs(CENSUS, RECORDED / "runs")
    if not recorded:
        refuse(f"verify: the edition '{EDITION}' has no records yet; train something of it first")
    runs = sample_of(recorded, SETTINGS["verify_sample"], seed=0)
    return below("<results>/verify", [f"{run}.json" for run in runs])


def trained_again_by(wildcards):
    return inputs.trained_by(PROJECT)


def recorded_files(wildcards):
    """Return the records that are there."""
    if INGESTED:
        refuse(f"replicate: the edition '{EDITION}' is what was published; name a trained one")
    return below("<results>/runs", [f"{run}.json" for run in recorded_runs(CENSUS, RECORDED / "runs")])


if INGESTED:
    CENSUS_FILES = parts_of(COUNTED)
else:
    CENSUS_FILES = [f"<results>/runs/{name}.json" for name, run in CENSUS.runs.items() if run["counted"]]


def panel_files(figure, variant):
    """Return the files that hold a figure's plotted numbers."""
    folder = "<results>/figure_data" if variant == "published" else f"<results>/figure_data/{variant}"
    return [f"{folder}/{figure}_{panel}.parquet" for panel in FIGURE_PANELS[figure]]


def drawn_figure(ending):
    """Return an input function: the picture that `show` copies into a folder."""

    def path(wildcards):
        variant = "audited" if wildcards.folder == "audited" else "published"
        return f"<results>/figures/{variant}/{wildcards.figure}.{ending}"

    return path


def folder_of_panels(wildcards, output):
    return os.path.dirname(output.panels[0])


def category_of_figure(wildcards):
    """Return where a figure stands in Snakemake's report."""
    return {"main": "Figures 1-5", "extended_data": "Extended data", "audited": "Audited figures"}[
        wildcards.folder
    ]


def labels_of_figure(wildcards):
    """Return what Snakemake's report lists a figure by."""
    return {
        "figure": figure_name(wildcards.figure),
        "shows": CAPTIONS[wildcards.figure].title,
        "edition": EDITION,
    }


def caption_of_figure(wildcards):
    """Return what stands under a figure: its panels, and the experiments whose runs they draw."""
    name = wildcards.figure
    variant = "audited" if wildcards.folder == "audited" else "published"
    counts = {one: len(CENSUS.experiment(one)["runs"]) for one in experiments_of(name, variant)}
    caption = CAPTIONS[name]
    return {**caption._asdict(), "experiments": counts}
