"""Protocol cards: in step with the census, complete, and right in their numbers."""

from __future__ import annotations

import operator
import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
import yaml
from workflows import copy_workflow, snakemake

from dualgrad.census import load_census
from dualgrad.census.cards.document import document
from dualgrad.census.cards.experiments import card, counts, shared_groups
from dualgrad.census.cards.runs import network_words
from dualgrad.census.cards.words import blocks, grid, path, told_apart, values
from dualgrad.census.networks import PARAMETERS
from dualgrad.cli import main
from dualgrad.models import build_model

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "docs" / "protocols.md"


def runs_of(census, name: str) -> list[dict]:
    return [census.runs[target] for target in census.experiments[name]["runs"]]


# The document ----------------------------------------


def test_the_file_is_in_step_with_the_census(census) -> None:
    assert FILE.read_text(encoding="utf-8") == document(census), "run: dualgrad cards"


def test_the_sizes_of_the_data_are_those_of_their_entries(census) -> None:
    sst2 = census.datasets["sst2"]
    splits = sst2.splits | {"train": sst2.splits["train"].model_copy(update={"per_class": [1234, 5]})}
    changed = replace(census, datasets=census.datasets | {"sst2": sst2.model_copy(update={"splits": splits})})
    assert "**Text.** SST-2: 1,239 training sentences (1,234 negative, 5 positive)" in document(changed)


def test_every_experiment_has_a_card_and_a_link_to_it(census) -> None:
    text = FILE.read_text(encoding="utf-8")
    headings = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert sorted(heading.partition(":")[0] for heading in headings) == sorted(census.experiments)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    links = re.findall(r"^\| \[([\w-]+)\]\(#([^)]+)\)", text, re.MULTILINE)
    assert [name for name, _ in links] == list(census.experiments)
    assert {anchor for _, anchor in links} == anchors


def test_totals(census) -> None:
    total = counts(census, [run for run in census.runs.values() if run["counted"]])
    assert (total["runs"], total["trainings"]) == (3916, 3844)  # less 12 of D1 and D2, 40 of X2, 20 of Y1B
    assert "**3,916** | **3,844** | **331,140** | **611.5**" in FILE.read_text(encoding="utf-8")


def test_the_recorded_hours_are_those_of_the_specifications(census) -> None:
    def hours(names: str) -> float:
        return sum(counts(census, runs_of(census, name))["hours"] for name in names.split())

    # docs/specification/A-G.md#0 (distinct trainings), I-P.md#3, Q-R.md#3, S-T header, Td-W.md#4, X-Y.md#0.
    assert hours("A B B2 B3 C D1 D2 D3 G") == pytest.approx(60.12, abs=0.03)
    assert hours("I J K L M1 M2 M3 M3b N1 N2 O P P2") == pytest.approx(144.06, abs=0.1)
    assert hours("Q1 Q2 Q3 Q4 R1a R1b R2a R2b R3a R3b") == pytest.approx(140.8, abs=0.2)
    from_checkpoints = "Ta-prep-O Ta-prep-C Ta1-1 Ta1-3 Ta2-1 Ta2-3 Tb1"
    assert hours(f"S1 S2 T1a T13 T1-spinodal T2-spinodal {from_checkpoints}") == pytest.approx(
        223.16, abs=0.2
    )
    assert hours("Tg1 Tg2 V1 V3 V4 W2") == pytest.approx(6.53, abs=0.02)
    assert hours("X1 X1b X1c X1d X2 X3_fast X3_slow X4 Y1A Y1B Y2k3 Y2k10") == pytest.approx(36.8, abs=0.1)
    published = [name for name, one in census.experiments.items() if one["series"] != "controls"]
    untimed = {name for name in published if counts(census, runs_of(census, name))["hours"] is None}
    helpers = {"J-stepsize", "Tb2-search", "Td2-search", "Tb2-v1"}
    assert untimed - helpers == {"Tb2", "Td1", "Td2", "V2", "W1"}  # S-T header, docs/specification/Td-W.md#4
    assert "time not recorded" in card(census, "Td1")


def test_the_epochs_are_those_of_the_specifications(census) -> None:
    def epochs(*names: str) -> int:
        return sum(counts(census, runs_of(census, name))["epochs"] for name in names)

    assert epochs("S1") == 40_000 and epochs("S2") == 50_200  # docs/specification/S-T.md#10
    assert epochs("Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3") == 840 and epochs("Tb1") == 1_680
    assert epochs("Tb2", "Tb2-search") == 1_570
    assert epochs("Q1") == 30_000 and epochs("R1a", "R1b") == 3_600 and epochs("R3b") == 2_880  # Q-R.md#3
    assert epochs("V2") == 1_296 and epochs("W2") == 930 and epochs("Tg1") == 465  # Td-W.md#4
    bert = [name for name in census.experiments if re.match("[XY]", name) and name != "X1c"]
    copies = 40 * 3 + 20 * 3
    assert epochs(*bert) == 8_170 - copies and epochs("X1c") == 2_400  # docs/specification/X-Y.md#0


@pytest.mark.parametrize("key", PARAMETERS, ids=str)
def test_networks_have_as_many_parameters_as_the_cards_say(key: tuple) -> None:
    name, width, classes = key
    spec = {"name": name, "pretrained": False} | ({} if width is None else {"width": width})
    with torch.device("meta"):
        model = build_model(spec, classes, 0)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS[key]


def test_every_network_has_its_size(census) -> None:
    for run in census.runs.values():
        words = network_words(run)
        assert "parameters)" in words or run["task"]["model"]["name"] == "textcnn"


# What cards say ----------------------------------------


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        (
            "T1a",
            [
                "**50 runs** · 10,000 epochs (200 each) · 19.42 A100-hours recorded (1,398 s each)",
                "1. `init`: new weights, seed s; 50 epochs at λ = 0.35; rate × 0.1 after epochs 50 and 75; "
                "evaluated every 10 epochs; gate: error at most 0.3 (the run ends here otherwise)",
                "2. `observe`: goes on with the same optimizer, schedule, step count and cache; "
                "150 epochs at λ = 0.46; evaluated after every epoch; "
                "stops after 5 epochs in a row with error ≥ 0.4",
                "- Streams: group `T1`, shared with T13 and T1-spinodal",
            ],
        ),
        (
            "S2",
            [
                "  - η = 0.4 × λ = 0.5 × seeds 0 to 299",
                "  - η = 0.4 × λ ∈ {0.48, 0.52} × seeds 0 to 49",
                "  - η = 0.8 × λ ∈ {0.4, 0.44, 0.48} × seeds 0 to 33",
            ],
        ),
        (
            "D1",
            [
                "**45 runs** from 39 trainings · 3,900 epochs (100 each)",
                "  - λ = 0: none: plain cross-entropy on the noisy labels, raw gradient",
                "(share ρ of the training set, drawn with seed s + 2000); renewed every 16 steps",
            ],
        ),
        (
            "Td2",
            [
                "intervention = lambda_low: weights of `Td2/{slot}` (`select`), new optimizer, seed s + 1343; "
                "50 epochs at λ = 0.2; constant rate 0.001",
                "- Needs: Td2-search and its own first runs",
            ],
        ),
        ("J", ["LR_matched: SGD, learning rate 0.1 × the `avg_gmix_norm` of `J-stepsize/lam{λ}`"]),
        ("R2a", ["λ down 0.63 to 0.53 by 0.02, to 0.38 by 0.01, to 0.22 by 0.02 (29 values), 1 epoch each"]),
        ("V2", ["- Seed, branch = collapse_down: s = seed + 100"]),
        ("X1c", ["Adam, learning rate 0.001, weight decay 0.0001", "batches of 128: 125 steps per epoch"]),
        (
            "Y1B",
            [
                "**20 runs**, no training of their own",
                "the first 3 epochs of runs of Y1A, written down again",
            ],
        ),
        ("Ta-prep-C", ["- Needed by: Ta2-1, Ta2-3, Tb1, Tg1 and W1"]),
        (
            "Tg1",
            [
                "weights of a run of Ta-prep-C with 0.4 ≤ error < 0.85, one per slot, in the order of their seeds"
            ],
        ),
    ],
)
def test_a_card(census, name: str, lines: list[str]) -> None:
    text = card(census, name)
    for line in lines:
        assert line in text, text


def test_cards_hold_the_notes(census) -> None:
    for name, experiment in census.experiments.items():
        text = card(census, name)
        assert text.startswith(f"### {name}: {experiment['title']}\n")
        assert all(note in text for note in experiment["notes"])


def test_notes_are_the_experiment_s_own(census) -> None:
    assert census.experiments["D1"]["notes"] != census.experiments["D2"]["notes"]
    assert (
        census.experiments["N2"]["notes"] == []
        and "notes" not in census.runs["D1/trusted0.01_lam0_eta0.4_seed0"]
    )


# Parts ----------------------------------------


def test_grids_are_exactly_the_runs(census) -> None:
    for name in census.experiments:
        cells = [run["factors"] for run in runs_of(census, name)]
        found = [
            dict(zip(block, levels, strict=True))
            for block in blocks(cells)
            for levels in product(*block.values())
        ]
        key = lambda cell: repr(sorted(cell.items()))  # noqa: E731
        assert sorted(map(key, found)) == sorted(map(key, cells)), name
        assert len(blocks(cells)) <= 3, name


def test_grid_and_values() -> None:
    assert grid({"lambda": (0.1, 0.2), "noise_rate": (0.4,), "seed": (0, 1, 2)}) == (
        "λ ∈ {0.1, 0.2} × η = 0.4 × seeds 0 to 2"
    )
    assert (
        values((0, 2, 4)) == "0, 2, 4" and values((0.3, 0.1)) == "0.1, 0.3" and values(("b", "a")) == "b, a"
    )


def test_path() -> None:
    assert path([0.3, 0.5]) == "0.3, 0.5"
    assert path([0.2, 0.25, 0.3, 0.35]) == "0.2 to 0.35 by 0.05 (4 values)"
    assert path([0.2, 0.3, 0.4, 0.45, 0.5]) == "0.2 to 0.4 by 0.1, to 0.5 by 0.05 (5 values)"
    assert path([0.1, 0.5, 0.2, 0.9, 0.3, 0.8]) == "0.1, 0.5, 0.2, 0.9, 0.3, 0.8"


def test_runs_are_told_apart_by_the_fewest_factors(census) -> None:
    runs = runs_of(census, "Q2")
    said = told_apart(runs, lambda run: str(run["stages"][0]["segments"][0]["lambda"] > 0.4))
    assert [condition.count("×") for condition, _ in said] == [0, 0] and "schedule" in said[0][0]
    assert told_apart(runs, lambda run: "same") == [("", "same")]
    with pytest.raises(ValueError, match="no factor says"):
        told_apart([{**runs[0], "x": 1}, {**runs[0], "x": 2}], lambda run: str(run["x"]))


def test_shared_groups(census) -> None:
    assert shared_groups(census) == {
        "T1": ["T1a", "T13", "T1-spinodal"],
        "X1b": ["X1b", "X2"],
        "Y1": ["Y1A", "Y1B"],
        "Y2": ["Y2k3", "Y2k10"],
    }


# Fidelity ----------------------------------------

FIDELITY = (ROOT / "docs" / "fidelity.md").read_text(encoding="utf-8")


def test_fidelity_names_the_shared_streams(census) -> None:
    section = FIDELITY.partition("## Which runs share streams")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^- `(\w+)`: (.+?), seeds", section, re.MULTILINE))
    groups = {group: re.split(", | and ", names) for group, names in listed.items()}
    assert groups == shared_groups(census)


def test_fidelity_names_the_thresholds_at_which_errors_decide_otherwise(census) -> None:
    """Published errors are 1 - accuracy in floating point: on a threshold that can fall on the other side."""
    rules = {"max": operator.le, "below": operator.lt, "min": operator.ge}
    sides = {
        ("above", True): "min",
        ("above", False): "max",
        ("below", True): "max",
        ("below", False): "below",
    }
    found: dict[tuple, set[str]] = {}

    def compare(name: str, rule: str, at: float) -> None:
        right = round(10_000 * (1 - at))
        if rules[rule](1 - right / 10_000, at) != rules[rule]((10_000 - right) / 10_000, at):
            found.setdefault((rule, at), set()).add(name)

    for run in census.runs.values():
        if run["task"]["kind"] == "image" and run["series"] != "controls":
            for stage in run["stages"]:
                for rule in rules.keys() & (stage["gate"] or {}).keys():
                    compare(run["experiment"], rule, stage["gate"][rule])
                if stage["stop"]:
                    stop = stage["stop"]
                    compare(run["experiment"], sides[stop["error"], stop["inclusive"]], stop["threshold"])
            if "convergence" in run["thresholds"]:
                compare(run["experiment"], "below", run["thresholds"]["convergence"])
    expected = {("max", 0.3): {"T1a", "T13", "T1-spinodal"}, ("below", 0.2): {"Ta-prep-O", "K"}}
    expected |= {("min", 0.45): {"V1"}, ("below", 0.45): {"V4"}}
    assert found == expected
    for words in (
        "the gate of T1a, T13 and T1-spinodal at an accuracy of exactly .7000",
        "Ta-prep-O's and K's \"below 0.20\" at .8000",
        'V1\'s "at least 0.45" and V4\'s "below 0.45" at .5500',
    ):
        assert words in FIDELITY


@pytest.mark.parametrize(
    ("published", "here"),
    [
        (
            "Text's c_sv raises each of the two norms to at least 1e-8",
            "The product of the norms is kept from zero.",
        ),
        ("it stops with a KeyError", "The record ends there, status `gate_failed`"),
    ],
)
def test_fidelity_names_differences_that_change_nothing(published: str, here: str) -> None:
    (row,) = [line for line in FIDELITY.splitlines() if published in line]
    assert row.startswith("|") and here in row and re.search(r"None:|never happened", row)


# Command and rule ----------------------------------------


def test_the_command(workspace: Path, capsys) -> None:
    where = ["--root", str(workspace)]
    assert main(["cards", "--check", *where]) == 1
    assert "protocols.md is not what the census says; run: dualgrad cards" in capsys.readouterr().err
    assert main(["cards", *where]) == 0 and main(["cards", "--check", *where]) == 0
    assert "protocols.md is what the census says" in capsys.readouterr().out
    assert (workspace / "docs" / "protocols.md").read_bytes() == FILE.read_bytes()
    census = workspace / "config" / "census" / "R-W.yaml"
    census.write_text(census.read_text().replace("horizon: 300", "horizon: 400"))
    assert main(["cards", "--check", *where]) == 1
    capsys.readouterr()
    assert main(["cards", "T13", "W2", *where]) == 0
    text = capsys.readouterr().out
    assert "400 epochs at λ = 0.54" in text and "### W2: " in text
    assert main(["cards", "T1-spinodl", *where]) == 2
    assert "there is no such experiment; did you mean 'T1-spinodal'" in capsys.readouterr().err


def test_an_experiment_of_one_s_own_has_a_card(workspace: Path) -> None:
    entry = {
        "title": "Mine",
        "count": 2,
        "extends": ["base", "fixed"],
        "let": {"noise_rate": 0.4, "lambda": 0.3},
        "factors": {"seed": "0..1"},
        "notes": ["Only to see."],
    }
    path = workspace / "config" / "census" / "mine.yaml"
    path.write_text(yaml.safe_dump({"series": "mine", "experiments": {"mine": entry}}))
    text = document(load_census(workspace, {"edition": "paper"}))
    assert "## Series mine\n" in text and "### mine: Mine" in text and "- Note: Only to see." in text


def test_the_rule(tmp_path: Path) -> None:
    copy_workflow(tmp_path)
    done = snakemake(tmp_path, "docs/protocols.md")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "docs" / "protocols.md").read_bytes() == FILE.read_bytes()
