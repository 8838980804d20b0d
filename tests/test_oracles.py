"""The trainer against a plain second implementation, shape by shape, in double precision.

Each test writes a protocol down twice: as the resolved run that the trainer gets, and as the procedure that the
specification describes, carried out by tests/oracles/plain.py. Weights, BatchNorm buffers and everything recorded
must agree to 1e-10 after at least 40 updates.
"""

from __future__ import annotations

import math

import pytest
import torch
from oracles import plain
from oracles.lab import (
    BERT,
    CNN,
    CONVOLUTIONS,
    DROPOUT,
    MLP,
    RESNET,
    Bench,
    Lab,
    continued,
    multistep,
    pictures,
    rows_of,
    run_of,
    sentences,
    stage,
    vectors,
)


@pytest.fixture
def lab(tmp_path, monkeypatch, record_property):
    """A laboratory; the largest difference seen goes into the test report."""
    laboratory = Lab(tmp_path, monkeypatch)
    yield laboratory
    record_property("largest_difference", laboratory.largest)


def from_scratch(
    bench: Bench, lambdas: list[float], step, milestones: list[int], every: int = 1
) -> list[list[dict]]:
    """One λ per epoch, multi-step rate, evaluation every so many epochs and at the end (P1 of S-T.md#10)."""
    scheduler = plain.multistep(bench.session.optimizer, milestones)
    epochs = []
    for number, lam in enumerate(lambdas, start=1):
        epochs.append(bench.session.epoch(bench.batches(), step(lam)))
        scheduler.step()
        if number % every == 0 or number == len(lambdas):
            bench.evaluate()
    assert bench.session.t >= 40
    return epochs


def agree(lab: Lab, record: dict, found: dict, bench: Bench, epochs: list[list[dict]], fields=None) -> None:
    """Weights, errors, losses, best error and the epoch log of a run with one stage."""
    assert record["outcome"]["status"] == "completed"
    lab.same_weights(found, bench.model)
    lab.same_errors(record, bench.errors, bench.losses)
    lab.close(record["outcome"]["test_error"], bench.errors[-1], "final error")
    lab.close(record["outcome"]["best_error"], min(bench.errors), "best error")
    lab.same_epochs(record, epochs, fields)
    assert record["outcome"]["steps"] == bench.session.t


def mean_of_epoch_means(epochs: list[list[dict]], key: str) -> float:
    """Mean over epochs of the mean over steps (docs/specification/I-P.md#0)."""
    return plain.mean([plain.mean(steps, key) for steps in epochs])


# A to G, J, K, Q: from scratch ----------------------------------------


def test_cross_entropy(lab):
    task = lab.add(vectors())
    stages = [stage(segments=[(0.0, 9)], schedule=multistep(4, 7), evaluate={"every": 4})]
    run = run_of(task, MLP, stages, method="ce")
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, [0.0] * 9, lambda lam: plain.ce(bench.session), [4, 7], every=4)
    agree(lab, record, weights["main"], bench, epochs, ("loss_struct",))
    assert "avg_cos" not in record["outcome"]
    rates = [row["lr"] for row in rows_of(record, "epochs")]
    assert rates == pytest.approx([0.1] * 4 + [0.01] * 3 + [0.001] * 2, rel=1e-14)


def test_loss_mix(lab):
    task = lab.add(vectors())
    run = run_of(task, MLP, [stage(segments=[(0.3, 9)], schedule=multistep(4, 7))], method="lossmix")
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, [0.3] * 9, lambda lam: plain.lossmix(bench.session, lam), [4, 7])
    agree(lab, record, weights["main"], bench, epochs, ("loss_struct",))


@pytest.mark.parametrize(
    ("labels", "sign", "period", "renormalize"),
    [
        ("clean", 1, 16, False),  # A, K, M, N, …; B3 Baseline
        ("clean", 1, 1, False),
        ("clean", 1, 16, True),  # B3 +Renorm
        ("clean", 1, 1, True),  # B3 +Renorm+K1
        ("clean", -1, 1, True),  # B3 TrueAnti+K1
        ("random", 1, 16, False),  # B, C Misaligned, J Misaligned_raw
        ("random", 1, 16, True),  # J Misaligned_renorm
        ("shifted", 1, 16, False),  # B2
    ],
)
def test_dual(lab, labels, sign, period, renormalize):
    task = lab.add(vectors())
    random = {"seed_offset": 5000} if labels == "random" else None
    run = run_of(
        task,
        MLP,
        [stage(segments=[(0.35, 10)], schedule=multistep(5, 8), evaluate={"every": 3})],
        value={"labels": labels, "sign": sign, "period": period, "random": random},
        renormalize=renormalize,
        log={"first_steps": 13},
        thresholds={"convergence": 0.35},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)

    def step(lam):
        return plain.dual(bench.session, lam, period=period, sign=sign, renormalize=renormalize)

    epochs = from_scratch(bench, [0.35] * 10, step, [5, 8], every=3)
    agree(lab, record, weights["main"], bench, epochs)
    outcome = record["outcome"]
    lab.close(outcome["avg_cos"], mean_of_epoch_means(epochs, "cos"), "avg_cos")
    # J records the length before renormalisation, B3 that after it, over the first steps.
    lab.close(outcome["avg_gmix_norm"], mean_of_epoch_means(epochs, "norm_mix"), "avg_gmix_norm")
    first = bench.session.rows[:13]
    lab.close(outcome["first_cos"], plain.mean(first, "cos"), "first_cos")
    lab.close(outcome["first_gmix_norm"], plain.mean(first, "norm_step"), "first_gmix_norm")
    # K: first evaluated epoch strictly below the threshold.
    reached = [e for e, error in zip((3, 6, 9, 10), bench.errors, strict=True) if error < 0.35]
    assert outcome["convergence_epoch"] == (reached[0] if reached else None)


def test_dual_convolutions_with_augmentation(lab):
    """A ResNet with 20 BatchNorm layers: both passes of a refresh see the same crops, its buffers two updates."""
    task = lab.add(pictures())
    run = run_of(
        task,
        RESNET,
        [stage(segments=[(0.4, 6)], schedule=multistep(4))],
        task={"batch_size": 9, "drop_last": True},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, [0.4] * 6, lambda lam: plain.dual(bench.session, lam), [4])
    agree(lab, record, weights["main"], bench, epochs)
    counted = weights["main"]["bn1.num_batches_tracked"]
    assert int(counted) == 42 + 3  # 42 steps, refreshes at t = 0, 16, 32


def test_dual_with_dropout(lab):
    """P2: the second pass of a refresh draws masks of its own."""
    task = lab.add(vectors())
    run = run_of(task, DROPOUT, [stage(segments=[(0.4, 9)])], value={"period": 4}, optimizer=sgd_block(0.01))
    record, weights = lab.train(run)
    bench = lab.session(run, lr=0.01)
    epochs = from_scratch(bench, [0.4] * 9, lambda lam: plain.dual(bench.session, lam, period=4), [])
    agree(lab, record, weights["main"], bench, epochs)


def sgd_block(lr: float) -> dict:
    return {"name": "sgd", "lr": lr, "momentum": 0.9, "weight_decay": 5e-4}


@pytest.mark.parametrize(("seed", "empty_first"), [(0, False), (11, True)])
def test_trusted_in_batch(lab, seed, empty_first):
    """D1, D2, D3, V2: no, one and several trusted examples in the batches of refresh steps."""
    task = lab.add(pictures())
    run = run_of(
        task,
        CONVOLUTIONS,
        [stage(segments=[(0.4, 6)], schedule=multistep(4))],
        seed=seed,
        task={"batch_size": 8},
        value={"labels": "trusted", "period": 4, "trusted": {"ratio": 0.15, "seed_offset": 2000}},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)
    trusted = set(bench.tables.trusted.tolist())
    assert len(trusted) == 9

    def step(lam):
        return plain.dual_trusted(bench.session, lam, trusted, period=4)

    epochs = from_scratch(bench, [0.4] * 6, step, [4])
    agree(lab, record, weights["main"], bench, epochs)
    found = [row["found"] for row in bench.session.rows[::4]]
    assert {0, 1} < set(found) and max(found) > 1
    assert (found[0] == 0) is empty_first


@pytest.mark.parametrize("c", [-0.6, 0.0, 0.9])
def test_direction_about_struct(lab, c):
    """I, and Orthogonal_noise of J."""
    task = lab.add(vectors())
    run = run_of(
        task,
        MLP,
        [stage(segments=[(0.35, 9)], schedule=multistep(5, 8))],
        value={"period": 1, "synthetic": {"about": "struct", "cosine": c}},
        noise={"kind": "symmetric", "rate": 0.4, "seed": 1000},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, [0.35] * 9, lambda lam: plain.about_struct(bench.session, lam, c), [5, 8])
    agree(lab, record, weights["main"], bench, epochs, ("loss_struct", "norm_mix"))
    lab.close(record["outcome"]["cos_actual"], mean_of_epoch_means(epochs, "cos_actual"), "cos_actual")
    lab.close(record["outcome"]["cos_actual"], c, "cosine as wanted")
    expected = math.sqrt(0.65**2 + 0.35**2 + 2 * 0.65 * 0.35 * c)  # closed form of I-P.md#I
    lab.close(record["outcome"]["avg_gmix_norm"], expected, "length of the mix")


@pytest.mark.parametrize("c", [-0.9, 0.3])
def test_direction_about_clean(lab, c):
    """L: the reference is the cached clean gradient, the random part fresh every step."""
    task = lab.add(vectors())
    run = run_of(
        task,
        MLP,
        [stage(segments=[(0.35, 9)], schedule=multistep(5, 8))],
        value={"synthetic": {"about": "clean", "cosine": c}},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, [0.35] * 9, lambda lam: plain.about_clean(bench.session, lam, c), [5, 8])
    agree(lab, record, weights["main"], bench, epochs, ("loss_struct", "norm_mix"))
    for name in ("cos_actual", "cos_struct_clean"):
        lab.close(record["outcome"][name], mean_of_epoch_means(epochs, name), name)
    lab.close(record["outcome"]["cos_actual"], c, "cosine as wanted")


def test_step_size_measured_and_matched(lab):
    """J: ρ(λ) from ten batches without an update, then plain cross-entropy at 0.1·ρ."""
    task = lab.add(vectors())
    value = {"labels": "random", "random": {"seed": 2000}, "period": 1}
    measure = run_of(
        task,
        MLP,
        [stage(segments=[{"lambda": 0.2, "steps": 10}], evaluate={"every": None})],
        name="J-stepsize/lam0.2",
        seed=0,
        value=value,
        optimizer=sgd_block(0.0),
        outcome="measure",
    )
    measured, _ = lab.train(measure)

    bench = lab.session(measure, lr=0.1)
    lengths = []
    passes = (batch for epoch in (0, 1) for batch in bench.order.epoch(epoch))
    for _, indices in zip(range(10), passes, strict=False):
        inputs = bench.images(indices, 0)
        _, g_s = plain.forward_backward(bench.model, inputs, bench.tables.noisy[indices])
        _, g_v = plain.forward_backward(bench.model, inputs, bench.tables.value[indices])
        lengths.append(plain.mixed(g_s, g_v, 0.2)[1]["norm_mix"])
    assert len(lengths) == 10
    rho = plain.mean(lengths)
    lab.close(measured["outcome"]["avg_gmix_norm"], rho, "ρ")

    run = run_of(
        task,
        MLP,
        [stage(segments=[(0.2, 9)], schedule=multistep(5, 8))],
        method="ce",
        lr_scale={"run": "J-stepsize/lam0.2", "field": "avg_gmix_norm"},
    )
    record, weights = lab.train(run)
    bench = lab.session(run, lr=0.1 * rho)
    epochs = from_scratch(bench, [0.2] * 9, lambda lam: plain.ce(bench.session), [5, 8])
    agree(lab, record, weights["main"], bench, epochs, ("loss_struct",))
    lab.close(record["outcome"]["lr_scale"], rho, "lr_scale")


@pytest.mark.parametrize("shape", ["quench", "ramp_down"])
def test_lambda_schedules(lab, shape):
    """Q2: λ changes while optimizer, step counter, cache and rate schedule go on."""
    task = lab.add(vectors())
    low, high, n = 0.35, 0.6, 10
    if shape == "quench":
        lambdas = [low if e < 3 else high for e in range(n)]
        segments = [(low, 3), (high, 7)]
    else:
        lambdas = [high - (e / n) * (high - low) for e in range(n)]
        segments = [(lam, 1) for lam in lambdas]
    run = run_of(task, MLP, [stage(segments=segments, schedule=multistep(5, 8))])
    record, weights = lab.train(run)
    bench = lab.session(run)
    epochs = from_scratch(bench, lambdas, lambda lam: plain.dual(bench.session, lam), [5, 8])
    agree(lab, record, weights["main"], bench, epochs)
    assert [row["lambda"] for row in rows_of(record, "evaluations")] == lambdas


def test_loop(lab):
    """R1, R2: λ up and down, the rate set at the start of a λ-step by the epochs done, one evaluation per λ."""
    task = lab.add(vectors())
    up, down, hold = [0.2, 0.4, 0.6], [0.5, 0.3], 2
    segments = [(lam, hold, "up") for lam in up] + [(lam, hold, "down") for lam in down]
    loop = stage("loop", segments, schedule=multistep(4, 8), evaluate={"at": "segment_end"})
    run = run_of(task, MLP, [loop])
    record, weights = lab.train(run)

    bench = lab.session(run, "loop")
    epochs, averages = [], []
    for lam in up + down:
        if bench.session.epochs == 4:  # published: 50
            bench.session.optimizer.param_groups[0]["lr"] = 0.01
        elif bench.session.epochs == 8:  # published: 75
            bench.session.optimizer.param_groups[0]["lr"] = 0.001
        for _ in range(hold):
            epochs.append(bench.session.epoch(bench.batches(), plain.dual(bench.session, lam)))
        averages.append(plain.mean(epochs[-1], "cos"))  # avg_cos: the last epoch of the hold only
        bench.evaluate()
    agree(lab, record, weights["loop"], bench, epochs)
    rows = rows_of(record, "evaluations")
    assert [row["lambda"] for row in rows] == up + down
    assert [row["direction"] for row in rows] == ["up"] * 3 + ["down"] * 2
    assert [row["epoch"] for row in rows] == [2, 4, 6, 8, 10]
    last = {row["segment"]: row["cos_mean"] for row in rows_of(record, "epochs")}
    for number, average in enumerate(averages):
        lab.close(last[number], average, "avg_cos of a λ-step")


# R3, T1a, T13, spinodals: initial phase, gate, staircase, stop ----------------------------------------


def initial_phase(bench: Bench, lam: float, epochs: int, milestones: list[int]):
    """Phase 1, evaluated at its end; the scheduler goes on into phase 2."""
    scheduler = plain.multistep(bench.session.optimizer, milestones)
    for _ in range(epochs):
        bench.session.epoch(bench.batches(), plain.dual(bench.session, lam))
        scheduler.step()
    return bench.evaluate(), scheduler


def staircase_run(
    task, ladder, hold, stop, *, milestones=(6, 9), gate=None, evaluate=None, **changes
) -> dict:
    init = stage("init", [(0.35, 6)], schedule=multistep(*milestones), evaluate={"every": None}, gate=gate)
    sweep = continued(
        "sweep", "init", [(lam, hold) for lam in ladder], evaluate=evaluate or {"every": 1}, stop=stop
    )
    return run_of(task, MLP, [init, sweep], **changes)


LADDER = [0.5, 0.6, 0.7, 0.8]


@pytest.mark.parametrize(
    ("error", "threshold", "consecutive", "fires"),
    [
        ("above", 0.0, 3, True),  # every epoch counts: the third is the first of the second λ
        ("above", 0.25, 2, None),  # now and then
        ("above", 0.9, 3, False),
        ("below", 1.0, 5, True),
        ("below", 0.05, 3, False),
    ],
)
def test_staircase_by_epochs(lab, error, threshold, consecutive, fires):
    """T1-spinodal, T2-spinodal: the scheduler goes on, and the counter is not reset where λ changes."""
    task = lab.add(vectors())
    stop = {
        "error": error,
        "threshold": threshold,
        "inclusive": True,
        "consecutive": consecutive,
        "unit": "epoch",
    }
    run = staircase_run(task, LADDER, 2, stop, gate={"max": 0.6, "on_fail": "stop"})
    record, weights = lab.train(run)

    bench = lab.session(run, "init")
    init_error, scheduler = initial_phase(bench, 0.35, 6, [6, 9])
    event, counter, crossing, done = None, 0, None, 0
    for lam in LADDER:
        for _ in range(2):
            bench.session.epoch(bench.batches(), plain.dual(bench.session, lam))
            scheduler.step()
            done += 1
            e = bench.evaluate()
            hit = e >= threshold if error == "above" else e <= threshold
            crossing = lam if hit and crossing is None else crossing
            counter = counter + 1 if hit else 0
            if counter == consecutive:
                event = lam
                break
        if event is not None:
            break
    if fires is not None:
        assert (event is not None) is fires
    if threshold == 0.0:
        assert event == LADDER[1] and done == 3
    outcome = record["outcome"]
    lab.same_weights(weights["sweep"], bench.model)
    lab.same_errors(record, bench.errors, bench.losses)
    lab.close(outcome["init_error"], init_error, "init_error")
    assert outcome["init_success"] is True
    assert outcome["event"] is (event is not None) and outcome["censored"] is (event is None)
    assert outcome["threshold_lambda"] == event
    assert outcome["first_crossing_lambda"] == crossing
    assert outcome["epochs"] == 6 + done
    assert bench.session.t == outcome["steps"] >= 40 or done == 3


@pytest.mark.parametrize(
    ("threshold", "consecutive", "collapses"), [(0.14, 3, True), (0.1, 5, True), (0.99, 5, False)]
)
def test_lifetime(lab, threshold, consecutive, collapses):
    """T1a, T13: the lifetime is the epoch of the fifth evaluation in a row at or above the threshold, minus 4."""
    task = lab.add(vectors())
    stop = {
        "error": "above",
        "threshold": threshold,
        "inclusive": True,
        "consecutive": consecutive,
        "unit": "epoch",
    }
    run = staircase_run(task, [0.75], 10, stop, milestones=(6, 12))
    record, weights = lab.train(run)
    bench = lab.session(run, "init")
    _, scheduler = initial_phase(bench, 0.35, 6, [6, 12])
    counter, lifetime = 0, None
    for epoch in range(1, 11):
        bench.session.epoch(bench.batches(), plain.dual(bench.session, 0.75))
        scheduler.step()
        counter = counter + 1 if bench.evaluate() >= threshold else 0
        if counter == consecutive:
            lifetime = epoch - (consecutive - 1)
            break
    lab.same_weights(weights["sweep"], bench.model)
    lab.same_errors(record, bench.errors, bench.losses)
    assert (lifetime is not None) is collapses
    assert record["outcome"]["censored"] is (lifetime is None)
    assert record["outcome"]["lifetime"] == (10 if lifetime is None else lifetime)


def test_gate_fails(lab):
    """T1a seed 49: no second phase, a life of length 0 that is no censored observation."""
    task = lab.add(vectors())
    stop = {"error": "above", "threshold": 0.4, "inclusive": True, "consecutive": 5, "unit": "epoch"}
    run = staircase_run(task, LADDER, 2, stop, gate={"max": 0.0, "on_fail": "stop"})
    record, weights = lab.train(run)
    bench = lab.session(run, "init")
    init_error, _ = initial_phase(bench, 0.35, 6, [6, 9])
    lab.same_weights(weights["init"], bench.model)
    assert "sweep" not in weights
    outcome = record["outcome"]
    lab.close(outcome["init_error"], init_error, "init_error")
    lab.close(outcome["test_error"], init_error, "final_error of a failed gate")
    assert outcome["status"] == "gate_failed" and outcome["init_success"] is False
    assert outcome["lifetime"] == 0 and outcome["censored"] is False and outcome["event"] is False


@pytest.mark.parametrize(
    ("error", "offset", "fires"), [("above", -1e-9, True), ("above", 0.0, False), ("below", 1e-9, True)]
)
def test_staircase_by_lambda_steps(lab, error, offset, fires):
    """R3: three λ-steps in a row, strictly beyond the threshold, constant rate, evaluation at the end of a λ-step.

    The threshold is the smallest (largest) error that occurs, so that strictness decides.
    """
    task = lab.add(vectors())

    def run(threshold: float) -> dict:
        stop = {
            "error": error,
            "threshold": threshold,
            "inclusive": False,
            "consecutive": 3,
            "unit": "segment",
        }
        made = staircase_run(task, LADDER[:3], 2, stop, evaluate={"at": "segment_end"})
        made["stages"][0]["schedule"] = {"kind": "constant"}
        return made

    bench = lab.session(run(0.0), "init")
    init_error, _ = initial_phase(bench, 0.35, 6, [])
    for lam in LADDER[:3]:
        for _ in range(2):
            bench.session.epoch(bench.batches(), plain.dual(bench.session, lam))
        bench.evaluate()
    observed = bench.errors[1:]
    threshold = (min(observed) if error == "above" else max(observed)) + offset
    record, weights = lab.train(run(threshold))
    lab.same_weights(weights["sweep"], bench.model)
    lab.same_errors(record, bench.errors, bench.losses)
    hits = [e > threshold if error == "above" else e < threshold for e in observed]
    assert all(hits) is fires
    assert record["outcome"]["event"] is fires
    assert record["outcome"]["threshold_lambda"] == (LADDER[2] if fires else None)
    lab.close(record["outcome"]["init_error"], init_error, "init_error")


# Ta1, Ta2, Tb1, Tg: from a checkpoint ----------------------------------------


def prepared(lab: Lab, task, seed: int, lam: float = 0.35, name: str = "prep") -> tuple[Bench, dict]:
    """A starting state, made by the trainer (with record and checkpoint) and by the oracle."""
    run = run_of(
        task,
        MLP,
        [stage(segments=[(lam, 8)], schedule=multistep(5, 7), evaluate={"every": 4})],
        name=f"{name}/seed{seed}",
        seed=seed,
    )
    record, weights = lab.train(run)
    bench = lab.session(run)
    from_scratch(bench, [lam] * 8, lambda x: plain.dual(bench.session, x), [5, 7], every=4)
    lab.same_weights(weights["main"], bench.model)
    return bench, record


def sweep_from(bench: Bench, ladder: list[float], hold: int) -> list[float]:
    """P3 of S-T.md#10: constant rate, ``hold`` epochs, then one evaluation, per λ; t and cache go on."""
    assert bench.session.t == 0 and bench.session.cache is None
    for lam in ladder:
        for _ in range(hold):
            bench.session.epoch(bench.batches(), plain.dual(bench.session, lam))
        bench.evaluate()
    return bench.errors


@pytest.mark.parametrize("seed", [3, None])
def test_sweep_from_checkpoint(lab, seed):
    """Ta1: noise of the checkpoint's seed, SEED(s + 1000), new SGD at 0.001; that seed may be all that is known."""
    task = lab.add(vectors())
    prep, _ = prepared(lab, task, 3)
    ladder = [0.3, 0.45, 0.6]
    run = run_of(
        task,
        MLP,
        [
            stage(
                "sweep",
                [(lam, 3) for lam in ladder],
                start={"kind": "checkpoint", "run": "prep/seed3", "stage": "main"},
                seed_offset=1000,
                lr=0.001,
                evaluate={"at": "segment_end"},
            )
        ],
        name="Ta1-3/seed3",
        seed=seed,
        thresholds={"collapse": 0.1},
    )
    record, weights = lab.train(run)
    bench = lab.session(run, "sweep", lr=0.001, offset=1000, base=3, weights=prep.model.state_dict())
    errors = sweep_from(bench, ladder, 3)
    assert bench.session.t >= 40
    lab.same_weights(weights["sweep"], bench.model)
    lab.same_errors(record, errors, bench.losses)
    lab.close(record["outcome"]["init_error"], prep.errors[-1], "init_error, stored with the checkpoint")
    crossed = [lam for lam, e in zip(ladder, errors, strict=True) if e >= 0.1]
    assert record["outcome"]["collapse_lambda"] == (crossed[0] if crossed else None)


def test_best_of_a_search_and_two_branches(lab):
    """Tb2: search, the k-th lowest final error, collapse init of the same seed, both sweeps."""
    task = lab.add(vectors())
    searched = {seed: prepared(lab, task, seed, 0.5, "search")[0] for seed in range(4)}
    up = [0.4, 0.6, 0.8]
    for rank in (0, 1):
        run = run_of(
            task,
            MLP,
            [
                stage(
                    "ordered_sweep",
                    [(lam, 3) for lam in up],
                    branch="ordered",
                    start={
                        "kind": "select",
                        "runs": [f"search/seed{s}" for s in range(4)],
                        "stage": "main",
                        "by": "test_error",
                        "min": None,
                        "max": None,
                        "order": "ascending",
                        "index": rank,
                    },
                    seed_offset=200,
                    lr=0.001,
                    evaluate={"at": "segment_end"},
                ),
                stage(
                    "collapse_init",
                    [(0.7, 8)],
                    branch="collapse",
                    seed_offset=100,
                    schedule=multistep(5, 7),
                    evaluate={"every": 4},
                ),
                stage(
                    "collapse_sweep",
                    [(lam, 3) for lam in reversed(up)],
                    branch="collapse",
                    start={"kind": "stage", "stage": "collapse_init"},
                    seed_offset=300,
                    lr=0.001,
                    evaluate={"at": "segment_end"},
                ),
            ],
            name=f"Tb2/rank{rank + 1}",
            seed=None,
        )
        record, weights = lab.train(run)

        ranked = sorted(searched, key=lambda seed: searched[seed].errors[-1])  # a stable sort
        seed = ranked[rank]
        init = lab.session(run, "collapse_init", base=seed, offset=100)
        from_scratch(init, [0.7] * 8, lambda lam: plain.dual(init.session, lam), [5, 7], every=4)  # noqa: B023
        low = lab.session(
            run, "ordered_sweep", base=seed, offset=200, lr=0.001, weights=searched[seed].model.state_dict()
        )
        high = lab.session(
            run, "collapse_sweep", base=seed, offset=300, lr=0.001, weights=init.model.state_dict()
        )
        sweep_from(low, up, 3)
        sweep_from(high, up[::-1], 3)
        outcome = record["outcome"]
        assert outcome["selected_seed"] == seed and outcome["selected_run"] == f"search/seed{seed}"
        assert outcome["selection_passed"] is True
        for name, bench in (("ordered_sweep", low), ("collapse_init", init), ("collapse_sweep", high)):
            lab.same_weights(weights[name], bench.model)
            lab.same_errors(record, bench.errors, bench.losses, stage=name)
        lab.close(outcome["ordered_init_error"], searched[seed].errors[-1], "ordered_init_error")
        lab.close(outcome["collapse_init_error"], init.errors[-1], "collapse_init_error")
        lab.close(outcome["test_error"], low.errors[-1], "test_error: the ordered branch")
        lab.close(outcome["final_gap"], high.errors[-1] - low.errors[-1], "final_gap")


def test_trap_and_escape(lab):
    """Td2: the k-th candidate with an error of at least the threshold, then interventions with new optimisers."""
    task = lab.add(vectors())
    searched = {seed: prepared(lab, task, seed, 0.6, "Td2-search")[0] for seed in range(4)}
    finals = {seed: bench.errors[-1] for seed, bench in searched.items()}
    threshold = sorted(finals.values())[2] - 1e-9
    trap = run_of(
        task,
        MLP,
        [
            stage(
                "select",
                [],
                start={
                    "kind": "select",
                    "runs": [f"Td2-search/seed{s}" for s in range(4)],
                    "stage": "main",
                    "by": "test_error",
                    "min": threshold,
                    "max": None,
                    "order": "position",
                    "index": 0,
                },
                evaluate={"every": None, "before": True},
            )
        ],
        name="Td2/trap1",
        seed=None,
        outcome="trap",
    )
    trap_record, trap_weights = lab.train(trap)
    seed = next(s for s in range(4) if finals[s] >= threshold)
    assert trap_record["outcome"]["selected_seed"] == seed
    lab.close(trap_record["outcome"]["test_error"], finals[seed], "trap_error")
    lab.same_weights(trap_weights["select"], searched[seed].model)

    for name, lam, lr, offset in (("lambda_zero", 0.0, 0.001, 1621), ("lr_boost_high", 0.6, 0.1, 1243)):
        run = run_of(
            task,
            MLP,
            [
                stage(
                    "escape",
                    [(lam, 9)],
                    start={"kind": "checkpoint", "run": "Td2/trap1", "stage": "select"},
                    seed_offset=offset,
                    lr=lr,
                    evaluate={"every": 5, "before": True},
                )
            ],
            name=f"Td2/trap1_{name}",
            seed=None,
            thresholds={"escaped": 0.3},
        )
        record, weights = lab.train(run)
        bench = lab.session(
            run, "escape", base=seed, offset=offset, lr=lr, weights=searched[seed].model.state_dict()
        )
        bench.errors.append(finals[seed])  # epoch 0: the trap's error, copied
        for epoch in range(1, 10):
            bench.session.epoch(bench.batches(), plain.dual(bench.session, lam))
            if epoch in (5, 9):
                bench.evaluate()
        assert bench.session.t >= 40
        lab.same_weights(weights["escape"], bench.model)
        lab.same_errors(record, bench.errors)
        assert [row["epoch"] for row in rows_of(record, "evaluations")] == [0, 5, 9]
        outcome = record["outcome"]
        lab.close(outcome["init_error"], finals[seed], "init_error")
        lab.close(outcome["improvement"], finals[seed] - bench.errors[-1], "improvement")
        assert outcome["escaped"] is (bench.errors[-1] < 0.3)


def test_two_branches_and_jump(lab):
    """V1, V3, V4 and W2: four sessions of one seed with the same noise; a jump of both branches to one λ."""
    task = lab.add(vectors())

    def init(name: str, branch: str, lam: float, offset: int) -> dict:
        return stage(
            name,
            [(lam, 8)],
            branch=branch,
            seed_offset=offset,
            schedule=multistep(5, 7),
            evaluate={"every": 4},
        )

    base = run_of(
        task,
        MLP,
        [init("ordered_init", "ordered", 0.35, 0), init("collapse_init", "collapse", 0.6, 100)],
        name="W2/seed3_base",
    )
    base_record, base_weights = lab.train(base)
    benches = {}
    for name, lam, offset in (("ordered_init", 0.35, 0), ("collapse_init", 0.6, 100)):
        bench = lab.session(base, name, offset=offset)
        from_scratch(bench, [lam] * 8, lambda x: plain.dual(bench.session, x), [5, 7], every=4)  # noqa: B023
        lab.same_weights(base_weights[name], bench.model)
        lab.same_errors(base_record, bench.errors, bench.losses, stage=name)
        benches[name] = bench
    lab.close(
        base_record["outcome"]["ordered_init_error"], benches["ordered_init"].errors[-1], "ordered init"
    )
    lab.close(
        base_record["outcome"]["collapse_init_error"], benches["collapse_init"].errors[-1], "collapse init"
    )

    stages = []
    for branch in ("ordered", "collapse"):
        stages.append(
            stage(
                f"{branch}_jump",
                [(0.5, 9)],
                branch=branch,
                start={"kind": "checkpoint", "run": "W2/seed3_base", "stage": f"{branch}_init"},
                seed_offset=550,
                session="jump",
                lr=0.001,
                evaluate={"every": 5, "before": True},
            )
        )
    run = run_of(task, MLP, stages, name="W2/seed3_lam0.5", streams={"group": "W2", "replicate": 0})
    record, weights = lab.train(run)
    finals = {}
    for branch in ("ordered", "collapse"):
        start = benches[f"{branch}_init"].model.state_dict()
        bench = lab.session(run, "jump", offset=550, lr=0.001, weights=start)
        bench.evaluate()  # epoch 0
        for epoch in range(1, 10):
            bench.session.epoch(bench.batches(), plain.dual(bench.session, 0.5))
            if epoch in (5, 9):
                bench.evaluate()
        lab.same_weights(weights[f"{branch}_jump"], bench.model)
        lab.same_errors(record, bench.errors, bench.losses, stage=f"{branch}_jump")
        finals[branch] = bench.errors[-1]
    lab.close(record["outcome"]["final_gap"], finals["collapse"] - finals["ordered"], "final_gap")


# Td1, W1: probes ----------------------------------------


@pytest.mark.parametrize(("task_of", "model"), [(vectors, MLP), (pictures, RESNET)])
def test_probes(lab, task_of, model):
    """A fresh value gradient every step for the log, the cached one in the mix, two BatchNorm updates every step."""
    task = lab.add(task_of())
    epochs, period, every = 6, 8, 5
    run = run_of(
        task,
        model,
        [stage(segments=[(0.6, epochs)], schedule=multistep(3, 5), evaluate={"every": 5})],
        value={"fresh_every_step": True, "period": period},
        log={"steps_every": every, "epochs": False},
        task={"batch_size": 8 if task.name == "pictures" else 18},
    )
    record, weights = lab.train(run)
    bench = lab.session(run)

    def step(lam):
        return plain.probed(bench.session, lam, period=period, log_every=every)

    from_scratch(bench, [0.6] * epochs, step, [3, 5], every=5)
    lab.same_weights(weights["main"], bench.model)
    lab.same_errors(record, bench.errors, bench.losses)
    tracked = [v for k, v in weights["main"].items() if k.endswith("num_batches_tracked")]
    assert all(int(count) == 2 * bench.session.t for count in tracked)
    logs = rows_of(record, "steps")
    wanted = [row for row in bench.session.rows if "log" in row]
    assert len(logs) == len(wanted) > 8
    per_epoch = len(bench.session.rows) // epochs
    for found, row in zip(logs, wanted, strict=True):
        assert found["step"] == row["t"] and found["epoch"] == row["t"] // per_epoch  # 0-based, Td1
        for name, value in row["log"].items():
            lab.close(found[name], value, f"{name} of step {row['t']}")


# X, Y: text ----------------------------------------

HEADS = {
    "distilbert_mini": [
        "net.pre_classifier.weight",
        "net.pre_classifier.bias",
        "net.classifier.weight",
        "net.classifier.bias",
    ],
    "textcnn": ["fc.weight", "fc.bias"],
}


def text_epoch(bench: Bench, lam: float, scheduler=None) -> list[dict]:
    """One epoch of X and Y: both loaders start anew."""
    step = plain.text(
        bench.session,
        lam,
        bench.value_batches(),
        bench.task.inputs,
        HEADS[bench.run["task"]["model"]["name"]],
        cosine_every=bench.run["head_cosine_every"],
        scheduler=scheduler,
    )
    return bench.session.epoch(bench.batches(), step)


def test_text_fixed_with_warmup(lab):
    """X1, X1b, X1d, X2: DistilBERT, AdamW, warm-up from a first rate of 0, linear decay."""
    task = lab.add(sentences(masked=True))
    main = stage(segments=[(0.4, 7)], schedule={"kind": "warmup_linear", "warmup": 0.1})
    run = run_of(task, BERT, [main], name="X1/run", head_cosine_every=4)
    record, weights = lab.train(run)
    bench = lab.session(run, optimizer=plain.adamw)
    scheduler = plain.warmup_linear(bench.session.optimizer, 42)
    epochs = []
    for _ in range(7):
        epochs.append(text_epoch(bench, 0.4, scheduler))
        bench.evaluate()
    assert bench.session.t == 42
    assert bench.session.rows[0]["lr"] == 0.0
    assert bench.session.rows[4]["lr"] == run["optimizer"]["lr"]  # W = floor(4.2)
    agree(lab, record, weights["main"], bench, epochs)
    # X1 pools all measures; the epochs hold one or two each.
    measures = [row["c_sv"] for row in bench.session.rows if "c_sv" in row]
    assert len(measures) == 42 // 4
    lab.close(record["outcome"]["avg_cos"], plain.mean(measures), "avg_cos")
    best = min(range(7), key=lambda e: bench.errors[e])
    assert record["outcome"]["best_epoch"] == best + 1
    rates = [row["lr"] for row in rows_of(record, "epochs")]
    assert rates == pytest.approx([steps[-1]["lr"] for steps in epochs], rel=1e-12)


def test_text_convolutions(lab):
    """X1c: TextCNN, Adam with L2 in the gradient, constant rate."""
    task = lab.add(sentences(masked=False))
    run = run_of(
        task,
        CNN,
        [stage(segments=[(0.3, 7)])],
        name="X1c/run",
        optimizer={"name": "adam", "lr": 1e-3, "weight_decay": 1e-4},
        head_cosine_every=10,
    )
    record, weights = lab.train(run)
    bench = lab.session(run, optimizer=plain.adam)
    epochs = []
    for _ in range(7):
        epochs.append(text_epoch(bench, 0.3))
        bench.evaluate()
    agree(lab, record, weights["main"], bench, epochs)
    measures = [row["c_sv"] for row in bench.session.rows if "c_sv" in row]
    assert len(measures) == 4
    lab.close(record["outcome"]["avg_cos"], plain.mean(measures), "avg_cos")
    assert weights["main"]["embedding.weight"][0].abs().max() == 0  # the padding row stays zero


def test_text_loop(lab):
    """X3: one model and one optimizer through a λ loop, evaluation at the end of each λ-step only."""
    task = lab.add(sentences(masked=True))
    up, down, hold = [0.2, 0.65], [0.4, 0.2], 2
    segments = [(lam, hold, "up") for lam in up] + [(lam, hold, "down") for lam in down]
    run = run_of(
        task,
        BERT,
        [stage("loop", segments, evaluate={"at": "segment_end"})],
        name="X3_fast/seed3",
        head_cosine_every=5,
    )
    record, weights = lab.train(run)
    bench = lab.session(run, "loop", optimizer=plain.adamw)
    epochs = []
    for lam in up + down:
        for _ in range(hold):
            epochs.append(text_epoch(bench, lam))
        bench.evaluate()
    assert bench.session.t == 48
    agree(lab, record, weights["loop"], bench, epochs)
    assert len(rows_of(record, "evaluations")) == 4


def test_text_three_phases(lab):
    """Y2: good, damage, recovery in one model and optimizer; evaluation before training and after each epoch."""
    task = lab.add(sentences(masked=True))
    run = run_of(
        task,
        BERT,
        [
            stage("phase1_good", [(0.6, 2)], evaluate={"every": 1, "before": True}),
            continued("phase2_damage", "phase1_good", [(0.2, 2)]),
            continued("phase3_recovery", "phase1_good", [(0.6, 4)]),
        ],
        name="Y2k3/seed3",
        head_cosine_every=1,
    )
    record, weights = lab.train(run)
    bench = lab.session(run, "phase1_good", optimizer=plain.adamw)
    init_error = bench.evaluate()
    epochs, ends = [], {}
    for phase, lam, count in (
        ("phase1_good", 0.6, 2),
        ("phase2_damage", 0.2, 2),
        ("phase3_recovery", 0.6, 4),
    ):
        for _ in range(count):
            epochs.append(text_epoch(bench, lam))
            bench.evaluate()
        ends[phase] = {k: v.clone() for k, v in bench.model.state_dict().items()}
    assert bench.session.t == 48
    lab.same_weights(weights["phase3_recovery"], bench.model)
    for phase, state in ends.items():
        for name, tensor in state.items():
            assert torch.allclose(weights[phase][name], tensor, rtol=0, atol=1e-10), (phase, name)
    lab.same_errors(record, bench.errors, bench.losses)
    lab.same_epochs(record, epochs)
    lab.close(record["outcome"]["init_error"], init_error, "init_error")
    lab.close(record["outcome"]["best_error"], min(bench.errors[1:]), "best error, not before training")
    places = [(row["stage"], row["stage_epoch"], row["epoch"]) for row in rows_of(record, "epochs")]
    assert places[2] == ("phase2_damage", 1, 3) and places[-1] == ("phase3_recovery", 4, 8)
