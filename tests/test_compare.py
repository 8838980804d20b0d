"""Comparisons: tests against other implementations, verdicts, editions that differ in known ways, the page."""

from __future__ import annotations

import contextlib
import copy
import io
import math
import re
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from browser import open_page, wait
from synthetic import tables_of, write_results
from workflows import copy_workflow, planned, snakemake

from dualgrad.census import load_census
from dualgrad.compare import build, conditions, page
from dualgrad.compare import phenomena as ph
from dualgrad.compare.editions import Edition
from dualgrad.compare.pair import is_ingested, pair_of, title_of
from dualgrad.estimators import units
from dualgrad.pages import write_page
from dualgrad.tables.errors import TableError
from dualgrad.validation import InputError

ROOT = Path(__file__).resolve().parents[1]
SOME = ("A", "C", "K", "M2", "Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1", "T13", "X1", "Y1A", "Y1B")


# ------------------------------------------------------------------------------------------- editions to compare


@pytest.fixture(scope="session")
def counted() -> list[str]:
    census = load_census(ROOT, {"edition": "released"})
    return [name for name, one in census.experiments.items() if one["counted"]]


@pytest.fixture(scope="session")
def published(released_results, tmp_path_factory) -> Path:
    """Results folder with the edition ``released``."""
    results = tmp_path_factory.mktemp("published")
    (results / "released").symlink_to(released_results)
    return results


@pytest.fixture(scope="session")
def released(published, counted) -> Edition:
    return Edition(published / "released", counted)


@pytest.fixture(scope="session")
def made_up(tmp_path_factory) -> Path:
    """Results folder with made-up tables of some experiments in the editions paper and demo."""
    results = tmp_path_factory.mktemp("made-up")
    for name, experiments in (("paper", SOME), ("demo", SOME[:9])):
        write_results(results, load_census(ROOT, {"edition": name}), experiments)
    return results


@pytest.fixture(scope="module")
def compared(made_up, tmp_path_factory) -> tuple[Path, str]:
    """A folder with the command's comparison of the made-up editions, and what it said."""
    from dualgrad.cli import main

    folder, said = tmp_path_factory.mktemp("compared"), io.StringIO()
    words = ["--config", "compare=paper,demo", "--margin", "0.05", "--output", str(folder)]
    with contextlib.redirect_stdout(said):
        assert main(["compare", "--root", str(ROOT), "--config", f"results_dir={made_up}", *words]) == 0
    return folder, said.getvalue()


@pytest.fixture(scope="module")
def again(made_up, counted, tmp_path_factory) -> tuple[Path, page.Comparison]:
    """The same comparison, made a second time and not by the command."""
    folder = tmp_path_factory.mktemp("again")
    first, second = (Edition(made_up / name, counted) for name in ("paper", "demo"))
    assert second.experiments == [name for name in counted if name in SOME[:9]]
    titles = (title_of(ROOT, "paper"), title_of(ROOT, "demo"))
    return folder, build.make(first, second, titles, folder, 0.05)


class Changed(Edition):
    """An edition whose runs are changed by a function."""

    def __init__(self, edition: Edition, name: str, change) -> None:
        self._edition, self.name, self._change = edition, name, change
        self.folder, self.experiments = edition.folder, edition.experiments

    def runs(self, *experiments: str) -> pd.DataFrame:
        return self._change(self._edition.runs(*experiments).copy())


# ------------------------------------------------------------------------------------------- tests of two samples


def test_welch_and_equivalence_against_statsmodels():
    from scipy import stats
    from statsmodels.stats.weightstats import ttost_ind

    rng = np.random.default_rng(0)
    for n, m, shift in ((5, 20, 0.0), (3, 3, 0.01), (50, 10, 0.03), (20, 20, -0.1)):
        first, second = rng.normal(0.2, 0.02, n), rng.normal(0.2 + shift, 0.05, m)
        got = conditions._tests(first, second, 0.02)
        expected = stats.ttest_ind(second, first, equal_var=False)
        interval = expected.confidence_interval()
        assert got["difference"] == pytest.approx(second.mean() - first.mean())
        assert (got["low"], got["high"]) == pytest.approx((interval.low, interval.high))
        assert got["p_value"] == pytest.approx(expected.pvalue)
        tost, *_ = ttost_ind(second, first, -0.02, 0.02, usevar="unequal")
        assert got["tost_p"] == pytest.approx(tost)
        assert got["equivalent"] == (tost < 0.05)
        ks = stats.ks_2samp(first, second)
        assert (got["ks"], got["ks_p"]) == pytest.approx((ks.statistic, ks.pvalue))


def test_samples_without_spread():
    dead = np.full(3, 0.9)
    same = conditions._tests(dead, dead, 0.02)
    assert (same["difference"], same["low"], same["high"], same["equivalent"]) == (0, 0, 0, True)
    many = conditions._tests(dead, np.full(30, 0.9), 0.02)  # NumPy's means of the two differ in the last bit
    assert (many["difference"], many["p_value"]) == (0, 1)
    apart = conditions._tests(dead, dead - 0.5, 0.02)
    assert apart["difference"] == pytest.approx(-0.5) and not apart["equivalent"] and apart["ks"] == 1
    mixed = conditions._tests(dead, np.array([0.9, 0.8, 0.85]), 0.02)
    assert mixed["low"] < mixed["difference"] < mixed["high"]
    single = conditions._tests(dead[:1], dead, 0.02)
    assert "low" not in single and single["note"].startswith("fewer than two")


# ------------------------------------------------------------------------------------------- conditions


def test_an_edition_against_itself(released):
    rows = conditions.compare(released, released)
    main = rows[rows["field"] == "test_error"]
    assert main["n_first"].sum() == released.runs()["test_error"].notna().sum() > 3900
    known = rows.dropna(subset=["difference"])
    assert (known["difference"] == 0).all() and (known["ks"].dropna() == 0).all()
    assert not (known["low"] > 0).any() and not (known["high"] < 0).any()
    assert known["equivalent"].sum() > 300
    assert set(known["outcome"].dropna()) == {"equivalent", "dead in both", "inconclusive"}
    dead = known[known["outcome"] == "dead in both"]
    assert len(dead) >= 10 and (dead["constant_first"] == dead["n_first"]).all()
    assert (known["constant_p"].dropna() == 1).all()
    table = conditions.by_experiment(rows)
    assert len(table) == len(released.experiments) and (table["rank_correlation"].dropna() > 0.999).all()
    assert table["only_first"].sum() == table["only_second"].sum() == 0


def test_a_shift_is_found(released):
    def shifted(runs: pd.DataFrame) -> pd.DataFrame:
        runs["test_error"] += 0.05
        return runs

    rows = conditions.compare(released, Changed(released, "shifted", shifted), margin=0.02)
    main = rows[(rows["field"] == "test_error")].dropna(subset=["low"])
    assert main["difference"].to_numpy() == pytest.approx(0.05)
    assert not main["equivalent"].astype(bool).any()
    assert set(main["outcome"]) == {"different", "inconclusive"}
    assert (main["p_bh"] >= main["p_value"]).all()
    a = main[(main["experiment"] == "S2") & (main["lam"] == 0.50)].iloc[0]
    assert a["n_first"] == 300 and a["low"] > 0.03 and a["p_value"] < 1e-9 and a["ks"] > 0.2
    wide = conditions.compare(released, Changed(released, "shifted", shifted), margin=0.08)
    s2 = wide[(wide["experiment"] == "S2") & (wide["lam"] == 0.50)].iloc[0]
    assert s2["equivalent"] and s2["margin"] == 0.08


def test_constant_predictors_and_missing_conditions(released):
    def fewer(runs: pd.DataFrame) -> pd.DataFrame:
        runs = runs[~runs["experiment"].isin(["O", "N1"])]
        dead = runs["experiment"] == "S1"
        runs.loc[dead, "test_error"] = 0.9
        return runs

    rows = conditions.compare(released, Changed(released, "fewer", fewer))
    gone = rows[rows["experiment"].isin(["O", "N1"])]
    assert (gone["note"] == "no value in fewer").all() and gone["difference"].isna().all()
    s1 = rows[rows["experiment"] == "S1"]
    assert s1["constant_second"].tolist() == [50] * 8 and s1["constant_first"].sum() == 4
    assert (s1["constant_p"] < 1e-10).all()


# ------------------------------------------------------------------------------------------- phenomena


def evidence(
    value: float, low: float = np.nan, high: float = np.nan, n: int = 5, without: tuple | None = None
) -> ph.Evidence:
    return ph.Evidence(ph.Estimate(value, low, high, n=n, without=without or (value, value)))


def word(phenomenon: ph.Phenomenon, found: ph.Evidence) -> str:
    return ph.verdict(phenomenon, found)[0]


def test_the_five_words():
    up = ph.Phenomenon("x", "g", "says", "measure", "1", lambda *_: ph.Evidence())
    assert word(up, evidence(1, 0.5, 2)) == ph.SHOWN
    assert word(up, evidence(1, -0.5, 2)) == ph.DIRECTION
    assert word(up, evidence(1)) == ph.DIRECTION
    assert word(up, evidence(-1, -3, 2)) == ph.NOT_SHOWN
    assert word(up, evidence(-1, -3, -0.5)) == ph.OPPOSITE
    assert word(up, ph.Evidence()) == ph.NO_DATA
    down = ph.Phenomenon("x", "g", "says", "measure", "1", lambda *_: ph.Evidence(), sign=-1, reference=0.5)
    assert word(down, evidence(0.1, 0.0, 0.3)) == ph.SHOWN
    assert word(down, evidence(0.4, 0.2, 0.6)) == ph.DIRECTION
    assert word(down, evidence(0.8, 0.7, 0.9)) == ph.OPPOSITE
    assert word(down, ph.Evidence(ph.Estimate(0.9, p_value=0.01), test=True)) == ph.SHOWN
    assert word(down, ph.Evidence(ph.Estimate(0.1, p_value=0.2), test=True)) == ph.NOT_SHOWN


def test_two_units_or_a_single_one_show_nothing():
    up = ph.Phenomenon("x", "g", "says", "measure", "1", lambda *_: ph.Evidence())
    assert ph.verdict(up, evidence(1, 0.5, 2, n=2)) == (ph.DIRECTION, "rests on n = 2")
    assert word(up, evidence(-1, -2, -0.5, n=2)) == ph.NOT_SHOWN
    words, why = ph.verdict(up, evidence(1, 0.5, 2, without=(-0.1, 1.2)))
    assert words == ph.DIRECTION and why.startswith("rests on a single unit")
    for hits, expected in ((1, ph.DIRECTION), (2, ph.SHOWN)):  # dead runs of twenty
        assert word(up, ph.Evidence(units.of_share(hits, 20, 0.0))) == expected


def test_a_start_that_failed_is_not_on_the_way_down():
    rows = pd.DataFrame(
        {
            "noise_rate": 0.4,
            "hold_type": "short",
            "event": [True, True, False, False, False],
            "censored": False,
        }
    )
    edition = SimpleNamespace(experiments=["R3b"], runs=lambda name: rows)
    found = ph.recovered(edition, 0.5).found
    assert (found.value, found.n) == (1.0, 2)


def test_two_verdicts_together():
    names = ("published", "here")
    words = (ph.SHOWN, ph.DIRECTION, ph.NOT_SHOWN, ph.OPPOSITE, ph.NO_DATA)
    results = {(a, b): ph.together(a, b, names) for a in words for b in words}
    assert results[ph.SHOWN, ph.SHOWN] == "reproduced"
    assert results[ph.SHOWN, ph.DIRECTION] == "direction only"
    assert results[ph.SHOWN, ph.NOT_SHOWN] == "not reproduced"
    assert results[ph.SHOWN, ph.OPPOSITE] == "opposite"
    assert results[ph.SHOWN, ph.NO_DATA] == "no data in here"
    assert results[ph.NO_DATA, ph.NO_DATA] == "no data in published and here"
    assert results[ph.OPPOSITE, ph.SHOWN] == "only in here"
    assert results[ph.OPPOSITE, ph.OPPOSITE] == "opposite in both"
    assert results[ph.NOT_SHOWN, ph.OPPOSITE] == "shown in neither"
    assert results[ph.NOT_SHOWN, ph.DIRECTION] == "shown in neither; direction in here"
    assert results[ph.DIRECTION, ph.NOT_SHOWN] == "not reproduced"


def test_phenomena_of_the_published_archive(released):
    table = ph.compare(released, released).set_index("name")
    assert len(table) == len(ph.PHENOMENA) and table.index.is_unique
    assert not (table["verdict_first"] == ph.NO_DATA).any()
    assert (table["verdict_first"] == table["verdict_second"]).all()
    assert set(table.loc[table["verdict_first"] == ph.SHOWN, "result"]) == {"reproduced"}
    # What the ledger of claims says, in numbers: its conclusions 2, 4, 5, 8, 9, 11, 13 and 14.
    for name, value, digits in (
        ("boundary-left-fixed", -0.0778, 4),
        ("boundary-left-relative", -0.022, 3),
        ("width-moves-boundary", 0.0212, 4),
        ("two-branch-1", 0.344, 3),
        ("two-branch-3", 0.296, 3),
        ("two-branch-10", 0.224, 3),
        ("gap-shrinks", 0.120, 3),
        ("universal-V1", 0.298, 3),
        ("loop-same-rate", 0.084, 3),
        ("protects", -0.514, 3),
        ("damages", 0.257, 3),
        ("time-effect", 0.256, 3),
        ("path-effect-Y2k3", 0.0265, 4),
        ("path-effect-Y2k10", 0.0400, 4),
        ("dose-net", 0.013, 3),
        ("improves-on-ce", -0.2807, 4),
        ("trap-exists", 7 / 20, 6),
        ("trap-absorbs", 0.0, 6),
        ("rate-interacts", -0.143, 3),
        ("corrosion", 0.1010 + 0.7204, 3),
    ):
        assert table.loc[name, "value_first"] == pytest.approx(value, abs=0.51 * 10.0**-digits), name
    words = table["verdict_first"]
    assert words["two-modes"] == words["variance-peak"] == ph.NOT_SHOWN
    assert words["width-sharpens"] == ph.OPPOSITE and words["dose-net"] == ph.DIRECTION
    assert words["text-variance-peak"] == ph.DIRECTION  # the largest of eight variances
    assert words["slowing"] == words["text-drift"] == ph.SHOWN
    assert words["gap-persists"] == ph.DIRECTION  # three seeds: -3 to 92 points
    assert words["universal-V1"] == ph.DIRECTION  # two untrapped seeds
    assert words["trap-absorbs"] == ph.DIRECTION  # three traps, not eighteen attempts
    assert table.loc["trap-absorbs", "n_first"] == 3 and table.loc["trap-absorbs", "high_first"] > 0.7
    assert words["rises-after-minimum"] == ph.DIRECTION  # A at η = .4: three seeds, 11 to 22 points
    assert (words == ph.SHOWN).sum() == 35
    # Correlations have the intervals of the statistics (survival.parquet), within -1 and 1.
    drift = table.loc["text-drift", ["low_first", "high_first", "p_value_first"]]
    assert list(drift) == pytest.approx([0.505, 0.973, 0.00161], rel=2e-3)
    assert table.loc["slowing", "high_first"] < 1 and table.loc["slowing", "p_value_first"] > 1e-6
    # Every interval is one of four kinds, and whatever is not shown says what would have been found.
    kinds = {"t", "paired t", "Welch t", "jackknife t", "Clopper-Pearson"}
    assert {how.partition(", Bonferroni for ")[0] for how in table["interval_first"].dropna()} == kinds
    assert (table["p_holm_first"].dropna() >= table["p_value_first"].dropna()).all()
    missing = table[(words != ph.SHOWN) & table["detectable_first"].isna()]
    assert list(missing.index) == ["two-modes", "trap-absorbs"]  # the dip test says it in its note; n = 3
    assert "found with a power of 80 %" in table.loc["two-modes", "note_first"]


def test_editions_that_do_not_show_it(released):
    """The same runs with λ turned round: what rose falls."""

    def mirrored(runs: pd.DataFrame) -> pd.DataFrame:
        for experiment in ("A", "M2", "X1", "X2"):
            mine = runs["experiment"] == experiment
            span = runs.loc[mine, "lam"].min() + runs.loc[mine, "lam"].max()
            runs.loc[mine, "lam"] = (span - runs.loc[mine, "lam"]).round(3)
        return runs

    other = Changed(released, "mirrored", mirrored)
    by_name = {one.name: one for one in ph.PHENOMENA}
    for name in ("spread-grows", "opposition-fades", "text-monotone", "text-boundary"):
        here, there = (
            word(by_name[name], by_name[name].evidence(edition, 0.0)) for edition in (released, other)
        )
        assert (here, there) == (ph.SHOWN, ph.OPPOSITE), name


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_one_seed_shows_nothing(released, monkeypatch):
    """As of somebody who begins: in all tables, each experiment's first seed alone."""
    few, whole = copy.copy(released), released._tables.table

    def first(name: str) -> pd.DataFrame:
        rows = whole(name)
        firsts = released.runs().groupby("experiment")["seed"].min()
        seeds = released.runs().set_index(["experiment", "run"])["seed"]
        of = pd.MultiIndex.from_frame(rows[["experiment", "run"]])
        return rows[seeds.reindex(of).to_numpy() == firsts.reindex(rows["experiment"]).to_numpy()]

    few._tables = copy.copy(released._tables)
    monkeypatch.setattr(few._tables, "table", cache(first))
    found = [one.evidence(few, 0.0) for one in ph.PHENOMENA]
    assert ph.SHOWN not in [word(*both) for both in zip(ph.PHENOMENA, found, strict=True)]
    rows = conditions.compare(few, few, 0.02)
    rows = rows[rows["n_first"] == 1]
    assert len(rows) > 400 and (rows["note"] == "fewer than two runs on a side: no tests").all()


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_tables_without_a_run_show_nothing(released, monkeypatch):
    """As of an experiment that the archive at hand does not hold: its tables are there, and empty."""
    none, whole = copy.copy(released), released._tables.table
    none._tables = copy.copy(released._tables)
    monkeypatch.setattr(none._tables, "table", lambda name: whole(name).iloc[:0])
    for one in ph.PHENOMENA:
        assert word(one, one.evidence(none, one.reference)) == ph.NO_DATA, one.name


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize(
    "measure",
    [ph.of_grids(ph.spread_ratio, {}), ph.peak_over_ends({}, None), ph.peak_over_ends({}, 0.9)],
)
def test_a_level_that_one_unit_has_alone(measure, released, monkeypatch):
    table = np.random.default_rng(1).uniform(0.1, 0.5, (4, 4))
    table[1:, 0] = np.nan
    monkeypatch.setattr(ph, "grids", lambda *_: ([table], [np.arange(4.0)]))
    found = measure(released, 0.0).found
    assert found.n == 4 and not math.isinf(found.value)


def test_a_minimum_that_was_picked_does_not_lie_below_its_equals(released, monkeypatch):
    """Equal λ: the lowest mean lies below the first by having been chosen; the one that others choose does not."""
    rng, found, plain = np.random.default_rng(6), [], []
    measure = ph.above_minimum({}, 0)
    for _ in range(400):
        table = rng.standard_normal((5, 9))
        monkeypatch.setattr(ph, "grids", lambda *_, table=table: ([table], [np.arange(9.0)]))
        found.append(measure(released, 0.0).found)
        plain.append(table.mean(axis=0)[0] - table.mean(axis=0).min())
    assert np.mean(plain) > 0.5 and abs(np.mean([one.value for one in found])) < 0.1
    assert np.mean([one.low > 0 for one in found]) < 0.075


def test_a_maximum_that_was_picked_is_not_found_in_noise(released, monkeypatch):
    """Equal variances at every λ: the largest of eight looks like a peak in three of four samples, by chance."""
    rng, found = np.random.default_rng(5), []
    measure = ph.peak_over_ends({}, None)
    for _ in range(400):
        table = rng.standard_normal((20, 10))
        monkeypatch.setattr(ph, "grids", lambda *_, table=table: ([table], [np.arange(10.0)]))
        found.append(measure(released, 0.0).found)
    assert np.mean([one.value > 0 for one in found]) > 0.7
    assert np.mean([one.low > 0 for one in found]) < 0.025


# ------------------------------------------------------------------------------------------- whole comparisons


def test_all_files_of_incomplete_editions(compared, again):
    folder, made = again
    assert sorted(path.name for path in folder.iterdir()) == sorted(build.FILES)
    for name, columns in (
        ("conditions.parquet", conditions.COLUMNS),
        ("phenomena.parquet", build._PHENOMENA),
    ):
        schema = pq.read_schema(folder / name)
        assert schema.names == list(columns)
        assert all(field.metadata[b"meaning"] for field in schema)
    table = made.phenomena.set_index("name")
    assert table.loc["time-effect", "result"] == "no data in demo"
    assert table.loc["universal-V1", "result"] == "no data in paper and demo"
    assert table.loc["universal-V1", "note_first"] == "V1: not made"
    assert table.loc["survives", "note_second"] == "T13: not made"
    assert table.loc["two-modes", "note_first"].startswith("S2 at λ = 0.50 not made")
    rows = made.conditions
    only = rows[(rows["experiment"] == "X1") & (rows["field"] == "test_error")]
    assert len(only) == 6 and (only["note"] == "no value in demo").all()
    summary = (folder / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("# demo against paper\n")
    assert all(line in summary for line in page.overview(made))
    assert all(one.says in summary for one in ph.PHENOMENA)
    assert (folder / "compare.png").read_bytes()[:4] == b"\x89PNG"
    # The same numbers give the same bytes.
    for name in build.FILES:
        assert (folder / name).read_bytes() == (compared[0] / name).read_bytes(), name


def test_the_page_stands_alone(browser, again, tmp_path):
    folder, made = again
    made = replace(made, titles=("a <title> & more", "in miniature"))
    text = page.html(made, folder / "compare.png")
    write_page(tmp_path / "summary.html", text)
    assert "a &lt;title&gt; &amp; more" in text and "<title> & more" not in text
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", text)
    assert "http" not in re.sub(r'content="[^"]*"', "", text).replace("http-equiv", "")
    assert 'src="data:image/png;base64,' in text
    assert text.count("<tr id=") == len(ph.PHENOMENA)
    with open_page(browser, (tmp_path / "summary.html").as_uri()) as shown:
        wait(shown, f"document.querySelectorAll('tr[id]').length === {len(ph.PHENOMENA)}")
        wait(shown, "document.querySelector('figure img').complete")
        width = shown.evaluate("document.querySelector('figure img').naturalWidth")
        assert width > 500
        before = shown.evaluate("document.documentElement.dataset.theme")
        shown.click("header button")
        assert shown.evaluate("document.documentElement.dataset.theme") != before
        shown.click("details summary")
        assert shown.evaluate("document.querySelector('details').open")
        shown.set_viewport_size({"width": 390, "height": 844})
        assert shown.evaluate("document.documentElement.scrollWidth <= 390")
    assert len(list(page.results(made))) >= 2


def test_numbers_for_reading():
    assert page.number(0.0262, "fraction") == "2.6 pp"
    assert page.number(-0.5, "fraction") == "−50.0 pp"
    assert page.number(0.4226, "lambda") == "0.423"
    assert page.number(float("nan"), "1") == "–"
    row = pd.Series({"unit": "lambda", "value_first": 0.5, "low_first": 0.4, "high_first": np.nan})
    assert page.interval(row, "first") == "0.500 [0.400, …]"


def test_which_editions():
    assert pair_of("released,demo", "x") == ("released", "demo")
    assert pair_of("released, paper", "x") == ("released", "paper")
    for wrong in (None, "", "released", "demo,demo", "a,b,c", "../x,demo"):
        with pytest.raises(InputError, match="two different editions"):
            pair_of(wrong, "x")
    assert is_ingested(ROOT, "released") and not is_ingested(ROOT, "demo") and not is_ingested(ROOT, "copied")
    assert title_of(ROOT, "demo") and "no file" in title_of(ROOT, "copied")
    assert (
        title_of(ROOT, "paper-sst2_tsv") == "Training as published, on SST-2 as TSV from another repository"
    )
    assert title_of(ROOT, "paper-first3").endswith("; the first 3 epochs of each stage")
    assert "no file" in title_of(ROOT, "paper-sst2_of_somebody")


# ------------------------------------------------------------------------------------------- command and workflow


def test_the_command(made_up, compared, tmp_path, capsys):
    from dualgrad.cli import main

    settings = ["--root", str(ROOT), "--config", f"results_dir={made_up}"]
    out, said = compared
    assert "conditions have a final error in both editions" in said and "±5 points" in said
    assert (pd.read_parquet(out / "conditions.parquet")["margin"] == 0.05).all()
    assert main(["compare", "paper", "smoke", *settings, "--config", "compare=paper,demo"]) == 1
    assert "no tables of edition smoke; make them first" in capsys.readouterr().err
    assert main(["compare", "paper", *settings]) == 2
    assert "two different editions" in capsys.readouterr().err
    assert main(["compare", "paper", "demo", "--margin", "2", *settings]) == 2
    assert main(["compare", *settings, "--config", "compare=paper"]) == 2


def test_an_edition_without_tables(tmp_path, counted):
    with pytest.raises(TableError, match="snakemake tables --config edition=demo"):
        Edition(tmp_path / "demo", counted)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A fresh copy of the workflow."""
    return copy_workflow(tmp_path)


def test_what_the_target_needs(checkout):
    done = snakemake(checkout, "compare", "--dry-run")
    assert done.returncode != 0 and "expected two different editions" in done.stdout
    done = snakemake(checkout, "compare", "--dry-run", "--config", "edition=smoke", "compare=released,smoke")
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    assert jobs["ingest_compared"] == jobs["compare_editions"] == jobs["compare"] == 1
    assert jobs["train"] > 100
    done = snakemake(
        checkout, "compare", "--dry-run", "--config", "edition=released", "compare=released,demo"
    )
    assert done.returncode != 0 and "the tables of edition demo are not complete" in done.stdout
    assert "dualgrad compare released demo" in done.stdout


def test_the_target_is_made(checkout, counted):
    """Some runs of every experiment against a copy of themselves that passes for another edition."""
    results, census = checkout / "results", load_census(ROOT, {"edition": "released"})
    for name in counted:
        runs = [census.runs[target] for target in census.experiments[name]["runs"][-3:]]
        tables_of(runs, "released").write(results / "released" / "tables" / "parts" / name)
    shutil.copytree(results / "released", results / "copy")
    done = snakemake(checkout, "compare", "--config", "edition=released", "compare=released,copy")
    assert done.returncode == 0, done.stdout
    made = results / "compare" / "released_copy"
    assert {path.name for path in made.iterdir()} == set(build.FILES)
    differences = pd.read_parquet(made / "conditions.parquet")["difference"].dropna()
    assert len(differences) >= len(counted) and (differences == 0).all()
    again = snakemake(
        checkout, "compare", "--dry-run", "--config", "edition=released", "compare=released,copy"
    )
    assert "Nothing to be done" in again.stdout, again.stdout
