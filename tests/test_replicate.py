"""The replication page: re-trained runs beside the published ones, from records or from kept rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from dualgrad.census import load_census
from dualgrad.cli import main
from dualgrad.project import load_project, load_settings
from dualgrad.records import make_record, write_record
from dualgrad.replicate import build, compare, words
from dualgrad.replicate.rows import Row, of_record, read_rows, write_rows
from dualgrad.validation import InputError

EDITION = "paper-sst2_tsv"
WORDS = ("--config", "precision=published")


def record_of(run: dict, errors: list[float], seconds: float = 60.0) -> dict:
    """A record of a run whose test error takes these values at its epochs."""
    epochs = list(range(1, len(errors) + 1))
    stage = ["main"] * len(errors)
    trajectory = {
        "evaluations": {"stage": stage, "epoch": epochs, "test_error": errors},
        "epochs": {
            "stage": stage,
            "epoch": epochs,
            "loss_struct": [round(0.7 - 0.01 * e, 2) for e in epochs],
        },
    }
    outcome = {"status": "completed", "test_error": errors[-1]}
    provenance = {"seconds": seconds, "threads": 1, "device": "cpu", "cpu": {"model": "A CPU"}}
    return make_record(run, outcome, trajectory, None, provenance)


@pytest.fixture(scope="module")
def copy_census(root):
    return load_census(root, load_settings(root, {"edition": EDITION, "precision": "published"}))


PUBLISHED = {
    f"X1c/lam0.3_seed{seed}": {"error_final": 0.30 + 0.01 * seed, "loss": {}, "cosine": {}, "norm": {}}
    | {"error": {1: 0.5 + 0.01 * seed, 2: 0.3 + 0.01 * seed}}
    for seed in range(5)
}


@pytest.fixture
def trained(workspace: Path, copy_census, monkeypatch) -> Path:
    """Three whole runs of a condition, and the first epoch of a run of another edition."""
    for seed, last in ((0, 0.31), (1, 0.33), (3, 0.36)):
        run = copy_census.runs[f"X1c/lam0.3_seed{seed}"]
        path = workspace / "results" / EDITION / "runs" / "X1c" / f"{run['run']}.json"
        write_record(path, record_of(run, [0.52, last]))
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: PUBLISHED)
    return workspace


def test_final_errors_beside_the_published_ones(trained, capsys):
    assert main(["replicate", EDITION, "--root", str(trained), *WORDS]) == 0
    folder = trained / "results" / EDITION / "replication"
    assert sorted(path.name for path in folder.iterdir()) == sorted(build.FILES)
    (row,) = pd.read_parquet(folder / "replication.parquet").itertuples()
    ours, theirs = [0.31, 0.33, 0.36], [0.30, 0.31, 0.32, 0.33, 0.34]
    assert (row.n, row.n_published, row.dataset, row.precision) == (3, 5, "sst2_tsv", "published")
    assert json.loads(row.condition) == {"lambda": 0.3}
    assert row.mean == pytest.approx(np.mean(ours)) and row.sd == pytest.approx(np.std(ours, ddof=1))
    assert row.inside == 2, "0.36 lies above the published 0.34"
    bounds = stats.ttest_1samp(ours, 0).confidence_interval(0.95)
    assert (row.mean_low, row.mean_high) == pytest.approx(tuple(bounds))
    # Welch's interval, worked out by hand.
    variances = [np.var(ours, ddof=1) / 3, np.var(theirs, ddof=1) / 5]
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 2 + variances[1] ** 2 / 4)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(sum(variances))
    difference = np.mean(ours) - np.mean(theirs)
    assert (row.difference_low, row.difference_high) == pytest.approx((difference - half, difference + half))
    # Seeds 0, 1 and 3 with themselves.
    pairs = [0.01, 0.02, 0.03]
    assert row.n_pairs == 3 and row.paired == pytest.approx(np.mean(pairs))
    error = np.std(pairs, ddof=1) / math.sqrt(3)
    half = stats.t.ppf(0.975, 2) * error
    assert (row.paired_low, row.paired_high) == pytest.approx((0.02 - half, 0.02 + half))
    assert row.paired_p == pytest.approx(stats.ttest_1samp(pairs, 0).pvalue)
    # A true difference of that size lies beyond Student's quantile in 80 of 100 samples.
    assert stats.nct.sf(stats.t.ppf(0.975, 2), 2, row.detectable / error) == pytest.approx(0.8)
    text = (folder / "replication.html").read_text()
    for part in ("X1c", "λ = 0.3", "sst2_tsv", "another copy of SST-2", "3,913 of the 3,916", "A CPU"):
        assert part in text, part
    # Of six values alike each lies between the lowest and the highest of the five others in four cases of six.
    assert "<td>2 of 3 (2.0)</td>" in text
    assert "<script src" not in text
    said = capsys.readouterr().out
    assert "3 runs were trained, 3 whole" in said
    assert (
        "Of 3 whole runs 2 end within the range of the published seeds of their condition (2 would be" in said
    )


def a_row(
    run: str, test_error: float | None, edition: str = EDITION, most: int | None = None, **epochs
) -> Row:
    about = {"seconds": 1.0, "threads": 1, "machine": "a CPU", "digest": "0", "status": "completed"}
    about |= {
        "dataset": "sst2_tsv",
        "precision": "published",
        "error": {},
        "loss": {},
        "cosine": {},
        "norm": {},
    }
    return Row(edition, "X1c", run, max_epochs=most, test_error=test_error, **(about | epochs))


def test_lambdas_that_share_seeds_are_one_comparison(census):
    """The unit is the seed: three of them at three λ are three differences, not nine; one run is missing."""
    theirs = [[0.40, 0.35, 0.30], [0.42, 0.38, 0.31], [0.39, 0.36, 0.35], [0.5, 0.5, 0.5]]
    apart = [[0.03, 0.02, 0.01], [-0.01, 0.00, -0.02], [0.02, 0.01, None]]
    lams = (0.1, 0.3, 0.6)
    names = [[f"lam{lam}_seed{seed}" for lam in lams] for seed in range(4)]
    published = {
        f"X1c/{name}": {"error_final": error, "error": {}, "loss": {}, "cosine": {}, "norm": {}}
        for line, errors in zip(names, theirs, strict=True)
        for name, error in zip(line, errors, strict=True)
    }
    rows = [
        a_row(names[seed][at], theirs[seed][at] + apart[seed][at])
        for seed in range(3)
        for at in range(3)
        if apart[seed][at] is not None
    ]
    (one,) = compare.by_seed(rows, published, census).itertuples()
    seeds = np.array([0.02, -0.01, 0.015])
    test = stats.ttest_1samp(seeds, 0)
    assert (one.conditions, one.n, one.condition) == (3, 3, "{}")
    assert one.difference == pytest.approx(seeds.mean())
    assert (one.difference_low, one.difference_high) == pytest.approx(tuple(test.confidence_interval(0.95)))
    # Both one-sided tests reject at 5 % within this margin, and the worse of them just so.
    margin = one.equivalent_within
    worse = max(
        stats.ttest_1samp(seeds, -margin, alternative="greater").pvalue,
        stats.ttest_1samp(seeds, margin, alternative="less").pvalue,
    )
    assert worse == pytest.approx(0.05)
    # From the lowest to the highest λ, in the two seeds that have both.
    assert one.n_change == 2 and (one.lambda_from, one.lambda_to) == (0.1, 0.6)
    assert one.change_published == pytest.approx(np.mean([-0.10, -0.11]))
    assert one.change_difference == pytest.approx(np.mean([-0.02, -0.01]))
    made = words.Replication(
        *([EDITION], rows, compare.final(rows, published, census), compare.by_seed(rows, published, census)),
        *(pd.DataFrame(), [], census, census.datasets, pd.DataFrame()),
    )
    text = " ".join(words.sentences(made))
    assert (
        "contains 0 in 3 of 3 conditions that have one (two or more pairs). By itself that shows no agreement"
        in text
    )
    assert "X1c on sst2_tsv: its 3 conditions share 3 seeds, so they are one comparison." in text
    assert f"equivalent within any margin from {margin:.4f} on" in text
    assert "in the same 2 seeds; these changes differ by −0.0150 [" in text


def test_first_epochs_are_compared_by_seed_where_no_run_is_whole(census):
    published = {
        f"X1c/lam0.3_seed{seed}": {
            "error_final": 0.3,
            "error": {1: error},
            "loss": {},
            "cosine": {},
            "norm": {},
        }
        for seed, error in enumerate((0.50, 0.52, 0.54))
    }
    rows = [
        a_row(f"lam0.3_seed{seed}", error, "first", 2, error={1: error} | later)
        for seed, error, later in ((0, 0.51, {2: 0.4}), (1, 0.54, {}), (2, 0.57, {}))
    ]
    found = compare.by_epoch(rows, published, census, {})
    assert found["paired"].tolist() == pytest.approx([0.02]) and found["n_pairs"].tolist() == [3]
    made = words.Replication(
        *(
            ["first"],
            rows,
            compare.final(rows, published, census),
            compare.by_seed(rows, published, census),
            found,
        ),
        *([], census, census.datasets, pd.DataFrame()),
    )
    (row,) = words.first_table(made).rows
    assert row[:4] == ["X1c", "λ = 0.3", "1", "test error"] and row[-2].startswith(
        "0.020 [−0.005, 0.045] (3)"
    )
    assert (
        "First epochs on sst2_tsv: the 95 % interval of the difference by seed contains 0 in 1 of 1"
        in " ".join(words.sentences(made))
    )
    said = " ".join(words.sentences(made))
    assert "outside of the published seeds' range: X1c, λ = 0.3, epoch 1: test error of 1 of 3." in said
    rows.append(a_row("lam0.3_seed3", 0.3))  # a whole run: its condition has a line of final errors
    assert words.first_epochs(replace(made, final=compare.final(rows, published, census))).empty


def test_one_run_on_several_data_sets(census):
    """After the last epoch that all have: what differs is the copy, so it says how much the copy matters."""
    name = "lam0.3_eta0.4_seed0"
    published = {
        f"K/{name}": {"error_final": 0.2, "error": {1: 0.7, 2: 0.6}, "loss": {}, "cosine": {}, "norm": {}}
    }
    published["K/lam0.3_eta0.4_seed1"] = published[f"K/{name}"] | {"error": {1: 0.72, 2: 0.64}}
    rows = [
        replace(a_row(name, 0.5, error={1: 0.75, 2: 0.66, 3: 0.5}), experiment="K", dataset="cifar10_jpeg"),
        replace(a_row(name, 0.75, most=1, error={1: 0.75}), experiment="K", dataset="cifar10_jpeg"),
        replace(a_row(name, 0.61, most=2, error={1: 0.71, 2: 0.61}), experiment="K", dataset="cifar10_png"),
        a_row("lam0.3_seed0", 0.3, error={1: 0.4}),  # on one alone
        replace(a_row("lam0.3_seed1", 0.3, error={1: 0.4}), dataset="sst2", precision="float64"),
        replace(a_row("lam0.3_seed1", 0.3, error={2: 0.4}), precision="float64"),  # no epoch in common
    ]
    frames = (compare.final, compare.by_seed, lambda *given: compare.by_epoch(*given, {}))
    compared = [function(rows, published, census) for function in frames]
    made = words.Replication(["paper"], rows, *compared, [], census, census.datasets, pd.DataFrame())
    table = words.sets_table(made)
    assert [line[1:] for line in table.rows] == [
        ["2", "0.600 to 0.640 (2)", "cifar10_jpeg, published", "0.660"],
        ["2", "0.600 to 0.640 (2)", "cifar10_png, published", "0.610"],
    ]
    assert table in words.tables_of(made)
    assert (
        f"K/{name} after epoch 2: 0.660 on cifar10_jpeg, published; 0.610 on cifar10_png, published; published 0.600 "
        "to 0.640 (2), a range that holds cifar10_png, published and not cifar10_jpeg, published: the training is "
        "otherwise the same, so the copy is the likely reason." in words.sentences(made)
    )
    alone = replace(made, rows=rows[3:4])
    assert not words.sets_table(alone).rows and "several data sets" not in str(words.tables_of(alone))


def test_a_miniature_is_neither_the_published_data_nor_a_run_trained_again(census):
    """Whoever trained the demo reads what its runs were trained on, and that nothing published was."""
    about = {"seconds": 1.0, "threads": 1, "machine": "a CPU", "digest": "0", "status": "completed"}
    about |= {"precision": "float64", "max_epochs": None, "test_error": 0.1}
    about |= dict.fromkeys(("error", "loss", "cosine", "norm"), {})
    # Of an experiment that was not published.
    control = next((run["experiment"], run["run"]) for run in census.runs.values() if not run["counted"])
    rows = [
        Row("demo", "K", "lam0.3_eta0.4_seed0", dataset="digits", **about),
        Row("paper", "K", "lam0.3_eta0.4_seed1", dataset="cifar10", **about),
        Row("copy", "K", "lam0.3_eta0.4_seed2", dataset="cifar10_jpeg", **about),
        Row("paper", *control, dataset="reviews", **about),
    ]
    nothing = (
        compare.final([], {}, census),
        compare.by_seed([], {}, census),
        compare.by_epoch([], {}, census, {}),
    )
    made = words.Replication(["demo"], rows, *nothing, [], census, census.datasets, pd.DataFrame())
    text = " ".join(words.sentences(made))
    assert "(digits): other data in the place of CIFAR-10." in text
    assert "(cifar10): the published data." in text
    assert "(cifar10_jpeg): another copy of CIFAR-10, not its published files." in text
    assert "(reviews): data of no published run." in text
    assert compare.not_trained(rows, census)["K"] == (2, 60)
    # Of a miniature nobody says that it shares noise and weights with the published run of its name.
    assert "the same initial weights" not in words.final_table(made).note
    assert "the same initial weights" in words.final_table(replace(made, rows=rows[1:3])).note
    again = [replace(row, run=rows[0].run, error={1: 0.5}) for row in rows[:3]]
    assert [[row.dataset for row in group] for _, group in compare.on_several_sets(again, census)] == [
        ["cifar10", "cifar10_jpeg"]
    ]


def test_a_page_of_many_conditions_stays_short_and_is_folded(census, tmp_path):
    """As one would be who has trained the whole census: what each curve comes to is a table, epochs are folded."""
    curves: dict[tuple[str, str], list[str]] = {}
    for name, run in census.runs.items():
        levels = run["factors"]
        if run["counted"] and "lambda" in levels and levels.get("seed") in (0, 1):
            rest = compare.condition_of({key: level for key, level in levels.items() if key != "lambda"})
            curves.setdefault((run["experiment"], rest), []).append(name)
    many = [names for names in curves.values() if len(names) >= 4][: words.MOST_CURVES + 2]
    published, rows = {}, []
    for place, name in enumerate(name for names in many for name in names):
        error = 0.2 + 0.01 * (place % 7)
        published[name] = {"error_final": error, "error": {1: error}, "loss": {}, "cosine": {}, "norm": {}}
        experiment, run = name.split("/", 1)
        one = a_row(run, error + 0.01 * (place % 3), "paper", error={1: error})
        rows.append(replace(one, experiment=experiment, dataset=census.runs[name]["task"]["dataset"]))
    frames = (compare.final, compare.by_seed, lambda *given: compare.by_epoch(*given, {}))
    compared = [function(rows, published, census) for function in frames]
    made = words.Replication(["paper"], rows, *compared, [], census, census.datasets, pd.DataFrame())
    assert len(made.seeds) == len(many) and len(made.final) > words.FOLDED_TABLES
    said = words.sentences(made)
    assert len(said) < 8 and f"each of {len(many)} curves over λ is one comparison (table below)" in " ".join(
        said
    )
    by_title = {one.title: one for one in words.tables_of(made)}
    assert len(by_title["Conditions that share seeds"].rows) == len(many)
    build.make(made, tmp_path)
    text = (tmp_path / "replication.html").read_text()
    folded = sum(one.folded for one in by_title.values())
    assert folded >= len(made.final) and text.count("<details>") == text.count("</details>") == folded
    assert not by_title["Final errors"].folded and not by_title["What was not trained"].folded


def test_epoch_by_epoch_on_the_band(trained, capsys):
    assert main(["replicate", EDITION, "--root", str(trained), *WORDS]) == 0
    # Of six values alike each is the lowest or the highest of them in two cases of six.
    assert "expected of further published runs): test error 5 of 6 (4). Values of" in capsys.readouterr().out
    epochs = pd.read_parquet(trained / "results" / EDITION / "replication" / "epochs.parquet")
    assert set(epochs["measure"]) == {"error"}, "what only one side has is not compared"
    one, two = epochs.sort_values("epoch").itertuples()
    assert (one.low_published, one.high_published) == pytest.approx((0.5, 0.54)) and one.inside == 3
    assert two.inside == 2 and two.high == pytest.approx(0.36), "0.36 lies above the published 0.34"


def test_kept_rows_stand_in_for_records(trained, copy_census):
    """With a machine gone, the page is made from the rows that were kept, to the printed digits."""
    words_ = ["replicate", EDITION, "--root", str(trained), *WORDS]
    assert main([*words_, "--keep"]) == 0
    kept = trained / "docs" / "replication" / f"{EDITION}.csv"
    before = (trained / "results" / EDITION / "replication" / "replication.md").read_text()
    assert len(read_rows(kept)) == 3
    for path in (trained / "results" / EDITION / "runs" / "X1c").iterdir():
        path.unlink()
    assert main(words_) == 0
    assert (trained / "results" / EDITION / "replication" / "replication.md").read_text() == before
    # A record that is there wins over its row.
    run = copy_census.runs["X1c/lam0.3_seed0"]
    path = trained / "results" / EDITION / "runs" / "X1c" / f"{run['run']}.json"
    write_record(path, record_of(run, [0.6, 0.9]))
    assert main(words_) == 0
    assert "0.9000" in (trained / "results" / EDITION / "replication" / "replication.md").read_text()
    kept.write_text(kept.read_text().replace("completed,0.31", "completed,high"))
    with pytest.raises(InputError, match=r"paper-sst2_tsv.csv: line 2: no row of a run"):
        read_rows(kept)


def test_nothing_published_to_compare_with_is_said(trained, capsys, monkeypatch):
    """Whole runs have a line in the table all the same, so it is not empty."""
    words_ = ["replicate", EDITION, "--root", str(trained), *WORDS]
    assert main(words_) == 0 and "no published rows" not in capsys.readouterr().out
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: {})
    assert main(words_) == 0
    assert "no published rows of these experiments; make them: snakemake tables" in capsys.readouterr().out


def test_keeping_rows_loses_none(trained, copy_census, capsys):
    """Rows of another precision, and of runs that the census no longer has, are results of their own."""
    kept = trained / "docs" / "replication" / f"{EDITION}.csv"
    row = of_record(record_of(copy_census.runs["X1c/lam0.3_seed0"], [0.5, 0.25]))
    others = [replace(row, precision="float64"), replace(row, run="lam0.31_seed0")]
    write_rows(kept, [*others, replace(row, test_error=0.9)])
    assert main(["replicate", EDITION, EDITION, "--root", str(trained), *WORDS, "--keep"]) == 0
    rows = read_rows(kept)
    assert all(one in rows for one in others)
    mine = [(one.run, one.test_error) for one in rows if one.precision == "published" and one not in others]
    assert mine == [("lam0.3_seed0", 0.31), ("lam0.3_seed1", 0.33), ("lam0.3_seed3", 0.36)]


def test_a_value_of_other_code_that_is_none_is_named_with_its_line(trained, capsys):
    path = trained / "docs" / "replication" / build.REFERENCE
    path.parent.mkdir(parents=True)
    path.write_text("dataset,experiment,run,measure,epoch,value\nsst2_tsv,X1c,lam0.3_seed0,error,one,0.3\n")
    assert main(["replicate", EDITION, "--root", str(trained), *WORDS]) == 2
    assert "reference.csv: line 2: expected dataset, experiment, run" in capsys.readouterr().err


def test_a_single_run_is_shown_without_differences(workspace, copy_census, monkeypatch, capsys):
    """No condition has two pairs: there is nothing to test, of first epochs neither."""
    run = copy_census.runs["X1c/lam0.3_seed0"]
    write_record(
        workspace / "results" / EDITION / "runs" / f"{run['experiment']}/{run['run']}.json",
        record_of(run, [0.52, 0.31]),
    )
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: PUBLISHED)
    assert main(["replicate", EDITION, "--root", str(workspace), *WORDS]) == 0
    said = capsys.readouterr().out
    assert "1 run was trained, 1 whole" in said and "First epochs" not in said and "contains 0" not in said
    text = (workspace / "results" / EDITION / "replication" / "replication.md").read_text()
    assert "0.0100 (1)" in text and "## First epochs" not in text


@pytest.mark.parametrize(("error", "outside"), [(0.35, 0), (0.37, 1)])
def test_one_run_is_held_against_one_more_published_run(
    workspace, copy_census, monkeypatch, capsys, error, outside
):
    """Of .30 to .34 in five seeds: mean .32, sd .0158, so one more lies within ± 2.776 sd √1.2 = .0481."""
    run = copy_census.runs["X1c/lam0.3_seed0"]
    path = workspace / "results" / EDITION / "runs" / "X1c" / f"{run['run']}.json"
    write_record(path, record_of(run, [0.52, error]))
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: PUBLISHED)
    assert main(["replicate", EDITION, "--root", str(workspace), *WORDS]) == 0
    said = capsys.readouterr().out
    assert f"one whole run, {outside} of 1 lie outside" in said
    assert ("λ = 0.3 on sst2_tsv: 0.3700, expected within [0.2719, 0.3681]." in said) == bool(outside)


def test_nothing_trained_is_said(workspace, monkeypatch, capsys):
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: {})
    assert main(["replicate", EDITION, "--root", str(workspace), *WORDS]) == 0
    assert f"Nothing of {EDITION} has been trained yet." in capsys.readouterr().out
    assert main(["replicate", "released", "--root", str(workspace)]) == 2


@pytest.mark.parametrize("setting", ["compile", "cudnn_benchmark"])
def test_records_trained_under_other_settings_are_asked_for_with_them(
    workspace, root, monkeypatch, capsys, setting
):
    own = load_census(
        root, load_settings(root, {"edition": EDITION, "precision": "published", setting: True})
    )
    run = own.runs["X1c/lam0.3_seed0"]
    path = workspace / "results" / EDITION / "runs" / "X1c" / f"{run['run']}.json"
    write_record(path, record_of(run, [0.52, 0.31]))
    monkeypatch.setattr(compare, "published_rows", lambda folder, names: {})
    words_ = ["replicate", EDITION, "--root", str(workspace), *WORDS]
    assert main(words_) == 0
    left_out = "Records of another definition of their run, left out (1): X1c/lam0.3_seed0\n"
    assert left_out in capsys.readouterr().out
    assert main([*words_, "--config", f"{setting}=true"]) == 0
    assert "1 run was trained, 1 whole" in capsys.readouterr().out


def test_rows_go_to_a_file_and_back(tmp_path, copy_census):
    row = of_record(record_of(copy_census.runs["X1c/lam0.3_seed0"], [0.5, 0.25]))
    assert row.error == {1: 0.5, 2: 0.25} and row.machine == "A CPU" and row.dataset == "sst2_tsv"
    write_rows(tmp_path / "rows.csv", [row])
    assert read_rows(tmp_path / "rows.csv") == [row]
    for name in (
        f"{EDITION}.csv",
        build.WITHIN,
        build.REFERENCE,
        f"._{EDITION}.csv",
    ):  # macOS writes the last
        write_rows(tmp_path / build.KEPT / name, [row])
    assert build.kept_editions(tmp_path) == [EDITION]


def test_first_epochs_are_no_final_errors(census, tmp_path):
    row = Row(
        *("paper-first1", "K", "lam0.3_eta0.4_seed0", "cifar10", "published", 1, "d", "completed", 0.7),
        *(1.0, 1, "A CPU", {1: 0.7}, {1: 2.3}, {1: -0.2}, {1: 0.7}),
    )
    assert compare.final([row], {}, census).empty
    published = {
        row.name: {"error_final": 0.2, "error": {1: 0.68}, "loss": {}, "cosine": {1: -0.1}, "norm": {}}
    }
    known = {("cifar10", row.name, "error", 1): 0.69}
    found = compare.by_epoch([row], published, census, known).set_index("measure")
    assert set(found.index) == {"error", "cosine"} and found.loc["error", "reference"] == 0.69
    made = words.Replication(
        *(["paper-first1"], [row], pd.DataFrame(), pd.DataFrame(), found.reset_index(), []),
        *(census, census.datasets),
        within=pd.DataFrame(),
    )
    (table,) = words.epoch_tables(made)
    assert table.head == [
        "epoch",
        "test error: published",
        "test error: reference",
        "test error: ours",
        "mean cosine: published",
        "mean cosine: ours",
    ]
    assert table.rows == [["1", "0.680 to 0.680 (1)", "0.690", "0.700*", "−0.100 to −0.100 (1)", "−0.200*"]]
    assert compare.not_trained([row], census)["K"] == (0, 60)

    # Errors within an epoch, of runs that are there.
    place = tmp_path / build.KEPT / build.WITHIN
    place.parent.mkdir(parents=True)
    head = "dataset,experiment,run,source,step,steps,error,cosine\n"
    mine, other = (f"cifar10,K,{run},other code," for run in (row.run, "lam0.3_eta0.4_seed1"))
    place.write_text(f"{head}{mine}150,195,0.75,\n{mine}195,195,0.69,-0.12\n{other}195,195,0.5,-0.5\n")
    ends, table = words.within_tables(replace(made, within=build.within_epochs(tmp_path, [row])))
    assert ends.rows == [["K/lam0.3_eta0.4_seed0", "cifar10", "0.690", "0.700", "−0.120", "−0.200"]]
    assert (
        "other code. Of the same inputs" in ends.note
        and "cropped and flipped by draws of its own" in ends.note
    )
    assert table.title == "K/lam0.3_eta0.4_seed0, step by step" and table.head == ["steps", "150", "195"]
    assert table.rows == [["test error", "0.750", "0.690"]] and "moves by 0.060 within 45 steps" in table.note
    text = a_row("lam0.3_seed0", 0.3, error={1: 0.4})  # nothing is cropped there
    known = pd.DataFrame(
        [["sst2_tsv", "X1c", text.run, "other code", 9, 9, 0.4, 0.1]], columns=head.split(",")
    )
    (ends,) = words.within_tables(replace(made, rows=[text], within=known.rename(columns=str.strip)))
    assert ends.rows[0][2:4] == ["0.400", "0.400"] and "cropped" not in ends.note
    assert build.within_epochs(tmp_path / "elsewhere", [row]).empty and not words.within_tables(made)


def test_the_published_rows(released_archive, tmp_path, root):
    """K as published, by epoch, read from the released archive's tables."""
    folder = tmp_path / "released" / "tables" / "parts"
    words_ = ["ingest", "K", "--output", str(folder), "--root", str(root)]
    assert main([*words_, "--config", f"released_archive={released_archive}"]) == 0
    rows = compare.published_rows(tmp_path / "released", ["K"])
    five = [rows[f"K/lam0.3_eta0.4_seed{seed}"] for seed in range(5)]
    for measure, epoch, low, high in (
        ("error", 1, 0.682, 0.726),
        ("loss", 1, 2.31, 2.40),
        ("cosine", 1, -0.207, -0.132),
        ("norm", 1, 0.697, 0.721),
    ):
        values = [one[measure][epoch] for one in five]
        assert min(values) == pytest.approx(low, abs=6e-3) and max(values) == pytest.approx(high, abs=6e-3)
    kept = build.references(root)
    assert kept["cifar10_jpeg", "K/lam0.3_eta0.4_seed0", "error", 1] == 0.700


def test_every_kept_run_stands_in_the_document(root):
    text = (root / "docs" / "replication.md").read_text(encoding="utf-8")
    editions = build.kept_editions(root)
    assert editions
    for edition in editions:
        for row in read_rows(root / build.KEPT / f"{edition}.csv"):
            assert f"| {row.name} | {row.dataset} |" in text and row.digest[:12] in text


def test_the_document_is_what_its_rows_say(root, released_results, tmp_path):
    """docs/replication.md, from the kept rows and the released archive."""
    project = load_project(root, {"precision": "published"})
    made = build.gather(project, build.kept_editions(root), released_results, tmp_path)
    text = build.markdown(made, "images/replication.png", build.PREFACE)
    assert (root / "docs" / "replication.md").read_text(encoding="utf-8") == text


def test_first_epochs_of_another_edition_stand_with_the_whole_runs(copy_census, census):
    """A run that both have counts once; conditions come in the order of the census, whatever was trained first."""

    def row(run: str, edition: str, most: int | None, *errors: float) -> Row:
        return a_row(run, errors[-1], edition, most, error=dict(enumerate(errors, start=1)))

    rows = [
        row("lam0.4_seed0", "first", 1, 0.5),
        row("lam0.3_seed0", "first", 1, 0.5),
        row("lam0.3_seed0", EDITION, None, 0.5, 0.3),
        row("lam0.3_seed1", "first", 1, 0.6),
    ]
    published = {f"X1c/lam{lam}_seed0": {"error_final": 0.3, "error": {1: 0.5, 2: 0.3}} for lam in (0.3, 0.4)}
    for one in published.values():
        one |= {"loss": {}, "cosine": {}, "norm": {}}
    found = compare.by_epoch(rows, published, census, {})
    assert found[["epoch", "n", "edition"]].values.tolist() == [
        [1, 2, f"first, {EDITION}"],
        [2, 1, f"first, {EDITION}"],
        [1, 1, "first"],
    ]
    (final,) = compare.final(rows, published, census).itertuples()
    assert (final.n, final.mean, final.edition) == (1, 0.3, EDITION)


def test_a_number_has_a_true_minus_and_none_before_a_zero() -> None:
    assert [words.number(value, 3) for value in (-0.0004, -0.0006, 0.0, math.nan)] == [
        "0.000",
        "−0.001",
        "0.000",
        "–",
    ]


def test_each_measure_of_the_picture_says_what_its_axis_is(monkeypatch, tmp_path) -> None:
    """Under the lowest panel that is drawn, which a measure of one experiment alone does not have in the last row."""
    import matplotlib.figure

    from dualgrad.replicate import picture

    figures = []
    make = matplotlib.figure.Figure
    monkeypatch.setattr(
        matplotlib.figure,
        "Figure",
        lambda *args, **options: figures.append(make(*args, **options)) or figures[-1],
    )
    numbers = dict.fromkeys(("low_published", "high_published", "mean_published", "mean", "low", "high"), 0.5)
    numbers["n_published"] = 5
    rows = [
        {
            "experiment": name,
            "condition": "{}",
            "dataset": "d",
            "precision": "p",
            "measure": measure,
            "epoch": 1,
        }
        | {"n": 2, "reference": math.nan, **numbers}
        for name, measures in (("K", list(words.MEASURES)), ("X1c", list(words.MEASURES)[:1]))
        for measure in measures
    ]
    picture.draw(pd.DataFrame(rows), "title", [tmp_path / "picture.png"])
    said = [
        [ax.get_xlabel() for ax in figures[0].axes if ax.axison][i] for i in range(len(words.MEASURES) + 1)
    ]
    assert said == ["", *["epoch"] * (len(words.MEASURES) - 1), "epoch"]
    # Each row says how many runs stand behind it, and the band of its one epoch is seen.
    first = figures[0].axes[0]
    assert first.get_ylabel() == "d\nn = 2 on 5"
    assert any(line.get_marker() == "_" for line in first.lines)
    # Another copy has its place in the same panel, with open marks and no band of its own.
    copies = [*rows, *(row | {"dataset": "e", "n": 1} for row in rows[:4])]
    copies += [row | {"epoch": 2} for row in rows[:4]]
    picture.draw(pd.DataFrame(copies), "title", [tmp_path / "picture.png"])
    both = figures[1].axes[0]
    assert both.get_ylabel() == "● d\nn = 2 on 5\n○ e\nn = 1 on 5" and len(figures[1].axes) == len(
        figures[0].axes
    )
    ours = [line for line in both.lines if line.get_color() == picture.OURS]
    assert [line.get_markerfacecolor() for line in ours] == [picture.OURS, "white"]
    assert sum(line.get_color() == "#555555" for line in both.lines) == 1


def test_means_of_other_runs_are_not_joined(tmp_path) -> None:
    from matplotlib.figure import Figure

    from dualgrad.replicate import picture

    ax = Figure().subplots()
    rows = {"epoch": [1, 2, 3], "n": [5, 1, 1], "n_published": 5, "reference": math.nan}
    names = ("low_published", "high_published", "mean_published", "mean", "low", "high")
    picture._measure(ax, pd.DataFrame(rows | dict.fromkeys(names, 0.5)))
    ours = [line.get_xdata().tolist() for line in ax.lines if line.get_color() == picture.OURS]
    assert ours == [[1], [2, 3]]


def test_two_arithmetics_are_told_apart(trained, copy_census, capsys):
    row = of_record(record_of(copy_census.runs["X1c/lam0.3_seed0"], [0.5, 0.25]))
    write_rows(trained / "docs" / "replication" / f"{EDITION}.csv", [replace(row, precision="float64")])
    assert main(["replicate", EDITION, "--root", str(trained), *WORDS]) == 0
    text = (trained / "results" / EDITION / "replication" / "replication.md").read_text()
    assert "| sst2_tsv, float64 |" in text and "| sst2_tsv, published |" in text
    assert "X1c, λ = 0.3, sst2_tsv, float64" in text
