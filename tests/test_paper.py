"""The paper edition: every run resolves; trials on each architecture train real steps of all kinds of stages.

Trials (``paper_data=synthetic max_steps=1``) run on made-up CIFAR- and SST-shaped arrays on the CPU. They are another
edition, ``paper-trial``: no record of theirs can be taken for a real one.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from workflows import copy_workflow, snakemake

from dualgrad.census import CensusError, load_census
from dualgrad.census.run import Stage
from dualgrad.cli import main
from dualgrad.records import RecordError, canonical_json, digest, make_record, read_record, write_record
from dualgrad.tables.build import experiment_tables
from dualgrad.tables.errors import TableError
from dualgrad.tables.read import merge_parts, read_tables
from dualgrad.training.batches import batches_per_pass
from dualgrad.training.plan import plan_stage

ROOT = Path(__file__).resolve().parents[1]
# Strict single precision: a step of a ResNet-18 takes a fifth of the time. One trial below, of two
# steps, is in double precision.
SETTINGS = {"edition": "paper", "paper_data": "synthetic", "max_steps": 1, "precision": "float32"}
WORDS = [word for key, value in SETTINGS.items() for word in ("--config", f"{key}={value}")]
CENSUS = load_census(ROOT, SETTINGS)
SLOW = {"distilbert", "resnet34_own", "resnet34_tv"}


def parts(run: dict) -> set[tuple]:
    """What of the trainer a run uses: kinds, not numbers. Stages do not know the network that they train."""
    task, value = run["task"], run["value"]
    text = task["dataset"] == "sst2"
    found: set[tuple] = {
        ("network", task["model"]["name"], task["model"].get("width"), task["dataset"]),
        ("noise", run["noise"]["kind"]),
        ("value", value["labels"], value["sign"], value["period"], value["fresh_every_step"]),
        ("random, trusted", *(tuple(value[key] or ()) for key in ("random", "trusted"))),
        ("synthetic", (value["synthetic"] or {}).get("about")),
        ("method", text, str(run["method"]), run["renormalize"]),
        ("step", run["optimizer"]["name"], isinstance(run["lr_scale"], dict)),
        ("copy", bool(run["copy_of"])),
        ("outcome", run["outcome"]),
    }
    for stage in run["stages"]:
        found |= {
            ("start", text, stage["start"]["kind"]),
            ("branch", bool(stage["branch"])),
            ("schedule", (stage["schedule"] or {}).get("kind"), len(stage["segments"]) > 1),
            ("gate", *sorted(stage["gate"] or ())),
            ("stop", *((stage["stop"] or {}).get(key) for key in ("error", "unit"))),
            *(("evaluate", when) for when, chosen in stage["evaluate"].items() if chosen),
        }
    return found


def covering(offered: dict[str, set[tuple]], done: set[tuple] | None = None) -> list[str]:
    """A few names that together have every part that one of them has, but for those that are done already."""
    chosen, done = [], set(done or ())
    while not set().union(*offered.values()) <= done:
        chosen.append(max(offered, key=lambda name: len(offered[name] - done)))
        done |= offered[chosen[-1]]
    return chosen


def representatives() -> list[str]:
    """Runs that together use every part of the trainer; slow networks only for what no other run uses.

    Labels from a file are of real data, which no trial has.
    With ``DUALGRAD_ALL_CASES=1``, a run of every combination of parts.
    """
    used = {name: parts(run) for name, run in CENSUS.runs.items() if run["noise"]["kind"] != "file"}
    first = {frozenset(found): name for name, found in reversed(used.items())}
    if os.environ.get("DUALGRAD_ALL_CASES"):
        return list(first.values())
    used = {name: used[name] for name in reversed(first.values())}
    quick = covering(
        {name: used[name] for name in used if CENSUS.runs[name]["task"]["model"]["name"] not in SLOW}
    )
    return quick + covering(used, set().union(*(used[name] for name in quick)))


# --------------------------------------------------------------------------------------------------- resolving


def test_every_run_of_the_paper_edition_resolves(census) -> None:
    assert sum(run["counted"] for run in census.runs.values()) == 3916
    steps = {}
    for name, run in census.runs.items():
        assert run["edition"] == "paper" and run["synthetic"] is False and run["max_steps"] is None
        task = run["task"]
        assert task["synthetic"] is False and task["steps_per_epoch"] is None
        examples = {"cifar10": 50_000, "cifar100": 50_000, "sst2": 16_000}[task["dataset"]]
        steps[name] = batches_per_pass(examples, task["batch_size"], task["drop_last"])
        for stage in run["stages"]:
            plan = plan_stage(Stage.model_validate(stage))
            assert plan or stage["name"] == "select", name
            assert not plan or plan[-1].evaluate
    assert set(steps.values()) == {195, 196, 250, 125}
    assert steps["A/lam0.1_eta0.4_seed0"] == 195 and steps["M3b/lam0.15_eta0.8_seed0"] == 196


def test_the_trials_use_every_part_of_the_trainer() -> None:
    chosen = [CENSUS.runs[name] for name in representatives()]
    everything = [parts(run) for run in CENSUS.runs.values() if run["noise"]["kind"] != "file"]
    assert set().union(*map(parts, chosen)) == set().union(*everything)
    for key in (lambda run: run["task"]["model"]["name"], lambda run: run["outcome"]):
        assert set(map(key, chosen)) == set(map(key, CENSUS.runs.values()))
    assert {run["task"]["model"].get("width") for run in chosen} >= {0.5, 1.0, 2.0}
    assert 40 < len(chosen) < 80


# --------------------------------------------------------------------------------------------------- training


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the census, where trials are trained; those that several runs need are trained once."""
    folder = tmp_path_factory.mktemp("paper")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "Snakefile").touch()
    return folder


def records(folder: Path) -> Path:
    return folder / "results" / "paper-trial" / "runs"


def fabricate(folder: Path, name: str, like: dict) -> None:
    """A candidate that will not be selected: a record without a training, only with an error of 1."""
    outcome = {**like["outcome"], "test_error": 1.0}
    record = make_record(
        CENSUS.runs[name], outcome, like["trajectory"], like["checkpoint"], like["provenance"]
    )
    write_record(records(folder) / f"{name}.json", record)


def trained(folder: Path, name: str) -> dict:
    """The record of a run, after `dualgrad train` of it and of what it needs."""
    path = records(folder) / f"{name}.json"
    if not path.exists():
        run = CENSUS.runs[name]
        candidates = [c for s in run["stages"] for c in s["start"].get("runs", ())]
        for need in run["needs"]:
            if need in candidates[1:]:  # ten equal searches would teach nothing more than one
                if not (records(folder) / f"{need}.json").exists():
                    fabricate(folder, need, trained(folder, candidates[0]))
            else:
                trained(folder, need)
        assert main(["train", name, "--root", str(folder), *WORDS]) == 0
    return read_record(path, edition="paper-trial", name=name)


@pytest.mark.parametrize("name", representatives())
def test_trial(bench: Path, name: str) -> None:
    run, record = CENSUS.runs[name], trained(bench, name)
    assert record["synthetic"] is True and record["spec"] == run
    outcome, stages = record["outcome"], [stage for stage in run["stages"] if stage["segments"]]
    assert outcome["status"] == "completed"
    evaluations = record["trajectory"]["evaluations"]
    if run["prefix_epochs"] is None:  # a step is less than the epochs that a prefix has
        assert outcome["steps"] == len(stages)
        assert outcome["epochs"] == len(stages)
    assert {stage["name"] for stage in stages} <= set(evaluations["stage"])
    assert all(loss is not None for loss in evaluations["test_loss"])
    for column in ("loss_struct", "norm_struct", "norm_mix"):
        values = record["trajectory"].get("epochs", {}).get(column, [])
        assert None not in values or run["method"] != "dual"
    assert set(record["checkpoint"] or ()) == {stage["name"] for stage in run["stages"] if stage["save"]}
    assert not (bench / "results" / "paper").exists()


def test_a_trial_in_the_edition_s_own_precision(bench: Path) -> None:
    name = "P/simplecnn_lam0.15_eta0.4_seed1"
    words = ["--config", "edition=paper", "--config", "paper_data=synthetic", "--config", "max_steps=2"]
    assert main(["train", name, "--root", str(bench), *words]) == 0
    record = read_record(records(bench) / f"{name}.json", edition="paper-trial", name=name)
    assert record["spec"]["precision"] == "float64" and record["outcome"]["steps"] == 2


# --------------------------------------------------------------------------------------------------- in the workflow


def test_a_trial_through_the_workflow(bench: Path, tmp_path: Path) -> None:
    """A run with a checkpoint that another one starts from, as `snakemake ... --config edition=paper` makes it."""
    folder, name = copy_workflow(tmp_path), "W1/ordered-up_pos1"
    target = f"results/paper-trial/runs/{name}.json"
    settings = ["--config", *(f"{key}={value}" for key, value in SETTINGS.items())]
    done = snakemake(folder, target, *settings)
    assert done.returncode == 0, done.stdout
    record = read_record(folder / target, edition="paper-trial", name=name)
    assert record["synthetic"] is True and record["digest"] == trained(bench, name)["digest"]
    assert [path.name for path in (folder / "results").iterdir()] == ["paper-trial"]
    # What is asked for under the real edition's name is refused, in words.
    refused = snakemake(folder, f"results/paper/runs/{name}.json", *settings)
    assert refused.returncode != 0 and f"ask for {target}" in refused.stdout


def test_made_up_data_need_no_files_and_real_ones_do(tmp_path: Path) -> None:
    folder = copy_workflow(tmp_path)
    target = "results/paper-trial/runs/A/lam0.35_eta0.4_seed0.json"
    made_up = snakemake(folder, target, "--dry-run", "--config", "edition=paper", "paper_data=synthetic")
    short = snakemake(folder, target, "--dry-run", "--config", "edition=paper", "max_steps=2")
    assert made_up.returncode == short.returncode == 0, made_up.stdout + short.stdout
    assert "data_set" in short.stdout and "data_set" not in made_up.stdout


# --------------------------------------------------------------------------------------------------- never mixed


def test_a_trial_is_another_edition() -> None:
    assert CENSUS.edition["name"] == "paper-trial"
    assert all(run["edition"] == "paper-trial" and run["synthetic"] for run in CENSUS.runs.values())
    for options in ({"paper_data": "synthetic"}, {"max_steps": 2}):
        assert load_census(ROOT, {"edition": "paper", **options}).edition["name"] == "paper-trial"
        assert load_census(ROOT, {"edition": "paper-trial", **options}).edition["name"] == "paper-trial"
    with pytest.raises(CensusError, match="paper-trial is for trials: say what is cut"):
        load_census(ROOT, {"edition": "paper-trial"})


def test_an_edition_of_one_s_own_says_where_its_trials_go(workspace: Path) -> None:
    path = workspace / "config" / "editions" / "mine.yaml"
    path.write_text("extends: paper\ntitle: mine\n")
    with pytest.raises(CensusError, match="max_steps: applies to the edition paper only, not to mine"):
        load_census(workspace, {"edition": "mine", "max_steps": 2})
    path.write_text("extends: paper\ntitle: mine\noptions: [max_steps]\n")
    with pytest.raises(CensusError, match=r"mine\.yaml: trial: the key is missing"):
        load_census(workspace, {"edition": "mine"})


def test_real_data_cut_short_keep_their_batches_and_gates_only_warn(census) -> None:
    cut = load_census(ROOT, {"edition": "paper", "max_steps": 2}).runs["T1a/seed0"]
    assert cut["task"] == census.runs["T1a/seed0"]["task"]
    assert census.runs["T1a/seed0"]["stages"][0]["gate"]["on_fail"] == "stop"
    assert cut["stages"][0]["gate"] == {"max": 0.30, "on_fail": "warn"}


NAME = "P/simplecnn_lam0.15_eta0.4_seed0"


def test_a_trial_s_record_among_real_ones_is_refused(bench: Path, census, tmp_path: Path) -> None:
    record = trained(bench, NAME)
    path = tmp_path / "P" / f"{census.runs[NAME]['run']}.json"
    write_record(path, record)
    with pytest.raises(RecordError, match="belongs to edition 'paper-trial', expected 'paper'"):
        read_record(path, edition="paper", name=NAME)
    with pytest.raises(RecordError, match="belongs to edition 'paper-trial', expected 'paper'"):
        experiment_tables([census.runs[NAME]], path.parent, "paper")


def test_a_trial_s_record_with_its_marks_taken_off_is_refused(bench: Path, census, tmp_path: Path) -> None:
    record = trained(bench, NAME)
    path = tmp_path / f"{census.runs[NAME]['run']}.json"
    for changes in (
        {"synthetic": False},
        {"edition": "paper"},
        {"spec": {**record["spec"], "synthetic": False}, "synthetic": False},
    ):
        path.write_bytes(canonical_json({**record, **changes}))
        with pytest.raises(RecordError, match="does not match its digest"):
            read_record(path)
    # Even with a digest to match, it is a record of another definition of the run.
    spec = {**record["spec"], "synthetic": False, "edition": "paper"}
    forged = {**record, "spec": spec, "edition": "paper", "synthetic": False}
    write_record(path, {**forged, "digest": digest(forged)})
    with pytest.raises(RecordError, match="another definition of this run"):
        experiment_tables([census.runs[NAME]], tmp_path, "paper")


def test_tables_of_a_trial_and_of_real_runs_do_not_merge(bench: Path, census, tmp_path: Path) -> None:
    record = trained(bench, NAME)
    made_up = experiment_tables([CENSUS.runs[NAME]], records(bench) / "P", "paper-trial")
    made_up.write(tmp_path / "tables" / "parts" / "P")
    real = {**census.runs[NAME], "experiment": "P2"}
    parts = [record[key] for key in ("outcome", "trajectory", "checkpoint", "provenance")]
    write_record(tmp_path / "runs" / f"{real['run']}.json", make_record(real, *parts))
    experiment_tables([real], tmp_path / "runs", "paper").write(tmp_path / "tables" / "parts" / "P2")
    names = ["P", "P2"]
    with pytest.raises(TableError, match="rows of the editions paper and paper-trial together"):
        merge_parts(tmp_path / "tables" / "parts", names, tmp_path / "tables")
    with pytest.raises(TableError, match="rows of the editions paper and paper-trial together"):
        read_tables(tmp_path, names, "runs")
    assert set(read_tables(tmp_path, "P", "runs")["edition"]) == {"paper-trial"}


def test_what_the_command_line_says_and_writes_of_a_trial(bench: Path, capsys) -> None:
    trained(bench, NAME)
    assert json.loads((records(bench) / f"{NAME}.json").read_text())["synthetic"] is True
    assert main(["show", NAME, "--json", "--root", str(bench), *WORDS]) == 0
    assert json.loads(capsys.readouterr().out)["edition"] == "paper-trial"
    assert main(["tables", "P", "--root", str(bench), *WORDS]) == 1, "the other runs of P are missing"
    assert f"{records(bench)}" in capsys.readouterr().err
