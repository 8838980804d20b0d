"""Examples set aside for validation: in no gradient, none of the test set, the same for every λ, in the record."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch

from dualgrad.census.run import Run, UnfitRun, check_part, read, trained_on
from dualgrad.cli import main
from dualgrad.data.task import Task
from dualgrad.planning.work import examples_of, work_of
from dualgrad.records import read_record
from dualgrad.training.errors import TrainingError
from dualgrad.training.labels import make_labels
from dualgrad.training.session import evaluate_aside

ENTRY = """
series: mine
experiments:
  aside:
    title: A scan with validation examples
    count: 2
    extends: [base, fixed]
    let: {epochs: 4, milestones: [2], every: 2}
    factors: {lambda: [0.2, 0.4], noise_rate: 0.4, seed: 0}
    task: {validation: {share: 0.2}}
"""


def typed(demo, target: str, share: float | None) -> Run:
    """A run of the census with a share set aside."""
    return read(run_of(demo, target, share))


def run_of(demo, target: str, share: float | None) -> dict:
    """The same as a plain dict."""
    run = {key: value for key, value in copy.deepcopy(demo.runs[target]).items() if key in Run.model_fields}
    if share is not None:
        run["task"]["validation"] = {"share": share}
    return run


def test_no_gradient_sees_them(demo) -> None:
    truth = torch.arange(1000) % 10
    whole = make_labels(typed(demo, "D1/trusted0.1_lam0.3_eta0.4_seed0", None), truth, 0)
    labels = make_labels(typed(demo, "D1/trusted0.1_lam0.3_eta0.4_seed0", 0.2), truth, 0)
    aside = set(labels.validation.tolist())
    assert len(aside) == 200 and whole.validation is None and len(whole.structure) == 1000
    assert not aside & set(labels.structure.tolist()) and len(labels.structure) == 800
    assert not aside & set(labels.trusted.tolist())
    assert not labels.trusted_mask[labels.validation].any()
    # Noise and trusted examples are drawn as without, so the others keep their labels.
    assert torch.equal(whole.noisy, labels.noisy)
    assert set(labels.trusted.tolist()) == set(whole.trusted.tolist()) - aside
    # It is no function of the noise: as many noisy labels there as elsewhere, within chance.
    share = (labels.noisy != truth)[labels.validation].double().mean()
    assert 0.3 < share < 0.5
    with pytest.raises(TrainingError, match="leaves no trusted example"):
        make_labels(typed(demo, "D1/trusted0.01_lam0.3_eta0.4_seed0", 0.999), truth, 0)


def test_the_split_is_the_same_for_every_lambda_and_another_for_every_seed(demo) -> None:
    truth = torch.arange(1000) % 10
    one, same = (
        make_labels(typed(demo, f"A/lam{lam}_eta0.4_seed0", 0.1), truth, 0).validation for lam in (0.1, 0.5)
    )
    assert torch.equal(one, same)
    other = make_labels(typed(demo, "A/lam0.1_eta0.4_seed1", 0.1), truth, 1).validation
    assert not torch.equal(one, other)


class Fixed(torch.nn.Module):
    """Says the class that the input's first number is."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.one_hot(inputs[:, 0].long(), 3).double()


def test_both_errors_are_counted() -> None:
    truth, noisy = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([0, 2, 2, 1, 1])
    said = torch.tensor([[0.0], [1.0], [0.0], [1.0], [1.0]])
    task = Task("t", "image", 3, truth, truth[:1], (said,), (said[:1],))
    labels = make_labels_of(truth, noisy, torch.tensor([0, 1, 2, 3]))
    found = evaluate_aside(Fixed(), task, labels, 3)
    assert found == {"validation_error": 0.5, "validation_noisy_error": 0.5}
    labels = make_labels_of(truth, noisy, torch.tensor([1, 3]))
    assert evaluate_aside(Fixed(), task, labels, 3) == {
        "validation_error": 0.5,
        "validation_noisy_error": 0.5,
    }
    labels = make_labels_of(truth, noisy, torch.tensor([0, 1]))
    assert evaluate_aside(Fixed(), task, labels, 3) == {
        "validation_error": 0.0,
        "validation_noisy_error": 0.5,
    }
    assert evaluate_aside(Fixed(), task, make_labels_of(truth, noisy, None), 3) == {}


def make_labels_of(truth: torch.Tensor, noisy: torch.Tensor, aside: torch.Tensor | None):
    """Labels with these examples set aside."""
    from dualgrad.training.labels import Labels

    return Labels(torch.arange(len(truth)), noisy, truth, None, None, aside)


def test_images_that_are_to_be_cropped_are_taken_whole() -> None:
    stored = torch.arange(2 * 6 * 6 * 1, dtype=torch.uint8).reshape(2, 6, 6, 1)
    one = torch.ones(1, dtype=torch.float64)
    labels = torch.tensor([0, 1])
    task = Task(
        **{"name": "t", "kind": "image", "classes": 2, "train_labels": labels, "test_labels": labels},
        **{"train": (stored,), "test": (stored[:, 1:5, 1:5],), "padding": 1, "dtype": torch.float64},
        **{"mean": one * 0.5, "std": one},
    )
    (images,) = task.plain_inputs(torch.tensor([1, 0]))
    (expected,) = task.test_inputs(0, 2)
    assert images.shape == (2, 1, 4, 4) and torch.equal(images, expected.flip(0))


def test_planning_and_checks_know_of_them(demo) -> None:
    run = run_of(demo, "A/lam0.1_eta0.4_seed0", 0.25)
    run["data"] = demo.runs["A/lam0.1_eta0.4_seed0"]["data"]
    n, test = run["data"]["train"], run["data"]["test"]
    left = n - int(0.25 * n)
    assert trained_on(run["task"], n) == left and examples_of(run) == (left, test + n - left)
    plain = work_of(demo.runs["A/lam0.1_eta0.4_seed0"])
    assert work_of(run).evaluated == plain.evaluated + plain.evaluations * (n - left)
    for share in (0, 1, 1.5, -0.1):
        with pytest.raises(UnfitRun, match="share"):
            check_part("task", {**run["task"], "validation": {"share": share}})
    with pytest.raises(UnfitRun, match="did you mean 'share'"):
        check_part("task", {**run["task"], "validation": {"shar": 0.1}})


def test_a_trained_run_records_both_errors(workspace: Path, capsys) -> None:
    (workspace / "config" / "census" / "mine.yaml").write_text(ENTRY)
    where = ["--root", str(workspace)]
    assert main(["data", "digits", *where]) == 0
    for lam in ("0.2", "0.4"):
        assert main(["train", f"aside/lam{lam}_eta0.4_seed0", *where]) == 0
    name = "aside/lam0.2_eta0.4_seed0"
    record = read_record(workspace / f"results/demo/runs/{name}.json", edition="demo", name=name)
    block, outcome = record["trajectory"]["evaluations"], record["outcome"]
    for key in ("validation_error", "validation_noisy_error"):
        assert len(block[key]) == 2 and outcome[key] == block[key][-1]
    # 40 % of the held-out labels are wrong, so a network that learns errs on more of them.
    assert outcome["validation_error"] + 0.1 < outcome["validation_noisy_error"]
    assert main(["tables", "aside", *where]) == 0
    from dualgrad.tables.read import read_tables

    runs = read_tables(workspace / "results" / "demo", ["aside"], "runs")
    assert runs["validation_error"][0] == outcome["validation_error"]
    paths = read_tables(workspace / "results" / "demo", ["aside"], "trajectories")
    assert paths["validation_noisy_error"].notna().all() and len(paths) == 4


def test_runs_without_them_are_as_before(demo) -> None:
    """The key is absent where nothing is set aside, so that digests stay what they are."""
    assert all("validation" not in run["task"] for run in demo.runs.values() if run["counted"])
