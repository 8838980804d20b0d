"""The trainer's parts and promises: streams, plans, rules, selection, resuming, divergence, checkpoints, copies."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys

import pytest
import torch
from oracles.lab import (
    BERT,
    CONVOLUTIONS,
    DROPOUT,
    MLP,
    Lab,
    continued,
    finite,
    multistep,
    pictures,
    rows_of,
    run_of,
    sentences,
    stage,
    stage_model,
    vectors,
)

from dualgrad.census.run import Gate, Multistep, Stop, Warmup
from dualgrad.models import build_model
from dualgrad.records import RecordError, canonical_json, make_record, read_record, write_record
from dualgrad.training import checkpoints, session
from dualgrad.training.batches import StructureOrder, batches_per_pass, trusted_batches
from dualgrad.training.errors import lacks_gpu_memory
from dualgrad.training.outcome import first_stop, gate_passes
from dualgrad.training.plan import plan_stage
from dualgrad.training.schedules import lr_factor
from dualgrad.training.streams import Streams
from dualgrad.training.trainer import Interrupted, TrainingError


@pytest.fixture
def lab(tmp_path, monkeypatch):
    return Lab(tmp_path, monkeypatch)


STREAMS = Streams("A", 0, 3, "main")


# Streams ----------------------------------------


def test_streams_differ_in_everything_that_names_them():
    keys = [
        ("order", STREAMS, 0),
        ("augment", STREAMS, 0),
        ("order", STREAMS, 1),
        ("order", Streams("B", 0, 3, "main"), 0),
        ("order", Streams("A", 1, 3, "main"), 0),
        ("order", Streams("A", 0, 4, "main"), 0),
        ("order", Streams("A", 0, 3, "init"), 0),
    ]
    seeds = [streams.seed_for(name, index) for name, streams, index in keys]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_are_pinned():
    """A changed stream changes every record of every edition: that needs a new protocol revision, not an accident."""
    assert STREAMS.seed_for("order", 0) == PINNED_SEED
    assert torch.randperm(6, generator=STREAMS.generator("order", 0)).tolist() == PINNED_ORDER


PINNED_SEED = 7235128050880660302
PINNED_ORDER = [0, 5, 3, 4, 2, 1]


# Plan and schedule ----------------------------------------


def test_plan_evaluates_every_so_many_epochs_and_at_the_end():
    plan = plan_stage(stage_model(segments=[(0.1, 7), (0.2, 5)], evaluate={"every": 5}))
    assert [epoch.lam for epoch in plan] == [0.1] * 7 + [0.2] * 5
    assert [number for number, epoch in enumerate(plan, 1) if epoch.evaluate] == [5, 10, 12]
    assert [number for number, epoch in enumerate(plan, 1) if epoch.segment_end] == [7, 12]
    assert [epoch.segment for epoch in plan] == [0] * 7 + [1] * 5


def test_plan_evaluates_at_the_ends_of_segments_or_only_at_the_end():
    segments = [(0.1, 2, "up"), (0.2, 2, "up"), (0.1, 1, "down")]
    at_ends = plan_stage(stage_model(segments=segments, evaluate={"at": "segment_end"}))
    assert [epoch.evaluate for epoch in at_ends] == [False, True, False, True, True]
    assert [epoch.direction for epoch in at_ends] == ["up"] * 4 + ["down"]
    only_last = plan_stage(stage_model(segments=segments, evaluate={"every": None}))
    assert [epoch.evaluate for epoch in only_last] == [False] * 4 + [True]


def test_plan_of_steps_of_nothing_and_cut_short():
    measured = plan_stage(stage_model(segments=[{"lambda": 0.2, "steps": 10}], evaluate={"every": None}))
    assert [(epoch.steps, epoch.evaluate) for epoch in measured] == [(10, True)]
    assert plan_stage(stage_model(segments=[])) == []
    cut = plan_stage(stage_model(segments=[(0.1, 50), (0.2, 50)]), max_steps=2)
    assert [(epoch.lam, epoch.steps, epoch.evaluate) for epoch in cut] == [(0.1, 2, True)]
    assert plan_stage(stage_model(segments=[]), max_steps=2) == []


def test_rate_drops_in_the_epoch_after_the_milestone():
    drops = Multistep(kind="multistep", milestones=(50, 75))
    factors = [lr_factor(drops, epoch=e, update=0, total_updates=1) for e in (49, 50, 74, 75, 99)]
    assert factors == pytest.approx([1, 0.1, 0.1, 0.01, 0.01])


@pytest.mark.parametrize(("total", "warm"), [(750, 75), (2500, 250)])
def test_warmup_is_per_update_and_starts_at_nothing(total, warm):
    """docs/specification/X-Y.md#1.6: W = 75 for X1, X1b, X2 and 250 for X1d."""

    def factor(k: int) -> float:
        return lr_factor(Warmup(kind="warmup_linear", warmup=0.1), epoch=0, update=k, total_updates=total)

    assert factor(0) == 0 and factor(1) == 1 / warm and factor(warm) == 1
    assert factor(warm - 1) == (warm - 1) / warm
    assert factor(total - 1) == pytest.approx(1 / (total - warm))


# Batches ----------------------------------------


@pytest.mark.parametrize(
    ("examples", "size", "drop_last", "count"),
    [
        (50_000, 256, True, 195),  # BASE
        (50_000, 256, False, 196),  # BASE-B, Q to W
        (16_000, 64, True, 250),  # X, Y
        (16_000, 128, True, 125),  # X1c
        (3_367, 64, False, 53),  # trusted sentences
        (3_367, 128, False, 27),
    ],
)
def test_published_steps_per_epoch(examples, size, drop_last, count):
    assert batches_per_pass(examples, size, drop_last) == count


def test_epochs_are_passes_and_can_be_entered_alone():
    indices = torch.arange(100, 123)
    order = StructureOrder(indices, 5, False, None, STREAMS)
    epochs = [list(order.epoch(e)) for e in range(3)]
    for batches in epochs:
        assert [len(batch) for batch in batches] == [5, 5, 5, 5, 3]
        assert sorted(torch.cat(batches).tolist()) == indices.tolist()
    assert not torch.equal(torch.cat(epochs[0]), torch.cat(epochs[1]))
    again = StructureOrder(indices, 5, False, None, STREAMS)
    assert all(torch.equal(a, b) for a, b in zip(again.epoch(2), epochs[2], strict=True))


def test_short_epochs_run_on_through_passes():
    indices = torch.arange(23)
    whole = StructureOrder(indices, 5, True, None, STREAMS)  # 4 batches a pass
    short = StructureOrder(indices, 5, True, 3, STREAMS)
    row = [batch for e in range(3) for batch in whole.epoch(e)]
    found = [batch for e in range(4) for batch in short.epoch(e)]
    assert all(torch.equal(a, b) for a, b in zip(found, row, strict=True))
    alone = list(StructureOrder(indices, 5, True, 3, STREAMS).epoch(3))
    assert all(torch.equal(a, b) for a, b in zip(alone, row[9:], strict=True))
    assert len(list(short.epoch(0, steps=10))) == 10  # J's ten batches
    assert len(list(short.epoch(0, steps=2))) == 2


def test_a_batch_larger_than_the_data_is_refused():
    with pytest.raises(ValueError, match="leaves no batch"):
        StructureOrder(torch.arange(7), 8, True, None, STREAMS)


def test_trusted_batches_start_anew_every_epoch_and_go_round():
    trusted = torch.arange(3_367)
    batches = trusted_batches(trusted, 64, 0, STREAMS)
    epoch = [next(batches) for _ in range(250)]
    assert [len(epoch[i]) for i in (51, 52, 53)] == [64, 39, 64]
    for start in (0, 53, 106, 159):  # four full passes and 38 of 53 batches
        assert sorted(torch.cat(epoch[start : start + 53]).tolist()) == trusted.tolist()
    assert not torch.equal(epoch[0], epoch[53])
    assert not torch.equal(epoch[0], next(trusted_batches(trusted, 64, 1, STREAMS)))
    assert torch.equal(epoch[0], next(trusted_batches(trusted, 64, 0, STREAMS)))


# Gates and stop rules ----------------------------------------


@pytest.mark.parametrize(
    ("gate", "error", "passes"),
    [
        ({"max": 0.30}, 0.30, True),  # T1a: at most
        ({"max": 0.30}, 0.3001, False),
        ({"min": 0.35}, 0.35, True),  # T2-spinodal: at least
        ({"min": 0.35}, 0.3499, False),
        ({"below": 0.20}, 0.20, False),  # Ta-prep-O: strictly below
        ({"below": 0.20}, 0.1999, True),
        ({"min": 0.1, "max": 0.2, "on_fail": "stop"}, 0.15, True),
    ],
)
def test_gate(gate, error, passes):
    assert gate_passes(Gate(**gate), error) is passes


@pytest.mark.parametrize(
    ("error", "inclusive", "errors", "at"),
    [
        ("above", True, [0.5, 0.4, 0.4], 2),  # T series: at or above
        ("above", False, [0.5, 0.4, 0.5, 0.5], None),  # R3: strictly above, a miss resets
        ("above", False, [0.4, 0.5, 0.5, 0.5, 0.1], 3),
        ("below", True, [0.5, 0.4, 0.4, 0.4], 3),
        ("below", False, [0.4, 0.4, 0.4], None),
        ("above", True, [], None),
    ],
)
def test_stop_rule(error, inclusive, errors, at):
    rule = {"error": error, "threshold": 0.4, "inclusive": inclusive, "consecutive": 3, "unit": "epoch"}
    assert first_stop(Stop(**rule), errors) == at


def test_errors_on_a_threshold_are_exact(lab):
    """Errors are counted wrong answers over all, so 30 % is 0.3 and passes "at most 0.30"."""
    task = lab.add(vectors(n_test=10))
    record, _ = lab.train(run_of(task, MLP, [stage(segments=[(0.3, 3)])]))
    assert all(
        row["test_error"] == round(row["test_error"] * 10) / 10 for row in rows_of(record, "evaluations")
    )


# Selection ----------------------------------------


def fabricate(lab: Lab, name: str, seed: int, error: float) -> dict:
    """A finished run with a given error, without training one: record and checkpoint of its stage ``main``."""
    spec = run_of(lab.tasks["vectors"], MLP, [stage(segments=[(0.3, 1)])], name=name, seed=seed)
    weights = build_model(MLP, spec["task"]["classes"], seed).double().state_dict()
    record = make_record(
        spec,
        {"status": "completed", "test_error": error},
        {},
        {"main": checkpoints.weights_digest(weights)},
        {},
    )
    write_record(lab.context.records / f"{name}.json", record)
    checkpoints.save(
        lab.context.checkpoint_of(name), {"run": name, "seed": seed, "stages": {"main": weights}}
    )
    return weights


@pytest.mark.parametrize(
    ("low", "high", "order", "index", "seed", "passed"),
    [
        (0.85, None, "position", 0, 1, True),  # Td2: the first traps in the order of seeds
        (0.85, None, "position", 1, 3, True),  # at least: 0.85 is one
        (0.85, None, "position", 2, 0, False),  # too few: the one nearest to passing, and the record says so
        (None, 0.85, "position", 1, 2, True),  # Tg1: untrapped ones
        (None, 0.85, "position", 3, 3, False),  # strictly below: 0.85 misses by nothing and comes first
        (None, None, "ascending", 0, 2, True),  # Tb2: by error
        (None, None, "ascending", 1, 0, True),  # equal errors in list order
        (None, None, "ascending", 2, 4, True),
    ],
)
def test_selection(lab, low, high, order, index, seed, passed):
    task = lab.add(vectors())
    errors = [0.3, 0.9, 0.2, 0.85, 0.3]
    weights = [fabricate(lab, f"search/seed{s}", s, e) for s, e in enumerate(errors)]
    start = {
        "kind": "select",
        "runs": [f"search/seed{s}" for s in range(5)],
        "stage": "main",
        "by": "test_error",
        "min": low,
        "max": high,
        "order": order,
        "index": index,
    }
    select = stage("select", [], start=start, evaluate={"every": None, "before": True})
    record, kept = lab.train(run_of(task, MLP, [select], name="Td2/trap1", seed=None, outcome="trap"))
    outcome = record["outcome"]
    assert (outcome["selected_seed"], outcome["selection_passed"]) == (seed, passed)
    assert outcome["selected_run"] == f"search/seed{seed}"
    assert outcome["init_error"] is not None and outcome["steps"] == 0
    assert checkpoints.weights_digest(kept["select"]) == checkpoints.weights_digest(weights[seed])


# Repeating and resuming ----------------------------------------


def long_run(lab: Lab, kind: str) -> dict:
    """Runs whose state holds all that a session can hold."""
    if kind == "staircase":
        task = lab.add(vectors())
        stop = {"error": "above", "threshold": 0.0, "inclusive": True, "consecutive": 3, "unit": "epoch"}
        return run_of(
            task,
            MLP,
            [
                stage(
                    "init", [(0.35, 3)], schedule=multistep(2, 4), evaluate={"every": 2}, gate={"max": 1.0}
                ),
                continued("sweep", "init", [(0.5, 2), (0.6, 3)], stop=stop),
                stage("jump", [(0.7, 2)], start={"kind": "stage", "stage": "init"}, seed_offset=200, lr=0.01),
            ],
            log={"steps_every": 4, "first_steps": 8},
        )
    if kind == "dead":
        task = lab.add(vectors())
        stages = [stage("one", [(0.4, 3)], lr=1e300), stage("two", [(0.4, 2)])]
        return run_of(task, MLP, stages, log={"steps_every": 1, "first_steps": 8})
    if kind == "dropout":
        task = lab.add(vectors())
        return run_of(task, DROPOUT, [stage(segments=[(0.4, 4)])], value={"period": 3})
    if kind == "direction":
        task = lab.add(vectors())
        value = {"period": 3, "synthetic": {"about": "clean", "cosine": 0.3}}
        return run_of(task, MLP, [stage(segments=[(0.4, 3)])], value=value, task={"steps_per_epoch": 2})
    if kind == "pictures":
        task = lab.add(pictures())
        value = {"labels": "trusted", "period": 4, "trusted": {"ratio": 0.15, "seed_offset": 2000}}
        return run_of(task, CONVOLUTIONS, [stage(segments=[(0.4, 3)])], value=value, task={"batch_size": 8})
    task = lab.add(sentences(masked=True))
    schedule = {"kind": "warmup_linear", "warmup": 0.1}
    return run_of(
        task,
        BERT,
        [stage("good", [(0.6, 2)], schedule=schedule), continued("damage", "good", [(0.2, 2)])],
        log={"epochs": True},
    )


KINDS = ["staircase", "dropout", "direction", "pictures", "text", "dead"]


@pytest.mark.parametrize("kind", KINDS)
def test_same_run_same_digest(lab, kind):
    run = long_run(lab, kind)
    first, second = lab.train(run)[0], lab.train(run)[0]
    assert first["digest"] == second["digest"]
    other = lab.train({**run, "seed": run["seed"] + 1})[0]
    assert other["digest"] != first["digest"]
    assert other["trajectory"] != first["trajectory"]


@pytest.mark.parametrize(("kind", "epochs"), [("pictures", 2), ("text", 1), ("staircase", 2)])
def test_first_epochs_are_those_of_the_whole_run(lab, kind, epochs):
    """The calendar stays: rates, orders, augmentation and dropout know of the epochs that are left out."""
    run = long_run(lab, kind)
    run["stages"] = run["stages"][:1]
    whole = lab.train(run)[0]
    first = lab.train({**run, "max_epochs": epochs})[0]
    assert first["outcome"]["epochs"] == epochs < whole["outcome"]["epochs"]
    assert whole["trajectory"]
    for block in whole["trajectory"]:
        last = epochs - (block == "steps")  # steps count the epochs behind them
        expected = [row for row in rows_of(whole, block) if row["epoch"] <= last]
        found = rows_of(first, block)
        assert expected and [row for row in found if row in expected] == expected, block
        assert len(found) <= len(expected) + 1  # the last one is evaluated in any case


@pytest.mark.parametrize("schedule", [multistep(2, 4), {"kind": "warmup_linear", "warmup": 0.1}])
def test_a_stage_that_continues_a_cut_one_has_the_calendar_of_the_whole_run(lab, monkeypatch, schedule):
    """Its epochs, updates, rates and batches are those behind all epochs of the stages before, trained or not."""
    task, taken = lab.add(vectors()), []
    stages = [
        stage("init", [(0.35, 3)], schedule=schedule),
        continued("sweep", "init", [(0.5, 2), (0.6, 2)]),
        stage(
            "jump", [(0.7, 3)], start={"kind": "stage", "stage": "init"}, seed_offset=200, schedule=schedule
        ),
        continued("end", "jump", [(0.8, 3)]),
    ]
    run = run_of(task, MLP, stages, log={"steps_every": 1})
    plain = session.Session.step

    def step(self, index, *arguments, **more):
        log = plain(self, index, *arguments, **more)
        taken.append((self.optimizer.lr, index.tolist()))
        return log

    monkeypatch.setattr(session.Session, "step", step)

    def steps_of(run):
        taken.clear()
        rows = rows_of(lab.train(run)[0], "steps")
        return [
            (row["stage"], row["epoch"], row["step"], row["lambda"], *one)
            for row, one in zip(rows, taken, strict=True)
        ]

    whole, cut = steps_of(run), steps_of({**run, "max_epochs": 2})
    kept = {"init": (0, 1), "sweep": (3, 4), "jump": (0, 1), "end": (3, 4)}
    assert cut == [one for one in whole if one[1] in kept[one[0]]]
    assert len({(name, epoch) for name, epoch, *_ in cut}) == 8 and len({one[4] for one in cut}) > 1


class Asked:
    """A request to stop that comes when it has been asked for *patience* times, and stays."""

    def __init__(self, patience: int):
        self.left = patience

    def __call__(self) -> bool:
        self.left -= 1
        return self.left < 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("patience", [2, 3])
def test_stopped_again_and_again(lab, tmp_path, kind, patience):
    """After steps, after epochs, between batches of evaluations: same record as without, to the last bit."""
    run = long_run(lab, kind)
    run["task"]["eval_batch_size"] = 25  # two or three batches an evaluation
    whole = lab.train(run)[0]
    resume, places = tmp_path / "resume", []
    while True:
        try:
            record, _ = lab.train(run, resume=resume, stop_requested=Asked(patience))
            break
        except Interrupted as stopped:
            assert "again" in str(stopped) and resume.exists()
            state = checkpoints.load_with_checksum(resume)
            places.append((state["progress"]["stage"], state["progress"]["stage_epoch"], state["epoch"]))
            assert len(places) < 200
    # The next one goes on behind the place of the last one, and many are within an epoch.
    within = [epoch["statistics"]["steps"] for *_, epoch in places]
    assert len(places) > whole["outcome"]["epochs"] / 2
    assert kind == "dead" or sum(steps > 0 for steps in within) > len(places) / 3
    order = [(stage, epoch, steps) for (stage, epoch, _), steps in zip(places, within, strict=True)]
    assert order == sorted(order)
    assert record["digest"] == whole["digest"]
    assert canonical_json(record["trajectory"]) == canonical_json(whole["trajectory"])


def test_a_stop_takes_one_step_at_most(lab, tmp_path, monkeypatch):
    """Asked in the middle of a step: that step is done, and no other."""
    run, steps, asked = long_run(lab, "pictures"), [], []
    plain = session.Session.step

    def step(self, *arguments, **more):
        steps.append(len(asked))
        if len(steps) == 5:
            asked.append(True)
        return plain(self, *arguments, **more)

    monkeypatch.setattr(session.Session, "step", step)
    with pytest.raises(Interrupted, match="epoch 1 of 3, after step 5;"):
        lab.train(run, resume=tmp_path / "resume", stop_requested=lambda: bool(asked))
    assert len(steps) == 5


def test_an_evaluation_is_left_between_two_batches(lab, tmp_path, monkeypatch):
    """On a CPU the test set takes minutes. What was trained before is kept, and not trained again."""
    run = long_run(lab, "pictures")
    run["task"]["eval_batch_size"] = 8
    whole = lab.train(run)[0]
    task, asked, seen = lab.tasks["pictures"], [], []
    plain = type(task).test_inputs

    def inputs(self, start, stop):
        seen.append(start)
        asked.append(True)
        return plain(self, start, stop)

    with monkeypatch.context() as patched:
        patched.setattr(type(task), "test_inputs", inputs)
        with pytest.raises(Interrupted):
            lab.train(run, resume=tmp_path / "resume", stop_requested=lambda: bool(asked))
    assert seen == [0]
    steps = []
    record, _ = lab.train(
        run, resume=tmp_path / "resume", report_step=lambda done, planned: steps.append((done, planned))
    )
    assert steps[0] == (1, 8) and len(steps) < whole["outcome"]["steps"]
    assert record["digest"] == whole["digest"]


@pytest.mark.parametrize("kind", KINDS)
def test_killed_in_mid_epoch(lab, tmp_path, monkeypatch, kind):
    """A kill loses what was done since the state was kept, nothing else: same record as without."""
    run = long_run(lab, kind)
    whole = lab.train(run)[0]
    task, resume = lab.tasks[run["task"]["dataset"]], tmp_path / "resume"
    calls, inputs = 0, type(task).inputs
    limit = {"text": 17, "direction": 4}.get(kind, 11)

    class Killed(BaseException):
        pass

    def dying(self, *arguments):
        nonlocal calls
        calls += 1
        if calls % limit == 0:  # an epoch takes fewer: every attempt gets further
            raise Killed
        return inputs(self, *arguments)

    monkeypatch.setattr(type(task), "inputs", dying)
    kills = 0
    while True:
        try:
            record, _ = lab.train(run, resume=resume, resume_seconds=0.0)
            break
        except Killed:
            kills += 1
            assert kills < 30
    assert kills > 0
    assert record["digest"] == whole["digest"]


def test_resume_file_of_another_run_or_damaged_is_ignored(lab, tmp_path):
    run = long_run(lab, "staircase")
    whole = lab.train(run)[0]
    resume = tmp_path / "resume"

    def interrupted(spec: dict) -> bytes:
        resume.unlink(missing_ok=True)
        with pytest.raises(Interrupted):
            lab.train(spec, resume=resume, stop_requested=lambda: True)
        return resume.read_bytes()

    mine, other = interrupted(run), interrupted({**run, "seed": 9})
    wider = copy.deepcopy(run)
    wider["task"]["model"] = {**MLP, "hidden": [6, 6]}
    interrupted(wider)
    misfit = checkpoints.load_with_checksum(resume) | {"run": canonical_json(run).decode()}
    checkpoints.save_with_checksum(resume, misfit)
    misfit = resume.read_bytes()
    interrupted(run)
    needle = (
        checkpoints.load_with_checksum(resume)["session"]["model"]["body.0.weight"].numpy().tobytes()[:64]
    )
    at = mine.index(needle) + 6
    flipped = mine[:at] + bytes([mine[at] ^ 1]) + mine[at + 1 :]  # torch itself would not notice
    for content in (other, flipped, mine[: len(mine) // 2], b"", b"not a torch file", misfit):
        resume.write_bytes(content)
        assert lab.train(run, resume=resume)[0]["digest"] == whole["digest"]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, torch.AcceleratorError])
def test_a_state_that_a_gpu_has_no_room_for_is_no_damaged_one(lab, tmp_path, monkeypatch, error):
    """It is kept for the next attempt: with several runs on one GPU, room comes and goes."""
    run, resume, begun = long_run(lab, "staircase"), tmp_path / "resume", []
    with pytest.raises(Interrupted):
        lab.train(run, resume=resume, stop_requested=Asked(7))
    kept = resume.read_bytes()

    def full(*_: object, **__: object) -> None:
        raise error("CUDA out of memory. Tried to allocate 86.00 MiB.")

    for place in ("torch.load", "dualgrad.training.session.Session.load_state"):
        with monkeypatch.context() as patched:
            patched.setattr(place, full)
            with pytest.raises(error, match="out of memory"):
                lab.train(run, resume=resume)
        assert resume.read_bytes() == kept
    lab.train(run, resume=resume, report_begin=lambda done, total: begun.append(done))
    assert begun[0] > 0


def test_what_another_algorithm_computed_for_want_of_memory_is_not_kept(lab, tmp_path, monkeypatch):
    """torch lets cuDNN go on with one that needs less room; the next attempt has more."""
    run, resume, asked = long_run(lab, "staircase"), tmp_path / "resume", 0
    whole = lab.train(run)[0]

    def shortages(device: torch.device) -> int:
        nonlocal asked
        asked += 1
        return int(asked > 6)  # the run's, and those of the first states

    with monkeypatch.context() as patched:
        patched.setattr("dualgrad.training.trainer.shortages", shortages)
        with pytest.raises(RuntimeError, match="CUDA out of memory") as caught:
            lab.train(run, resume=resume, resume_seconds=0.0)
    assert lacks_gpu_memory(caught.value)
    assert resume.exists() and lab.train(run, resume=resume)[0]["digest"] == whole["digest"]
    asked = 0
    with monkeypatch.context() as patched:
        patched.setattr("dualgrad.training.trainer.shortages", shortages)
        assert lab.train({**run, "cudnn_benchmark": True})[0]["outcome"] == whole["outcome"]


PEAK = """
import resource, sys, torch
from pathlib import Path
from dualgrad.training import checkpoints
path, half = Path(sys.argv[1]), torch.ones(16 * 2**20, dtype=torch.float64)
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
if sys.argv[2] == "save":
    checkpoints.save_with_checksum(path, {"a": half, "b": half + 1})
else:
    found = checkpoints.load_with_checksum(path)
    assert torch.equal(found["a"], half) and torch.equal(found["b"], half + 1)
print((peak() - before) / half.nbytes)
"""


def test_a_state_is_written_and_read_in_pieces(tmp_path):
    """Beside itself in memory, that of a large network would be more than what is asked for on a cluster."""
    for what, halves in (("save", 1), ("load", 3)):  # with the halves that the script itself makes
        words = [sys.executable, "-c", PEAK, str(tmp_path / "state"), what]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert float(done.stdout) < halves + 0.5, what


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("versions", "torch"), "1.0", "torch 1.0, here "),
        (("code",), "0123456789ab", "code 0123456789ab, here "),
        (("threads",), 7, "threads 7, here 1"),
        (("cpu", "capability"), "AVX1024", "CPU AVX1024, here "),
        (("arithmetic", "dtype"), "float16", "arithmetic float16, here float64"),
        (("versions", "cudnn"), 90000, "cudnn 90000, here "),
        (("gpu",), {"multiprocessors": 66}, "multiprocessors 66, here None"),
    ],
)
def test_a_state_of_other_code_or_another_machine_is_not_continued(lab, tmp_path, capsys, where, value, said):
    """It would give a record that is neither's."""
    run, resume = long_run(lab, "staircase"), tmp_path / "resume"
    with pytest.raises(Interrupted):
        lab.train(run, resume=resume, stop_requested=Asked(7))
    state = checkpoints.load_with_checksum(resume)
    place = state["surroundings"]
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    checkpoints.save_with_checksum(resume, state)
    begun = []
    lab.train(run, resume=resume, report_begin=lambda done, total: begun.append((done, total)))
    assert begun == [(0, 10)]
    errors = capsys.readouterr().err
    assert "starts over: the state of an earlier attempt was computed otherwise" in errors and said in errors


def test_a_state_of_the_same_code_is_continued_without_a_word(lab, tmp_path, capsys):
    run, resume, begun = long_run(lab, "staircase"), tmp_path / "resume", []
    with pytest.raises(Interrupted):
        lab.train(run, resume=resume, stop_requested=Asked(12))
    lab.train(run, resume=resume, report_begin=lambda done, total: begun.append(done))
    assert begun[0] > 0 and capsys.readouterr().err == ""


# What may not change a result ----------------------------------------


def test_evaluating_and_logging_change_nothing(lab):
    task = lab.add(pictures())

    def weights(evaluate: dict, log: dict) -> str:
        run = run_of(
            task,
            CONVOLUTIONS,
            [stage(segments=[(0.4, 4)], evaluate=evaluate)],
            task={"batch_size": 8},
            log={"epochs": False, **log},
        )
        return checkpoints.weights_digest(lab.train(run)[1]["main"])

    found = {
        weights({"every": None}, {}),
        weights({"every": 1, "before": True}, {"epochs": True}),
        weights({"every": 2}, {"steps_every": 1, "first_steps": 5}),
    }
    assert len(found) == 1


def test_shared_first_phase(lab):
    """T1a, T13 and T1-spinodal share their first phase; another group does not."""
    task = lab.add(vectors())

    def train(name: str, second: str, lam: float, group: str) -> dict:
        stages = [
            stage("init", [(0.35, 3)], schedule=multistep(3), evaluate={"every": 1}),
            continued(second, "init", [(lam, 2)]),
        ]
        return lab.train(run_of(task, MLP, stages, name=name, streams={"group": group, "replicate": 0}))[0]

    t1a = train("T1a/seed3", "observe", 0.46, "T1")
    t13 = train("T13/seed3", "observe", 0.54, "T1")
    spinodal = train("T1-spinodal/seed3", "sweep", 0.54, "T1")
    alone = train("T2-spinodal/seed3", "sweep", 0.54, "T2-spinodal")
    first = rows_of(t1a, "epochs", stage="init")
    assert first == rows_of(t13, "epochs", stage="init") == rows_of(spinodal, "epochs", stage="init")
    assert first != rows_of(alone, "epochs", stage="init")
    assert t1a["checkpoint"]["init"] == t13["checkpoint"]["init"] == spinodal["checkpoint"]["init"]
    # T13's observation at 0.54 and the spinodal's first λ are one training, too.
    assert t13["checkpoint"]["observe"] == spinodal["checkpoint"]["sweep"]
    assert t1a["checkpoint"]["observe"] != t13["checkpoint"]["observe"]


def test_replicates_are_independent(lab):
    task = lab.add(vectors())
    stages = [stage(segments=[(0.4, 2)])]
    runs = [run_of(task, MLP, stages, name="M1/run", streams={"group": "M1", "replicate": r}) for r in (1, 2)]
    one, two = (lab.train(run)[0] for run in runs)
    assert one["checkpoint"] != two["checkpoint"]
    assert rows_of(one, "epochs")[0]["loss_struct"] != rows_of(two, "epochs")[0]["loss_struct"]


# Copies ----------------------------------------


def test_copy(lab):
    """D1's λ = 0 rows: one training, written down once per ratio."""
    task = lab.add(vectors())
    source = run_of(
        task, MLP, [stage(segments=[(0.0, 4)], save=False)], name="D1/a", method="ce", saves=False
    )
    original, _ = lab.train(source)
    run = {**source, "run": "b", "copy_of": "D1/a", "factors": {"clean_ratio": 0.05}}
    record, weights = lab.train(run)
    assert weights == {}
    assert record["outcome"] == original["outcome"] and record["trajectory"] == original["trajectory"]
    assert record["run"] == "b" and record["spec"] == run and record["digest"] != original["digest"]


def test_prefix_is_what_a_shorter_training_gives(lab):
    """Y1B is the first three epochs of Y1A."""
    task = lab.add(sentences(masked=True))
    streams = {"group": "Y1", "replicate": 0}
    stages = [stage(segments=[(0.6, 5)], save=False)]
    common = {"streams": streams, "head_cosine_every": 1, "saves": False, "log": {"steps_every": 2}}
    lab.train(run_of(task, BERT, stages, name="Y1A/seed3", **common))
    stages[0]["segments"][0]["epochs"] = 3
    trained, _ = lab.train(run_of(task, BERT, stages, name="Y1B/trained", **common))
    spec = run_of(task, BERT, stages, name="Y1B/seed3", copy_of="Y1A/seed3", prefix_epochs=3, **common)
    copied, _ = lab.train(spec)
    assert copied["trajectory"] == trained["trajectory"]
    # Which class it predicted after three epochs is not written down.
    unknown = {"constant_prediction", "avg_gmix_norm"}
    wanted = {key: value for key, value in trained["outcome"].items() if key not in unknown}
    assert copied["outcome"].keys() == wanted.keys()
    assert copied["outcome"] == pytest.approx(wanted)


def test_copy_of_a_missing_or_altered_record_is_refused(lab):
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.0, 1)])], copy_of="D1/a", name="D1/b")
    with pytest.raises(RecordError, match="no such record"):
        lab.train(run)
    source = run_of(task, MLP, [stage(segments=[(0.0, 1)])], name="D1/a")
    lab.train(source)
    path = lab.context.records / "D1/a.json"
    path.write_text(path.read_text().replace('"status":"completed"', '"status":"dead"'))
    with pytest.raises(RecordError, match="digest"):
        lab.train(run)


# Divergence ----------------------------------------

HUGE = {"name": "sgd", "lr": 1e300, "momentum": 0.9, "weight_decay": 5e-4}


@pytest.mark.parametrize("method", ["ce", "dual"])
def test_a_run_that_diverges_is_an_outcome(lab, method):
    task = lab.add(vectors())
    run = run_of(
        task,
        MLP,
        [stage(segments=[(0.4, 4)], evaluate={"every": 1})],
        method=method,
        optimizer=HUGE,
        log={"epochs": True, "steps_every": 1, "first_steps": 7 if method == "dual" else None},
    )
    record, _ = lab.train(run)
    outcome = record["outcome"]
    assert outcome["status"] == "dead" and outcome["constant_prediction"] is True
    assert outcome["test_error"] == 0.75 and outcome["test_loss"] is None
    assert outcome["epochs"] == 4 and outcome["steps"] < 20  # it stops training, not writing
    assert finite(record)
    path = lab.context.records / "test/run.json"
    assert b"NaN" not in path.read_bytes() and b"Infinity" not in path.read_bytes()
    assert read_record(path) == record
    assert lab.train(run)[0]["digest"] == record["digest"]


def test_divergence_in_the_last_update(lab):
    """Losses are those before each update, so only the weights show it."""
    task = lab.add(vectors())
    run = run_of(
        task,
        MLP,
        [stage(segments=[{"lambda": 0.4, "steps": 1}])],
        optimizer={**HUGE, "weight_decay": 1e300},
        log={"epochs": False},
    )
    record, _ = lab.train(run)
    assert record["outcome"]["steps"] == 1
    assert record["outcome"]["status"] == "dead" and record["outcome"]["test_loss"] is None


def test_one_dead_branch_leaves_the_other_alone(lab):
    task = lab.add(vectors())

    def train(lr: float) -> dict:
        stages = [
            stage("ordered_init", [(0.35, 2)], branch="ordered"),
            stage("collapse_init", [(0.6, 3)], branch="collapse", seed_offset=100, lr=lr),
        ]
        for branch, offset in (("ordered", 200), ("collapse", 300)):
            start = {"kind": "stage", "stage": f"{branch}_init"}
            stages.append(
                stage(f"{branch}_sweep", [(0.5, 2)], branch=branch, start=start, seed_offset=offset, lr=0.001)
            )
        return lab.train(run_of(task, MLP, stages, name="V1/seed3"))[0]

    well, ill = train(0.1), train(1e300)
    assert (well["outcome"]["status"], ill["outcome"]["status"]) == ("completed", "dead")
    for name in ("ordered_init", "ordered_sweep"):
        assert rows_of(well, "epochs", stage=name) == rows_of(ill, "epochs", stage=name)
        assert well["checkpoint"][name] == ill["checkpoint"][name]
    assert rows_of(ill, "evaluations", stage="collapse_sweep")[-1]["test_loss"] is None
    assert finite(ill)


def test_prefix_of_a_run_that_died_later_is_alive(lab):
    task = lab.add(vectors())
    stages = [stage("one", [(0.4, 2)], save=False), stage("two", [(0.4, 2)], lr=1e300, save=False)]
    source, _ = lab.train(run_of(task, MLP, stages, name="Y1A/a"))
    assert source["outcome"]["status"] == "dead"
    stages = [stage("main", [(0.4, 4)], lr=1e300, save=False)]
    dead, _ = lab.train(run_of(task, MLP, stages, name="Y1A/b"))
    spec = run_of(task, MLP, stages, name="Y1B/b", copy_of="Y1A/b", prefix_epochs=2)
    assert dead["outcome"]["status"] == "dead"
    assert lab.train(spec)[0]["outcome"]["status"] == "dead"


# Trusted examples where BatchNorm sees vectors ----------------------------------------


def test_one_trusted_vector_is_no_batch(lab):
    """BatchNorm1d cannot normalise a batch of one; published networks end on maps and take it (A-G.md#1.9)."""
    task = lab.add(vectors())
    value = {"labels": "trusted", "period": 1, "trusted": {"ratio": 0.05, "seed_offset": 2000}}
    run = run_of(task, MLP, [stage(segments=[(0.4, 4)])], value=value, task={"batch_size": 10})
    trusted = set(lab.labels(run).trusted.tolist())
    order = lab.session(run).order
    counts = [sum(i in trusted for i in batch.tolist()) for e in range(4) for batch in order.epoch(e)]
    assert {0, 1} < set(counts)
    record, _ = lab.train(run)
    assert record["outcome"]["status"] == "completed"
    used = [row["loss_value"] is not None for row in rows_of(record, "epochs")]
    assert any(used)


def test_a_batch_of_one_is_refused_before_training_where_batchnorm_cannot_take_it(lab):
    task = lab.add(vectors(n_train=151))
    steps = []
    for batch, drop_last, left in ((50, False, True), (50, True, False), (1, True, True)):
        run = run_of(
            task, MLP, [stage(segments=[(0.4, 1)])], task={"batch_size": batch, "drop_last": drop_last}
        )
        if left:
            words = rf"test/run: batch size {batch} leaves a batch of one of 151 examples.*BatchNorm in mlp"
            with pytest.raises(TrainingError, match=words):
                lab.train(run, report_step=lambda *step: steps.append(step))
            assert steps == []
        else:
            assert lab.train(run)[0]["outcome"]["status"] == "completed"
    maps = lab.add(pictures(n_train=65))
    run = run_of(maps, CONVOLUTIONS, [stage(segments=[(0.4, 1)])], task={"batch_size": 8, "drop_last": False})
    assert lab.train(run)[0]["outcome"]["status"] == "completed", "maps of one example can be normalised"


def test_batches_larger_than_the_data_are_named_with_their_run(lab):
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.4, 1)])], task={"batch_size": 512, "drop_last": True})
    with pytest.raises(
        TrainingError, match="test/run: batch size 512 with drop_last leaves no batch of 150 examples"
    ):
        lab.train(run)


def test_what_only_the_job_can_find_is_one_line(lab):
    """A number that another run was to measure and has not: no traceback."""
    task = lab.add(vectors())
    fabricate(lab, "J/measure", 0, 0.3)
    scale = {"run": "J/measure", "field": "first_gmix_norm"}
    with pytest.raises(
        TrainingError, match="test/run: cannot be trained as .*nothing named 'first_gmix_norm'"
    ):
        lab.train(run_of(task, MLP, [stage(segments=[(0.4, 1)])], lr_scale=scale))


def test_a_run_with_a_misspelt_key_is_not_trained(lab):
    run = run_of(lab.add(vectors()), MLP, [stage(segments=[(0.4, 1)])])
    run["task"]["model"]["hiden"] = [4]
    expected = r"test/run: task.model: unknown key 'hiden'; did you mean 'hidden'\?"
    with pytest.raises(TrainingError, match=expected):
        lab.train(run)


# Gates across branches, plans of whole runs ----------------------------------------


def test_every_gate_counts(lab):
    """V1, V4: a failed gate only warns, and a later one that passes does not hide it."""
    task = lab.add(vectors())
    stages = [
        stage("ordered_init", [(0.35, 2)], branch="ordered", gate={"below": 0.0}),
        stage("collapse_init", [(0.6, 2)], branch="collapse", seed_offset=100, gate={"min": 0.0}),
    ]
    record, weights = lab.train(run_of(task, MLP, stages))
    assert record["outcome"]["status"] == "completed" and record["outcome"]["init_success"] is False
    assert set(weights) == {"ordered_init", "collapse_init"}


def test_progress_is_reported(lab):
    seen = []
    lab.train(long_run(lab, "staircase"), report=lambda done, total, error: seen.append((done, total, error)))
    done = [row[0] for row in seen]
    assert done == sorted(done) and {row[1] for row in seen} == {10}
    assert seen[0][2] is None and all(0 <= row[2] <= 1 for row in seen[1:])


# Checkpoints ----------------------------------------


@pytest.fixture
def saved(lab):
    """A run with a checkpoint, and one that starts from it."""
    task = lab.add(vectors())
    lab.train(run_of(task, MLP, [stage(segments=[(0.4, 1)])], name="prep/seed3"))
    start = {"kind": "checkpoint", "run": "prep/seed3", "stage": "main"}
    sweep = run_of(
        task, MLP, [stage("sweep", [(0.4, 1)], start=start, lr=0.001)], name="Ta1/seed3", seed=None
    )
    assert lab.train(sweep)[0]["outcome"]["status"] == "completed"
    return lab, sweep, lab.context.checkpoint_of("prep/seed3")


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9, 0.999])
def test_truncated_checkpoint_is_refused(saved, part):
    lab, sweep, path = saved
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(checkpoints.CheckpointError, match=r"seed3\.pt.*again"):
        lab.train(sweep)


def test_flipped_bits_in_a_checkpoint_are_refused(saved):
    lab, sweep, path = saved
    content = path.read_bytes()
    weights = torch.load(path, weights_only=True)["stages"]["main"]
    needle = weights["body.0.weight"].numpy().tobytes()[:64]
    at = content.index(needle)
    for place in (3, at + 5, len(content) // 2, len(content) - 5):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        try:
            record, _ = lab.train(sweep)
        except checkpoints.CheckpointError as error:
            assert "seed3.pt" in str(error) or "prep/seed3" in str(error)
        else:  # a bit that nothing reads
            assert place not in (at + 5,)
            assert record["outcome"]["status"] == "completed"


def test_checkpoint_of_other_weights_or_without_the_stage_is_refused(saved):
    lab, sweep, path = saved
    content = torch.load(path, weights_only=True)
    other = copy.deepcopy(content)
    other["stages"]["main"]["head.bias"] += 1e-12
    checkpoints.save(path, other)
    with pytest.raises(checkpoints.CheckpointError, match="do not match the record"):
        lab.train(sweep)
    checkpoints.save(path, {**content, "stages": {}})
    with pytest.raises(checkpoints.CheckpointError, match="no weights of stage 'main'"):
        lab.train(sweep)
    path.unlink()
    with pytest.raises(checkpoints.CheckpointError, match="no such checkpoint"):
        lab.train(sweep)


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("wrapped", ["pickle", "torch"])
def test_a_pickle_bomb_does_not_go_off(saved, tmp_path, wrapped):
    lab, sweep, path = saved
    crater = tmp_path / "crater"
    content = {"stages": {"main": Bomb(crater)}}

    def plant(where) -> None:
        if wrapped == "pickle":
            where.write_bytes(pickle.dumps(content, protocol=2))
        else:
            torch.save(content, where)

    plant(path)
    with pytest.raises(checkpoints.CheckpointError, match="unsafe"):
        lab.train(sweep)
    run, resume = long_run(lab, "staircase"), tmp_path / "resume"
    plant(resume)
    assert lab.train(run, resume=resume)[0]["outcome"]["status"] == "completed"
    assert not crater.exists()
    pickle.loads(pickle.dumps(Bomb(crater)))  # the bomb is a real one
    assert crater.exists()


def test_fine_tuning_takes_the_body_and_a_new_head(lab):
    """A text run may start from another run's weights but for the head, as DistilBERT is fine-tuned."""
    task = lab.add(sentences(masked=True))
    rest = {"optimizer": {"name": "adamw", "lr": 0.0, "weight_decay": 0.01}}
    _, source = lab.train(run_of(task, BERT, [stage(segments=[(0.5, 1)])], name="prep/text", seed=1))
    model = {**BERT, "body_from": "prep/text"}
    _, found = lab.train(run_of(task, model, [stage(segments=[(0.5, 1)])], name="X1/run", seed=2, **rest))
    fresh = build_model(BERT, 2, 2).double().state_dict()
    for name, tensor in found["main"].items():
        head = name.startswith(("net.pre_classifier.", "net.classifier."))
        assert torch.equal(tensor, fresh[name] if head else source["main"][name]), name
    with pytest.raises(TrainingError, match=r"do(es)? not fit"):
        lab.add(vectors())
        lab.train(run_of(lab.tasks["vectors"], MLP, [stage(segments=[(0.5, 1)])], name="prep/image"))
        lab.train(run_of(task, {**BERT, "body_from": "prep/image"}, [stage(segments=[(0.5, 1)])], **rest))


# Records ----------------------------------------


def test_record_survives_writing_and_refuses_damage(lab):
    task = lab.add(vectors())
    record, _ = lab.train(run_of(task, MLP, [stage(segments=[(0.4, 1)])], name="A/run"))
    path = lab.context.records / "A/run.json"
    assert read_record(path, edition="test", name="A/run") == record
    with pytest.raises(RecordError, match="expected A/other"):
        read_record(path, name="A/other")
    with pytest.raises(RecordError, match="edition"):
        read_record(path, edition="paper")
    content = path.read_bytes()
    for damaged in (b"", content[:-20], content.replace(b'"steps":5', b'"steps":6'), b"[]", b'{"format":1}'):
        assert damaged != content
        path.write_bytes(damaged)
        with pytest.raises(RecordError, match=r"run\.json"):
            read_record(path)
    assert not list(path.parent.glob(".*.tmp"))


def test_digest_is_blind_to_time_and_place_only(lab):
    task = lab.add(vectors())
    record, _ = lab.train(run_of(task, MLP, [stage(segments=[(0.4, 1)])]))
    parts = [
        copy.deepcopy(record[key]) for key in ("spec", "outcome", "trajectory", "checkpoint", "provenance")
    ]

    def digest(index: int | None = None, **changes) -> str:
        changed = copy.deepcopy(parts)
        if index is not None:
            changed[index] |= changes
        return make_record(*changed)["digest"]

    assert digest() == digest(4, host="elsewhere", seconds=1.0) == record["digest"]
    assert (
        len({digest(), digest(0, protocol=2), digest(1, steps=6), digest(2, steps={}), digest(3, x="y")}) == 5
    )


def test_json_without_nan():
    with pytest.raises(ValueError):
        canonical_json({"x": float("nan")})
    assert canonical_json({"b": [1, 0.1], "a": "λ"}) == '{"a":"λ","b":[1,0.1]}'.encode()
