"""The published archive as tables: what is in them, and what is refused."""

from __future__ import annotations

import copy
import csv
import io
import json
import math
import shutil
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from dualgrad.census import load_census
from dualgrad.ingest import ArchiveError, find_archive, read_manifest, verify
from dualgrad.ingest.mapping import files_of, load_mapping
from dualgrad.ingest.rows import build_all, build_experiment, load_rows
from dualgrad.release.errors import MappingError
from dualgrad.release.fetch import fetch, unpack
from dualgrad.release.manifest import ENVIRONMENT, PAPER, Entry
from dualgrad.tables.read import read_tables
from dualgrad.tables.schema import TABLES, arrow_schema, column_of

ROOT = Path(__file__).resolve().parents[1]
CHECKS = Path(__file__).parent / "data" / "check_numbers.csv"


@pytest.fixture(scope="session")
def mapping():
    return load_mapping(ROOT / "config" / "released")


@pytest.fixture(scope="session")
def released_census():
    return load_census(ROOT, {"edition": "released"})


@pytest.fixture(scope="session")
def released(released_results, released_archive):
    """Folder of the edition ``released``."""
    verify(released_archive, read_manifest(ROOT))
    return released_results


def runs_of(census, name):
    return [census.runs[target] for target in census.experiments[name]["runs"]]


# ------------------------------------------------------------------------------------------ what is in the tables


def test_every_counted_run_is_there_in_census_order(released, released_census):
    runs = read_tables(released, None, "runs")
    counted = [run for run in released_census.runs.values() if run["counted"]]
    assert len(runs) == 3916
    assert list(runs["experiment"] + "/" + runs["run"]) == [f"{r['experiment']}/{r['run']}" for r in counted]
    assert runs["counted"].all() and (runs["edition"] == "released").all()
    for factor in ("lambda", "noise_rate"):  # the effective values, which hold for all runs
        given = [run["factors"].get(factor) for run in counted]
        found = runs[column_of(factor)].astype("Float64").to_numpy(float, math.nan)
        assert all(level is None or level == value for level, value in zip(given, found, strict=True))
    for factor in ("clean_ratio", "cos_target", "width_mult", "replicate"):
        expected = [run["factors"].get(factor, math.nan) for run in counted]
        assert runs[factor].astype("Float64").to_numpy(float, math.nan) == pytest.approx(
            expected, nan_ok=True
        )


def test_main_errors_are_the_published_ones(released, reference_census):
    runs = read_tables(released, None, "runs").set_index(["experiment", "run"]).to_dict("index")
    # Where the reference's column holds another quantity, its note says so.
    other = {"released_error column holds spinodal_lambda": "threshold_lambda"}
    other["released_error column holds final_gap"] = "final_gap"
    assert len(reference_census) == 3916
    wrong = []
    for row in reference_census:
        run = runs[row["experiment"], row["run"]]
        expected = {
            other.get(row["note"], "test_error"): float(row["released_error"]),
            "seconds": float(row["released_seconds"]) if row["released_seconds"] else math.nan,
            "original_id": row["original_id"] or None,
            "source_file": row["released_file"],
            "source_row": int(row["released_row"]),
        }
        for column, value in expected.items():
            found = run[column]
            same = pd.isna(found) if value is None or value != value else found == value
            if not same:
                wrong.append(f"{row['experiment']}/{row['run']} {column}: {found!r}, expected {value!r}")
    assert not wrong, "\n".join(wrong[:20])


SOURCES = (
    "A-G.md#5",
    "I-P.md#4a",
    "I-P.md#4b",
    "I-P.md#4c",
    "Q-R.md#4",
    "S-T.md#12",
    "Td-W.md#6",
    "X-Y.md#5",
)


def check_rows(source=None):
    with CHECKS.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if source in (None, row["source"])]


def chosen(frame: pd.DataFrame, runs: pd.DataFrame, where: str) -> pd.DataFrame:
    """Rows where every ``column=a|b``, ``column=low..high`` or ``column=none`` holds (``runs.column`` by run)."""
    for condition in where.split():
        name, _, text = condition.partition("=")
        if name.startswith("runs."):
            by_run = runs.set_index(["experiment", "run"])[name[5:]]
            column = pd.Series(
                [by_run[key] for key in zip(frame["experiment"], frame["run"], strict=True)],
                index=frame.index,
            )
        else:
            # The value gradient is refreshed every 16 steps.
            column = frame["step"] % 16 if name == "cache_age" else frame[name]
        keep = pd.Series(False, index=frame.index)
        for level in text.split("|"):
            if level == "none":
                keep |= column.isna()
            elif level in ("true", "false"):
                keep |= (column == (level == "true")).fillna(False).astype(bool)
            elif ".." in level:
                low, high = map(float, level.split(".."))
                keep |= column.astype(float).between(low, high)
            elif pd.api.types.is_numeric_dtype(column):
                keep |= (column.astype(float) - float(level)).abs() < 1e-6
            else:
                keep |= (column == level).fillna(False).astype(bool)
        frame = frame[keep.to_numpy()]
    return frame


def tolerance(printed: str, note: str = "") -> float:
    """Half a unit of the last printed digit; a spec's number that was rounded in two steps may be off by 0.55."""
    decimals = len(printed.partition(".")[2])
    units = 0.55 if note == "rounded twice" else 0.5
    return units * 10.0**-decimals + 1e-9 if decimals else 1e-9


@pytest.mark.parametrize("source", SOURCES)
def test_check_numbers_of_the_specs(released, source):
    frames: dict[tuple, pd.DataFrame] = {}
    wrong = []
    for row in check_rows(source):
        names = row["experiments"].split()
        for table in ("runs", row["table"]):
            if (table, *names) not in frames:
                frames[(table, *names)] = read_tables(released, names, table)
        rows = chosen(frames[(row["table"], *names)], frames[("runs", *names)], row["where"])
        values = rows[row["field"]].astype(float).dropna()
        found = f"{row['experiments']} {row['where']} {row['field']}: n={len(values)}, {values.mean():.6f}"
        if row["n"] and len(values) != int(row["n"]):
            wrong.append(f"{found}, expected n={row['n']}")
        elif len(values) == 0 or abs(values.mean() - float(row["mean"])) > tolerance(
            row["mean"], row["note"]
        ):
            wrong.append(f"{found}, expected {row['mean']}")
        elif row["sd"] and abs(values.std(ddof=0) - float(row["sd"])) > tolerance(row["sd"]):
            wrong.append(f"{found} ± {values.std(ddof=0):.6f}, expected sd {row['sd']}")
    assert not wrong, "\n".join(wrong)


def test_check_numbers_cover_the_specs():
    rows = check_rows()
    conditions = {(row["experiments"], row["table"], row["where"], row["field"]) for row in rows if row["sd"]}
    assert len(conditions) >= 300
    assert {row["source"] for row in rows} == set(SOURCES)


def test_all_tables_have_the_one_schema(released):
    import pyarrow.parquet as pq

    for table in TABLES:
        assert pq.read_schema(released / "tables" / f"{table}.parquet").equals(arrow_schema(table))
    sizes = {table: len(read_tables(released, None, table)) for table in TABLES}
    # Counts of the specs: 10 Td1 runs × 980 logs, 6 W1 sweeps × 11 λ; the rest sums nested lists and lone errors.
    assert sizes == {"runs": 3916, "trajectories": 68935, "epochs": 25880, "geometry": 66, "steps": 9800}


def test_runs_that_are_one_row_of_several(released):
    runs = read_tables(released, ["Tb2", "Td2", "W2"], "runs")
    assert runs.groupby("experiment", sort=False).size().to_dict() == {"Tb2": 3, "Td2": 21, "W2": 12}
    td2 = runs[runs["experiment"] == "Td2"]
    assert td2.loc[td2["intervention"].isna(), "seed"].tolist() == [1, 5, 6]
    assert (td2.groupby("slot")["seed"].nunique() == 1).all()
    attempts = td2[td2["intervention"].notna()]
    assert len(attempts) == 18 and not attempts["escaped"].any() and (attempts["improvement"] == 0).all()
    assert runs.loc[runs["experiment"] == "Tb2", "seed"].tolist() == [5, 3, 9]
    jumps = runs[runs["final_gap"].notna() & runs["target_lambda"].notna()]
    difference = jumps["collapse_final_error"] - jumps["ordered_final_error"]
    assert jumps["final_gap"].tolist() == pytest.approx(difference.tolist())


def test_spinodals_are_censored_where_the_histories_say_so(released):
    runs = read_tables(released, ["R3a", "R3b", "T1-spinodal", "T2-spinodal"], "runs")
    censored = runs[runs["censored"]].groupby("experiment", sort=False).size().to_dict()
    assert censored == {"R3a": 1, "R3b": 40, "T1-spinodal": 10, "T2-spinodal": 10}
    up = runs[(runs["experiment"] == "R3a") & (runs["noise_rate"] == 0.4)]
    assert up["first_crossing_lambda"].between(0.40, 0.50).all()
    assert up.loc[up["censored"], "run"].tolist() == ["long_eta0.4_seed0"]
    assert (runs.loc[runs["experiment"] == "R3b", "threshold_lambda"] == 0.20).all()
    assert runs.loc[runs["experiment"].str.startswith("T"), "threshold_lambda"].isna().all()


def test_lifetimes(released):
    runs = read_tables(released, ["T1a", "T13"], "runs")
    failed = runs[runs["status"] == "gate_failed"]
    assert failed["seed"].tolist() == [49, 49] and failed["lifetime"].tolist() == [0, 0]
    assert not failed["censored"].any() and not failed["event"].any()
    lived = runs[runs["status"] == "completed"]
    assert lived["censored"].all() and sorted(lived["lifetime"].unique()) == [150, 300]
    first = read_tables(released, "T1a", "trajectories")
    assert len(first[(first["stage"] == "observe") & (first["seed"] == 0)]) == 151


def test_shared_prefixes_of_the_text_series(released):
    """X2 repeats X1b at two λ, Y1B is the beginning of Y1A (spec X-Y.md#2): a check on both mappings."""
    for a, b, condition in (("Y1A", "Y1B", "epoch=1|2|3"), ("X1b", "X2", "lam=0.3|0.4")):
        for table, field in (("trajectories", "test_error"), ("epochs", "cos_mean")):
            left, right = (read_tables(released, [name], table) for name in (a, b))
            left, right = (chosen(frame, frame, condition) for frame in (left, right))
            keys = ["lam", "seed", "epoch"]
            left, right = (frame.sort_values(keys)[[*keys, field]].to_numpy(float) for frame in (left, right))
            assert len(left) == len(right) > 0 and (left == right).all()


def test_archived_attempt_is_ingested_but_not_counted(released):
    runs = read_tables(released, "Tb2-v1", "runs")
    assert len(runs) == 3 and not runs["counted"].any()
    assert runs["seed"].tolist() == [100, 101, 102]


def test_ingest_gives_the_same_bytes(released, released_archive, mapping, released_census, tmp_path):
    for name, tables in build_all(
        mapping, lambda name: runs_of(released_census, name), released_archive, ["K", "W2"]
    ):
        tables.write(tmp_path / name)
        for table in TABLES:
            part = released / "tables" / "parts" / name / f"{table}.parquet"
            assert (tmp_path / name / f"{table}.parquet").read_bytes() == part.read_bytes()


def test_the_command(released_archive, tmp_path, monkeypatch, capsys):
    from dualgrad.cli import COMMANDS, main

    COMMANDS.setdefault("ingest", ("dualgrad.commands.ingest", "turn the published archive into tables"))
    settings = ["--root", str(ROOT), "--config", f"results_dir={tmp_path}"]
    archive = ["--archive", str(released_archive)]
    assert main(["ingest", "--check", *archive, *settings]) == 0
    # As the workflow of another edition asks for it.
    beside = ["--config", "edition=paper", "--config", "paper_data=sst2_tsv"]
    assert main(["ingest", "--check", *archive, *settings, *beside]) == 0
    assert "files as published" in capsys.readouterr().out and not list(tmp_path.iterdir())
    assert main(["ingest", "A", "W2", *archive, *settings]) == 0
    assert len(read_tables(tmp_path / "released", ["A", "W2"], "runs")) == 66
    assert main(["ingest", "Nope", *archive, *settings]) == 2
    assert main(["ingest", "--archive", str(tmp_path / "nowhere"), *settings]) == 1
    assert "no folder notebooks/Paper-A/results there; set the option" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- refusing files


def test_the_manifest_lists_what_the_mapping_reads(mapping, released_census):
    assert files_of(mapping) == set(read_manifest(ROOT))
    assert not [path for path in files_of(mapping) if "checkpoint" in path]
    assert set(mapping) >= {name for name, one in released_census.experiments.items() if one["counted"]}


def test_missing_truncated_and_altered_files_are_named(released_archive, tmp_path):
    names = sorted(read_manifest(ROOT))[:5]
    entries = {name: read_manifest(ROOT)[name] for name in names}
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(released_archive / name, tmp_path / name)
    (tmp_path / "results" / "extra.json").write_text("{}")
    verify(tmp_path, entries)

    whole = (tmp_path / names[0]).read_bytes()
    (tmp_path / names[0]).write_bytes(whole[: len(whole) // 2])
    altered = bytearray((tmp_path / names[1]).read_bytes())
    altered[len(altered) // 2] ^= 1
    (tmp_path / names[1]).write_bytes(bytes(altered))
    (tmp_path / names[2]).unlink()
    with pytest.raises(ArchiveError) as caught:
        verify(tmp_path, entries)
    message = str(caught.value)
    assert message.startswith("3 of 5 published files")
    for name, state in zip(names, ("truncated", "altered", "missing"), strict=False):
        (line,) = [line for line in message.splitlines() if str(tmp_path / name) in line]
        assert state in line and entries[name].sha256 in line and f"{entries[name].size} bytes" in line
    assert "extra.json" not in message and names[3] not in message


def test_where_the_archive_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    root = tmp_path / "work" / "main"
    root.mkdir(parents=True)
    with pytest.raises(ArchiveError, match=r"released_archive.*--archive.*DUALGRAD_RELEASED.*--fetch"):
        find_archive(None, root)
    for name in ("option", "environment"):
        (tmp_path / name / PAPER / "results").mkdir(parents=True)
    (tmp_path / "work" / "shared" / "released" / PAPER / "results").mkdir(parents=True)
    assert find_archive(None, root) == tmp_path / "work" / "shared" / "released" / PAPER
    monkeypatch.setenv(ENVIRONMENT, str(tmp_path / "environment" / PAPER))
    assert find_archive(None, root) == tmp_path / "environment" / PAPER
    assert find_archive(tmp_path / "option" / PAPER / "results", root) == tmp_path / "option" / PAPER
    with pytest.raises(ArchiveError, match=r"released_archive=.*nowhere: no folder"):
        find_archive(tmp_path / "nowhere", root)


def tarball(path: Path, files: dict[str, bytes], more: list[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in more:
            archive.addfile(info)
    return path


def entry(path: str, data: bytes) -> Entry:
    import hashlib

    return Entry(path, len(data), hashlib.sha256(data).hexdigest())


def test_fetching_takes_the_manifests_files_and_nothing_else(tmp_path, monkeypatch):
    for name in ("data_filter", "FilterError"):  # of Python 3.11.4; Debian 12 has 3.11.2
        monkeypatch.delattr(tarfile, name, raising=False)
    top, data = "dual-gradient-learning-48b95f5", b"[]\n"
    entries = {"results/a.json": entry("results/a.json", data)}
    link = tarfile.TarInfo(f"{top}/notebooks/Paper-A/results/link.json")
    link.type, link.linkname = tarfile.SYMTYPE, "a.json"
    files = {
        f"{top}/notebooks/Paper-A/results/a.json": data,
        f"{top}/notebooks/Paper-A/results/b.json": b"not in the manifest",
        f"{top}/LICENSE": b"MIT",
    }
    source = tarball(tmp_path / "good.tar.gz", files, [link])
    target = tmp_path / "released_archive"
    assert fetch(entries, target, source.as_uri()) == target / PAPER
    found = sorted(path.relative_to(target).as_posix() for path in target.rglob("*") if not path.is_dir())
    assert found == ["LICENSE", "notebooks/Paper-A/results/a.json"]

    link.name = f"{top}/notebooks/Paper-A/results/a.json"
    linked = tarball(tmp_path / "linked.tar.gz", {}, [link])
    with pytest.raises(ArchiveError, match="results/a.json': expected a regular file"):
        unpack(linked, entries, tmp_path / "other")
    altered = tarball(tmp_path / "altered.tar.gz", {f"{top}/notebooks/Paper-A/results/a.json": b"[1]\n"})
    with pytest.raises(ArchiveError, match="altered"):
        unpack(altered, entries, tmp_path / "other")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes(source.read_bytes()[:60])
    with pytest.raises(ArchiveError, match="not a complete tarball"):
        unpack(cut, entries, tmp_path / "other")
    with pytest.raises(ArchiveError, match=r"not fetched.*released_archive"):
        fetch(entries, target, (tmp_path / "absent.tar.gz").as_uri())
    assert (target / PAPER / "results" / "a.json").exists() and not (tmp_path / "other").exists()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("kind", "name", "link", "problem"),
    [
        (tarfile.REGTYPE, "top/a/../b", "", None),
        (tarfile.REGTYPE, "top/../../b", "", "outside of the archive"),
        (tarfile.REGTYPE, "/top/a", "", "an absolute path"),
        (tarfile.FIFOTYPE, "top/pipe", "", "a special file"),
        (tarfile.SYMTYPE, "top/a/link", "../b", None),
        (tarfile.SYMTYPE, "top/a/link", "../../b/..", None),
        (tarfile.SYMTYPE, "top/a/link", "../../../b", "outside of the archive"),
        (tarfile.SYMTYPE, "top/a/link", "/etc/passwd", "a link to an absolute path"),
        (tarfile.LNKTYPE, "top/a/link", "top/b", None),
        (tarfile.LNKTYPE, "top/a/link", "../b", "outside of the archive"),
    ],
)
def test_members_that_no_release_has(kind, name, link, problem, tmp_path):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    source = tarball(tmp_path / "tarball.tar.gz", {}, [member])
    with pytest.raises(ArchiveError, match="missing" if problem is None else f"{problem}; not the release"):
        unpack(source, {"results/a.json": entry("results/a.json", b"")}, tmp_path / "target")
    assert not (tmp_path / "target").exists()


# -------------------------------------------------------------------------------------------------- refusing rows


def a_row(run):
    error = 0.25
    return {
        "experiment": "exp_A_fixed",
        "method": "Aligned",
        **run["factors"],
        "test_acc": 1 - error,
        "test_error": error,
        "best_test_error": 0.125,
        "time_seconds": 563.0,
    }


@pytest.fixture
def small(mapping, released_census):
    """Experiment A with rows made up here, and a function that ingests changed rows."""
    runs = runs_of(released_census, "A")
    rows = [a_row(run) for run in runs]

    def ingest(changed):
        return build_experiment("A", mapping["A"], runs, lambda file: changed)

    return rows, ingest


def test_rows_in_any_order_give_census_order(small):
    rows, ingest = small
    runs = ingest(rows[::-1]).arrow("runs")
    assert runs["seed"].to_pylist() == [row["seed"] for row in rows]
    assert runs["source_row"].to_pylist() == list(range(len(rows)))[::-1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"test_error": "0.25"}, r"row 3, field test_error: '0\.25', expected a number"),
        ({"test_error": True}, r"row 3, field test_error: True, expected a number"),
        ({"test_error": None}, r"row 3, field test_error: None, expected a value"),
        ({"test_error": 1e999}, r"row 3, field test_error: inf, expected a finite number"),
        ({"test_error": 25.0}, r"row 3, field test_error: 25\.0, expected at least 0 and at most 1"),
        ({"seed": 0.5}, r"row 3, field seed: 0\.5, expected a whole number"),
        ({"test_acc": 0.5}, r"row 3, field test_acc: 0\.5, expected 1 - test_error"),
        ({"experiment": "exp_B_fixed"}, r"row 3, field experiment: 'exp_B_fixed', expected 'exp_A_fixed'"),
        ({"lambda": 0.11}, r"row 3: no run of A has lambda=0\.11"),
        ({"time_seconds": -1.0}, r"row 3, field time_seconds: -1\.0, expected at least 0"),
        ({"surprise": 1}, r"row 3, field surprise: not expected here"),
    ],
)
def test_wrong_values_are_named(small, change, message):
    rows, ingest = small
    rows = copy.deepcopy(rows)
    rows[3] |= change
    with pytest.raises(ArchiveError, match=r"results/exp_A_fixed/exp_A_fixed_results\.json, " + message):
        ingest(rows)


def test_missing_fields_and_rows_and_extra_rows_are_named(small):
    rows, ingest = small
    without = [{key: value for key, value in row.items() if key != "test_error"} for row in rows]
    with pytest.raises(ArchiveError, match="row 0, field test_error: missing"):
        ingest(without)
    with pytest.raises(ArchiveError, match=r"no row for 1 of 54 runs of A, first lam0\.1_eta0\.4_seed0"):
        ingest(rows[1:])
    with pytest.raises(ArchiveError, match=r"row 54: second row for A/lam0\.1_eta0\.4_seed0"):
        ingest([*rows, rows[0]])


def test_nan_and_other_texts_are_no_rows(tmp_path):
    for text, message in (
        ('[{"test_error": NaN}]', "NaN where a number is expected"),
        ('[{"test_error": 0.2', "not readable as JSON"),
        ('{"test_error": 0.2}', "expected a list of rows"),
    ):
        (tmp_path / "rows.json").write_text(text)
        with pytest.raises(ArchiveError, match=message):
            load_rows(tmp_path / "rows.json")


@pytest.fixture
def ladder(released_archive, mapping, released_census):
    """R3a's published rows, and a function that ingests changed ones."""
    rows = json.loads((released_archive / mapping["R3a"][0].file).read_text())

    def ingest(changed):
        return build_experiment("R3a", mapping["R3a"], runs_of(released_census, "R3a"), lambda file: changed)

    return rows, ingest


def test_nested_lists_are_checked(ladder):
    rows, ingest = ladder
    for change, message in (
        (
            lambda row: row["history"][2].update(test_error="x"),
            r"field history\[2\]\.test_error: 'x', expected a num",
        ),
        (
            lambda row: row["history"][2].pop("lambda"),
            r"field history\[2\]: .*expected an object with lambda",
        ),
        (lambda row: row.update(history={}), r"field history: \{\}, expected a list"),
        (
            lambda row: row.update(spinodal_lambda=0.66),
            r"spinodal_lambda: 0\.66, expected 0\.54 by the stop rule",
        ),
        (lambda row: row["history"].append(row["history"][-1]), "expected no evaluation after the event"),
        (lambda row: row.update(hold_epochs=2), r"field hold_epochs: 2, expected 1 \(census"),
    ):
        changed = copy.deepcopy(rows)
        change(changed[0])
        with pytest.raises(ArchiveError, match=message):
            ingest(changed)


def test_copies_inside_a_row_must_agree(released_archive, mapping, released_census):
    rows = json.loads((released_archive / mapping["R1a"][0].file).read_text())
    rows[4]["up_branch"][7]["test_error"] += 0.01
    with pytest.raises(ArchiveError, match="row 4, field up_branch: .*expected the items of loop_data again"):
        build_experiment("R1a", mapping["R1a"], runs_of(released_census, "R1a"), lambda file: rows)


# ------------------------------------------------------------------------------------------------ the mapping files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("experiments: {A: [{file: a.json, fields: {x: no_column}}]}", "has no column 'no_column'"),
        ("experiments: {A: [{file: a.json, fields: {x: {too: y}}}]}", r"fields\.x: unknown key 'too'"),
        ("experiments: {A: [{file: a.json, fields: {x: {nullable: true}}}]}", "says nothing about the field"),
        ("experiments: {A: [{file: a.json, like: b, fields: {}}]}", "no shape 'b'"),
        ("experiments: {A: [{fields: {}}]}", "needs file and fields"),
        ("experiments: {A: [{file: a.json, fields: {}, blocks: [{stage: x}]}]}", "either from or point"),
        ("experiment: {}", "unknown key 'experiment'"),
        ("experiments: [", r"broken.yaml: line \d"),
    ],
)
def test_mistakes_in_the_mapping_are_named(tmp_path, text, message):
    (tmp_path / "broken.yaml").write_text(text)
    with pytest.raises(MappingError, match=message):
        load_mapping(tmp_path)
