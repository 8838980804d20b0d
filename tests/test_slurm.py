"""The profile slurm on a real SLURM: groups, GPUs, memory and time asked for, kills, and the digests of a local run.

A part of the smoke census, chosen by experiments: each submission and each of its jobs is a Snakemake of its own,
which takes seconds, so the whole of it (170 runs) would take ten minutes on two cores. Chosen are runs of images and
of text, one of which starts from the checkpoint of another submission. The main figures need them, so they are
trained without a cluster in any case.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
import snakemake_executor_plugin_slurm as plugin
import snakemake_executor_plugin_slurm_jobstep as jobstep
import yaml
from slurm_host import SlurmHost, missing, slurm_host
from snakemake.jobs import GroupJob
from workflows import ROOT, command, copy_workflow, environment, planned, snakemake

from dualgrad.census import load_census
from dualgrad.census.dependencies import closure, dependency_depth
from dualgrad.jobs import cluster as cluster_module
from dualgrad.jobs import slurm_plugin
from dualgrad.jobs.command_line import words_for_the_rest
from dualgrad.jobs.requests import GROUPS, Requests
from dualgrad.project import load_project

EXPERIMENTS = ("A", "K", "Y1A")
TARGETS = [f"results/smoke/tables/parts/{name}/runs.parquet" for name in EXPERIMENTS]
SMOKE = ("--config", "edition=smoke")
PROFILE = ("--workflow-profile", "workflow/profiles/slurm")


def profile() -> dict:
    """The profile as it stands."""
    return yaml.safe_load((ROOT / "workflow" / "profiles" / "slurm" / "profile.yaml").read_text())


# --------------------------------------------------------------------------------------------------- without SLURM


def test_levels_are_above_all_that_a_run_needs(census) -> None:
    level = dependency_depth(census.runs)
    for name, run in census.runs.items():
        assert level[name] == max((level[need] + 1 for need in run["needs"]), default=0)
    assert dependency_depth({"a": {"needs": ["b", "c"]}, "c": {"needs": ["b"]}, "b": {"needs": []}}) == {
        "b": 0,
        "c": 1,
        "a": 2,
    }


def test_the_profile_knows_every_group_of_the_census(census) -> None:
    groups = {
        f"level{one}_{limit}min" for one in set(dependency_depth(census.runs).values()) for limit in GROUPS
    }
    components = profile()["group-components"]
    assert groups | {"verify"} == set(components)
    assert all(components[f"level{one}_{limit}min"] * limit <= 256 for one in range(3) for limit in GROUPS)


def test_states_are_those_that_the_plugin_knows() -> None:
    now = [0.0]
    states = slurm_plugin.States(lambda: now[0])
    told = {"1": "CANCELLED by 1000", "2": "RUNNING", "3": "PREEMPTED", "4": "NODE_FAIL"}
    assert states.known(told) == {"1": "CANCELLED", "2": "RUNNING", "3": "PREEMPTED", "4": "NODE_FAIL"}
    now[0] = 599.0
    assert states.known({"3": "PREEMPTED"}) == {"3": "PREEMPTED"}
    assert states.known({"3": "PENDING"}) == {"3": "PENDING"}
    now[0] = 601.0
    assert states.known({"3": "PREEMPTED"}) == {"3": "PREEMPTED"}, "preempted once more, not since then"
    now[0] = 1201.0
    assert states.known({"3": "PREEMPTED"}) == {"3": "CANCELLED"}, "it does not return"


def test_the_plugin_is_told_states_that_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list = [({"1": "CANCELLED by 0"}, 0.1), (None, None)]

    async def query_job_status(command: str, logger: object) -> tuple:
        return told.pop(0)

    plugin = SimpleNamespace(query_job_status=query_job_status)
    slurm_plugin.know_all_states(plugin)
    once = plugin.query_job_status
    slurm_plugin.know_all_states(plugin)
    assert plugin.query_job_status is once
    assert asyncio.run(once("sacct", None)) == ({"1": "CANCELLED"}, 0.1)
    assert asyncio.run(once("sacct", None)) == (None, None)


def test_what_is_mended_in_the_plugin_is_still_there() -> None:
    """Of another version of plugin or Snakemake, which may have mended it themselves, or renamed it."""
    assert version("snakemake-executor-plugin-slurm") == "2.8.0", "look at what slurm_plugin.py mends"
    assert inspect.iscoroutinefunction(plugin.query_job_status)
    for owner, name in (
        (plugin.Executor, "run_job"),
        (plugin.Executor, "_report_job_error_threadsafe"),
        (jobstep.Executor, "report_job_error"),
        (GroupJob, "log_error"),
    ):
        assert callable(getattr(owner, name)), name


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("StartTime=2026-01-01T10:00:00 EndTime=2026-01-01T12:02:00 PreemptTime=2026-01-01T12:00:00", True),
        ("StartTime=2026-01-01T10:00:00 EndTime=2026-01-01T14:00:00 PreemptTime=None", False),
        ("StartTime=2026-01-01T10:00:00 EndTime=2026-01-01T14:00:00 PreemptTime=2026-01-01T09:00:00", False),
        ("StartTime=2026-01-01T10:00:00 EndTime=2026-01-01T12:00:30 PreemptTime=2026-01-01T12:00:00", False),
        ("StartTime=Unknown EndTime=Unknown PreemptTime=2026-01-01T09:00:00", False),
        ("", False),
    ],
)
def test_a_submission_is_preempted_while_it_has_time_to_end(shown: str, expected: bool) -> None:
    assert slurm_plugin.is_preempted(shown, datetime(2026, 1, 1, 12, 1)) is expected


def test_submissions_are_counted_by_group() -> None:
    project = load_project(ROOT, {"edition": "smoke"})
    asked = Requests(project, True, False)
    runs = list(project.census.runs)[:7]
    groups = {asked.group(run) for run in runs}
    assert groups == {"level0_4min"}
    minutes = sum(asked.minutes(run, 1) for run in runs)
    assert asked.submissions(runs, {"level0_4min": 60}) == (1, minutes)
    number, longest = asked.submissions(runs, {"level0_4min": 3})
    assert number == 3 and longest < minutes
    assert asked.submissions(runs, {}) == (7, max(asked.minutes(run, 1) for run in runs)), "each alone"
    words = asked.in_words(runs, {"level0_4min": 3})
    assert words == f"3 submissions to the cluster; the longest asks for up to {longest} min 0 s."
    assert asked.in_words([], {}) is None and Requests(project, False, False).in_words(runs, {}) is None


def test_without_accounting_squeue_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = SimpleNamespace(status_command="sacct")
    for text, asked in (
        ("AccountingStorageType   = accounting_storage/slurmdbd\nMinJobAge = 300 sec\n", "sacct"),
        ("", "sacct"),
        (
            "AccountingStorageHost   = localhost\nAccountingStorageType   = accounting_storage/none\n",
            "squeue",
        ),
    ):
        monkeypatch.setattr(cluster_module, "slurm_configuration", lambda text=text: text)
        assert cluster_module.ask_squeue_without_accounting(settings) == (asked == "squeue")
        assert settings.status_command == asked
    assert not cluster_module.ask_squeue_without_accounting(None), "another executor"


def test_what_is_left_in_the_queue_is_of_this_folder_and_of_snakemake(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    queue = "1|rule_a_group|/x|y\n2|(null)|/x|y\n3|rule_b|/x\n4_7|rule_c_wildcards_d|/x|y\n"
    monkeypatch.setattr(cluster_module, "answer", lambda *words: queue)
    slurm = SimpleNamespace(status_command="sacct")
    said = cluster_module.left_in_the_queue(Path("/x|y"), slurm)
    assert said is not None and "waiting: 1, 4_7. What" in said and "`scancel 1 4_7`" in said
    assert cluster_module.left_in_the_queue(Path("/z"), slurm) is None
    assert cluster_module.left_in_the_queue(Path("/x"), None) is None, "another executor"


def test_a_controller_that_is_down_for_an_hour_loses_no_job() -> None:
    settings = profile()
    assert settings["slurm-status-attempts"] / settings["max-status-checks-per-second"] > 3600


def test_requests_follow_device_and_length() -> None:
    project = load_project(ROOT, {"edition": "paper"})
    run = next(iter(project.census.runs))
    here, there = Requests(project, False, False), Requests(project, True, False)
    assert (here.gpus, there.gpus, Requests(project, False, True).gpus) == (0, 1, 1)
    assert here.group(run) is None and there.group(run) == "level0_64min"
    assert there.minutes(run, 2) == 2 * there.minutes(run, 1) < here.minutes(run, 2)
    assert there.megabytes(run, 3) == 4 * there.megabytes(run, 1) > 1000
    assert Requests(load_project(ROOT, {"edition": "paper", "device": "cpu"}), True, True).gpus == 0


def test_a_submission_that_is_started_again_asks_for_files() -> None:
    words = ["T", "--force", "--target-jobs", "train:run=A/x", "verify_run:run=B/y", "--cores", "1"]
    folders = {"train": "runs", "verify_run": "verify"}
    rest = words_for_the_rest(words, "results/paper", folders)
    assert rest == ["T", "--cores", "1", "--", "results/paper/runs/A/x.json", "results/paper/verify/B/y.json"]
    assert words_for_the_rest(["T", "--cores", "1"], "r", folders) is None
    assert words_for_the_rest(["--target-jobs", "other:run=A/x", "--cores", "1"], "r", folders) is None
    named = ["--target-jobs", "dg_train:run=A/x", "--cores", "1"]
    assert words_for_the_rest(named, "r", {"dg_train": "runs"}) == ["--cores", "1", "--", "r/runs/A/x.json"]


def test_the_profile_names_nobody() -> None:
    settings = profile()
    assert not {"default-resources", "set-resources"} & set(settings)
    assert set(settings["resources"]) == {"slot"}, "a limit on `gpu` would be asked for by each group"
    assert settings["slurm-logdir"] not in (".", "logs"), "old logs in it are deleted"


def test_every_entry_of_the_profile_says_why() -> None:
    lines = (ROOT / "workflow/profiles/slurm/profile.yaml").read_text().splitlines()
    for place, line in enumerate(lines):
        if re.match(r"[a-z-]+:", line):
            above = [text for text in lines[:place] if not re.match(r"[a-z-]+:", text)]
            assert above and any(text.startswith("#") for text in above[-12:]), line


def test_a_dry_run_shows_what_is_asked_for(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    target = "results/paper/runs/Ta1-1/seed0.json"
    asked = {}
    for device in ("auto", "cpu"):
        done = snakemake(
            folder, target, *PROFILE, "--config", "edition=paper", f"device={device}", "--dry-run"
        )
        assert done.returncode == 0, done.stdout
        assert planned(done.stdout)["total"] == 3  # CIFAR, a run that is started from, and the run
        found = re.findall(r"gpu=(\d), slot=1, runtime=(\d+), mem_mb=(\d+)", done.stdout)
        assert len(found) == 2
        asked[device] = [tuple(map(int, one)) for one in found]
    for (gpu, runtime, memory), (no_gpu, longer, _) in zip(asked["auto"], asked["cpu"], strict=True):
        assert (gpu, no_gpu) == (1, 0)
        assert 10 < runtime < longer
        assert 3000 < memory < 30_000


def test_the_verification_of_a_copy_asks_for_what_its_source_takes(tmp_path: Path) -> None:
    """The copy itself takes no training; verifying it trains its source once more."""
    folder = copy_workflow(tmp_path)
    target = "results/paper/verify/D1/trusted0.05_lam0_eta0.4_seed0.json"
    done = snakemake(folder, target, *PROFILE, "--config", "edition=paper", "--dry-run")
    assert done.returncode == 0, done.stdout
    found = re.findall(r"gpu=\d, slot=1, runtime=(\d+), mem_mb=(\d+)", done.stdout)
    asked = [tuple(map(int, one)) for one in found]
    assert len(asked) == 3 and asked.count(max(asked)) == 2, "as much as the source; the copy itself, less"
    assert max(asked)[0] > 30


def test_a_dry_run_of_many_runs_shows_each_in_a_line(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    targets = [f"results/paper/tables/parts/{name}/runs.parquet" for name in ("A", "Ta1-1")]
    done = snakemake(folder, *targets, *PROFILE, "--config", "edition=paper", "--dry-run")
    assert done.returncode == 0, done.stdout
    line = re.compile(
        r"^([\w-]+/[\w.-]+): 1 GPU, (\d+) min, ([\d.]+) GB, (?:level\d_\d+min|alone)$", re.MULTILINE
    )
    shown = {name: (int(minutes), float(memory)) for name, minutes, memory in line.findall(done.stdout)}
    jobs = planned(done.stdout)
    assert len(shown) == jobs["train"] + jobs["train_and_save"] > 50
    assert all(minutes >= 1 and memory > 1 for minutes, memory in shown.values())
    assert "No GPU" not in done.stdout
    assert re.search(
        r"^\d+ submissions to the cluster; the longest asks for up to \d+ h", done.stdout, re.MULTILINE
    )


# --------------------------------------------------------------------------------------------------- with SLURM


@pytest.fixture(scope="module")
def cluster() -> Iterator[SlurmHost]:
    """A cluster of one node with two CPUs and two GPUs."""
    if absent := missing():
        pytest.skip(f"no SLURM here: {', '.join(absent)} missing (Debian: apt install slurm-wlm munge)")
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder:  # short: a socket's path has 108 characters
        with slurm_host(Path(folder), cpus=2, gpus=2, memory=16_000) as host:
            yield host
        left = [entry for entry in Path("/proc").glob("[0-9]*") if belongs(entry, folder)]
        assert not left, "no daemon and no job is left"


def belongs(process: Path, folder: str) -> bool:
    """Whether a process is of a cluster: each of its daemons and jobs has its folder in its environment."""
    try:
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state not in "ZX" and folder.encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def eventually(
    condition: Callable[[], bool], running: subprocess.Popen, messages: Path, seconds: float
) -> None:
    """Wait for something that happens while a workflow runs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert running.poll() is None and time.monotonic() < deadline, messages.read_text()
        time.sleep(0.1)


def records_of(folder: Path) -> dict[str, dict]:
    """Records that are there, by run."""
    found = {}
    for path in sorted((folder / "results" / "smoke" / "runs").glob("*/*.json")):
        record = json.loads(path.read_text())
        found[f"{record['experiment']}/{record['run']}"] = record
    return found


def submissions(host: SlurmHost) -> dict[str, dict[str, str]]:
    """All submissions, by number: what SLURM shows of them."""
    shown = host.ask("scontrol", "--details", "--oneliner", "show", "jobs")
    entries = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in shown.splitlines() if "JobId=" in line]
    return {entry["JobId"]: entry for entry in entries}


def test_a_census_through_kills_has_the_digests_of_a_local_run(
    cluster: SlurmHost, smoke_figures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    census = load_census(ROOT, {"edition": "smoke"})
    wanted = {run for name in EXPERIMENTS for run in census.experiments[name]["runs"]}
    runs = closure(wanted, census.runs)
    assert {dependency_depth(census.runs)[run] for run in runs} == {0, 1}

    folder = copy_workflow(tmp_path)
    shutil.copytree(smoke_figures / "data", folder / "data")

    messages = folder / "messages.txt"
    words = [
        *(*TARGETS, *PROFILE, *SMOKE),
        # Runs of this edition need no GPU; here they ask for one.
        *("--set-resources", "train:gpu=1", "train_and_save:gpu=1"),
        # Small groups, so that two run at a time and some wait for others.
        *("--group-components", "level0_4min=2", "level1_4min=2"),
        # This SLURM has no accounting, and its file system is not late.
        *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
        *("--latency-wait", "10"),
    ]
    with messages.open("w") as log:
        running = subprocess.Popen(
            command(*words),
            cwd=folder,
            env=environment({"PATH": f"{cluster.bin}:{environment()['PATH']}"}),
            stdout=log,
            stderr=log,
        )
    try:
        # One submission loses the step in which a run is trained, another is put back into the queue.
        eventually(lambda: len(records_of(folder)) >= 1, running, messages, 120)
        first, second = [name for name, one in submissions(cluster).items() if one["JobState"] == "RUNNING"]
        cluster.ask("scancel", "--signal=KILL", first)
        finished = records_of(folder)
        cluster.ask("scontrol", "requeue", second)
        assert running.wait(timeout=900) == 0, messages.read_text()
    finally:
        running.kill()
        running.wait()

    # Everything is there, and the same.
    records, expected = records_of(folder), records_of(smoke_figures)
    assert set(records) == runs
    assert {name: one["digest"] for name, one in records.items()} == {
        name: expected[name]["digest"] for name in runs
    }
    assert all((folder / target).is_file() for target in TARGETS)
    # What was finished was not trained again.
    assert finished
    for name, record in finished.items():
        assert records[name]["provenance"]["started"] == record["provenance"]["started"], name

    # Few submissions, each of which asked for what one run needs, for the time of all.
    jobs = submissions(cluster)
    assert len(re.findall("has been submitted with SLURM jobid", messages.read_text())) == len(jobs)
    assert jobs[first]["JobState"] in ("CANCELLED", "FAILED") and "Trying to restart" in messages.read_text()
    assert jobs[second]["Restarts"] == "1"
    assert all(one["JobState"] == "COMPLETED" for name, one in jobs.items() if name != first)
    memory = {name: int(one["MinMemoryNode"].rstrip("M")) for name, one in jobs.items()}
    assert max(memory.values()) == 2 * memory[first], "the second try asks for twice the memory"
    for one in jobs.values():
        assert one["JOB_GRES"] == "gpu:1" and one["NumCPUs"] == "1"
    assert len(jobs) == 4  # two and one, and one of them once more
    # Only the submission that failed leaves a log.
    assert [path.stem for path in (folder / "logs" / "slurm").rglob("*.log")] == [first]
    with capsys.disabled():
        print(
            f"\nSLURM: {len(jobs)} submissions for {len(runs)} runs; one was killed, one put back into the queue"
        )


def test_a_group_goes_on_through_a_failure_and_preemption(
    cluster: SlurmHost, smoke_figures: Path, tmp_path: Path
) -> None:
    folder = copy_workflow(tmp_path)
    shutil.copytree(smoke_figures / "data", folder / "data")
    runs = ("A/lam0.1_eta0.4_seed0", "K/lam0.3_eta0.4_seed0", "M1/rep1_lam0.1_eta0.4_seed0")
    targets = [f"results/smoke/runs/{run}.json" for run in runs]
    path = {"PATH": f"{cluster.bin}:{environment()['PATH']}"}
    before = set(submissions(cluster))
    words = [
        *(*targets, *PROFILE, *SMOKE, "--restart-times", "0", "--latency-wait", "5"),
        *("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1"),
    ]

    # What cannot be submitted has failed, with the reason: SLURM is asked for a GPU of a kind with a hyphen.
    refused = snakemake(
        folder, *words, "--default-resources", "gpu_model=a-b", "--set-resources", "train:gpu=1", more=path
    )
    assert refused.returncode == 1
    assert re.search(r"It could not be submitted: .*a-b", refused.stdout), refused.stdout
    assert set(submissions(cluster)) == before

    # What an earlier Snakemake has left in the queue is not submitted again.
    held = submit(cluster, f"--chdir={folder}", "--comment=rule_x", "--hold")
    refused = snakemake(folder, *words, more=path)
    assert refused.returncode == 1
    assert f"still running or waiting: {held}." in refused.stdout, refused.stdout
    assert f"`scancel {held}`" in refused.stdout
    cluster.ask("scancel", held)

    # A group loses the step in which its first run is trained; while it trains the second it is preempted, with time
    # to end.
    messages = folder / "messages.txt"
    with messages.open("w") as out:
        running = subprocess.Popen(command(*words), cwd=folder, env=environment(path), stdout=out, stderr=out)
    try:
        known = before | {held}
        eventually(lambda: set(submissions(cluster)) > known, running, messages, 120)
        (mine,) = set(submissions(cluster)) - known
        eventually(lambda: steps(cluster, mine) == ["0"], running, messages, 60)
        cluster.ask("scancel", "--signal=KILL", f"{mine}.0")
        eventually(lambda: steps(cluster, mine) == ["1"], running, messages, 60)
        submit(cluster, "--partition=urgent", "--cpus-per-task=2")
        assert running.wait(timeout=600) == 0, messages.read_text()
    finally:
        running.kill()
        running.wait()
    assert set(records_of(folder)) == set(runs)
    submitted = {job: one for job, one in submissions(cluster).items() if one["Partition"] == "test"}
    assert set(submitted) - known == {mine}, "no second attempt"
    assert submitted[mine]["Restarts"] == "1" and submitted[mine]["JobState"] == "COMPLETED"


def submit(host: SlurmHost, *words: str) -> str:
    """Submit a job that does nothing; return its number."""
    return host.ask("sbatch", "--parsable", "--output=/dev/null", "--wrap=true", *words).strip()


def steps(host: SlurmHost, job: str) -> list[str]:
    """Numbers of the steps that a submission runs just now, beside its script."""
    shown = host.ask("squeue", "--steps", "--noheader", f"--job={job}", "--format=%i").split()
    return [step.partition(".")[2] for step in shown if step.partition(".")[2].isdigit()]
