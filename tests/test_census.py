"""The census: its names and factors, its protocols against the specifications, its checks, and its commands."""

from __future__ import annotations

import hashlib
import json
import resource
import subprocess
import sys
import zlib
from collections import Counter
from pathlib import Path

import pytest
import yaml

from dualgrad import completion
from dualgrad.census import CensusError, find_root, load_census
from dualgrad.census import stages as words
from dualgrad.census.editions import load_edition, resolve
from dualgrad.cli import main
from dualgrad.ingest.mapping import load_mapping
from dualgrad.jobs.inputs import revision
from dualgrad.records import definition

# SHA-256 over the sorted lines "EXPERIMENT/RUN SERIES FACTORS" of the 3,916 published runs: the reference itself
# is not part of the repository.
PUBLISHED = "03ff4749c92a4e0b79bd6a5157064a49d8a125a3d5153e824a250f22e47c088b"


def epochs(run: dict, stage: str | None = None) -> int:
    """Planned epochs of a run, or of one of its stages."""
    chosen = [one for one in run["stages"] if stage in (None, one["name"])]
    return sum(segment.get("epochs", 0) for one in chosen for segment in one["segments"])


def planned(census, *experiments: str, count_copies: bool = True) -> int:
    """Planned epochs of whole experiments."""
    targets = (target for name in experiments for target in census.experiments[name]["runs"])
    runs = (census.runs[target] for target in targets)
    return sum(epochs(run) for run in runs if count_copies or not run["copy_of"])


def stage(run: dict, name: str) -> dict:
    """One stage of a run, by its name."""
    return next(one for one in run["stages"] if one["name"] == name)


def lambdas(run: dict, name: str) -> list[float]:
    """λ values of a stage's segments."""
    return [segment["lambda"] for segment in stage(run, name)["segments"]]


# --- names, factors, counts ------------------------------------------------------------------------------------


def test_names_factors_and_series_are_the_published_ones(census):
    lines = sorted(
        f"{target} {run['series']} {json.dumps(run['factors'], sort_keys=True)}"
        for target, run in census.runs.items()
        if run["counted"]
    )
    assert len(lines) == len(set(lines)) == 3916
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED


def test_every_row_of_the_reference(census, reference_census):
    reference = {f"{row['experiment']}/{row['run']}": row for row in reference_census}
    counted = {target: run for target, run in census.runs.items() if run["counted"]}
    assert counted.keys() == reference.keys()
    for target, row in reference.items():
        assert counted[target]["factors"] == json.loads(row["factors"]), target
        assert counted[target]["series"] == row["series"], target


def test_counts_per_series(census):
    counted = Counter(run["series"] for run in census.runs.values() if run["counted"])
    assert counted == {"A-Q": 1773, "R-W": 1273, "X": 790, "Y": 80}
    others = [run for run in census.runs.values() if not run["counted"] and run["series"] != "controls"]
    assert Counter(run["experiment"] for run in others) == {
        "J-stepsize": 3, "Tb2-search": 10, "Td2-search": 10, "Tb2-v1": 6
    }  # fmt: skip


def test_experiments_carry_what_others_show(census):
    for name, one in census.experiments.items():
        assert (
            one["title"] and one["count"] == len(one["runs"]) and one["file"].startswith("config/census/")
        ), name
        assert all(target.startswith(name + "/") for target in one["runs"])


@pytest.mark.parametrize("edition", ["paper", "demo"])
def test_runs_are_plain_json(edition, root):
    census = load_census(root, {"edition": edition})
    assert json.loads(json.dumps(census.runs)) == census.runs
    keys = {tuple(run) for run in census.runs.values()}
    assert len(keys) == 1, "every run has the same keys in the same order"


def test_loading_is_quick(root):
    script = "from dualgrad.census import load_census; load_census(__import__('pathlib').Path('.'), {})"
    best = min(_processor_seconds([sys.executable, "-c", script], root) for _ in range(2))
    assert best < 6, (
        f"{best:.2f} s; about 1 s on a free core, a third of it for pydantic, which Snakemake imports anyway"
    )


def _processor_seconds(command: list[str], folder: Path) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, cwd=folder, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_loading_imports_nothing_heavy(root):
    script = (
        "import sys, pathlib, dualgrad.cli\nfrom dualgrad.census import load_census\n"
        "load_census(pathlib.Path('.'), {})\n"
        "print([name for name in ('torch', 'numpy', 'pandas', 'snakemake', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


# --- protocols: A to Q (A-G.md, I-P.md, Q-R.md) ----------------------------------------------------------------

BASE_STD, BASE_B_STD = [0.2023, 0.1994, 0.2010], [0.2470, 0.2435, 0.2616]


def profile(run: dict) -> tuple:
    """What the two published profiles differ in, and the noise seed of run seed 2."""
    noise = run["noise"]
    seed = noise["seed"] if "seed" in noise else 2 + noise["seed_offset"]
    return run["task"]["normalize"]["std"], run["task"]["drop_last"], run["task"]["model"]["name"], seed


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("A/lam0.1_eta0.4_seed2", (BASE_STD, True, "resnet18_own", 1002)),
        ("G/lam0_eta0.2_seed2", (BASE_STD, True, "resnet18_own", 1002)),
        ("I/cos0_lam0.3_eta0.4_seed2", (BASE_STD, True, "resnet18_own", 1000)),
        ("J/ce-baseline_eta0.4_seed2", (BASE_STD, True, "resnet18_own", 1000)),
        ("L/cos0_lam0.3_eta0.4_seed2", (BASE_STD, True, "resnet18_own", 1000)),
        ("K/lam0.3_eta0.4_seed2", (BASE_STD, True, "resnet18_own", 1002)),
        ("M3b/lam0.15_eta0.8_seed2", (BASE_B_STD, False, "resnet18_own", 2)),
        ("O/lam0.2_eta0.4_seed2", ([0.2675, 0.2565, 0.2761], True, "resnet18_own", 1002)),
        ("P/vgg11_lam0.15_eta0.4_seed2", (BASE_STD, True, "vgg11_p", 1002)),
        ("P/resnet34_lam0.15_eta0.4_seed2", (BASE_STD, True, "resnet34_own", 1002)),
        ("P2/vgg11_lam0.15_eta0.4_seed2", (BASE_B_STD, False, "vgg11_p2", 2)),
        ("P2/simplecnn_lam0.15_eta0.4_seed2", (BASE_B_STD, False, "simplecnn_p2", 2)),
        ("Q1/width2_lam0.46_eta0.8_seed2", (BASE_B_STD, False, "resnet18_own", 2)),
        ("Q3/lr0.05_lam0.3_eta0.4_seed2", (BASE_B_STD, False, "resnet18_tv", 2)),
        ("R1a/seed2", (BASE_STD, False, "resnet18_tv", 2)),
        ("S1/lam0.42_seed2", (BASE_STD, False, "resnet18_tv", 2)),
        ("V3/seed2", (BASE_STD, False, "resnet34_tv", 2)),
        ("V4/seed2", ([0.2675, 0.2565, 0.2761], False, "resnet18_tv", 2)),
    ],
)
def test_profiles(census, target, expected):
    assert profile(census.runs[target]) == expected


def test_scans_from_scratch_train_100_epochs(census):
    names = [name for name, one in census.experiments.items() if one["series"] == "A-Q"]
    for target in (target for name in names for target in census.experiments[name]["runs"]):
        run = census.runs[target]
        (main_stage,) = run["stages"]
        assert epochs(run) == 100, target
        assert main_stage["schedule"] == {"kind": "multistep", "milestones": [50, 75], "gamma": 0.1}, target
        every = 1 if run["experiment"] in ("K", "Q2", "Q4") else 10
        assert main_stage["evaluate"] == {"every": every}, target
        assert run["log"]["epochs"] == (every == 1), target
        assert run["optimizer"] == {
            "name": "sgd",
            "lr": {"P2": 0.01}.get(run["experiment"], run["factors"].get("lr", 0.1)),
            "momentum": 0.9,
            "weight_decay": 5e-4,
        }, target


def test_lambda_zero_is_cross_entropy_only_where_published(census):
    for target, run in census.runs.items():
        if run["factors"].get("lambda") == 0:
            assert run["method"] == "ce", target
    # Td2's attempts at λ = 0 stay dual: the value gradient is computed, with weight 0 (Td-W.md, quirk d).
    assert census.runs["Td2/trap1_lambda-zero"]["method"] == "dual"


def test_b3_conditions(census):
    settings = {
        run["factors"]["condition"]: (run["renormalize"], run["value"]["period"], run["value"]["sign"])
        for run in (census.runs[target] for target in census.experiments["B3"]["runs"])
    }
    assert settings == {
        "Baseline": (False, 16, 1),
        "+Renorm": (True, 16, 1),
        "+Renorm+K1": (True, 1, 1),
        "TrueAnti+K1": (True, 1, -1),
    }
    assert census.runs["B3/baseline_lam0.2_eta0.4_seed0"]["log"]["first_steps"] == 100


def test_value_signals(census):
    def value(target: str) -> dict:
        return census.runs[target]["value"]

    assert value("B/lam0.1_eta0.4_seed0")["random"] == {"seed_offset": 5000}
    assert value("C/misaligned_lam0.3_eta0.4_seed0")["labels"] == "random"
    assert census.runs["C/loss-mix_lam0.3_eta0.4_seed0"]["method"] == "lossmix"
    assert value("B2/lam0.1_eta0.4_seed0")["labels"] == "shifted"
    assert value("D3/trusted0.1_lam0.2_eta0.45_seed0")["trusted"] == {"ratio": 0.1, "seed_offset": 2000}
    assert value("I/cos-0.9_lam0.3_eta0.4_seed0")["synthetic"] == {"about": "struct", "cosine": -0.9}
    assert value("L/cos-0.9_lam0.3_eta0.4_seed0")["synthetic"] == {"about": "clean", "cosine": -0.9}
    assert value("L/cos-0.9_lam0.3_eta0.4_seed0")["period"] == 16
    assert value("J/orthogonal-noise_lam0.1_eta0.4_seed0")["synthetic"] == {"about": "struct", "cosine": 0.0}
    assert value("J/misaligned-raw_lam0.1_eta0.4_seed0")["random"] == {"seed": 2000}
    assert value("V2/trusted0.05_ordered-up_seed0")["trusted"] == {"ratio": 0.05, "seed_offset": 999}


def test_j_takes_its_rate_from_a_measurement(census):
    run = census.runs["J/lr-matched_lam0.2_eta0.4_seed1"]
    assert run["lr_scale"] == {"run": "J-stepsize/lam0.2", "field": "avg_gmix_norm"}
    assert run["needs"] == ["J-stepsize/lam0.2"] and run["method"] == "ce"
    measured = census.runs["J-stepsize/lam0.2"]
    assert not measured["counted"] and measured["seed"] == 0 and measured["optimizer"]["lr"] == 0
    assert measured["stages"][0]["segments"] == [{"lambda": 0.2, "steps": 10, "direction": None}]
    assert measured["value"]["period"] == 1 and measured["value"]["random"] == {"seed": 2000}


def test_asymmetric_noise(census):
    bernoulli = census.runs["G/lam0_eta0.2_seed0"]["noise"]
    assert (
        bernoulli["kind"] == "asymmetric_bernoulli"
        and [5, 3] in bernoulli["map"]
        and len(bernoulli["map"]) == 5
    )
    exact = census.runs["V1/seed0"]["noise"]
    assert exact == {
        "kind": "asymmetric_exact", "rate": 0.4, "seed_offset": 0, "map": [[9, 1], [2, 0], [4, 7], [3, 5]]
    }  # fmt: skip


def test_labels_set_by_lambda(census):
    assert census.runs["K/lam0.35_eta0.8_seed0"]["labels"] == {"region": "ordered"}
    assert census.runs["K/lam0.47_eta0.4_seed0"]["labels"] == {"region": "critical"}
    assert census.runs["Q4/lam0.44_eta0.8_seed0"]["labels"] == {"phase_label": "critical"}
    assert census.runs["Q4/lam0.6_eta0.4_seed0"]["labels"] == {"phase_label": "collapse"}


def test_q2_schedules(census):
    up = lambdas(census.runs["Q2/ramp-up_eta0.4_seed0"], "main")
    assert up == [0.35 + (e / 100) * (0.60 - 0.35) for e in range(100)] and up[-1] == pytest.approx(0.5975)
    down = lambdas(census.runs["Q2/ramp-down_eta0.8_seed0"], "main")
    assert down[0] == 0.55 and down[-1] == pytest.approx(0.352)
    quench = stage(census.runs["Q2/quench-to-collapse_eta0.8_seed0"], "main")["segments"]
    assert [(one["lambda"], one["epochs"]) for one in quench] == [(0.35, 30), (0.55, 70)]


def test_epochs_of_q_and_r(census):  # Q-R.md §3
    assert planned(census, "Q1") == 30_000
    assert (
        planned(census, "Q2") == 6_000 and planned(census, "Q3") == 15_000 and planned(census, "Q4") == 3_000
    )
    assert planned(census, "R1a", "R1b") == 3_600 and planned(census, "R2a", "R2b") == 3_600
    assert planned(census, "R3b") == 2_880  # all censored, so all planned epochs were run


# --- protocols: R to W (Q-R.md, S-T.md, Td-W.md) ----------------------------------------------------------------


def test_r_loops(census):
    fast, slow = census.runs["R1a/seed0"], census.runs["R2b/seed0"]
    (loop,) = fast["stages"]
    assert [one["direction"] for one in loop["segments"]] == ["up"] * 31 + ["down"] * 29
    assert lambdas(fast, "loop")[10:13] == [0.40, 0.42, 0.43] and lambdas(fast, "loop")[30:32] == [0.64, 0.63]
    assert lambdas(slow, "loop")[9:12] == [0.38, 0.39, 0.40] and lambdas(slow, "loop")[-1] == 0.22
    assert epochs(fast) == 60 and epochs(slow) == 300 and slow["noise"]["rate"] == 0.8
    assert loop["evaluate"] == {"at": "segment_end"} and loop["schedule"]["milestones"] == [50, 75]


def test_r3_spinodals(census):
    up, down = census.runs["R3a/long_eta0.8_seed3"], census.runs["R3b/short_eta0.4_seed3"]
    assert lambdas(up, "init") == [0.35] and lambdas(down, "init") == [0.65]
    assert stage(up, "init")["schedule"] == {"kind": "constant"} and epochs(up, "init") == 30
    assert (
        lambdas(up, "sweep") == [round(0.40 + 0.02 * i, 2) for i in range(16)] and epochs(up, "sweep") == 48
    )
    assert lambdas(down, "sweep") == [round(0.60 - 0.02 * i, 2) for i in range(21)]
    rule = {"inclusive": False, "consecutive": 3, "unit": "segment"}
    assert stage(up, "sweep")["stop"] == {"error": "above", "threshold": 0.40, **rule}
    assert stage(down, "sweep")["stop"] == {"error": "below", "threshold": 0.25, **rule}


def test_epochs_of_s_and_t(census):  # S-T.md §10, with the two stopped runs (seed 49) as planned
    assert planned(census, "S1") == 40_000 and planned(census, "S2") == 50_200
    assert planned(census, "T1a") == 9_850 + 150 and planned(census, "T13") == 17_200 + 300
    assert planned(census, "T1-spinodal", "T2-spinodal") == 2_800
    assert planned(census, "Ta-prep-O", "Ta-prep-C") == 1_500
    assert planned(census, "Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3") == 840 and planned(census, "Tb1") == 1_680
    assert planned(census, "Tb2", "Tb2-search") == 1_570


def test_s1_and_s2_are_independent_trainings(census):
    one, two = census.runs["S1/lam0.5_seed3"], census.runs["S2/eta0.4_lam0.5_seed3"]
    assert one["streams"]["group"] != two["streams"]["group"]
    assert one["stages"][0]["evaluate"] == {"every": None} and two["stages"][0]["evaluate"] == {"every": 10}


def test_lifetimes_share_their_beginning(census):
    one, other, stairs = (census.runs[f"{name}/seed7"] for name in ("T1a", "T13", "T1-spinodal"))
    assert one["streams"] == other["streams"] == stairs["streams"] == {"group": "T1", "replicate": 0}
    assert stage(one, "init") == stage(other, "init") == stage(stairs, "init")
    assert census.runs["T2-spinodal/seed7"]["streams"]["group"] == "T2-spinodal"
    assert stage(one, "init")["gate"] == {"max": 0.30, "on_fail": "stop"}
    observe = stage(one, "observe")
    assert observe["start"] == {"kind": "continue"} and observe["session"] == "init"
    assert observe["stop"] == {
        "error": "above", "threshold": 0.40, "inclusive": True, "consecutive": 5, "unit": "epoch"
    }  # fmt: skip
    assert lambdas(one, "observe") == [0.46] and epochs(other, "observe") == 300


def test_staircases(census):
    up, down = census.runs["T1-spinodal/seed0"], census.runs["T2-spinodal/seed0"]
    assert lambdas(up, "sweep") == [0.54, 0.56, 0.58, 0.60, 0.62, 0.64, 0.66, 0.68, 0.70]
    assert lambdas(down, "sweep") == [0.54, 0.52, 0.50, 0.48, 0.46, 0.44, 0.42, 0.40, 0.38]
    assert lambdas(down, "init") == [0.70] and stage(down, "init")["gate"] == {"min": 0.35, "on_fail": "stop"}
    assert (
        stage(down, "sweep")["stop"]["error"] == "below" and stage(down, "sweep")["stop"]["threshold"] == 0.20
    )


def test_sweeps_from_checkpoints(census):
    run = census.runs["Ta2-3/seed4"]
    (sweep,) = run["stages"]
    assert sweep["start"] == {"kind": "checkpoint", "run": "Ta-prep-C/seed4", "stage": "main"}
    assert (sweep["seed_offset"], sweep["lr"], sweep["schedule"]) == (1000, 0.001, {"kind": "constant"})
    assert lambdas(run, "sweep")[::10] == [0.70, 0.50, 0.30] and run["seed"] == 4
    source = census.runs["Ta-prep-C/seed4"]
    assert source["saves"] and source["stages"][0]["save"]
    assert census.runs["Ta-prep-O/seed0"]["stages"][0]["schedule"]["milestones"] == [30, 40]
    assert not census.runs["Ta-prep-O/seed9"]["saves"], "nothing starts from it"
    down = [t for t in census.experiments["Tb1"]["runs"] if "collapse" in t]
    assert [census.runs[target]["seed"] for target in down] == [0, 2, 4]


def test_selections(census):
    def selection(target: str, name: str) -> dict:
        return stage(census.runs[target], name)["start"]

    candidates = [f"Ta-prep-C/seed{seed}" for seed in range(10)]
    for target, index in (("Tg1/pos4", 3), ("W1/collapse-down_pos2", 1)):
        rule = selection(target, "sweep")
        assert rule["kind"] == "select" and rule["runs"] == candidates and rule["index"] == index
        assert (rule["min"], rule["max"], rule["order"]) == (0.40, 0.85, "position")
        assert census.runs[target]["seed"] is None and census.runs[target]["needs"] == candidates
    rank = selection("Tb2/rank3", "ordered_sweep")
    assert rank["order"] == "ascending" and rank["index"] == 2 and len(rank["runs"]) == 10
    trap = selection("Td2/trap2", "select")
    assert (trap["min"], trap["max"], trap["index"], trap["order"]) == (0.85, None, 1, "position")
    assert selection("Tg2/pos5", "sweep")["run"] == "Ta-prep-O/seed4" and census.runs["Tg2/pos5"]["seed"] == 4


def test_tb2(census):
    run = census.runs["Tb2/rank1"]
    assert {one["name"]: one["seed_offset"] for one in run["stages"]} == {
        "ordered_sweep": 200, "collapse_init": 100, "collapse_sweep": 300
    }  # fmt: skip
    assert lambdas(run, "ordered_sweep") == [0.40, 0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75, 0.80]
    assert lambdas(run, "collapse_sweep") == lambdas(run, "ordered_sweep")[::-1]
    assert stage(run, "collapse_init")["schedule"]["milestones"] == [50, 80]
    assert stage(run, "collapse_init")["evaluate"] == {"every": 25}
    search = census.runs["Tb2-search/seed5"]["stages"][0]
    assert search["evaluate"] == {"every": 20} and search["segments"][0]["lambda"] == 0.50


def test_td(census):
    probe = census.runs["Td1/seed0"]
    assert probe["value"]["fresh_every_step"] and probe["log"]["steps_every"] == 20
    assert probe["stages"][0]["schedule"]["milestones"] == [50, 80] and probe["stages"][0]["evaluate"] == {
        "every": 5
    }
    assert census.runs["Td2/trap1"]["stages"][0]["segments"] == []
    attempts = {
        "baseline": (0.60, 0.001), "lambda_zero": (0.0, 0.001), "lambda_low": (0.20, 0.001),
        "lr_boost": (0.60, 0.01), "lr_boost_high": (0.60, 0.1), "combined": (0.0, 0.01),
    }  # fmt: skip
    for name, (lam, lr) in attempts.items():
        run = census.runs[f"Td2/trap3_{name.replace('_', '-')}"]
        escape = stage(run, "escape")
        assert escape["seed_offset"] == 1000 + zlib.crc32(name.encode()) % 1000
        assert (escape["segments"][0]["lambda"], escape["lr"], epochs(run)) == (lam, lr, 50)
        assert escape["start"] == {"kind": "checkpoint", "run": "Td2/trap3", "stage": "select"}
        assert escape["evaluate"] == {"every": 5, "before": True} and run["seed"] is None


def test_epochs_of_td_to_w(census):  # Td-W.md §4
    expected = {
        "Td1": 1000, "Td2-search": 1000, "Td2": 900, "Tg1": 465, "Tg2": 465, "V1": 552, "V2": 1296, "V3": 552,
        "V4": 642, "W1": 198, "W2": 930,
    }  # fmt: skip
    assert {name: planned(census, name) for name in expected} == expected


def test_two_branches(census):
    for name, init, low, gate in (
        ("V1", (50, 80), 0.25, "warn"),
        ("V3", (50, 80), 0.25, "stop"),
        ("V4", (60, 100), 0.45, "warn"),
    ):
        run = census.runs[f"{name}/seed1"]
        assert [one["name"] for one in run["stages"]] == [
            "ordered_init", "collapse_init", "ordered_sweep", "collapse_sweep"
        ]  # fmt: skip
        assert [one["seed_offset"] for one in run["stages"]] == [0, 100, 200, 300]
        assert (epochs(run, "ordered_init"), epochs(run, "collapse_init")) == init
        assert stage(run, "ordered_init")["gate"] == {"below": low, "on_fail": gate}
        assert lambdas(run, "ordered_sweep")[::4] == [0.30, 0.50, 0.70] and epochs(run, "ordered_sweep") == 27
    assert stage(census.runs["V4/seed0"], "ordered_init")["schedule"]["milestones"] == [30, 45]
    assert stage(census.runs["V3/seed0"], "collapse_init")["gate"] is None


def test_v2_hangs_on_its_own_seed(census):
    ordered = census.runs["V2/trusted0.01_ordered-up_seed2"]
    collapsed = census.runs["V2/trusted0.01_collapse-down_seed2"]
    assert ordered["seed"] == 2 and collapsed["seed"] == 102
    assert [one["name"] for one in collapsed["stages"]] == ["init", "sweep"]
    assert stage(collapsed, "sweep")["start"] == {"kind": "stage", "stage": "init"}
    assert stage(collapsed, "sweep")["seed_offset"] == 7000 and len(lambdas(collapsed, "sweep")) == 11
    assert {one["branch"] for one in collapsed["stages"]} == {"collapse"}


def test_w2_jumps_with_one_stream(census):
    run = census.runs["W2/seed1_lam0.55"]
    assert [one["seed_offset"] for one in run["stages"]] == [555, 555]
    assert [one["session"] for one in run["stages"]] == ["jump", "jump"]
    assert stage(run, "collapse_jump")["start"] == {
        "kind": "checkpoint", "run": "W2/seed1_base", "stage": "collapse_init"
    }  # fmt: skip
    base = census.runs["W2/seed1_base"]
    assert base["saves"] and all(one["save"] for one in base["stages"])


def test_archived_tb2(census):
    run = census.runs["Tb2-v1/collapse-down_seed2"]
    assert run["seed"] == 102 and run["series"] == "archived" and not run["counted"]
    assert stage(run, "init")["gate"] == {"min": 0.50, "on_fail": "stop"} and lambdas(run, "sweep")[:2] == [
        0.70,
        0.66,
    ]


# --- protocols: X and Y (X-Y.md) --------------------------------------------------------------------------------


def test_epochs_of_x_and_y(census):  # X-Y.md §0
    series = [name for name, one in census.experiments.items() if one["series"] in ("X", "Y")]
    assert planned(census, *(name for name in series if name != "X1c")) == 8_170
    assert planned(census, "X1c") == 2_400


def test_text_runs(census):
    run = census.runs["X1/lam0.1_seed3"]
    assert run["optimizer"] == {"name": "adamw", "lr": 2e-5, "weight_decay": 0.01}
    assert run["value"]["labels"] == "trusted_batches" and run["value"]["period"] == 1
    assert run["value"]["trusted"] == {"ratio": 0.05} and run["task"]["subset"] == 16000
    assert run["noise"] == {"kind": "text_pool", "rate": 0.4, "seed_offset": 10000}
    schedules = {name: census.runs[census.experiments[name]["runs"][0]]["stages"][0]["schedule"] for name in
                 ("X1", "X1b", "X1c", "X1d", "X2", "X3_fast", "X4", "Y1A", "Y2k3")}  # fmt: skip
    warm = {name for name, one in schedules.items() if one == {"kind": "warmup_linear", "warmup": 0.1}}
    assert warm == {"X1", "X1b", "X1d", "X2"}
    cnn = census.runs["X1c/lam0.1_seed0"]
    assert cnn["optimizer"]["name"] == "adam" and cnn["head_cosine_every"] == 10
    assert (cnn["task"]["batch_size"], cnn["task"]["max_length"], cnn["task"]["eval_batch_size"]) == (
        128,
        64,
        256,
    )
    assert {
        census.runs[f"{name}/seed0"]["head_cosine_every"] for name in ("Y1A", "Y1B", "Y2k3", "Y2k10")
    } == {1}


def test_x3_path(census):
    path = lambdas(census.runs["X3_slow/seed0"], "loop")
    assert path == [0.20, 0.25, 0.30, 0.35, 0.40, 0.45, 0.50, 0.55, 0.60, 0.65] + [
        0.60, 0.55, 0.50, 0.45, 0.40, 0.35, 0.30, 0.25, 0.20
    ]  # fmt: skip


def test_y2_phases(census):
    run = census.runs["Y2k10/seed0"]
    assert [(one["name"], one["segments"][0]["lambda"], epochs(run, one["name"])) for one in run["stages"]] == [
        ("phase1_good", 0.60, 3), ("phase2_damage", 0.20, 10), ("phase3_recovery", 0.60, 13)
    ]  # fmt: skip
    assert run["stages"][0]["evaluate"] == {"every": 1, "before": True}
    assert {one["session"] for one in run["stages"]} == {"phase1_good"}
    assert run["streams"] == census.runs["Y2k3/seed0"]["streams"]


def test_copies(census):
    copies = {target: run["copy_of"] for target, run in census.runs.items() if run["copy_of"]}
    assert Counter(target.split("/")[0] for target in copies) == {"D1": 6, "D2": 6, "X2": 40, "Y1B": 20}
    assert copies["D2/trusted0.1_lam0_eta0.8_seed1"] == "D2/trusted0.01_lam0_eta0.8_seed1"
    assert copies["X2/lam0.4_seed11"] == "X1b/lam0.4_seed11"
    assert copies["Y1B/seed5"] == "Y1A/seed5" and census.runs["Y1B/seed5"]["prefix_epochs"] == 3
    for target, source in copies.items():
        assert census.runs[target]["streams"] == census.runs[source]["streams"], target
        assert census.runs[target]["needs"] == [source]


def test_replicates_are_independent(census):
    first, second = census.runs["M1/rep1_lam0.1_eta0.4_seed0"], census.runs["M1/rep2_lam0.1_eta0.4_seed0"]
    assert (first["streams"]["replicate"], second["streams"]["replicate"]) == (1, 2)


# --- editions ---------------------------------------------------------------------------------------------------


def test_demo_changes_scale_and_nothing_else(census, demo):
    kept = ("factors", "labels", "seed", "streams", "noise", "method", "outcome", "thresholds", "saves")
    assert {target for target, run in demo.runs.items() if run["counted"]} == {
        target for target, run in census.runs.items() if run["counted"]
    }
    for target, published in census.runs.items():
        small = demo.runs[target]
        assert {key: small[key] for key in kept} == {key: published[key] for key in kept}, target
        assert set(published["needs"]) <= set(small["needs"]), target  # and a pretrained body, for texts
        for one, other in zip(small["stages"], published["stages"], strict=True):
            assert {**one, "lr": None} == {**other, "lr": None}, target
        assert small["edition"] == "demo" and small["task"]["steps_per_epoch"] >= 1
        assert small["task"]["dataset"] in ("digits", "digit_pairs", "reviews")
        assert small["task"]["classes"] == published["task"]["classes"]


def test_demo_keeps_architecture_and_width_as_factors(demo):
    def model(target: str) -> dict:
        return demo.runs[target]["task"]["model"]

    names = ("resnet18", "resnet34", "vgg11", "simplecnn")
    assert len({repr(model(f"P/{name}_lam0.15_eta0.4_seed0")) for name in names}) == 4
    narrow, wide = (sum(model(f"Q1/width{width}_lam0.42_eta0.4_seed0")["hidden"]) for width in ("0.5", "2"))
    assert wide > 2 * narrow
    assert (
        model("X1/lam0.1_seed0")["name"] == "distilbert_mini"
        and model("X1c/lam0.1_seed0")["name"] == "textcnn"
    )


def test_resolve_is_pure(census, demo, root):
    run = census.runs["Q1/width0.5_lam0.42_eta0.4_seed0"]
    before = json.dumps(run)
    resolved = resolve(run, load_edition(root, {"edition": "demo"}))
    assert json.dumps(run) == before
    assert definition(resolved) == definition(demo.runs["Q1/width0.5_lam0.42_eta0.4_seed0"])


def test_lr_factor_reaches_optimizer_and_stages(workspace):
    file = workspace / "config" / "editions" / "demo.yaml"
    data = yaml.safe_load(file.read_text())
    data["models"]["resnet18_tv"]["lr_factor"] = 2
    data["models"]["resnet18_own"].pop("lr_factor", None)
    data["kinds"]["image"]["lr_factor"] = 3
    file.write_text(yaml.safe_dump(data))
    changed = load_census(workspace, {"edition": "demo"}).runs
    assert changed["Ta1-1/seed0"]["optimizer"]["lr"] == 0.2
    assert changed["Ta1-1/seed0"]["stages"][0]["lr"] == 0.002
    assert changed["T1a/seed0"]["stages"][0]["lr"] is None
    assert changed["A/lam0.1_eta0.4_seed0"]["optimizer"]["lr"] == 0.3, "the more general rule"


def test_smoke_covers_every_experiment_and_what_it_needs(census, root):
    smoke = load_census(root, {"edition": "smoke"})
    assert len(smoke.runs) < 200
    assert {run["experiment"] for run in smoke.runs.values() if run["counted"]} == {
        run["experiment"] for run in census.runs.values() if run["counted"]
    }
    for target, run in smoke.runs.items():
        assert set(run["needs"]) <= smoke.runs.keys(), target
        assert (
            max((segment.get("epochs", 0) for one in run["stages"] for segment in one["segments"]), default=0)
            <= 2
        )
    long = stage(smoke.runs["A/lam0.1_eta0.4_seed0"], "main")
    assert long["schedule"]["milestones"] == [1, 2], "the rate still drops"
    with pytest.raises(CensusError, match="does not select this run"):
        smoke.run("A/lam0.1_eta0.4_seed1")


def test_patterns_select_runs_and_their_needs(workspace):
    file = workspace / "config" / "editions" / "smoke.yaml"
    data = yaml.safe_load(file.read_text())
    data["select"] = ["Td2/trap1_base*", "A/*seed0"]
    file.write_text(yaml.safe_dump(data))
    runs = load_census(workspace, {"edition": "smoke"}).runs
    assert {"Td2/trap1_baseline", "Td2/trap1", "Td2-search/seed9"} <= runs.keys()
    assert sum(target.startswith("A/") for target in runs) == 18


def test_a_pattern_that_selects_nothing_is_refused(workspace):
    file = workspace / "config" / "editions" / "smoke.yaml"
    data = yaml.safe_load(file.read_text())
    data["select"] = ["A/*seed0", "B33/*"]
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(CensusError, match=r"smoke.yaml: select: 'B33/\*' selects no run; did you mean 'B3'"):
        load_census(workspace, {"edition": "smoke"})


def test_no_run_starts_from_a_copy(workspace):
    """A copy is not trained, so that there are no weights of it."""
    (workspace / "config" / "census" / "mine.yaml").write_text(
        "series: mine\nexperiments:\n  after-copy:\n    title: Goes on\n    count: 1\n    extends: [base, fixed]\n"
        "    factors: {lambda: [0.3], noise_rate: 0.4, seed: 0}\n    name: seed{seed}\n"
        "    stages: {main: {start: {run: D1/trusted0.05_lam0_eta0.4_seed0}}}\n"
    )
    with pytest.raises(
        CensusError, match=r"cannot start from 'D1/trusted0.05_lam0_eta0.4_seed0', which copies"
    ):
        load_census(workspace, {"edition": "demo"})


def test_paper_options_mark_every_record(root, census):
    assert not any(run["synthetic"] for run in census.runs.values())
    made_up = load_census(root, {"edition": "paper", "paper_data": "synthetic"})
    assert all(run["synthetic"] and run["task"]["synthetic"] for run in made_up.runs.values())
    short = load_census(root, {"edition": "paper", "max_steps": 3})
    assert all(run["synthetic"] and run["max_steps"] == 3 for run in short.runs.values())
    assert not any(run["task"]["synthetic"] for run in short.runs.values()), "cut short, but on the real data"
    with pytest.raises(CensusError, match="paper only"):
        load_census(root, {"edition": "demo", "max_steps": 3})


def test_precision_of_the_settings_wins(root):
    runs = load_census(root, {"edition": "demo", "precision": "float32"}).runs
    assert {run["precision"] for run in runs.values()} == {"float32"}


def test_unknown_edition(root):
    with pytest.raises(CensusError, match="no such edition; did you mean 'smoke'"):
        load_census(root, {"edition": "smok"})


def test_what_an_edition_has_no_rule_for_stays_as_it_is(workspace):
    add(workspace, mine={"title": "t", "count": 1, "extends": ["base", "fixed"], "factors": {"seed": 0},
        "let": {"noise_rate": 0.4, "lambda": 0.3}, "task": {"model": {"name": "resnet34_tv"}}})  # fmt: skip
    file = workspace / "config" / "editions" / "demo.yaml"
    data = yaml.safe_load(file.read_text())
    del data["models"]["resnet34_tv"], data["models"]["resnet34_own"]
    file.write_text(yaml.safe_dump(data))
    assert load_census(workspace, {"edition": "paper"}).runs["mine/seed0"]["task"]["model"] == {
        "name": "resnet34_tv"
    }
    task = load_census(workspace, {"edition": "demo"}).runs["mine/seed0"]["task"]
    assert task["model"] == {"name": "resnet34_tv"} and task["dataset"] == "digits"
    for where, name, expected in (
        (
            "models",
            "resnet34_ow",
            "models: there is no network 'resnet34_ow'; did you mean 'resnet34_own'",
        ),
        (
            "datasets",
            "cifar11",
            "datasets: there is no data set 'cifar11'; did you mean 'cifar10'",
        ),
    ):
        file.write_text(yaml.safe_dump({**data, where: {**data[where], name: {}}}))
        with pytest.raises(CensusError, match=expected):
            load_census(workspace, {"edition": "demo"})


# --- a new experiment is a YAML entry ---------------------------------------------------------------------------

NEW = """
series: mine
experiments:
  deep-cosine:
    title: A deeper network on a task of 100 classes, λ on a cosine ramp
    count: 12
    extends: [base, cifar100, fixed]
    let: {epochs: 60, milestones: [30, 45]}
    factors:
      model: {ResNet18: {}, ResNet34: {task: {model: {name: resnet34_own}}}}
      noise_rate: [0.2, 0.4]
      seed: 0..2
    name: "{model}_eta{noise_rate}_seed{seed}"
    stages: {main: {segments: {ramp: {from: 0.2, to: 0.5, shape: cosine}, epochs: $epochs}}}
"""


def add(workspace: Path, **experiments: dict) -> None:
    """Put experiments into a census file of their own."""
    data = {"series": "mine", "experiments": experiments}
    (workspace / "config" / "census" / "mine.yaml").write_text(yaml.safe_dump(data))


@pytest.mark.parametrize("edition", ["paper", "demo"])
def test_new_experiment_in_a_dozen_lines(workspace, edition):
    assert len(NEW.strip().splitlines()[2:]) <= 15
    (workspace / "config" / "census" / "mine.yaml").write_text(NEW)
    census = load_census(workspace, {"edition": edition})
    mine = census.experiments["deep-cosine"]["runs"]
    assert len(mine) == 12 and not census.runs[mine[0]]["counted"]
    assert sum(run["counted"] for run in census.runs.values()) == 3916
    run = census.runs["deep-cosine/resnet34_eta0.4_seed2"]
    ramp = lambdas(run, "main")
    assert len(ramp) == 60 and ramp[0] == 0.2 and ramp[30] == pytest.approx(0.35) and ramp[-1] < 0.5
    assert ramp == sorted(ramp) and ramp[1] - ramp[0] < ramp[30] - ramp[29]
    assert run["streams"]["group"] == "deep-cosine" and run["task"]["classes"] == 100


def test_an_experiment_can_extend_another(workspace):
    add(workspace, A2={"title": "A with another seed", "count": 18, "extends": "A", "factors": {"seed": [7]}})
    census = load_census(workspace, {"edition": "paper"})
    assert census.runs["A2/lam0.5_eta0.8_seed7"]["streams"]["group"] == "A2"
    assert not census.runs["A2/lam0.5_eta0.8_seed7"]["counted"]


def test_an_edition_can_have_helpers(workspace):
    """A miniature stands in for pretrained weights: an uncounted run that only this edition has and needs."""
    file = workspace / "config" / "editions" / "demo.yaml"
    data = yaml.safe_load(file.read_text())
    data["helpers"] = {
        "Body": {
            "title": "t", "count": 1, "extends": ["text-fixed", "ce"], "factors": {"seed": 0},
            "let": {"noise_rate": 0.0, "lambda": 0.0, "epochs": 2},
            "task": {"dataset": "reviews", "split": "pretrain", "subset": 100, "model": {"name": "distilbert_mini"}},
        }
    }  # fmt: skip
    data["models"]["distilbert"]["task"]["model"]["body_from"] = "Body/seed0"
    file.write_text(yaml.safe_dump(data))
    census = load_census(workspace, {"edition": "demo"})
    assert census.runs["X1/lam0.1_seed3"]["needs"] == ["Body/seed0"]
    assert census.runs["X1c/lam0.1_seed3"]["needs"] == []
    body = census.runs["Body/seed0"]
    assert body["saves"] and body["stages"][0]["save"] and body["needs"] == []
    assert not body["counted"] and body["series"] == "helper"
    assert "Body" not in load_census(workspace, {"edition": "paper"}).experiments
    data["helpers"]["Body"]["tilte"] = data["helpers"]["Body"].pop("title")
    file.write_text(yaml.safe_dump(data))
    with pytest.raises(CensusError, match=r"demo.yaml: experiments.Body: .*title"):
        load_census(workspace, {"edition": "demo"})


# --- mistakes ---------------------------------------------------------------------------------------------------


def edit(workspace: Path, file: str, old: str, new: str) -> None:
    """Replace the first occurrence of *old* in a census file."""
    path = workspace / "config" / "census" / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("A-Q.yaml", "count: 54", "count: 55", r"A-Q.yaml: experiments.A.count: expected 55 runs.*give 54"),
        ("A-Q.yaml", "    factors:", "    factor:", r"experiments.A: unknown key 'factor'; did you mean 'factors'"),
        ("A-Q.yaml", "extends: [base, fixed]", "extends: [base, fixd]", r"experiments.A.extends: .*'fixd'.*'fixed'"),
        ("A-Q.yaml", "labels: shifted", "labels: shiftd", r"B2.value.labels: expected one of clean.*mean 'shifted'"),
        ("A-Q.yaml", "noise_rate: [0.4, 0.8]", "noise_rat: [0.4, 0.8]", r"A.noise: .*'noise_rate'; did you mean"),
        ("A-Q.yaml", "{condition}_lam{lambda}", "{conditin}_lam{lambda}", r"B3.name: 'conditin' is no factor here"),
        ("A-Q.yaml", "_lam{lambda}_eta", "_lam_eta", r"B3.name: two runs are called 'baseline_lam_eta0.4_seed0'"),
        ("A-Q.yaml", "J-stepsize/lam{lambda}", "J-stepsiz/lam{lambda}", r"'J/lr.*needs 'J-stepsiz.*did you mean"),
        ("A-Q.yaml", "M2:", "M1:", r"A-Q.yaml: line \d+: the key 'M1' is written twice"),
        ("A-Q.yaml", "count: 54", "count: many", r"A.count: expected integer, number of runs.*got 'many'"),
        ("A-Q.yaml", "series: A-Q", "serie: A-Q", r"A-Q.yaml: "),
        ("R-W.yaml", "hold: 1 #", "hold: 0 #", r"R1a.stages: the number of hold .* positive integer; got 0"),
        ("R-W.yaml", "step: 0.02}, hold: $hold", "step: 0.04}, hold: $hold", r"R3a.stages: no ladder leads from 0.4"),
        ("R-W.yaml", "lambda: 0.70, ep", "lambda: $lamda, ep", r"Tb2.stages: nothing is called 'lamda'"),
        ("R-W.yaml", "{lambda: $target,", "{lambda: $targt,", r"T1a.stages: .* 'targt'; did you mean 'target'"),
        ("R-W.yaml", "target: 0.46,", "target: 0.46, spare: 1,", r"T1a.let.spare: changes no run"),
        ("protocols.yaml", "from: Ta-prep-C", "from: Ta-prep-D", r"no experiment is called 'Ta-prep-D'; did you"),
        ("R-W.yaml", "stage: select}", "stage: selekt}", r"'Td2/trap1' has no stage 'selekt'.*did you mean 'select'"),
        ("R-W.yaml", "start: continue\n", "start: continue\n        lr: 0.1\n", r"cannot set its own lr"),
        ("R-W.yaml", "[0, 2, 4]", "[0, 2]", r"experiments.Tb1.count: expected 8 runs, but the factors give 7"),
        ("totals.yaml", "R-W: 1273", "R-W: 1272", r"totals.R-W: expected 1272 counted runs.*give 1273"),
        ("totals.yaml", "all: 3916", "all: 3917", r"totals.all: expected 3917"),
        ("protocols.yaml", "base-b:\n    extends: image", "base-b:\n    extends: base-b", r"base-b.*in a circle"),
        ("A-Q.yaml", "seed: 0..2", "seed: 0-2", r"A.seed: expected an integer or null; got '0-2' .a range"),
        ("protocols.yaml", "schedule: {mile", "schedule: {mils", r"main.schedule: unknown key .*'milestones'"),
        ("protocols.yaml", "drop_last: false", "drop_last: perhaps", r"image.task.drop_last: expected boolean"),
        ("protocols.yaml", "period: 16", "period: {", r"protocols.yaml: line \d+: "),
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_place_and_expectation(workspace, file, old, new, message):
    edit(workspace, file, old, new)
    with pytest.raises(CensusError, match=message):
        load_census(workspace, {"edition": "paper"})


def test_an_experiment_removed_is_noticed(workspace):
    (workspace / "config" / "census" / "Y.yaml").unlink()
    with pytest.raises(CensusError, match=r"totals.Y: expected 80 counted runs, but the experiments give 0"):
        load_census(workspace, {})


def test_a_run_without_its_experiment_is_found(census):
    with pytest.raises(
        CensusError, match=r"lam0.35_eta0.4_seed0: there is no such run; did you mean A/lam0.35_eta0.4_seed0"
    ):
        census.run("lam0.35_eta0.4_seed0")


def test_a_factor_that_changes_nothing_is_refused(workspace):
    add(workspace, mine={"title": "t", "count": 6, "extends": "M2", "name": "lam{lambda}_t{temprature}_seed{seed}",
        "factors": {"lambda": [0.1], "temprature": [1, 2]}})  # fmt: skip
    with pytest.raises(CensusError, match=r"mine.yaml: experiments.mine.factors.temprature: changes no run"):
        load_census(workspace, {})


def test_runs_that_need_each_other_are_refused(workspace):
    common = {"title": "t", "count": 1, "extends": ["image", "checkpoint-sweep"], "factors": {"seed": 0},
              "name": "seed{seed}", "stages": {"sweep": {"segments": {"lambda": 0.3, "epochs": 1}}}}  # fmt: skip
    let = {"noise_rate": 0.4, "sweep_offset": 1}
    add(workspace, one={**common, "let": {**let, "source": "two/seed0"}},
        two={**common, "let": {**let, "source": "one/seed0"}})  # fmt: skip
    for name in ("one", "two"):
        path = workspace / "config" / "census" / "mine.yaml"
        data = yaml.safe_load(path.read_text())
        data["experiments"][name]["stages"]["sweep"]["start"] = {"run": "$source", "stage": "sweep"}
        path.write_text(yaml.safe_dump(data))
    with pytest.raises(CensusError, match=r"need each other: one/seed0 -> two/seed0 -> one/seed0"):
        load_census(workspace, {})


def test_unknown_runs_and_experiments(census):
    with pytest.raises(CensusError, match=r"no such run; did you mean 'A/lam0.35_eta0.4_seed0'"):
        census.run("A/lam0.35_eta0.4_sed0")
    with pytest.raises(CensusError, match=r"did you mean 'Ta-prep-O'"):
        census.run("Ta-prep-0/seed1")
    with pytest.raises(CensusError, match=r"no such experiment; did you mean 'X3_fast'"):
        census.experiment("X3_fas")


# --- vocabulary -------------------------------------------------------------------------------------------------


def test_levels():
    assert list(words.levels("0..3")) == [0, 1, 2, 3]
    assert words.levels([1, 2]) == {1: None, 2: None} and words.levels("CE") == {"CE": None}
    assert words.levels({"a": None, "b": {"x": 1}}) == {"a": None, "b": {"x": 1}}


def test_run_names():
    template = "{condition}_lam{lambda}_eta{noise_rate}_seed{seed}"
    factors = {"condition": "TrueAnti+K1", "lambda": 0.0, "noise_rate": 0.45, "seed": 3}
    assert words.run_name(template, factors) == "trueanti-k1_lam0_eta0.45_seed3"
    del factors["lambda"]
    assert words.run_name(template, factors) == "trueanti-k1_eta0.45_seed3"


def test_the_place_of_a_level_can_be_referred_to(census):
    for number, slot in enumerate(("trap1", "trap2", "trap3")):
        assert census.runs[f"Td2/{slot}"]["stages"][0]["start"]["index"] == number
    assert [census.runs[f"W1/ordered-up_pos{place}"]["seed"] for place in (1, 2, 3)] == [0, 1, 2]


def test_references_keep_their_type():
    names = {"seed": 3, "path": [1, 2], "slot": "rank1"}
    assert words.substitute({"a": "$seed", "b": "$seed + 100", "c": "$path", "d": "X/{slot}"}, names) == {
        "a": 3, "b": 103, "c": [1, 2], "d": "X/rank1"
    }  # fmt: skip
    assert words.references({"a": ["$seed + 1", "x{slot}y"]}) == {"seed", "slot"}


def test_segments():
    assert words.segments({"lambda": 0.3, "epochs": 5}) == [{"lambda": 0.3, "epochs": 5, "direction": None}]
    climb = words.segments({"ladder": {"from": 0.3, "to": 0.7, "step": 0.1}, "hold": 2})
    assert [(one["lambda"], one["epochs"], one["direction"]) for one in climb] == [
        (0.3, 2, "up"), (0.4, 2, "up"), (0.5, 2, "up"), (0.6, 2, "up"), (0.7, 2, "up")
    ]  # fmt: skip
    loop = words.segments({"loop": {"up": [0.1, 0.2], "down": [0.1]}, "hold": 1})
    assert [(one["lambda"], one["direction"]) for one in loop] == [(0.1, "up"), (0.2, "up"), (0.1, "down")]
    both = words.segments([{"lambda": 0.1, "epochs": 1}, {"lambda": 0.2, "steps": 4}])
    assert both[1] == {"lambda": 0.2, "steps": 4, "direction": None}
    with pytest.raises(ValueError, match="expected segments of the shape"):
        words.segments({"lambda": 0.1})
    half = {"ladder": [0.1, 0.2], "hold": 25_001}
    assert len(words.segments(half)) == 2
    with pytest.raises(ValueError, match="segments have at most 100,000 epochs together"):
        words.segments([half, half])
    stages = {"one": {"segments": half}, "two": {"segments": half}}
    with pytest.raises(ValueError, match="stages of a run have at most 100,000 epochs"):
        words.stages(stages, {"start": "fresh", "schedule": "constant", "session": None, "gate": None}, list)


def test_one_choice_replaces_another_whole():
    base = {
        "stages": {"main": {"schedule": {"milestones": [1]}, "evaluate": {"every": 10}}},
        "log": {"epochs": True},
    }
    over = {"stages": {"main": {"schedule": {"warmup": 0.1}}}, "log": {"first_steps": 3}}
    assert words.merge(base, over) == {
        "stages": {"main": {"schedule": {"warmup": 0.1}, "evaluate": {"every": 10}}},
        "log": {"epochs": True, "first_steps": 3},
    }


# --- commands ---------------------------------------------------------------------------------------------------


def test_census_json(capsys, root):
    assert main(["census", "--root", str(root), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert sum(row["counted"] for row in rows) == 3916
    assert list(rows[0]) == ["experiment", "run", "series", "counted", "factors"]


def test_census_table_and_count(capsys, root):
    assert main(["census", "--root", str(root)]) == 0
    shown = capsys.readouterr().out
    assert (
        "A-Q: 1773 runs" in shown and "total: 3916 counted runs" in shown and "helper: not counted" in shown
    )
    assert main(["census", "--root", str(root), "--count", "--series", "R-W"]) == 0
    assert capsys.readouterr().out == "1273\n"


def test_census_filters(capsys, root):
    wanted = ["census", "A", "M1", "--where", "lambda=0.35", "--where", "noise_rate=0.8", "--root", str(root)]
    assert main(wanted) == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 3 + 6 and "M1/rep2_lam0.35_eta0.8_seed2" in shown
    assert main(["census", "B3", "--where", "condition=trueanti+k1", "--root", str(root), "--count"]) == 0
    assert capsys.readouterr().out == "6\n"
    for words_ in (
        ["--where", "lamda=0.35"],
        ["--where", "lambda=0.36"],
        ["--where", "lambda"],
        ["--series", "Z"],
        ["AA"],
    ):
        assert main(["census", "A", *words_, "--root", str(root)]) == 2
        assert capsys.readouterr().err.startswith("dualgrad: ")


def test_show(capsys, root):
    assert main(["show", "W2/seed0_lam0.5", "--root", str(root), "--edition", "paper"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert main(["show", "W2/seed0_lam0.5", "--root", str(root), "--edition", "paper", "--json"]) == 0
    assert (
        json.loads(capsys.readouterr().out)
        == shown
        == load_census(root, {"edition": "paper"}).run("W2/seed0_lam0.5")
    )
    assert main(["show", "W2/seed0_lam0.51", "--root", str(root)]) == 2
    assert "did you mean 'W2/seed0_lam0.5'" in capsys.readouterr().err


def test_command_line(capsys, workspace, monkeypatch):
    assert main(["--help"]) == 0 and "census" in capsys.readouterr().out
    assert main(["censsus"]) == 2 and "did you mean 'census'" in capsys.readouterr().err
    assert main(["census", "--config", "edition", "--root", str(workspace)]) == 2
    assert "expected KEY=VALUE" in capsys.readouterr().err
    assert main(["census", "--config", "edition=smoke", "--root", str(workspace), "--count"]) == 0
    assert int(capsys.readouterr().out) < 200
    (workspace / "results").mkdir()
    monkeypatch.chdir(workspace / "results")
    assert find_root() == workspace.resolve()
    monkeypatch.chdir("/")
    assert main(["census"]) == 2 and "use --root" in capsys.readouterr().err


@pytest.mark.surroundings
def test_hidden_files_are_no_content(workspace: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks of Emacs, which are links to nowhere, and what macOS writes beside files on shares and in archives."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace / "cache"))
    for file in [*(workspace / "config").rglob("*.yaml")]:
        file.with_name(f".#{file.name}").symlink_to("me@host.123:456")
        file.with_name(f"._{file.name}").write_bytes(b"\0\5\26\7")
    for edition in ("demo", "paper"):
        here, there = load_census(workspace, {"edition": edition}), load_census(root, {"edition": edition})
        assert (here.runs, here.edition, here.datasets) == (there.runs, there.edition, there.datasets)
    released = Path("config", "released")
    assert load_mapping(workspace / released) == load_mapping(root / released)
    assert completion.names(workspace) | {"stamp": ""} == completion.names(root) | {"stamp": ""}
    assert revision(workspace / released, "*.yaml") == revision(root / released, "*.yaml")
