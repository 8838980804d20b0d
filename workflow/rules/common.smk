"""What all rules share: settings, the census, and the command that every job runs."""

import hashlib
import json
import math
import re
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

try:
    import dualgrad
    from dualgrad.compare.pair import is_ingested, pair_of
    from dualgrad.census import edition_names
    from dualgrad.census.dependencies import levels
    from dualgrad.figures.captions import CAPTIONS, figure_name
    from dualgrad.figures.sources import (
        EXTENDED_FIGURES,
        FIGURE_EXPERIMENTS,
        FIGURE_PANELS,
        FIGURE_TABLES,
        MAIN_FIGURES,
        VARIANTS,
    )
    from dualgrad.project import load_project
    from dualgrad.validation import InputError
    from dualgrad.planning.rates import seconds
    from dualgrad.planning.storage import memory
    from dualgrad.jobs.recovery import remove_stale_lock, settle_times, sweep
    from dualgrad.training.verify import recorded_runs, sample_of
    from dualgrad.jobs.warm_worker import WarmWorker, local_gpus, prepare_jobs
except ImportError as error:
    raise WorkflowError(
        f"{error}: the package dualgrad is not installed where this Snakemake runs. "
        "`make setup` builds an environment with both in .venv; elsewhere: pip install -e ."
    )

# The folder of this workflow; where it is read from a repository's URL, no folder.
OWN = Path(str(workflow.current_basedir)).parents[1]

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
except InputError as error:
    raise WorkflowError(str(error))

# A trial of an edition is an edition of its own.
EDITION = CENSUS.edition["name"]
INGESTED = CENSUS.edition["records"] == "ingested"
TABLES = ("runs", "trajectories", "epochs", "geometry", "steps")


pathvars:
    results=f"{SETTINGS['results_dir']}/{EDITION}",
    logs=f"logs/{EDITION}",
    data=SETTINGS["data_dir"],


def as_words(settings):
    """Return settings as words of the command line of `dualgrad`."""
    return [word for key, value in settings.items() for word in ("--config", f"{key}={json.dumps(value)}")]


def job_settings():
    """Return what every job's command must be told: what differs from the files that it reads by itself."""
    words = as_words(config)
    if Path.cwd() != ROOT:
        folders = {key: str(Path(SETTINGS[key]).absolute()) for key in ("results_dir", "data_dir")}
        words += ["--root", str(ROOT), *as_words(folders)]
    return words


# An environment of the jobs' own, in which they run: conda's or a container. (None by default.)
DEPLOYED = bool(workflow.deployment_settings and workflow.deployment_settings.deployment_method)

# A rule's command is a `dualgrad` command line; in the jobs it is run by the warm worker, with these settings.
prepare_jobs(job_settings(), deployed=DEPLOYED)


def check_targets(words):
    """Refuse runs that do not exist, in words: Snakemake would say that no rule makes such a file."""
    pattern = re.compile(rf"{re.escape(SETTINGS['results_dir'])}/([^/]+)/(runs|checkpoints)/(.+)\.(json|pt)")
    for word in words:
        if path := pattern.fullmatch(word):
            edition, kind, name, ending = path.groups()
            if edition != EDITION:
                advice = f"add --config edition={edition}"
                if edition == SETTINGS["edition"] or edition not in edition_names(ROOT):
                    advice = f"ask for {SETTINGS['results_dir']}/{EDITION}/{kind}/{name}.{ending}"
                raise WorkflowError(f"{word}: the edition is '{EDITION}'; {advice}")
            try:
                run = CENSUS.run(name)
            except InputError as error:
                raise WorkflowError(f"{word}: {error}")
            if kind == "checkpoints" and not run["saves"]:
                raise WorkflowError(f"{word}: no other run starts from {name}, so its weights are not kept")


if workflow.is_main_process:
    check_targets(sys.argv[1:])


def spec_of_run(wildcards):
    """Return what a run is. Builtin types only: Snakemake sees no change in others."""
    run = CENSUS.run(wildcards.run)
    return {key: value for key, value in run.items() if key != "seconds_recorded"}


def files_needed_by_run(wildcards):
    """Return the records and checkpoints that a run reads."""
    files = []
    for need in CENSUS.run(wildcards.run)["needs"]:
        files.append(f"<results>/runs/{need}.json")
        if CENSUS.runs[need]["saves"]:
            files.append(f"<results>/checkpoints/{need}.pt")
    return files


def data_of_run(wildcards):
    """Return the files of a run's data set. Ancient: they are checked by hash, so a new download changes nothing."""
    task = CENSUS.run(wildcards.run)["task"]
    name, model = task["dataset"], task["model"]["name"]
    if task["synthetic"]:
        return []
    if name != "sst2":
        return ancient(f"<data>/{name}/{name}.npz")
    if model == "textcnn":
        return ancient("<data>/sst2/words.npz")
    return [ancient("<data>/sst2/wordpiece.npz"), ancient("<data>/distilbert-base-uncased/model.safetensors")]


# Runs whose weights other runs start from, as an alternative of a regular expression.
SAVING_RUNS = "|".join(re.escape(name) for name, run in CENSUS.runs.items() if run["saves"])


def revision(folder, *patterns):
    """Return a digest of source files, for rules whose results are cheap to make again.

    Snakemake does not see the code behind a command line. (A run is not cheap: for its code stands the protocol's
    revision.)
    """
    files = [file for pattern in patterns for file in sorted(folder.glob(pattern))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


PACKAGE = Path(dualgrad.__file__).parent
TABLE_REVISION = revision(PACKAGE, "tables/schema.py", "tables/build.py", "tables/parquet.py")
INGEST_REVISION = [
    TABLE_REVISION,
    revision(PACKAGE, "ingest/*.py", "release/*.py"),
    revision(ROOT, "config/released/*"),
]
FIGURE_REVISION = [TABLE_REVISION, revision(PACKAGE, "figures/*.py")]


def records_of_experiment(wildcards):
    """Return the records of an experiment's runs."""
    return [f"<results>/runs/{run}.json" for run in CENSUS.experiment(wildcards.experiment)["runs"]]


def parts_of(experiments, tables=TABLES):
    """Return the parts that hold these experiments' tables."""
    return collect(
        "<results>/tables/parts/{experiment}/{table}.parquet", experiment=experiments, table=tables
    )


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
    """Return the folder of a figure's plotted numbers."""
    return str(Path(output.panels[0]).parent)


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
    counts = {one: len(CENSUS.experiment(one)["runs"]) for one in FIGURE_EXPERIMENTS[name]}
    return {"title": CAPTIONS[name].title, "panels": CAPTIONS[name].panels, "experiments": counts}


COUNTED = [name for name, experiment in CENSUS.experiments.items() if experiment["counted"]]
if INGESTED:
    CENSUS_FILES = parts_of(COUNTED)
else:
    CENSUS_FILES = [f"<results>/runs/{name}.json" for name, run in CENSUS.runs.items() if run["counted"]]


HAS_GPU = bool(local_gpus())


def on_cluster():
    """Whether jobs are a cluster's. A dry run is always local: then `jobs`, which the cluster's profile has, tells."""
    return not workflow.local_exec or (workflow.dryrun and workflow.resource_settings.nodes is not None)


def gpus_per_run(wildcards):
    """Return how many GPUs a run asks for. A cluster is trusted to have what device=auto would take."""
    if "cpu" in (SETTINGS["device"], CENSUS.edition["device"]):
        return 0
    return int(SETTINGS["device"] == "cuda" or on_cluster() or HAS_GPU)


# What a cluster is asked for, in estimates of planning: they are rather too long than too short, but a node can be
# shared, far from its files, and Snakemake starts twice in front of each run. In megabytes: Snakemake and the worker.
HEADROOM = 1.5
STARTING_SECONDS, BESIDE_MB = 60, 1000


def planned_device(wildcards):
    """Return the device that a run is planned for."""
    return "cuda" if gpus_per_run(wildcards) else "cpu"


def minutes_of_run(wildcards, attempt):
    """Return the time to ask for, twice as much with each retry."""
    estimate = seconds(CENSUS.run(wildcards.run), planned_device(wildcards))
    return math.ceil((HEADROOM * estimate + STARTING_SECONDS) / 60) * 2 ** (attempt - 1)


def megabytes_of_run(wildcards, attempt):
    """Return the main memory to ask for, twice as much with each retry."""
    estimate = memory(CENSUS.run(wildcards.run), planned_device(wildcards)).host
    return math.ceil(HEADROOM * estimate / 1e6 + BESIDE_MB) * 2 ** (attempt - 1)


def words_for_the_rest(words):
    """Return the command line with which a submission that is started again does what is left of it.

    Snakemake tells a submission to do its jobs whatever is there (`--force`, `--target-jobs`); this asks for their
    files instead. None where it has jobs of another workflow, or asks for files already.
    """
    if "--target-jobs" not in words:
        return None
    start = words.index("--target-jobs") + 1
    stop = next(place for place in range(start, len(words)) if words[place].startswith("--"))
    jobs = [
        re.fullmatch(r"(train|train_and_save|verify_run):run=([^,]+)", word) for word in words[start:stop]
    ]
    if not all(jobs):
        return None
    files = [
        f"{SETTINGS['results_dir']}/{EDITION}/{'verify' if job[1] == 'verify_run' else 'runs'}/{job[2]}.json"
        for job in jobs
    ]
    others = [word for word in words[: start - 1] + words[stop:] if word != "--force"]
    return [*others, "--", *files]


LEVELS = levels(CENSUS.runs)
GROUPS = (4, 16, 64)  # minutes


def group_of_run(wildcards):
    """Return the group in which a cluster is given a run; the longest go alone.

    Runs of about one length: so many of them are some hours. And of one level: none needs another of its own level,
    so however runs are put together, no submission waits for itself.
    """
    if not on_cluster():
        return None
    minutes = seconds(CENSUS.run(wildcards.run), planned_device(wildcards)) / 60
    fitting = [limit for limit in GROUPS if minutes <= limit]
    return f"level{LEVELS[wildcards.run]}_{fitting[0]}min" if fitting else None


def parts_of_edition(name):
    """Return the parts of all counted experiments of an edition."""
    return collect(
        "{results}/{name}/tables/parts/{experiment}/{table}.parquet",
        results=SETTINGS["results_dir"],
        name=name,
        experiment=COUNTED,
        table=TABLES,
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


RECORDED = Path(SETTINGS["results_dir"]) / EDITION

if workflow.is_main_process and "verify" in sys.argv[1:] and not recorded_runs(CENSUS, RECORDED / "runs"):
    raise WorkflowError(f"verify: the edition '{EDITION}' has no records yet; train something of it first")


def sample_to_verify(wildcards):
    """Return what says that a run came out the same, for a sample of those that have been trained."""
    runs = sample_of(recorded_runs(CENSUS, RECORDED / "runs"), SETTINGS["verify_sample"], seed=0)
    return [f"<results>/verify/{run}.json" for run in runs]
