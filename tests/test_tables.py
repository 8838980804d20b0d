"""From records to tables: same schema, same bytes, and nothing that is not the record of the run."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from dualgrad.cli import main
from dualgrad.commands import tables as command
from dualgrad.figures.style import Look
from dualgrad.records import RecordError, make_record, read_record, write_record
from dualgrad.tables import parquet
from dualgrad.tables.build import TableSet, effective_values, experiment_tables, held_epochs, run_columns
from dualgrad.tables.errors import TableError
from dualgrad.tables.read import differing, differing_conditions, merge_parts, read_tables
from dualgrad.tables.schema import SCHEMA, TABLES, arrow_schema, describe
from dualgrad.training.determinism import surroundings

ROOT = Path(__file__).resolve().parents[1]
PLACE = ("stage", "branch", "segment", "direction", "lambda", "epoch", "stage_epoch")


def evaluations(*rows):
    """Trajectory block from (stage, branch, segment, direction, λ, epoch, stage epoch, error) rows."""
    block = {name: [row[i] for row in rows] for i, name in enumerate(PLACE)}
    return {**block, "test_error": [row[7] for row in rows], "test_loss": [0.5] * len(rows)}


def record_of(run, outcome=None, trajectory=None, seconds=1.25, **provenance):
    rows = [("main", None, 0, None, 0.1, epoch, epoch, 0.5 - epoch / 1000) for epoch in range(10, 101, 10)]
    outcome = outcome or {
        "status": "completed",
        "test_error": 0.4,
        "best_error": 0.4,
        "steps": 200,
        "avg_cos": -0.1,
    }
    return make_record(
        run,
        outcome,
        trajectory or {"evaluations": evaluations(*rows)},
        None,
        {"seconds": seconds, **provenance},
    )


@pytest.fixture
def some(demo):
    """The first three runs of experiment A."""
    return [demo.runs[target] for target in demo.experiments["A"]["runs"][:3]]


@pytest.fixture
def written(some, tmp_path):
    for run in some:
        write_record(tmp_path / "runs" / "A" / f"{run['run']}.json", record_of(run))
    return tmp_path / "runs" / "A"


def test_records_become_rows(some, written, tmp_path):
    tables = experiment_tables(some, written, "demo")
    tables.write(tmp_path / "demo" / "tables" / "parts" / "A")
    runs = read_tables(tmp_path / "demo", "A", "runs")
    assert runs["run"].tolist() == [run["run"] for run in some]
    first = runs.iloc[0]
    assert (first["edition"], first["series"], first["counted"]) == ("demo", "A-Q", True)
    assert (first["num_classes"], first["lr_drops"]) == (10, "[50, 75]")
    assert (first["noise_rate"], first["lam"], first["seed"]) == (0.4, 0.1, 0)
    assert (first["test_error"], first["test_acc"], first["steps"]) == (0.4, 0.6, 200)
    assert first["epochs"] == 100 and first["best_epoch"] == 100
    assert first["seconds"] == 1.25 and len(first["digest"]) == 64
    assert pd.isna(first["replicate"]) and pd.isna(first["lifetime"]) and pd.isna(first["source_file"])
    trajectory = read_tables(tmp_path / "demo", ["A"], "trajectories")
    assert len(trajectory) == 30 and trajectory["epoch"].tolist()[:10] == list(range(10, 101, 10))
    assert (trajectory["noise_rate"] == 0.4).all() and trajectory["branch"].isna().all()
    for table in ("epochs", "geometry", "steps"):
        assert len(read_tables(tmp_path / "demo", "A", table)) == 0


def test_one_schema_with_units_and_meanings(some, written, tmp_path):
    experiment_tables(some, written, "demo").write(tmp_path / "A")
    for table in TABLES:
        found = pq.read_schema(tmp_path / "A" / f"{table}.parquet")
        assert found.equals(arrow_schema(table))
        for column in SCHEMA[table]:
            assert column.meaning and f"`{column.name}`" in describe()
    assert (
        pq.read_schema(tmp_path / "A" / "runs.parquet").field("test_error").metadata[b"unit"] == b"fraction"
    )


def test_frames_have_explicit_dtypes(some, written, tmp_path):
    experiment_tables(some, written, "demo").write(tmp_path / "demo" / "tables" / "parts" / "A")
    dtypes = read_tables(tmp_path / "demo", "A", "runs").dtypes.astype(str)
    assert {dtypes[name] for name in ("seed", "replicate", "epochs")} == {"Int64"}
    assert {dtypes[name] for name in ("lam", "test_error", "width_mult")} == {"float64"}
    assert {dtypes[name] for name in ("counted", "censored")} == {"boolean"}
    assert dtypes["run"] == dtypes["slot"] == "string"
    subset = read_tables(tmp_path / "demo", "A", "runs", ["run", "test_error"])
    assert list(subset) == ["run", "test_error"]


def test_reading_starts_no_thread(some, written, tmp_path):
    """One that is still starting when a short command ends would abort it."""
    experiment_tables(some, written, "demo").write(tmp_path / "demo" / "tables" / "parts" / "A")
    code = f"""
        import os
        from pathlib import Path
        from dualgrad.tables.read import read_tables
        before = len(os.listdir("/proc/self/task"))
        for table in ("runs", "trajectories"):
            assert len(read_tables(Path({str(tmp_path / "demo")!r}), "A", table))
        print(len(os.listdir("/proc/self/task")) - before)
    """
    words = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout == "0\n"


def test_same_records_same_bytes(some, written, tmp_path):
    for folder in ("a", "b"):
        experiment_tables(some, written, "demo").write(tmp_path / folder)
    for table in TABLES:
        name = f"{table}.parquet"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


# ------------------------------------------------------------------------------------------------ refusing records


def test_records_that_are_not_the_runs_are_refused(some, written, demo):
    first = written / f"{some[0]['run']}.json"
    whole = first.read_bytes()
    other = demo.runs["B/" + some[0]["run"]]
    edited = copy.deepcopy(some[0])
    edited["optimizer"]["lr"] = 0.2
    published = {**some[0], "edition": "paper"}
    altered = json.loads(whole)
    altered["outcome"]["test_error"] = 0.1
    for content, message in (
        (whole[: len(whole) // 2], "not a complete JSON record"),
        (json.dumps(altered).encode(), "does not match its digest"),
        (record_of(other), "holds the run B/"),
        (record_of(published), "belongs to edition 'paper', expected 'demo'"),
        (record_of(edited), "another definition of this run"),
        (b"[]", "not a dualgrad record"),
        (None, "no such record"),
    ):
        first.unlink(missing_ok=True)
        if isinstance(content, bytes):
            first.write_bytes(content)
        elif content is not None:
            write_record(first, content)
        with pytest.raises(RecordError) as caught:
            experiment_tables(some, written, "demo")
        assert str(first) in str(caught.value) and message in str(caught.value)
        assert content is None or f"delete {first}" in str(caught.value)


def test_a_record_with_a_planning_figure_is_still_that_run(some, written):
    """Records of before had the published seconds among what the run is."""
    for run in some:
        path = written / f"{run['run']}.json"
        record = read_record(path)
        record["spec"]["seconds_recorded"] = 1.0
        write_record(path, record)
    assert experiment_tables(some, written, "demo").arrow("runs").num_rows == 3


def test_outcomes_are_read_off_at_the_thresholds_of_the_census(some, written):
    """Of records that were made before there were any, and not with a stale one."""
    run = some[0]
    path = written / f"{run['run']}.json"
    before = path.read_bytes()
    # Errors fall from .49 by .01 every ten epochs.
    for thresholds, epoch in (({"convergence": 0.465}, 40), ({"convergence": 0.485}, 20), ({}, None)):
        now = {**run, "thresholds": thresholds}
        row = experiment_tables([now], written, "demo").arrow("runs").to_pylist()[0]
        assert row["convergence_epoch"] == epoch
    assert path.read_bytes() == before
    write_record(path, record_of({**run, "thresholds": {"convergence": 0.465}}))
    assert experiment_tables([run], written, "demo").arrow("runs")["convergence_epoch"].to_pylist() == [None]
    other = {**run, "seed": run["seed"] + 1}
    with pytest.raises(RecordError, match="another definition"):
        experiment_tables([other], written, "demo")


def test_records_that_the_schema_has_no_place_for_are_refused(some, tmp_path):
    path = tmp_path / f"{some[0]['run']}.json"
    for outcome, trajectory, message in (
        ({"status": "completed", "luck": 1.0}, None, "outcome 'luck' has no column"),
        ({"status": "completed", "test_error": "low"}, None, "test_error: 'low', expected a number"),
        (
            {"status": "completed", "test_error": 1.5},
            None,
            "test_error: 1.5, expected at least 0 and at most 1",
        ),
        ({"status": "completed", "steps": 2.0}, None, "steps: 2.0, expected a whole number"),
        ({"test_error": 0.5}, None, "status: nothing there"),
        (None, {"evaluations": {"stage": ["main"], "epoch": []}}, "differ in length"),
    ):
        write_record(path, record_of(some[0], outcome, trajectory))
        with pytest.raises(TableError, match=message) as caught:
            experiment_tables(some[:1], tmp_path, "demo")
        assert str(path) in str(caught.value)


def test_table_sets_name_what_does_not_fit():
    tables = TableSet()
    with pytest.raises(TableError, match="no column 'loss'"):
        tables.add("trajectories", 1, {"loss": 1.0})
    with pytest.raises(TableError, match="2 values, expected 1"):
        tables.add("trajectories", 1, {}, {"edition": ["demo", "demo"]})


# ----------------------------------------------------------------------------------------------- columns of a run


def test_effective_values(demo):
    def values(target):
        return tuple(effective_values(demo.runs[target]).values())

    assert values("A/lam0.35_eta0.8_seed2") == (0.8, 0.35, 2)
    assert values("S1/lam0.42_seed7") == (0.4, 0.42, 7)
    assert values("R1a/seed3") == (0.4, None, 3)
    assert values("Q2/fixed-ordered_eta0.8_seed1") == (0.8, 0.35, 1)
    assert values("V2/trusted0.05_collapse-down_seed1") == (0.4, None, 101)
    assert values("Tb2/rank1") == (0.8, None, None)
    assert values("Td2/trap1_lambda-low") == (0.4, 0.2, None)


def test_hold_is_read_off_the_segments(demo):
    for target, hold in (
        ("Tb2/rank1", 5),
        ("V1/seed0", 3),
        ("R1b/seed0", 5),
        ("A/lam0.1_eta0.4_seed0", None),
    ):
        assert held_epochs(demo.runs[target]) == hold
        assert run_columns(demo.runs[target], "demo")["hold_epochs"] == hold
    assert run_columns(demo.runs["Ta1-3/seed0"], "demo")["hold_epochs"] == 3


def test_every_run_of_the_census_has_its_columns(demo):
    for run in demo.runs.values():
        row = run_columns(run, "demo")
        assert row["noise_rate"] is not None or run["noise"]["kind"] in ("file", "transition")  # measured
        assert row["seed"] is not None or "slot" in run["factors"]
    row = run_columns({**run, "factors": {**run["factors"], "mood": "good"}}, "demo")
    assert "mood" not in row and json.loads(row["factors"])["mood"] == "good"


def test_a_ladder_without_event_keeps_its_last_lambda(demo, tmp_path):
    """As the published rows of R3 do; a spinodal staircase records nothing instead."""
    found = {}
    for target in ("R3b/short_eta0.4_seed0", "T2-spinodal/seed0"):
        run = demo.runs[target]
        rows = [("init", None, 0, None, 0.65, 30, 30, 0.9)]
        rows += [
            ("sweep", None, i, "down", lam, 31 + i, 1 + i, 0.9) for i, lam in enumerate((0.6, 0.58, 0.2))
        ]
        outcome = {
            "status": "completed",
            "test_error": 0.9,
            "event": False,
            "censored": True,
            "threshold_lambda": None,
        }
        write_record(
            tmp_path / f"{run['run']}.json", record_of(run, outcome, {"evaluations": evaluations(*rows)})
        )
        tables = experiment_tables([run], tmp_path, "demo").arrow("runs")
        found[target] = (tables["threshold_lambda"][0].as_py(), tables["final_lambda"][0].as_py())
    assert found == {"R3b/short_eta0.4_seed0": (0.2, 0.2), "T2-spinodal/seed0": (None, 0.2)}


def test_an_escape_attempt_has_the_seed_of_its_trap(demo, tmp_path):
    runs = [demo.runs[f"Td2/{name}"] for name in ("trap2", "trap2_combined")]
    outcome = {"status": "completed", "test_error": 0.9}
    write_record(tmp_path / "trap2.json", record_of(runs[0], {**outcome, "selected_seed": 5}))
    write_record(tmp_path / "trap2_combined.json", record_of(runs[1], outcome))
    rows = experiment_tables(runs, tmp_path, "demo").arrow("runs").to_pylist()
    assert [(row["seed"], row["selected_seed"]) for row in rows] == [(5, 5), (5, 5)]


def test_two_branches_and_geometry(demo, tmp_path):
    run = demo.runs["V1/seed0"]
    rows = [
        ("ordered_init", "ordered", 0, None, 0.35, 50, 50, 0.10),
        ("collapse_init", "collapse", 0, None, 0.60, 80, 80, 0.60),
        ("ordered_sweep", "ordered", 0, "up", 0.30, 3, 3, 0.08),
        ("ordered_sweep", "ordered", 1, "up", 0.35, 6, 6, 0.09),
        ("collapse_sweep", "collapse", 0, "down", 0.70, 3, 3, 0.55),
    ]
    steps = {
        "stage": ["ordered_sweep"] * 4,
        "branch": ["ordered"] * 4,
        "segment": [0, 0, 1, 1],
        "lambda": [0.30, 0.30, 0.35, 0.35],
        "epoch": [0, 2, 3, 5],
        "step": [0, 50, 100, 150],
        "cos_struct_value": [0.1, 0.3, 0.2, 0.2],
        "cos_mix_value": [0.5, 0.5, 0.5, 0.7],
        "norm_struct": [1.0, 2.0, 3.0, 4.0],
        "norm_value": [1.0] * 4,
        "norm_mix": [0.7] * 4,
        "loss_struct": [2.0] * 4,
        "loss_value": [1.0, 3.0, 1.0, 1.0],
    }
    outcome = {"status": "completed", "ordered_init_error": 0.10, "collapse_init_error": 0.60}
    trajectory = {"evaluations": evaluations(*rows), "steps": steps}
    write_record(tmp_path / "seed0.json", record_of(run, outcome, trajectory))
    tables = experiment_tables([run], tmp_path, "demo")
    (row,) = tables.arrow("runs").to_pylist()
    assert (row["test_error"], row["best_error"], row["init_error"]) == (0.09, 0.08, 0.10)
    assert (row["ordered_final_error"], row["collapse_final_error"]) == (0.09, 0.55)
    assert row["final_gap"] == pytest.approx(0.46) and row["final_lambda"] is None
    assert row["epochs"] == 50 + 80 + 6 + 3
    geometry = tables.arrow("geometry").to_pylist()
    assert [(g["lam"], g["n_logs"], g["error"]) for g in geometry] == [(0.30, 2, 0.08), (0.35, 2, 0.09)]
    assert geometry[0]["cos_struct_value_mean"] == pytest.approx(0.2)
    assert geometry[0]["cos_struct_value_std"] == pytest.approx(0.1)  # population, not sample
    assert geometry[0]["loss_value_mean"] == 2.0 and geometry[1]["norm_struct_mean"] == 3.5
    assert tables.arrow("steps").num_rows == 4


# --------------------------------------------------------------------------------------------------------- merging


def test_merging_keeps_the_order_and_one_row_group_per_experiment(demo, tmp_path):
    parts = tmp_path / "demo" / "tables" / "parts"
    names = ["B", "A"]
    for name in names:
        runs = [demo.runs[target] for target in demo.experiments[name]["runs"][:2]]
        for run in runs:
            write_record(tmp_path / name / f"{run['run']}.json", record_of(run))
        experiment_tables(runs, tmp_path / name, "demo").write(parts / name)
    merge_parts(parts, names, tmp_path / "demo" / "tables")
    merged = read_tables(tmp_path / "demo", None, "trajectories")
    assert merged["experiment"].drop_duplicates().tolist() == names
    assert merged.equals(read_tables(tmp_path / "demo", names, "trajectories"))
    file = pq.ParquetFile(tmp_path / "demo" / "tables" / "trajectories.parquet")
    assert file.num_row_groups == 2 and file.schema_arrow.equals(arrow_schema("trajectories"))
    assert len(read_tables(tmp_path / "demo", [], "runs")) == 0
    before = (tmp_path / "demo" / "tables" / "runs.parquet").read_bytes()
    merge_parts(parts, names, tmp_path / "demo" / "tables")
    assert (tmp_path / "demo" / "tables" / "runs.parquet").read_bytes() == before


def test_parts_that_are_missing_or_of_another_version_are_named(some, written, tmp_path):
    parts = tmp_path / "demo" / "tables" / "parts"
    with pytest.raises(TableError, match=r"parts/A/runs\.parquet: no such table"):
        merge_parts(parts, ["A"], tmp_path / "out")
    assert not list((tmp_path / "out").iterdir())
    experiment_tables(some, written, "demo").write(parts / "A")
    path = parts / "A" / "runs.parquet"
    parquet.write(path, parquet.read(path).drop_columns(["digest"]))
    with pytest.raises(TableError, match="columns of another version"):
        read_tables(tmp_path / "demo", "A", "runs")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(TableError, match="not a complete Parquet file"):
        read_tables(tmp_path / "demo", "A", "runs")


@pytest.mark.parametrize("seconds", [1, 2**53 + 1, 2**63, 10**30])
def test_whole_numbers_are_real_ones_where_a_column_holds_those(some, tmp_path, seconds):
    """JSON tells 1 from 1.0, a record by hand may have either, and Arrow takes no whole number for all real ones."""
    write_record(tmp_path / f"{some[0]['run']}.json", record_of(some[0], seconds=seconds))
    found = experiment_tables(some[:1], tmp_path, "demo").arrow("runs")["seconds"]
    assert found.to_pylist() == [float(seconds)]


def test_the_command(demo, root: Path, tmp_path, capsys):
    from dualgrad.cli import COMMANDS

    COMMANDS.setdefault("tables", (command.__name__, "turn records into tables"))
    settings = ["--root", str(root), "--config", f"results_dir={tmp_path}", "--edition", "demo"]
    runs = [demo.runs[target] for target in demo.experiments["Ta1-1"]["runs"]]
    for run in runs:
        write_record(tmp_path / "demo" / "runs" / "Ta1-1" / f"{run['run']}.json", record_of(run))
    assert main(["tables", "Ta1-1", *settings]) == 0
    assert main(["tables", "Ta1-1", "--merge", *settings]) == 0
    assert len(read_tables(tmp_path / "demo", None, "runs")) == 5
    assert main(["tables", "Ta1-3", *settings]) == 1
    assert "Ta1-3/seed0.json: no such record" in capsys.readouterr().err
    assert main(["tables", *settings]) == 2
    assert main(["tables", "Ta1-9", *settings]) == 2
    assert main(["tables", "Ta1-1", *settings[:-1], "released"]) == 2
    assert "use dualgrad ingest" in capsys.readouterr().err
    assert main(["tables", "--schema", *settings]) == 0
    assert "| `test_error` | double | fraction |" in capsys.readouterr().out


def test_records_that_were_not_made_alike_are_told(demo, root: Path, tmp_path, capsys):
    """Two versions of torch in one experiment: in the table, said by the command, in figures and report."""
    runs = [demo.runs[target] for target in demo.experiments["Ta1-1"]["runs"]]
    made = surroundings("float64", "image", torch.device("cpu"), 1)
    versions = ["2.13.0", "2.13.0", "2.14.0", "2.14.0", "2.14.0"]
    for run, version in zip(runs, versions, strict=True):
        provenance = {**made, "versions": {**made["versions"], "torch": version}}
        write_record(
            tmp_path / "demo" / "runs" / "Ta1-1" / f"{run['run']}.json", record_of(run, **provenance)
        )
    settings = ["--root", str(root), "--config", f"results_dir={tmp_path}", "--edition", "demo"]
    assert main(["tables", "Ta1-1", *settings]) == 0
    assert "the records of Ta1-1 differ in torch" in capsys.readouterr().err
    frame = read_tables(tmp_path / "demo", "Ta1-1", "runs")
    assert frame["torch"].tolist() == versions
    assert set(frame["code"]) == {made["code"]} and set(frame["threads"]) == {1}
    assert set(frame["cpu_capability"]) == {made["cpu"]["capability"]}
    assert set(frame["cpu_model"]) == {made["cpu"]["model"]} and set(frame["arithmetic"]) == {"float64"}
    assert differing_conditions(frame) == {"Ta1-1": ["torch"]}
    assert differing(tmp_path / "demo", ["Ta1-1"]) == {"Ta1-1": ["torch"]}
    assert differing(tmp_path / "demo", []) == {}
    assert differing_conditions(frame[2:]) == {}
    assert "records of Ta1-1 were not made alike" in Look("demo", differing=("Ta1-1",)).footer("Figure1", "")
    assert "not made alike" not in Look("demo").footer("Figure1", "")


# ------------------------------------------------------------------------------------------- asked from outside


def test_the_documents_question_is_answered_alike(demo, tmp_path, monkeypatch):
    """docs/tables.md: pandas, Polars and DuckDB give one answer."""
    targets = demo.experiments["A"]["runs"]
    for target in targets:
        run = demo.runs[target]
        lam, rate = run["factors"]["lambda"], run["noise"]["rate"]
        error = round((lam - 0.35) ** 2 + rate / 2 + 0.001 * run["seed"], 6)
        outcome = {"status": "completed", "test_error": error, "best_error": error, "steps": 200}
        write_record(tmp_path / "runs" / f"{run['run']}.json", record_of(run, outcome))
    parts = tmp_path / "results" / "demo" / "tables" / "parts"
    runs = [demo.runs[target] for target in targets]
    experiment_tables(runs, tmp_path / "runs", "demo").write(parts / "A")
    merge_parts(parts, ["A"], parts.parent)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(
        r"```python\n(.*?)```", (ROOT / "docs/tables.md").read_text(encoding="utf-8"), re.DOTALL
    )
    answers = []
    for block in blocks:
        names: dict = {}
        exec(block, names)
        found = names["best"]
        found = found.to_pandas() if hasattr(found, "to_pandas") else found
        answers.append(found.sort_values("noise_rate")[["noise_rate", "lam", "test_error"]].to_numpy(float))
    assert len(answers) == 3 and answers[0].shape == (2, 3)
    assert (answers[0][:, 1] == 0.35).all()
    for other in answers[1:]:
        assert other == pytest.approx(answers[0])
