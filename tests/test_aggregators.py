"""Runs whose method names one of TorchJD's aggregators: the same steps as a plain loop, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
import torchjd.aggregation as torchjd
from oracles.lab import MLP, Lab, rows_of, run_of, stage, vectors

from dualgrad.census.editions import select
from dualgrad.census.run import AGGREGATORS, Constant, UnfitRun, check_part, read
from dualgrad.planning.work import work_of
from dualgrad.training import aggregators
from dualgrad.training.session import Session, new_model
from dualgrad.training.trainer import TrainingError

LAM = 0.3
WEIGHTS = torch.tensor([1 - LAM, LAM], dtype=torch.float64)
KNOWN = {
    "AlignedMTL": ({"scale_mode": "rmse"}, lambda: torchjd.AlignedMTL(WEIGHTS, scale_mode="rmse")),
    "CAGrad": ({"c": 0.5}, lambda: torchjd.CAGrad(0.5)),
    "ConFIG": ({}, lambda: torchjd.ConFIG(WEIGHTS)),
    "Constant": ({}, lambda: lambda matrix: WEIGHTS @ matrix),
    "DualProj": ({}, lambda: torchjd.DualProj(WEIGHTS)),
    "FairGrad": ({"alpha": 1.0}, lambda: torchjd.FairGrad(1.0)),
    "IMTLG": ({}, torchjd.IMTLG),
    "MGDA": ({"epsilon": 1e-4, "max_iters": 50}, lambda: torchjd.MGDA(1e-4, 50)),
    "Mean": ({}, lambda: lambda matrix: matrix.mean(0)),
    "PCGrad": ({}, torchjd.PCGrad),
    "Sum": ({}, lambda: lambda matrix: matrix.sum(0)),
    "UPGrad": ({}, lambda: torchjd.UPGrad(WEIGHTS)),
}


@pytest.fixture
def lab(tmp_path, monkeypatch) -> Iterator[Lab]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as jobs have: two threads would wait for each other over 2×2 matrices
    yield Lab(tmp_path, monkeypatch)
    torch.set_num_threads(threads)


def aggregated(task, method: dict, **changes) -> dict:
    return run_of(task, MLP, [stage(segments=[(LAM, 2)])], method=method, **changes)


def test_all_of_them_are_tried() -> None:
    assert set(KNOWN) == set(AGGREGATORS)


@pytest.mark.parametrize("name", KNOWN)
def test_the_trainer_takes_the_steps_of_a_plain_loop(lab, name) -> None:
    """Raw gradients, a new value gradient at every third step, combined by TorchJD itself."""
    task = lab.add(vectors())
    options, made = KNOWN[name]
    run = aggregated(task, {"aggregator": name, **options}, value={"period": 3})
    bench = lab.session(run)
    spec = read(run)
    model, mine = (new_model(spec, task, run["seed"], torch.float64) for _ in range(2))
    labels = lab.labels(run)
    session = Session(spec, model, labels, bench.streams, 0.05, Constant(kind="constant"), 7)
    optimizer = torch.optim.SGD(mine.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    combine, params = made(), list(mine.parameters())
    kept = torch.empty(0)
    for t, index in enumerate(bench.order.epoch(0, 7)):
        log = session.step(index, task.inputs(index), LAM)
        logits = mine(*task.inputs(index))
        losses = [F.cross_entropy(logits, table[index]) for table in (labels.noisy, labels.value)]
        grads = [torch.autograd.grad(loss, params, retain_graph=True) for loss in losses]
        struct, fresh = (torch.cat([part.flatten() for part in one]) for one in grads)
        kept = fresh if t % 3 == 0 else kept
        combined = combine(torch.stack((struct, kept)))
        optimizer.zero_grad()
        for parameter, part in zip(params, combined.split([p.numel() for p in params]), strict=True):
            parameter.grad = part.view_as(parameter)
        optimizer.step()
        assert float(log["norm_mix"]) == pytest.approx(float(combined.norm()), rel=1e-9)
        expected = float(F.cosine_similarity(struct, kept, dim=0))
        assert float(log["cos"]) == pytest.approx(expected, abs=1e-9)
    for a, b in zip(model.parameters(), mine.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def test_a_record_names_it_and_what_it_was_computed_with(lab) -> None:
    task = lab.add(vectors())
    log = {"steps_every": 1}
    record, _ = lab.train(aggregated(task, {"aggregator": "UPGrad"}, value={"period": 2}, log=log))
    mixed, _ = lab.train(run_of(task, MLP, [stage(segments=[(LAM, 2)])], value={"period": 2}, log=log))
    assert record["spec"]["method"] == {"aggregator": "UPGrad"}
    assert record["provenance"]["versions"]["torchjd"] and "torchjd" not in mixed["provenance"]["versions"]
    assert record["digest"] != mixed["digest"]
    again, _ = lab.train(aggregated(task, {"aggregator": "UPGrad"}, value={"period": 2}, log=log))
    assert again["digest"] == record["digest"]
    assert len(rows_of(record, "steps")) == len(rows_of(mixed, "steps"))
    for field in ("avg_cos", "avg_gmix_norm"):
        assert record["outcome"][field] is not None


def test_its_work_is_that_of_the_mix(lab) -> None:
    task = lab.add(vectors())
    data = {"train": 150, "test": 60}
    one, other = aggregated(task, {"aggregator": "Sum"}), aggregated(task, "dual")
    for run in (one, other):
        run["task"]["synthetic"], run["max_steps"], run["data"] = False, None, data
    assert work_of(one) == work_of(other)


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ({"aggregator": "UPgrad"}, "method.aggregator: expected one of AlignedMTL, .*did you mean 'UPGrad'"),
        ({"aggregator": "NashMTL"}, "expected one of AlignedMTL"),
        ({"name": "UPGrad"}, "unknown key 'name'"),
        ({}, "method.aggregator: the key is missing"),
        ({"aggregator": "UPGrad", "c": 0.5}, "method.c: is no option of UPGrad"),
        ({"aggregator": "CAGrad"}, "method.c: the key is needed"),
        ({"aggregator": "CAGrad", "c": -1.0}, "method.c: expected at least 0"),
        ("UPGrad", "method: expected one of dual, ce, lossmix; got 'UPGrad'"),
        (["UPGrad"], "method: expected one of dual, ce, lossmix"),
    ],
)
def test_what_is_no_method_is_refused(method, said) -> None:
    with pytest.raises(UnfitRun, match=said) as found:
        check_part("method", method)
    assert "\n" not in str(found.value)


def test_what_it_cannot_go_with_is_refused(lab) -> None:
    task = lab.add(vectors())
    for value, key in (
        ({"sign": -1}, "value.sign"),
        ({"synthetic": {"about": "clean", "cosine": 0.5}}, "value.synthetic"),
    ):
        with pytest.raises(UnfitRun, match=f"{key}: has no meaning with the aggregator Mean"):
            read(aggregated(task, {"aggregator": "Mean"}, value=value))


def test_a_solver_that_is_missing_is_one_sentence(lab, monkeypatch) -> None:
    task = lab.add(vectors())

    class Missing:
        def __init__(self, *_, **__) -> None:
            raise ImportError("QuadprogProjector requires ['quadprog'] to be installed.\n  Do so.")

    monkeypatch.setattr(torchjd, "UPGrad", Missing)
    with pytest.raises(TrainingError, match="aggregator: UPGrad: QuadprogProjector requires") as found:
        lab.train(aggregated(task, {"aggregator": "UPGrad"}))
    assert "\n" not in str(found.value) and aggregators.__name__ not in str(found.value)


def test_one_run_for_each_shape_of_protocol(lab) -> None:
    """What the edition smoke chooses by can be a mapping."""
    task = lab.add(vectors())
    methods = ({"aggregator": "Mean"}, {"aggregator": "Sum"}, {"aggregator": "Sum"})
    runs = {
        f"E/run{place}": aggregated(task, method) | {"counted": True, "factors": {"seed": place}}
        for place, method in enumerate(methods)
    }
    assert list(select(runs, {"select": "one_per_shape"})) == ["E/run0", "E/run1"]
