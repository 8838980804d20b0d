"""The DAG: what a target comes to, what is refused, what is made again; run for real in edition smoke.

The workflow is always a copy in a temporary folder, so the repository's results stay as they are.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from workflows import command, copy_workflow, environment, is_alive, planned, snakemake

from dualgrad.census import load_census
from dualgrad.census.dependencies import closure
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, FIGURE_PANELS, MAIN_FIGURES

ROOT = Path(__file__).resolve().parents[1]
RUN = "results/demo/runs/A/lam0.35_eta0.4_seed0.json"
SMOKE = ("--config", "edition=smoke")
RECORDS = "smoke/runs/*/[!.]*.json"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of the workflow."""
    return copy_workflow(tmp_path)


def dry_run(folder: Path, *words: str) -> dict[str, int]:
    """Jobs by rule that a target needs."""
    done = snakemake(folder, *words, "--dry-run")
    assert done.returncode == 0, done.stdout
    return planned(done.stdout)


def runs_in(jobs: Mapping[str, int]) -> int:
    """Number of runs among jobs."""
    return jobs.get("train", 0) + jobs.get("train_and_save", 0)


# --------------------------------------------------------------------------------------------------- planning


def test_the_census_is_one_job_per_run(checkout: Path) -> None:
    census = load_census(ROOT, {"edition": "demo"})
    counted = {name for name, run in census.runs.items() if run["counted"]}
    jobs = dry_run(checkout, "census")
    assert len(counted) == 3916
    assert runs_in(jobs) == len(closure(counted, census.runs))
    assert jobs["train_and_save"] == sum(run["saves"] for run in census.runs.values())


def test_the_main_figures_need_their_own_experiments_only(checkout: Path) -> None:
    census = load_census(ROOT, {"edition": "smoke"})
    experiments = {name for figure in MAIN_FIGURES for name in FIGURE_EXPERIMENTS[figure]}
    wanted = {run for name in experiments for run in census.experiments[name]["runs"]}
    jobs = dry_run(checkout, *SMOKE)  # the default target
    assert jobs["figures/main"] == 1
    assert runs_in(jobs) == len(closure(wanted, census.runs)) < len(census.runs)
    assert jobs["table_parts"] == len(experiments)


def test_a_slash_after_a_target_as_the_tab_key_leaves_it(checkout: Path) -> None:
    (checkout / "figures" / "main").mkdir(parents=True)
    jobs = dry_run(checkout, "figures/main/", *SMOKE)
    assert jobs["figures/main"] == 1 and jobs == dry_run(checkout, "figures/main", *SMOKE)


def test_a_target_that_is_left_out_is_not_refused(checkout: Path) -> None:
    assert "verify" not in dry_run(checkout, RUN, "--omit-from", "verify")


def test_a_single_run_and_what_it_starts_from(checkout: Path) -> None:
    assert dry_run(checkout, RUN) == {"data_set": 1, "train": 1, "total": 2}
    census = load_census(ROOT, {"edition": "demo"})
    name = "Td2/trap1_baseline"
    expected = closure({name}, census.runs)
    assert len(expected) > 2
    assert runs_in(dry_run(checkout, f"results/demo/runs/{name}.json")) == len(expected)


def test_data_that_have_to_be_made_again_hide_no_run(checkout: Path) -> None:
    """A fault of Snakemake's, whose jobs know their data as ancient (dualgrad.jobs.ancient_inputs)."""
    data = checkout / "data" / "reviews"
    data.mkdir(parents=True)
    for age, name in enumerate(("reviews", "textcnn")):  # the content is newer than what is made from it
        for ending in ("npz", "json"):
            (data / f"{name}.{ending}").touch()
            os.utime(data / f"{name}.{ending}", (1e9 - age, 1e9 - age))
    census = load_census(ROOT, {"edition": "smoke"})
    name = next(run for run, one in census.runs.items() if one["task"]["model"]["name"] == "textcnn")
    record = f"results/smoke/runs/{name}.json"
    jobs = dry_run(checkout, record, *SMOKE)
    assert jobs["data_tokens"] == 1 and runs_in(jobs) == len(closure({name}, census.runs)) > 0
    # With its record there, newer data are no reason to train it.
    (checkout / record).parent.mkdir(parents=True)
    (checkout / record).touch()
    jobs = dry_run(checkout, record, *SMOKE)
    assert jobs == {"data_tokens": 1, "total": 1}


def test_files_are_touched_without_a_gpu(checkout: Path) -> None:
    """Nothing is trained then, so nothing need be asked for."""
    record = "results/paper/runs/A/lam0.35_eta0.4_seed0.json"
    for path in (record, "data/cifar10/cifar10.npz", "data/cifar10/cifar10.json"):
        (checkout / path).parent.mkdir(parents=True, exist_ok=True)
        (checkout / path).touch()
    os.utime(checkout / record, (1e9, 1e9))
    done = snakemake(checkout, record, "--touch", "--force", "--cores", "1", "--config", "edition=paper")
    assert done.returncode == 0, done.stdout
    assert (checkout / record).stat().st_mtime > 1e9


def test_the_released_archive_is_not_trained(checkout: Path) -> None:
    jobs = dry_run(checkout, "figures/main", "figures/extended_data", "--config", "edition=released")
    assert jobs["ingest"] == 1 and runs_in(jobs) == 0
    assert jobs["total"] == 1 + 2 * 13 + 2  # drawn, then shown


def test_the_snakefile_imports_nothing_heavy() -> None:
    # On a cluster the Snakefile is read again in every job.
    imports = re.compile(r"^ *(?:from ([\w.]+) import|import ([\w.]+))", re.MULTILINE)
    files = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    found = {name for file in files for pair in imports.findall(file.read_text()) for name in pair if name}
    own = sorted(name for name in found if not name.startswith("snakemake"))
    assert "dualgrad.project" in own
    code = f"""
        import sys, {", ".join(own)}
        from pathlib import Path
        project = dualgrad.project.load_project({str(ROOT)!r})
        dualgrad.jobs.requests.Requests(project, True, False).minutes(next(iter(project.census.runs)), 1)
        heavy = {{"torch", "numpy", "pandas", "pyarrow", "matplotlib", "scipy", "sklearn", "transformers"}}
        print(sorted(heavy & set(sys.modules)))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_a_change_of_settings_for_execution_changes_no_job(checkout: Path) -> None:
    table = {
        words: dry_run(checkout, RUN, *words) for words in ((), ("--config", "device=cpu"), ("--cores", "1"))
    }
    assert len({tuple(jobs.items()) for jobs in table.values()}) == 1


# --------------------------------------------------------------------------------------------------- refusing


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["census", "--config", "editon=paper"], "unknown key 'editon'; did you mean 'edition'?"),
        (
            ["census", "--config", "edition=papr"],
            "got 'papr'; did you mean 'paper'?",
        ),
        (["census", "--config", "threads_per_job=none"], "threads_per_job"),
        (["results/demo/runs/A/lam0.36_eta0.4_seed0.json"], "there is no such run; did you mean 'A/lam0.3"),
        (["results/demo/runs/AA/lam0.35_eta0.4_seed0.json"], "there is no such run; did you mean"),
        (["results/paper/runs/A/lam0.35_eta0.4_seed0.json"], "add --config edition=paper"),
        (["results/demo/checkpoints/A/lam0.35_eta0.4_seed0.pt"], "no other run starts from A/lam0.35"),
        (["results/paper/claims.html"], "the edition is 'demo'; add --config edition=paper"),
        (["results/paper-first3/figures/published/Figure1.pdf"], "add --config edition=paper-first3"),
        (
            ["results/paper/claims.html", "--config", "edition=paper", "paper_data=synthetic"],
            "the edition is 'paper-trial'; ask for results/paper-trial/claims.html",
        ),
        (["verify"], "verify: the edition 'demo' has no records yet; train something of it first"),
        (["own"], "own: config/census holds no experiments of your own that the edition 'demo' trains;"),
        (["own", "--config", "edition=released"], "own: the edition 'released' trains nothing;"),
        (["statisitcs"], "statisitcs: there is no such target; did you mean 'statistics'?"),
        (["figures/mian/"], "there is no such target; did you mean 'figures/main'?"),
        (["results/demo/tables/rns.parquet"], "did you mean 'results/demo/tables/runs.parquet'?"),
        (
            ["results/demo/tables/parts/M2x/runs.parquet"],
            "M2x: there is no such experiment; did you mean 'M2'?",
        ),
        (["results/demo/experiments/AA/results.json"], "AA: there is no such experiment; did you mean 'A'?"),
        (["results/demo/verify/A/lam0.36_eta0.4_seed0.json"], "there is no such run; did you mean 'A/lam0.3"),
        (["census", "--until", "tabels"], "there is no such target; did you mean 'tables'?"),
        (["figures/main/Figure6.pdf"], "No rule to produce figures/main/Figure6.pdf"),
        (
            ["claims", "--dry-run", "--config", "edition=released", "released_archive=nowhere"],
            "released_archive=nowhere: no folder notebooks/Paper-A/results there",
        ),
    ],
)
def test_mistakes_on_the_command_line(checkout: Path, words: list[str], message: str) -> None:
    done = snakemake(checkout, *words)
    assert done.returncode != 0
    assert message in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout / "results").exists()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("config/config.yaml", "edition: demo", "editon: demo", ["config/config.yaml", "editon"]),
        ("config/editions/demo.yaml", "precision:", "precison:", ["config/editions/demo.yaml", "precison"]),
        ("config/census/X.yaml", "count: 200", "count: 201", ["config/census/X.yaml", "X2", "201", "200"]),
    ],
)
def test_mistakes_in_files(checkout: Path, file: str, old: str, new: str, message: list[str]) -> None:
    text = (checkout / file).read_text()
    assert old in text
    (checkout / file).write_text(text.replace(old, new, 1))
    done = snakemake(checkout, "census")
    assert done.returncode != 0
    for part in message:
        assert part in done.stdout
    assert "Traceback" not in done.stdout
    assert not (checkout / "results").exists()


# --------------------------------------------------------------------------------------------------- running


@pytest.fixture
def drawn(smoke_figures: Path) -> Path:
    """A copy of the workflow in which the main figures of edition smoke have been made. Tests leave it as it is."""
    return smoke_figures


def record(folder: Path, name: str) -> Path:
    """Where a run's record lies."""
    return folder / "results" / "smoke" / "runs" / f"{name}.json"


def digest(folder: Path, name: str) -> str:
    """Digest of a run's record."""
    return json.loads(record(folder, name).read_text())["digest"]


def test_the_main_figures_are_there(drawn: Path) -> None:
    for figure in MAIN_FIGURES:
        for ending in ("pdf", "png"):
            assert (drawn / f"figures/main/{figure}.{ending}").stat().st_size > 1000
        for panel in FIGURE_PANELS[figure]:
            assert (drawn / f"results/smoke/figure_data/{figure}_{panel}.parquet").is_file()


def test_progress_is_shown_and_single_jobs_are_not(drawn: Path) -> None:
    messages = (drawn / "messages.txt").read_text()
    assert re.search(r"^\d+ of \d+ steps \(\d+%\) done, about .* s left$", messages, re.MULTILINE)
    assert "steps (100%) done" in messages
    assert "rule train" not in messages
    assert "figures/main: edition smoke, whose own copies stay in results/smoke/figures/published" in messages
    assert len(messages.splitlines()) < 200


@pytest.mark.parametrize(
    "words",
    [
        ("figures/main", *SMOKE),
        ("figures/main", "--cores", "1", "--resources", "gpu=1", *SMOKE),
        (*SMOKE, "--cores", "1", "--resources", "gpu=1", "figures/main"),
        ("--cores", "1", *SMOKE, "figures/main"),
        SMOKE,
    ],
)
def test_there_is_nothing_more_to_do(drawn: Path, words: tuple[str, ...]) -> None:
    done = snakemake(drawn, *words)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout
    assert "figures/main: edition smoke" in done.stdout, "where it lies is worth saying all the same"


def test_another_edition_replaces_the_figures(drawn: Path, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    for name in ("results", "figures", "data", ".snakemake"):
        shutil.copytree(drawn / name, folder / name)
    (folder / "config" / "editions" / "other.yaml").write_text("extends: smoke\ntitle: Another edition\n")
    settings = folder / "config" / "config.yaml"
    settings.write_text(settings.read_text().replace("edition: demo", "edition: other"))
    # The pictures are there, but of another edition: none of them counts.
    jobs = dry_run(folder, "figures/main")
    assert jobs["show"] == len(MAIN_FIGURES) and runs_in(jobs) == len(list((drawn / "results").glob(RECORDS)))
    # Not even where that edition has been drawn too, earlier.
    other = folder / "results" / "other" / "figures" / "published"
    shutil.copytree(folder / "results" / "smoke" / "figures" / "published", other)
    for path in other.iterdir():
        path.write_bytes(b"other")
        os.utime(path, (1, 1))
    done = snakemake(folder, "figures/main", "--allowed-rules", "show", "figures/main")
    assert done.returncode == 0, done.stdout
    assert (folder / "figures/main/Figure1.png").read_bytes() == b"other"
    done = snakemake(folder, "figures/main", *SMOKE)
    assert runs_in(planned(done.stdout)) == 0
    assert (folder / "figures/main/Figure1.png").read_bytes() == (
        drawn / "figures/main/Figure1.png"
    ).read_bytes()


def test_one_edited_entry_trains_its_own_runs_again(drawn: Path, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    for name in ("results", "figures", "data", ".snakemake"):
        shutil.copytree(drawn / name, folder / name)
    done = snakemake(folder, "figures/main", "--dry-run", *SMOKE, "threads_per_job=2")
    assert "Nothing to be done" in done.stdout, done.stdout
    assert "were trained with 1, threads_per_job is now 2" in done.stdout
    path = folder / "config" / "census" / "A-Q.yaml"
    before = load_census(folder, {"edition": "smoke"}).runs
    text = path.read_text()
    start = text.index("\n  A:\n")
    # A threshold is read off by tables: nothing is trained for it.
    edited = text[start:].replace("\n  A:\n", "\n  A:\n    thresholds: {convergence: 0.3}\n", 1)
    path.write_text(text[:start] + edited)
    jobs = dry_run(folder, "figures/main", *SMOKE)
    assert runs_in(jobs) == 0 and jobs["table_parts"] == 1
    # A harmless new constant in one entry; comments and layout of the whole file change nothing.
    path.write_text(
        "# edited\n"
        + text[:start]
        + text[start:].replace("\n  A:\n", "\n  A:\n    labels: {phase_label: x}\n", 1)
    )
    after = load_census(folder, {"edition": "smoke"}).runs
    changed = {name for name in before if before[name] != after[name]}
    assert changed and all(name.startswith("A/") for name in changed)
    jobs = dry_run(folder, "figures/main", *SMOKE)
    assert runs_in(jobs) == len(changed)
    assert jobs["table_parts"] == 1
    assert jobs["Figure1_published"] == jobs["Figure4_published"] == 1 and "Figure2_published" not in jobs


def test_results_below_another_working_directory(drawn: Path, tmp_path: Path) -> None:
    name = next(name for name in load_census(ROOT, {"edition": "smoke"}).runs if name.startswith("A/"))
    done = snakemake(
        drawn,
        f"results/smoke/runs/{name}.json",
        *SMOKE,
        "--directory",
        str(tmp_path),
        "--snakefile",
        "Snakefile",
    )
    assert done.returncode == 0, done.stdout
    assert digest(tmp_path, name) == digest(drawn, name)


def test_a_failed_run_shows_its_log(drawn: Path, tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    shutil.copytree(drawn / "data", folder / "data")
    path = folder / "data" / "digits" / "digits.npz"
    path.write_bytes(path.read_bytes()[:-1000])
    name = next(name for name in load_census(ROOT, {"edition": "smoke"}).runs if name.startswith("A/"))
    done = snakemake(folder, f"results/smoke/runs/{name}.json", *SMOKE)
    assert done.returncode != 0
    assert "Error in rule train" in done.stdout
    assert "digits.npz" in done.stdout.partition("Logfile")[2]
    assert not (folder / f"results/smoke/runs/{name}.json").exists()


def descendants(process: int) -> set[int]:
    """All processes below one."""
    parents = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(entry.parent.name)] = int(entry.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, wave = set(), {process}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave}
        found |= wave
    return found


def test_a_killed_workflow_leaves_no_process_and_goes_on(drawn: Path, tmp_path: Path) -> None:
    """By Ctrl-C, and what follows by SIGKILL: each after its first new run of ten, so in the midst of others."""
    folder = copy_workflow(tmp_path)
    shutil.copytree(drawn / "data", folder / "data")
    runs, census = folder / "results" / "smoke" / "runs", load_census(ROOT, {"edition": "smoke"}).runs
    names = [name for name, run in census.items() if run["task"]["dataset"] == "digits"]
    names = [name for name in names if len(closure({name}, census)) == 1 and record(drawn, name).exists()][
        :10
    ]
    targets = [f"results/smoke/runs/{name}.json" for name in names]
    for number in (signal.SIGINT, signal.SIGKILL):
        before = set(runs.glob("*/*.json"))
        with (folder / "messages.txt").open("w") as messages:
            running = subprocess.Popen(
                command(*targets, "--cores", "2", *SMOKE),
                cwd=folder,
                env=environment(),
                stdout=messages,
                stderr=messages,
                start_new_session=True,
            )
        deadline = time.monotonic() + 120
        while set(runs.glob("*/*.json")) == before:
            said = (folder / "messages.txt").read_text()
            assert running.poll() is None and time.monotonic() < deadline, said
            time.sleep(0.02)
        family = descendants(running.pid)
        assert family
        running.send_signal(number)
        running.wait(timeout=60)
        deadline = time.monotonic() + 30
        while any(map(is_alive, family)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert not any(map(is_alive, family)), number.name
        assert compare_digests(drawn, folder, runs) < len(names), "it came too late"
    assert snakemake(folder, "--unlock", *SMOKE).returncode == 0
    done = snakemake(folder, *targets, *SMOKE)
    assert done.returncode == 0, done.stdout
    assert compare_digests(drawn, folder, runs) == len(names)


def compare_digests(drawn: Path, folder: Path, runs: Path) -> int:
    """Compare the records that are there with those of the undisturbed workflow; how many there are."""
    names = [f"{path.parent.name}/{path.stem}" for path in runs.glob("*/[!.]*.json")]
    assert {name: digest(folder, name) for name in names} == {name: digest(drawn, name) for name in names}
    return len(names)


# --------------------------------------------------------------------------------------------------- form


def test_lint_is_clean() -> None:
    done = snakemake(ROOT, "--lint")
    assert done.returncode == 0 and "good condition" in done.stdout, done.stdout


def test_every_entry_of_the_default_profile_says_why() -> None:
    lines = (ROOT / "workflow/profiles/default/profile.yaml").read_text().splitlines()
    for place, line in enumerate(lines):
        if re.match(r"[a-z-]+:", line):
            above = [text for text in lines[:place] if not re.match(r"[a-z-]+:", text)]
            assert above and above[-1].startswith("#"), line
