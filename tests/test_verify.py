"""`dualgrad verify`: what is trained again, what counts as different, what is said about it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dualgrad.cli import main
from dualgrad.records import make_record, read_record, write_record
from dualgrad.training.verify import recorded_runs, sample_of

ROOT = Path(__file__).resolve().parents[1]
COPY = "D1/trusted0.05_lam0_eta0.4_seed0"
SOURCE = "D1/trusted0.01_lam0_eta0.4_seed0"
PREP, SWEEP = "Ta-prep-O/seed0", "Ta1-1/seed0"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the census and four records of edition smoke. Tests work on copies."""
    folder = tmp_path_factory.mktemp("verify")
    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "Snakefile").touch()
    settings = folder / "config" / "config.yaml"
    settings.write_text(settings.read_text().replace("edition: demo", "edition: smoke"))
    for name in (SOURCE, COPY, PREP, SWEEP):
        assert main(["train", name, "--root", str(folder)]) == 0
    return folder


@pytest.fixture
def bench(made: Path, tmp_path: Path) -> Path:
    """A copy of that folder, for changes."""
    shutil.copytree(made, tmp_path / "bench")
    return tmp_path / "bench"


def place(folder: Path, name: str) -> Path:
    return folder / "results" / "smoke" / "runs" / f"{name}.json"


def verify(capsys, folder: Path, *words: str) -> tuple[int, dict]:
    """Status and JSON of a verification."""
    capsys.readouterr()
    status = main(["verify", *words, "--json", "--root", str(folder)])
    return status, json.loads(capsys.readouterr().out)


def rewrite(folder: Path, name: str, **parts) -> None:
    """Give a record other parts, with a digest that fits them: what another training would have written."""
    record = read_record(place(folder, name))
    kept = {key: record[key] for key in ("spec", "outcome", "trajectory", "checkpoint", "provenance")}
    write_record(place(folder, name), make_record(**kept | parts))


def test_all_records_come_out_the_same(made: Path, capsys) -> None:
    before = {path: path.read_bytes() for path in (made / "results").rglob("*") if path.is_file()}
    status, report = verify(capsys, made, "--sample", "all")
    assert status == 0 and report["same"] is True and report["records"] == 4
    assert [run["run"] for run in report["runs"]] == [SOURCE, COPY, PREP, SWEEP]  # census order
    for run in report["runs"]:
        assert run["result"] == "same" and run["recorded"] == run["again"] and run["differs"] == []
        assert run["recorded"] == read_record(place(made, run["run"]))["digest"]
    after = {path: path.read_bytes() for path in (made / "results").rglob("*") if path.is_file()}
    assert after == before, "nothing in the results is touched"


def test_the_table(made: Path, capsys) -> None:
    capsys.readouterr()
    assert main(["verify", "Ta-prep-O", "--root", str(made)]) == 0
    lines = capsys.readouterr().out.splitlines()
    digest = read_record(place(made, PREP))["digest"][:12]
    assert lines[0] == "1 of 1 records of the edition smoke, trained again:"
    assert lines[1].split() == ["run", "recorded", "again", "seconds", "result"]
    run, recorded, again, _, result = lines[2].split()
    assert (run, recorded, again, result) == (PREP, digest, digest, "same")
    assert lines[3:] == ["1 of 1 the same"]


def test_a_different_outcome_is_found_and_named(bench: Path, capsys) -> None:
    record = read_record(place(bench, SWEEP))
    trajectory = record["trajectory"]
    trajectory["evaluations"]["test_error"][3] += 1 / 450
    mine = record["provenance"]
    assert mine["threads"] == 1 and mine["cpu"]["capability"] == torch.backends.cpu.get_cpu_capability()
    assert mine["cpu"]["model"]
    other_cpu = {"capability": "AVX1024", "model": "Abacus 3"}
    other_data = {**mine["data"], "content_sha256": "0" * 64}
    elsewhere = {**mine, "threads": 7, "cpu": other_cpu, "data": other_data, "network": {"sha256": "1" * 64}}
    rewrite(bench, SWEEP, trajectory=trajectory, provenance=elsewhere)
    status, report = verify(capsys, bench, "Ta1-1", "D1", "--sample", "all")
    assert status == 1 and report["same"] is False
    results = {run["run"]: run for run in report["runs"]}
    assert results[SOURCE]["result"] == results[COPY]["result"] == "same"
    found = results[SWEEP]
    assert found["result"] == "different" and found["recorded"] != found["again"] == record["digest"]
    assert found["differs"][0].startswith("trajectory.evaluations.test_error[3]: ")
    assert found["note"] == (
        "recorded under other conditions: threads 7, here 1; "
        f"CPU AVX1024, here {mine['cpu']['capability']}; "
        f"data {'0' * 12}, here {mine['data']['content_sha256'][:12]}; source of the network {'1' * 12}, here none; "
        f"CPU model Abacus 3, here {mine['cpu']['model']}"
    )
    assert main(["verify", SWEEP, "--root", str(bench)]) == 1
    text = capsys.readouterr().out
    assert "different" in text and "trajectory.evaluations.test_error[3]" in text
    assert text.endswith("0 of 1 the same\n")


def test_a_copy_is_as_good_as_what_it_copies(bench: Path, capsys) -> None:
    """A run of D1 that is written down three times: its copies are verified by training it, not by copying again."""
    for name in (SOURCE, COPY):
        record = read_record(place(bench, name))
        rewrite(bench, name, outcome={**record["outcome"], "test_error": 0.123})
    status, report = verify(capsys, bench, COPY)
    assert status == 1 and report["runs"][0]["differs"][0].startswith("outcome.test_error: 0.123 | ")


def test_a_record_of_another_definition_is_outdated(bench: Path, capsys) -> None:
    path = bench / "config" / "census" / "protocols.yaml"
    path.write_text(path.read_text().replace("protocol: 1 #", "protocol: 2 #"))
    status, report = verify(capsys, bench, PREP)
    (found,) = report["runs"]
    assert status == 1 and found["result"] == "outdated" and found["again"] is None
    assert found["differs"] == ["spec.protocol: 1 | 2"]


def test_a_threshold_that_came_later_changes_no_training(bench: Path, capsys) -> None:
    path = bench / "config" / "census" / "protocols.yaml"
    path.write_text(path.read_text().replace("    thresholds: {}", "    thresholds: {convergence: 0.3}"))
    status, report = verify(capsys, bench, PREP)
    assert status == 0 and report["runs"][0]["result"] == "same"


def test_too_little_memory_is_a_verdict(made: Path, capsys, monkeypatch) -> None:
    """What was found of the others is not lost with it."""
    from dualgrad.training import verify as module

    plain = module._trained

    def trained(spec, *others):
        if spec["experiment"] == "Ta1-1":
            raise MemoryError
        return plain(spec, *others)

    monkeypatch.setattr(module, "_trained", trained)
    status, report = verify(capsys, made, PREP, SWEEP)
    results = {one["run"]: one for one in report["runs"]}
    assert status == 1 and results[PREP]["result"] == "same"
    assert results[SWEEP]["result"] == "failed" and results[SWEEP]["note"].startswith("not enough memory (")


@pytest.mark.parametrize("damage", ["record", "checkpoint", "missing"])
def test_what_cannot_be_compared_fails(bench: Path, capsys, damage: str) -> None:
    checkpoint = bench / "results" / "smoke" / "checkpoints" / f"{PREP}.pt"
    if damage == "record":
        place(bench, SWEEP).write_text("{")
    elif damage == "checkpoint":
        checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    else:
        checkpoint.unlink()
    status, report = verify(capsys, bench, SWEEP)
    (found,) = report["runs"]
    assert status == 1 and found["result"] == "failed" and found["again"] is None
    name = f"{Path(SWEEP).name}.json: not a complete JSON" if damage == "record" else f"{Path(PREP).name}.pt"
    assert name in found["note"]


def test_the_report_is_a_file_only_if_all_is_well(bench: Path, capsys) -> None:
    output = bench / "out" / "verify.json"
    assert main(["verify", PREP, "--output", str(output), "--root", str(bench)]) == 0
    assert json.loads(output.read_text())["same"] is True
    output.unlink()
    place(bench, PREP).write_text("{")
    assert main(["verify", PREP, "--output", str(output), "--root", str(bench)]) == 1
    assert not output.exists()
    capsys.readouterr()


def test_the_sample_is_random_and_repeatable(demo) -> None:
    runs = list(demo.runs)
    first = sample_of(runs, 20, seed=0)
    assert len(first) == len(set(first)) == 20
    assert first == sample_of(runs, 20, seed=0) != sample_of(runs, 20, seed=1)
    assert sorted(first, key=runs.index) == first
    assert sample_of(runs[:3], 20, seed=0) == runs[:3]
    assert len({run.partition("/")[0] for run in first}) > 8, "from all over the census"


def test_recorded_runs_are_those_with_a_file(made: Path, demo) -> None:
    results = made / "results" / "smoke"
    assert recorded_runs(demo, results / "runs") == [SOURCE, COPY, PREP, SWEEP]
    assert recorded_runs(demo, results / "runs", ["Ta1-1", "B"]) == [SWEEP]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["B"], "no records in"),
        (["Dx1"], "there is no such experiment; did you mean 'D1'"),
        (["A/lam0.1"], "there is no such run"),
        (["--edition", "released"], "it has no records"),
    ],
)
def test_mistakes(made: Path, capsys, words: list[str], message: str) -> None:
    assert main(["verify", *words, "--root", str(made)]) == 2
    assert message in capsys.readouterr().err


def test_a_sample_has_a_size(made: Path, capsys) -> None:
    assert main(["verify", "--sample", "0", "--root", str(made)]) == 2
    assert "expected a positive number or 'all'" in capsys.readouterr().err
