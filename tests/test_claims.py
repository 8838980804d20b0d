"""The claims: ledger, verdicts, measures against independent numbers, falsified tables, the page in a browser."""

from __future__ import annotations

import csv
import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import complete_clone
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from browser import open_page, wait
from workflows import copy_workflow, planned, snakemake

from dualgrad.claims import functions, measure, report, verdicts
from dualgrad.claims.data import MissingError, Tables
from dualgrad.claims.evaluate import Filler, Report, composition_of, measure_all
from dualgrad.claims.load import ClaimsError, load_ledger
from dualgrad.claims.measure import Measurer, Series, parts_of, take
from dualgrad.cli import main
from dualgrad.release.contents import Release
from dualgrad.release.manifest import ENVIRONMENT, remember_archive
from dualgrad.sentences import load_sentences, read_numbers
from dualgrad.sentences import measure as measure_sentences
from dualgrad.tables import edition
from dualgrad.tables.read import read_tables
from dualgrad.tables.schema import TABLES

ROOT = Path(__file__).resolve().parents[1]
LEDGER = Path(__file__).parent / "data" / "claims_ledger.csv"

# Verdicts that differ from the ledger's, because the ledger had files that the archive's result files do not hold.
NOT_IN_THE_RESULT_FILES = {
    "figure-files": "pictures",
    "archive-7-notebooks": "notebooks",
    "paper-b-14400": "another paper's results",
}
# Rows that the ledger leaves open and that need such files too.
OPEN_AND_NOT_IN_THE_RESULT_FILES = {"contract-a100", "repo-layout", "archive-tb2-v2-empty"}


@pytest.fixture(scope="module")
def ledger(census):
    """config/claims.yaml."""
    return load_ledger(ROOT, census.experiments)


@pytest.fixture(scope="module")
def known() -> dict[str, dict[str, str]]:
    """Verdicts and recomputed numbers of the claims ledger, by id; open rows have neither."""
    with LEDGER.open(newline="", encoding="utf-8") as stream:
        return {row["id"]: row for row in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def results(released_results) -> Path:
    """``results/released`` with the tables of the archive."""
    return released_results


@pytest.fixture(scope="module")
def frames(results) -> dict[str, pd.DataFrame]:
    """The released tables as frames. Shared: read-only."""
    return {table: read_tables(results, None, table) for table in TABLES}


@pytest.fixture(scope="module")
def release(released_archive, census) -> Release:
    """What is known beside the rows."""
    from dualgrad.ingest import read_manifest

    return Release(released_archive, list(read_manifest(ROOT)), census.runs)


@pytest.fixture(scope="module")
def tables(results) -> Tables:
    """The released tables."""
    return Tables.read(results)


@pytest.fixture(scope="module")
def measured(ledger, tables, release) -> Report:
    """All claims on the released tables."""
    return measure_all(ledger, tables, release)


# ------------------------------------------------------------------------------------------------- the ledger


def test_every_claim_of_the_ledger_is_there_once(ledger, known) -> None:
    assert [claim.id for claim in ledger.claims if claim.id not in known] == []
    assert len(ledger.claims) == len(known) == 466
    assert {claim.id for claim in ledger.claims} == set(known)


def test_a_claim_counts_once_in_each_document_that_prints_it(ledger) -> None:
    def of(*codes: str) -> int:
        return sum(bool(set(codes) & set(claim.documents)) for claim in ledger.claims)

    figures = [f"Figure {number}" for number in range(1, 6)]
    extended = [f"ED {number}" for number in range(1, 9)]
    assert [of("root"), of("v4.1"), of("v2"), of("v3.1")] == [22, 33, 112, 164]
    assert [of(*figures), of(*extended)] == [101, 102]


def test_twenty_conclusions(ledger) -> None:
    assert len(ledger.conclusions) == 20
    caption = (ROOT / "workflow" / "report" / "claims.rst").read_text(encoding="utf-8")
    assert "twenty conclusions" in " ".join(caption.split())
    for one in ledger.conclusions:
        assert one.values and one.claims


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("experiments: [K]", "experiments: [KK]"), "no experiment 'KK'; did you mean 'K'?"),
        (
            ("field: convergence_epoch", "field: convergence_epochs"),
            "no column in table runs: 'convergence_epochs'",
        ),
        (("function: dip_p,", "function: dipp,"), "no function 'dipp'"),
        (
            ("take: [argmax, argmax_at_edge]", "take: [argmax, argmax_at_edges]"),
            "no way to take 'argmax_at_edges'",
        ),
        (("rows: watch-46", "rows: watch-47"), "no row set 'watch-47'"),
        (("series: [A-Q, R-W, X", "series: [A-Q, R-V, X"), "no series 'R-V'"),
        (("id: ed8b-drift", "id: ed8b-034-036"), "two claims have this id"),
        (("places: [ED 8 § b]", "places: [ED 9 § b]"), "no document 'ED 9'"),
        (("caveat: pooling", "caveat: poling"), "expected"),
        (("statistic: var", "statistc: var"), "unknown key 'statistc'; did you mean 'statistic'?"),
        (("census-total, census-a-q,", "census-totals, census-a-q,"), "no claim 'census-totals'"),
    ],
)
def test_a_slip_in_the_ledger_is_refused_with_its_place(workspace, census, change, message) -> None:
    path = workspace / "config" / "claims.yaml"
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ClaimsError, match=re.escape(message)) as caught:
        load_ledger(workspace, census.experiments)
    assert "config/claims.yaml" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("step: 1\n      measure: {rows: traps", "measure: {rows: traps"), "needs a criterion"),
        (
            ("measure: {rows: traps", "untestable: why\n      measure: {rows: traps"),
            "exactly one of measure, readings",
        ),
    ],
)
def test_a_claim_needs_digits_or_a_criterion_and_one_way_to_measure(
    workspace, census, change, message
) -> None:
    path = workspace / "config" / "claims.yaml"
    text = path.read_text(encoding="utf-8")
    assert change[0] in text
    path.write_text(text.replace(*change), encoding="utf-8")
    with pytest.raises(ClaimsError, match=message):
        load_ledger(workspace, census.experiments)


# ------------------------------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("value", "printed", "step", "verdict"),
    [
        (38.40, 38.4, 0.1, "reproduced"),
        (11.217, 11.2, 0.1, "reproduced"),
        (0.18155, 0.1815, 0.0001, "reproduced"),  # a tie rounds either way
        (62.248, 62.3, 0.1, "close"),
        (15.615, 15.5, 0.1, "close"),
        (7.711, 8.0, 0.1, "not_reproduced"),
        (150, 151, 1, "close"),
        (300, 305, 1, "not_reproduced"),
        (5.325e-5, 5.3e-5, 1e-6, "reproduced"),
        (-0.7703, -0.77, 0.01, "reproduced"),
        (None, 1, 1, "not_reproduced"),
    ],
)
def test_rounding_rule(value, printed, step, verdict) -> None:
    assert verdicts.by_rounding([value], [printed], step) == verdict


def test_the_worst_of_several_numbers_decides() -> None:
    assert verdicts.by_rounding([50.51, 56.46], [51, 57], 1) == "close"
    assert verdicts.by_rounding([45.0, 90.0], [10, 90], 1) == "not_reproduced"
    assert verdicts.by_rounding([1.0], [1.0, 2.0], 1) == "not_reproduced"


def test_readings_join_to_a_verdict() -> None:
    assert verdicts.joined([True, True]) == "reproduced"
    assert verdicts.joined([True, False, None]) == "ambiguous"
    assert verdicts.joined([False, None]) == "not_reproduced"
    assert verdicts.joined([None]) == "not_testable"


def test_criteria() -> None:
    assert verdicts.fulfils([0.1, 0.2], {"below": 0.3, "above": 0.0})
    assert not verdicts.fulfils([None], {"below": 0.3})
    assert verdicts.fulfils([3, 3], {"complete": True}) and not verdicts.fulfils([2, 3], {"complete": True})
    assert verdicts.fulfils([3, 2, 1], {"decreasing": True}) and not verdicts.fulfils(
        [3, 3], {"decreasing": True}
    )
    assert verdicts.fulfils([1, 0.5], {"each": [{"equal": 1}, {"between": [0, 1]}]})
    assert verdicts.fulfils([108], {"about": 100}) and not verdicts.fulfils([111], {"about": 100})
    assert verdicts.fulfils(["a", "b"], {"equal": ["a", "b"]}) and not verdicts.fulfils(
        ["a"], {"equal": ["a", "b"]}
    )
    assert verdicts.fulfils([52.9, 53.3, 37.3], {"falls_by": 5}) and verdicts.fulfils([None], {"none": True})


# ------------------------------------------------------------------------------------------------- measures


def test_vocabulary_on_rows_that_can_be_checked_by_hand() -> None:
    frame = pd.DataFrame(
        {
            "lam": [0.1, 0.1, 0.2, 0.2, 0.3, 0.3],
            "noise_rate": [0.4, 0.8] * 3,
            "test_error": [0.1, 0.5, 0.2, 0.6, 0.4, 0.9],
        }
    )
    measurer = Measurer(
        made_up_tables(frame),
        {"low": {"experiments": ["A"], "where": {"noise_rate": 0.4}}},
        functions.FUNCTIONS,
    )

    def value(**node) -> list:
        return measurer.measure({"experiments": ["A"], **node})

    assert value(statistic="count") == [6]
    assert value(where={"noise_rate": 0.4}, unit="%") == [pytest.approx(70 / 3)]
    assert value(over="lambda", where={"noise_rate": 0.4}) == [0.1, 0.2, 0.4]
    assert value(over="lambda", where={"noise_rate": 0.4}, levels=[0.3, 0.1]) == [0.4, 0.1]
    assert value(statistic="share", which={"test_error": {"below": 0.5}}) == [0.5]
    assert value(
        over="lambda", difference=[{"where": {"noise_rate": 0.8}}, {"where": {"noise_rate": 0.4}}], take="max"
    ) == [0.5]
    assert value(over="lambda", where={"noise_rate": 0.4}, take={"crossing": 0.3}) == [pytest.approx(0.25)]
    assert value(over="lambda", take=["argmax", "argmax_at_edge"], unit="%") == [0.3, True]
    assert value(parts=[{"statistic": "min"}, {"statistic": "max"}], unit="%") == [10.0, 90.0]
    assert value(parts=[{"where": {"noise_rate": 0.4}}, {"where": {"noise_rate": 0.8}}], then="span")[
        0
    ] == pytest.approx(0.7 / 3)
    assert measurer.measure({"rows": "low", "statistic": "max"}) == [0.4]
    assert value(reduction=[{"where": {"noise_rate": 0.4}}, {"where": {"noise_rate": 0.8}}]) == [
        pytest.approx(1 - 0.7 / 2)
    ]
    with pytest.raises(MissingError, match="no rows at lambda 0.4"):
        value(over="lambda", levels=[0.4])
    with pytest.raises(MissingError, match="no rows: A · η 0.5"):
        value(where={"noise_rate": 0.5})
    with pytest.raises(MissingError, match="no runs of B"):
        measurer.measure({"experiments": ["B"]})


def made_up_tables(runs: pd.DataFrame, trajectories: pd.DataFrame | None = None) -> Tables:
    """Tables of one experiment A from a few columns."""
    from dualgrad.tables.read import to_frame
    from dualgrad.tables.schema import arrow_schema

    made = {}
    for table in TABLES:
        made[table] = to_frame(arrow_schema(table).empty_table())
        given = {"runs": runs, "trajectories": trajectories}.get(table)
        if given is not None:
            keys = {"edition": "made-up", "series": "A-Q", "experiment": "A"}
            names = pd.Series([f"run{number}" for number in range(len(given))])
            made[table] = made[table].reindex(range(len(given))).assign(**{"run": names, **given, **keys})
    return tables_of(made)


def tables_of(frames: dict[str, pd.DataFrame]) -> Tables:
    return Tables(edition.Tables.of_frames(frames))


def test_ways_to_take() -> None:
    series = Series([0.1, 0.2, 0.3, 0.4], [0.5, 0.2, 0.4, 0.9])
    assert take(series, {"first_above_after_minimum": 0.45}) == 0.4
    assert take(series, {"first_above": 0.45}) == 0.1
    assert math.isnan(take(series, {"first_above": 1}))
    assert take(series, "doubling") == pytest.approx(0.3)
    assert take(series, {"lowest": 2}) == [0.2, 0.3]
    assert take(series, {"slope_at": 0.5}) == pytest.approx(5.0)
    assert take(series, {"steepest": "end"}) == 0.4
    assert take(Series([1, 2, 3], [3.0, 2.0, 1.0]), {"falling_crossing": 1.5}) == 2.5
    assert take(Series([1, 2, 3], [3.0, 2.0, 1.0]), "spearman") == pytest.approx(-1)
    for how in ("argmax", "steepness", {"crossing": 0.1}):
        with pytest.raises(MissingError):
            take(Series([], []), how)


def test_stays_in_the_trap_and_the_collapse_rule() -> None:
    def run(name: str, errors: list[float], lams: list[float]) -> pd.DataFrame:
        return pd.DataFrame(
            {"run": name, "test_error": errors, "lam": lams, "epoch": range(1, len(errors) + 1)}
        )

    moved = [0.6, 0.6, 0.6, 0.5, 0.5]
    frame = pd.concat(
        [
            run("stays", [0.9] * 5, [0.6] * 5),
            run("leaves", [0.9, 0.9, 0.9, 0.8, 0.7], moved),
            run("returns", [0.9, 0.9, 0.9, 0.8, 0.9], [0.6] * 5),
            run("never", [0.3, 0.41, 0.42, 0.43, 0.2], moved),
        ],
        ignore_index=True,
    )
    made = made_up_tables(pd.DataFrame({"test_error": [0.5]}), frame)
    measurer = Measurer(made, {}, functions.FUNCTIONS)
    node = {"experiments": ["A"], "table": "trajectories"}
    give = ["all", "left", "ended", "constant", "lowest"]
    stays = {"function": "plateaus", **node, "with": {"length": 3, "give": give}}
    assert measurer.measure(stays) == [3, 2, 1, 1, 0.7]
    rule = {"function": "sustained", **node, "with": {"level": 0.4, "consecutive": 3}}
    assert measurer.measure(rule) == [4]
    assert measurer.measure({**rule, "with": {"level": 0.4, "consecutive": 4}}) == [3]
    assert measurer.measure({"function": "first_epoch", **node, "with": {"level": 0.85}}) == [
        pytest.approx(3.0)
    ]


def test_dip_test_against_the_packages_own_p() -> None:
    import diptest

    random = np.random.default_rng(1)
    one = random.normal(size=60)
    two = np.concatenate([random.normal(-3, 1, 30), random.normal(3, 1, 30)])
    for sample in (one, two):
        dip, p = functions.dip_test(sample)
        other_dip, other_p = diptest.diptest(sample)
        assert dip == pytest.approx(other_dip)
        assert p == pytest.approx(other_p, abs=0.03)
    assert functions.dip_test(two)[1] < 0.01 < functions.dip_test(one)[1]


def test_paired_differences_against_scipy() -> None:
    from scipy import stats

    random = np.random.default_rng(2)
    a, b = random.random(20), random.random(20)
    frame = pd.DataFrame({"seed": [*range(20)] * 2, "lam": [0.1] * 20 + [0.2] * 20, "test_error": [*a, *b]})
    measurer = Measurer(made_up_tables(frame), {}, functions.FUNCTIONS)
    between = [{"where": {"lambda": 0.1}}, {"where": {"lambda": 0.2}}]
    node = {
        "function": "paired",
        "experiments": ["A"],
        "with": {"between": between, "give": ["mean", "low", "high", "p"]},
    }
    test = stats.ttest_rel(a, b)
    interval = test.confidence_interval()
    expected = [(a - b).mean(), interval.low, interval.high, test.pvalue]
    assert measurer.measure(node) == pytest.approx(expected)
    p = {"function": "p_value", "experiments": ["A"], "with": {"between": between, "kind": "student"}}
    assert measurer.measure(p) == [pytest.approx(stats.ttest_ind(a, b).pvalue)]


def test_parameters_of_a_resnet18() -> None:
    from dualgrad.models import build_model

    spec = {"name": "resnet18_own", "width": 1.0}
    model = build_model(spec, 10, 0)
    counted = functions.resnet18_parameters(None, {}, 10)
    assert counted * 1e6 == sum(parameter.numel() for parameter in model.parameters())


def test_a_complete_clone_answers_what_is_about_its_files(
    measured, ledger, tables, census, released_archive, tmp_path
) -> None:
    """All verdicts that differ between the two forms of the archive, and no others."""
    from dualgrad.ingest import read_manifest

    paper = complete_clone.build(released_archive, tmp_path)
    whole = measure_all(ledger, tables, Release(paper, list(read_manifest(ROOT)), census.runs))
    assert (measured.form, whole.form) == ("results", "complete")
    assert list(whole.counts().values()) == [378, 9, 40, 31, 8]
    changed = {
        name: result.verdict
        for name, result in whole.results.items()
        if result.verdict != measured.results[name].verdict
    }
    assert changed == {
        "contract-a100": "not_reproduced",
        "figure-files": "reproduced",
        "archive-7-notebooks": "reproduced",
        "archive-tb2-v2-empty": "reproduced",
        "repo-layout": "not_reproduced",
    }
    texts = {name: result.measured for name, result in whole.results.items()}
    assert "notebooks that set it: 51 of 86 [disagrees]" in texts["contract-cudnn"]
    assert "notebooks that set it: 0 of 86 [disagrees]" in texts["contract-float64"]
    assert texts["archive-tb2-v2-empty"] == "1 result file with 0 rows"
    assert "a complete clone" in whole.composition()
    assert [*whole.counts().values(), 466] == read_numbers(ROOT, "complete")["verdicts"]


# ------------------------------------------------------------------------------------------------- the published data


def test_verdicts_agree_with_the_ledger(measured, known) -> None:
    found = {name: result.verdict for name, result in measured.results.items()}
    differ = {name: verdict for name, verdict in found.items() if known[name]["verdict"] not in ("", verdict)}
    assert differ == dict.fromkeys(NOT_IN_THE_RESULT_FILES, "not_testable")


def test_rows_that_the_ledger_leaves_open_are_measured(measured, known) -> None:
    left = [name for name, row in known.items() if not row["verdict"]]
    assert len(left) == 40
    untested = {name for name in left if measured.results[name].verdict == "not_testable"}
    assert untested == OPEN_AND_NOT_IN_THE_RESULT_FILES


def test_counts(measured) -> None:
    # The ledger's 379, 9, 39, 32 and 7, less the six claims that need other files than the result files.
    assert list(measured.counts().values()) == [375, 9, 38, 31, 13]


def test_numbers_kept_for_the_documents_are_those_of_the_archive(
    measured, ledger, tables, release, census
) -> None:
    sentences = load_sentences(ROOT, ledger, census.experiments)
    found = measure_sentences(sentences, "released", ledger, tables, release, measured.results)
    assert found == read_numbers(ROOT, "released"), "run dualgrad numbers released --fix"


def test_numbers_and_statements_are_told_apart(measured) -> None:
    assert composition_of(measured.results.values()) == {
        "claims": 466,
        "numbers": 343,
        "statements": 123,
        "reproduced": 375,
        "numbers_reproduced": 310,
        "statements_reproduced": 65,
        "with_caveat": 175,
    }
    assert "343 print a number (310 reproduced), 123 are statements" in measured.composition()
    assert "its result files, without notebooks and pictures" in measured.composition()


def test_copies_and_failed_starts_are_counted_as_trainings(measured) -> None:
    text = {one.title: one.text for one in measured.conclusions}["The run counts add up"]
    assert "Among them are 73 copies" in text
    assert "2 rows are a start that missed its gate, one training (seed 49)" in text


def test_grids_of_the_variance(measured) -> None:
    text = next(one.text for one in measured.conclusions if "maximum of the variance" in one.title)
    assert "Of 26 grids" in text and "at the last λ in 15, inside in 9 and at the first λ in 2" in text
    # Fifteen of the grids have three runs at a λ, of which no two samples differ at .05.
    assert "Only 11 of them have enough runs" in text and "in 9 of these they do not" in text
    assert "In 2 of the 15 runs at exactly 90% make the edge" in text


def test_the_loops_pairs_of_epochs(measured) -> None:
    text = next(one.text for one in measured.conclusions if "Q2 shows it better" in one.title)
    assert "(epochs 2 and 60, 6 and 56)" in text


def _numbers(text: str) -> list[tuple[float, float]]:
    """Numbers of a text, each with half a unit of its last digit."""
    found = re.findall(r"-?\d+(?:\.(\d+))?(?:e([-+]\d+))?", text)
    whole = re.findall(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?", text)
    return [
        (float(number), 0.5 * 10.0 ** (int(power or 0) - len(digits)))
        for number, (digits, power) in zip(whole, found, strict=True)
    ]


def test_numbers_agree_with_those_of_the_ledger(measured, known) -> None:
    """Measured numbers against numbers that others computed from the same rows."""
    compared, wrong = 0, []
    for name, result in measured.results.items():
        expected = _numbers(known[name]["recomputed"])
        if result.claim.id in ("cfg-seeds-3-10", "v2-ratio-1-10"):  # written as a range, and as fractions
            continue
        values = [value for value in result.values if isinstance(value, int | float)]
        if result.claim.step is None or not result.values or len(expected) != len(values):
            continue
        compared += len(values)
        if any(
            abs(value - number) > half + 1e-9 for value, (number, half) in zip(values, expected, strict=True)
        ):
            wrong.append(name)
    assert not wrong
    assert compared > 600


def test_conclusions_have_their_numbers(measured) -> None:
    for one in measured.conclusions:
        assert one.complete, one.title
        assert "n/a" not in one.text
        assert len(re.findall(r"\d", one.text)) > 20
        assert not re.search(r"[{}]", one.text)
    texts = {one.title: one.text for one in measured.conclusions}
    assert "1773, 1273, 790 and 80 runs, 3916 in all" in texts["The run counts add up"]
    assert "Of 426 sets" in texts["Opposite ends from equal conditions are rare"]
    shrinks = texts["In text the effect of time holds, that of the path shrinks"]
    assert "+2.7 [1.6, 3.7]" in shrinks and "+4.0 [2.5, 5.5]" in shrinks


def test_words_of_measures_are_filled_in(measured) -> None:
    for name, result in measured.results.items():
        for words in (result.words, *(one.words for one in result.readings)):
            assert not re.search(r"\{\w*\}", words), f"{name}: {words}"


def test_notes_are_filled_in(measured) -> None:
    for name, result in measured.results.items():
        assert "n/a" not in result.note, name
        assert not re.search(r"[{}]", result.note + result.measured), name


def test_no_measured_number_stands_in_the_ledger(ledger) -> None:
    """Prose quotes what is measured by a measure's name, so no long number stands in it."""
    prose = [text for claim in ledger.claims for text in (claim.says, claim.note, claim.untestable or "")]
    prose += [one.text for one in ledger.conclusions]
    assert set(re.findall(r"\d+\.\d{3,}", " ".join(prose))) <= {"0.0005"}  # the weight decay as printed


# ------------------------------------------------------------------------------------------------- falsified tables


ERRORS = [
    *("test_error", "best_error", "init_error", "error", "ordered_init_error", "collapse_init_error"),
    *("ordered_final_error", "collapse_final_error", "final_gap"),
]
OTHERS = [
    *("avg_cos", "cos_mean", "cos_struct_value", "cos_struct_value_mean", "first_cos", "threshold_lambda"),
    *(
        "convergence_epoch",
        "cos_target",
        "lr",
        "lr_mult",
        "clean_ratio",
        "width_mult",
        "hold_epochs",
        "epochs",
    ),
    *("epoch", "stage_epoch", "n_steps"),
]


def _scaled_errors(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.assign(**{name: frame[name] * 1.1 + 0.02 for name in ERRORS if name in frame})


def _other_numbers(frame: pd.DataFrame) -> pd.DataFrame:
    changed = {name: frame[name] for name in OTHERS if name in frame}
    return frame.assign(
        **{name: one * 1.1 if one.dtype == float else one + 2 for name, one in changed.items()}
    )


def _turned_lambda(frame: pd.DataFrame) -> pd.DataFrame:
    """λ in the reverse order of rows within each experiment."""
    names = [name for name in ("lam",) if name in frame]
    turned = {
        name: frame.groupby("experiment")[name].transform(lambda one: one.to_numpy()[::-1]) for name in names
    }
    return frame.assign(**turned)


def _exchanged_eta(frame: pd.DataFrame) -> pd.DataFrame:
    other = {0.4: 0.8, 0.8: 0.4, 0.2: 0.6, 0.6: 0.2}
    return frame.assign(**{name: frame[name].replace(other) for name in ("noise_rate",) if name in frame})


def _fewer_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Without every tenth run, the same ones in all tables."""
    names = frame["experiment"] + "/" + frame["run"]
    return frame[[zlib.crc32(name.encode()) % 10 > 0 for name in names]]


FALSIFIED: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "errors": _scaled_errors,
    "others": _other_numbers,
    "lambda": _turned_lambda,
    "eta": _exchanged_eta,
    "runs": _fewer_runs,
}


@pytest.fixture(scope="module")
def falsified(ledger, frames, release) -> dict[str, Report]:
    """All claims on falsified tables, without the conclusions, which no verdict rests on."""
    claims = replace(ledger, conclusions=[])
    return {
        name: measure_all(
            claims, tables_of({table: change(frame) for table, frame in frames.items()}), release
        )
        for name, change in FALSIFIED.items()
    }


def leaves(node: Mapping) -> Iterator[Mapping]:
    """The measures inside a measure that read rows."""
    if "parts" in node:
        for part in parts_of(node):
            yield from leaves(part)
        return
    kind = next((key for key in ("difference", "ratio", "reduction") if key in node), None)
    inner = node[kind] if kind else node.get("with", {}).get("between", ()) if "function" in node else ()
    if not inner:
        yield node
    outer = {key: value for key, value in node.items() if key not in (kind, "take", "function", "with")}
    for one in inner:
        yield from leaves(measure.inherit(outer, one))


def _numeric(measured: Report) -> list[str]:
    """Claims about numbers that hold, and whose rows can be falsified."""
    return [
        name
        for name, result in measured.results.items()
        if result.claim.step is not None
        and result.claim.measure is not None
        and result.verdict in ("reproduced", "close")
        and result.used
    ]


def _changed(measured: Report, falsified: dict[str, Report], name: str, kinds: list[str]) -> bool:
    return any(falsified[kind].results[name].verdict != measured.results[name].verdict for kind in kinds)


def test_falsified_errors_change_the_verdicts_that_rest_on_errors(measured, falsified) -> None:
    def on_errors(name: str) -> bool:
        nodes = list(leaves(measured.results[name].claim.measure))
        counts = ("count", "share", "levels", "distinct")
        return any(
            measure.field_of(node) in ERRORS
            and node.get("statistic") not in counts
            and "function" not in node
            for node in nodes
        )

    dependent = [name for name in _numeric(measured) if on_errors(name)]
    held = [name for name in dependent if not _changed(measured, falsified, name, ["errors"])]
    assert len(dependent) > 140
    assert len(held) <= 0.1 * len(dependent), held


def test_missing_runs_change_the_verdicts_that_rest_on_counts(measured, falsified) -> None:
    def counts(name: str) -> bool:
        return any(node.get("statistic") == "count" for node in leaves(measured.results[name].claim.measure))

    large = [
        name
        for name in _numeric(measured)
        if counts(name) and max(map(float, measured.results[name].values)) >= 20
    ]
    held = [name for name in large if not _changed(measured, falsified, name, ["runs"])]
    assert len(large) > 50
    assert len(held) <= 0.1 * len(large), held


def test_falsified_tables_change_nine_in_ten_numeric_claims(measured, falsified) -> None:
    dependent = _numeric(measured)
    held = [name for name in dependent if not _changed(measured, falsified, name, list(FALSIFIED))]
    assert len(dependent) > 300
    assert len(held) <= 0.1 * len(dependent), held


# ------------------------------------------------------------------------------------------------- other editions


@pytest.fixture(scope="module")
def elsewhere(ledger, frames, census) -> Callable[..., tuple[Report, Tables]]:
    """Measures the claims on the released rows as if they were another edition's, changed."""

    def on(change: Callable[[pd.DataFrame], pd.DataFrame]) -> tuple[Report, Tables]:
        made = tables_of({table: change(frame.assign(edition="demo")) for table, frame in frames.items()})
        return measure_all(ledger, made, Release(None, (), census.runs)), made

    return on


GONE = ["A", "K", "S2", "Td2", "R3a", "W1", "Y1A"]


@pytest.fixture(scope="module")
def incomplete(elsewhere) -> tuple[Report, Tables]:
    """What another edition gives that lacks some experiments."""
    return elsewhere(lambda frame: frame[~frame["experiment"].isin(GONE)])


def test_missing_experiments_make_claims_not_testable(incomplete, measured) -> None:
    found, _ = incomplete
    assert found.edition == "demo"
    for name in ("f1b-exp-a-curve", "slowing-lam0.47", "f3c-design", "f4c-h", "y-time-effect"):
        assert found.results[name].verdict == "not_testable"
        assert found.results[name].reason.startswith("not in this edition: ")
    for name in ("f1b-m2-curve", "f5d-y1b", "t13-survival"):
        assert found.results[name].verdict == measured.results[name].verdict
    partial = [one for one in found.conclusions if not one.complete]
    assert partial and all("n/a" in one.text for one in partial)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("share", [0.0, 0.005, 0.05, 0.4])
def test_no_table_crashes_the_measures(elsewhere, share) -> None:
    random = np.random.default_rng(3)
    found, made = elsewhere(lambda frame: frame[random.random(len(frame)) < share])
    assert len(found.results) == 466
    report.page_data(found, made)


def test_what_an_experiment_lacks_is_looked_for_once(results, tables, monkeypatch) -> None:
    read: list[tuple[str, ...]] = []
    whole = edition.Tables.table

    def table(self, name):
        read.append((*self.experiments, name))
        return whole(self, name)

    monkeypatch.setattr(edition.Tables, "table", table)
    assert "A" not in tables._tables["steps"].places
    for _ in range(2):
        with pytest.raises(MissingError, match="no steps of A"):
            tables.rows("steps", ["A"])
    assert len(read) <= 1


def test_other_editions_say_so(incomplete) -> None:
    found, made = incomplete
    text = report.markdown(found)
    assert "This is edition demo, not the published data" in text
    assert "Written for the published data" in text
    assert found.conclusions[0].text not in text  # prose is for the published data
    page = report.html(found, made)
    assert "This is edition demo, not the published data" in page
    # What is about the release itself cannot be asked of a trained edition.
    folders = found.results["v2-result-folders"]
    assert folders.verdict == "not_testable" and not [name for name in GONE if name in folders.reason.split()]


def test_a_format_writes_one_or_several_values() -> None:
    filler = Filler({"a": [1.25, 2.5], "b": [7], "c": None, "d": [0.0]})
    assert filler.vformat("{a:.1f}, {a[1]:.2f}, {b}", (), {}) == "1.2 and 2.5, 2.50, 7"
    assert filler.vformat("{d:+.1f} {a[5]:.1f}", (), {}) == "+0.0 n/a"
    assert not filler.complete


# ------------------------------------------------------------------------------------------------- files and command


@pytest.fixture(scope="module")
def written(measured, tables, tmp_path_factory) -> Path:
    """Folder with claims.parquet, claims.md and claims.html of the released edition."""
    folder = tmp_path_factory.mktemp("claims")
    report.write(measured, tables, folder)
    return folder


def test_parquet(written, measured) -> None:
    table = pq.read_table(written / "claims.parquet").to_pandas().set_index("id")
    assert len(table) == 466
    row = table.loc["gap-22-53"]
    assert row["verdict"] == "reproduced" and row["printed_values"].tolist() == [22.0, 53.0]
    assert row["measured_values"] == pytest.approx([22.26, 53.33], abs=0.01)
    assert set(row["experiments"]) == {"R1a", "R1b", "Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1"}
    assert table.loc["census-total", "runs"] == 3916
    assert len(table.loc["ddof-zero", "readings"]) == 3


def test_the_same_claims_give_the_same_bytes(written, measured, tables, tmp_path) -> None:
    for path in report.write(measured, tables, tmp_path):
        assert path.read_bytes() == (written / path.name).read_bytes()


def test_markdown(written, measured) -> None:
    text = (written / "claims.md").read_text(encoding="utf-8")
    for name in measured.results:
        assert f"| `{name}` " in text
    for one in measured.conclusions:
        assert one.text in text
    for line in text.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 6, line


def test_page_is_small_and_alone(written) -> None:
    text = (written / "claims.html").read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    assert not re.search(r"(?:src|href)=[\"'](?:https?:)?//", text)
    assert "default-src 'none'" in text


def test_command(results, written, tmp_path, capsys) -> None:
    def command(*words: str) -> str:
        assert (
            main(["claims", "--edition", "released", "--root", str(ROOT), "--tables", str(results), *words])
            == 0
        )
        return capsys.readouterr().out

    assert re.search(r"all claims +375 +9 +38 +31 +13 +466", command("--output", str(tmp_path)))
    shown = command("ce-eta04", "census-y", "--runs")
    assert "ce-eta04: reproduced" in shown and "measured    38.40%" in shown
    assert "C/ce_lam0_eta0.4_seed0  0.3847" in shown
    assert shown.endswith("2 claims (2 reproduced)\n")
    content = json.loads(command("--json", "--document", "Figure 1", "--verdict", "not_reproduced"))
    assert (
        content["edition"] == "released"
        and content["counts"]["not_reproduced"] == len(content["claims"]) == 2
    )
    for name in ("claims.parquet", "claims.md", "claims.html"):
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_command_refuses_unknown_names(capsys) -> None:
    assert main(["claims", "ce-eta4", "--root", str(ROOT)]) == 2
    assert "ce-eta4" in (error := capsys.readouterr().err) and "did you mean 'ce-eta04'?" in error
    assert main(["claims", "--document", "Figure1", "--root", str(ROOT)]) == 2
    assert "did you mean 'Figure 1'?" in capsys.readouterr().err


def test_command_says_which_table_is_missing(tmp_path, capsys) -> None:
    assert main(["claims", "--root", str(ROOT), "--tables", str(tmp_path)]) == 1
    assert "runs.parquet" in capsys.readouterr().err


def test_the_archive_that_was_ingested_is_remembered(
    results, released_archive, tmp_path, monkeypatch, capsys
) -> None:
    """Without the archive, claims about its files are not testable: then the option is named."""
    for name in ("config", "src", "workflow"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "Snakefile").touch()
    monkeypatch.delenv(ENVIRONMENT, raising=False)
    folder = tmp_path / "released"
    (folder / "tables").mkdir(parents=True)
    for path in (results / "tables").iterdir():
        (folder / "tables" / path.name).symlink_to(path)

    def command(*words: str) -> tuple[int, str, str]:
        code = main(
            ["claims", "--edition", "released", "--root", str(tmp_path), "--tables", str(folder), *words]
        )
        return code, *capsys.readouterr()

    _, out, err = command("xcfg-i-k1")
    assert "1 not testable" in out and "released_archive=PATH" in err
    remember_archive(folder / "tables" / "parts", released_archive)
    _, out, err = command("xcfg-i-k1")
    assert "1 reproduced" in out and not err
    code, out, err = command("xcfg-i-k1", "--config", f"released_archive={tmp_path / 'nowhere'}")
    assert code == 1 and not out and "nowhere: no folder" in err


def test_target(tmp_path) -> None:
    words = ["claims", "--dry-run", "--quiet", "rules", "--cores", "1", "--config", "edition=released"]
    done = snakemake(copy_workflow(tmp_path), *words)
    assert done.returncode == 0, done.stdout
    jobs = planned(done.stdout)
    assert jobs["measure_claims"] == jobs["merge_tables"] == 1


# ------------------------------------------------------------------------------------------------- in a browser


@pytest.fixture
def page(browser, written):
    """The page, ready; after the test nothing may have gone wrong in it."""
    with open_page(browser, (written / "claims.html").as_uri()) as one:
        wait(one, "document.querySelectorAll('.row').length === 466")
        yield one


def ids(page, count: int | None = None) -> list[str]:
    """Claims that are shown, in order."""
    shown = page.evaluate("[...document.querySelectorAll('.row')].map(one => one.id)")
    return shown if count is None else shown[:count]


def choose(page, name: str, value: str) -> None:
    """Choose in a list, as a person does: the page hears of it."""
    one = f"document.getElementById('{name}')"
    page.evaluate(f"{one}.value = '{value}'; {one}.dispatchEvent(new Event('change'))")


def test_page_shows_all_claims_and_counts(page, measured) -> None:
    assert ids(page) == list(measured.results)
    tiles = page.evaluate("[...document.querySelectorAll('#tiles b')].map(one => Number(one.textContent))")
    assert tiles == list(measured.counts().values())
    assert page.evaluate("document.querySelectorAll('#conclusions li').length") == 20
    page.click("#every")
    text = page.evaluate("document.getElementById('conclusions').innerText")
    for one in measured.conclusions:
        assert one.text in re.sub(r"\s+", " ", text)


def test_page_sorts(page, measured) -> None:
    def column(result) -> float:
        return abs(result.difference) / result.claim.step if result.difference is not None else math.nan

    page.click("th[data-sort=units] button")
    assert (
        page.evaluate("document.querySelector('th[data-sort=units]').getAttribute('aria-sort')")
        == "ascending"
    )
    page.click("th[data-sort=units] button")
    assert (
        page.evaluate("document.querySelector('th[data-sort=units]').getAttribute('aria-sort')")
        == "descending"
    )
    values = [column(measured.results[name]) for name in ids(page)]
    numbers = [value for value in values if not math.isnan(value)]
    assert all(math.isnan(value) for value in values[len(numbers) :])  # what has no difference comes last
    assert [round(value, 3) for value in numbers] == sorted(
        (round(value, 3) for value in numbers), reverse=True
    )
    page.click("th[data-sort=verdict] button")
    shown = [verdicts.VERDICTS.index(measured.results[name].verdict) for name in ids(page)]
    assert shown == sorted(shown)


def test_page_filters(page, measured) -> None:
    def expected(test: Callable) -> list[str]:
        return [name for name, result in measured.results.items() if test(result)]

    page.click("#tiles button[data-verdict=not_reproduced]")
    assert ids(page) == expected(lambda one: one.verdict == "not_reproduced")
    choose(page, "document", "ED 5")
    assert ids(page) == expected(
        lambda one: one.verdict == "not_reproduced" and "ED 5" in one.claim.documents
    )
    assert page.evaluate("document.getElementById('shown').textContent") == "2 of 466 claims"
    page.click("#reset")
    assert len(ids(page)) == 466
    choose(page, "topic", "traps")
    choose(page, "caveat", "definition")
    assert ids(page) == expected(lambda one: one.claim.topic == "traps" and one.claim.caveat == "definition")
    choose(page, "topic", "")
    choose(page, "caveat", "")
    page.keyboard.press("/")
    page.keyboard.insert_text("zebra")
    assert ids(page) == []
    assert page.evaluate("!document.getElementById('nothing').hidden")
    page.evaluate("document.getElementById('search').select()")
    page.keyboard.insert_text("coexistence width")
    assert 0 < len(ids(page)) < 10
    assert page.evaluate("document.activeElement.id") == "search"


def test_page_opens_the_runs_of_a_claim(page, tables) -> None:
    page.evaluate("document.getElementById('aligned-eta04').scrollIntoView()")
    page.click("#aligned-eta04 .open")
    assert (
        page.evaluate("document.querySelector('#aligned-eta04 .open').getAttribute('aria-expanded')")
        == "true"
    )
    facts = page.evaluate("document.querySelector('.detail').innerText")
    for words in ("11.2%", "11.22%", "selection", "A · η 0.4 · λ 0.35"):
        assert words in facts
    page.click(".detail .runs summary")
    wait(page, "document.querySelectorAll('.detail .runs li').length === 3")
    texts = "one => [...one.children].map(part => part.textContent)"
    runs = page.evaluate(f"[...document.querySelectorAll('.detail .runs li')].map({texts})")
    rows = tables.rows("runs", ["A"]).choose({"noise_rate": 0.4, "lambda": 0.35})
    assert [(name, float(value)) for name, value in runs] == [
        (name, pytest.approx(value)) for name, value in zip(rows["run"], rows["test_error"], strict=True)
    ]
    link = page.evaluate("document.querySelector('.detail .runs li a').getAttribute('href')")
    assert link == f"explorer.html#run=A/{rows['run'][0]}"
    page.click("#aligned-eta04 .open")
    assert page.evaluate("document.querySelectorAll('.detail').length") == 0


def test_page_opens_a_claim_by_its_address(browser, written) -> None:
    address = (written / "claims.html").as_uri() + "#variance-peak-vs-lambda"
    with open_page(browser, address, dark=True) as page:
        wait(page, "document.querySelectorAll('.detail').length === 1")
        readings = page.evaluate(
            "[...document.querySelectorAll('.readings .mark')].map(one => one.textContent.slice(2))"
        )
        assert readings == ["disagrees", "disagrees", "disagrees", "agrees"]
        page.click("#tiles button[data-verdict=reproduced]")
        page.evaluate("location.hash = '#repo-layout'")  # a claim that the filter hides
        wait(page, "document.querySelectorAll('#repo-layout').length === 1")
        assert len(ids(page)) == 466


def test_page_of_another_edition(browser, incomplete, tmp_path) -> None:
    report.write(*incomplete, tmp_path)
    with open_page(browser, (tmp_path / "claims.html").as_uri()) as page:
        wait(page, "document.querySelectorAll('.row').length === 466")
        assert "edition demo" in page.evaluate("document.title")
        assert "not the published data" in page.evaluate("document.querySelector('.banner').textContent")
        assert page.evaluate("document.querySelectorAll('#conclusions dl').length") == 20


def test_page_fits_its_window(page) -> None:
    for width in (1440, 800, 380):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_statistic_is_read_by_its_levels(tables, ledger) -> None:
    measurer = Measurer(tables, ledger.rows, functions.FUNCTIONS)
    wanted = {"name": "reruns", "quantity": "within_share", "level": {"lam_from": 0.45, "noise_rate": None}}
    measured = {"function": "statistic", "unit": "%", "with": {**wanted, "give": ["value", "low", "high"]}}
    assert measurer.measure(measured) == pytest.approx([92.9, 33.4, 100.0], abs=0.05)
    ratio = {"function": "statistic", "unit": "%", "with": {**wanted, "quantity": "rerun_ratio"}}
    assert measurer.measure(ratio) == pytest.approx([83.6], abs=0.05)  # the audit's 84 %
    with pytest.raises(MissingError, match="no within_share in the statistic reruns"):
        measurer.measure({"function": "statistic", "with": {**wanted, "level": {"lam_from": 0.31}}})
    with pytest.raises(ValueError, match="the statistic reruns has no quantity 'within_shar'; did you mean"):
        measurer.measure({"function": "statistic", "with": {**wanted, "quantity": "within_shar"}})
    with pytest.raises(ValueError, match="the statistic reruns has no column 'lam_fron'; did you mean"):
        measurer.measure({"function": "statistic", "with": {**wanted, "level": {"lam_fron": 0.45}}})
