"""What a step asks of a device: few operations, and never to be waited for; and what its variants change.

No GPU is needed: on torch's device ``meta`` tensors have no numbers, so whatever would have to wait for one fails.
"""

from __future__ import annotations

import functools
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dualgrad.bench.synthetic import synthetic_run
from dualgrad.census import CensusError, load_census
from dualgrad.census.run import Run
from dualgrad.data import task as task_module
from dualgrad.data.task import load_task
from dualgrad.method import gradients
from dualgrad.models.distilbert import Classifier
from dualgrad.models.generators import forked_generator, generator_state
from dualgrad.training.errors import lacks_gpu_memory, lacks_memory
from dualgrad.training.labels import Labels
from dualgrad.training.session import Session, evaluate, evaluate_aside, new_model
from dualgrad.training.trainer import Context, Trainer
from dualgrad.training.trajectory import StepStatistics

META, NOWHERE = torch.device("meta"), Path("/nonexistent")
# What only makes another view of a tensor, or a tensor that holds nothing yet.
NOT_LAUNCHED = (
    "detach",
    "as_strided",
    "empty",
    "empty_like",
    "t",
    "view",
    "unsqueeze",
    "unbind",
    "permute",
    "expand",
)


class Operations(TorchDispatchMode):
    """Counts the operations that a device is given; the gradients of a convolution are two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: Counter[str] = Counter()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Count one, and do it where it can be done without numbers."""
        name = operation.overloadpacket.__name__
        result = None if name == "_fused_sgd_" else operation(*args, **(kwargs or {}))
        on_device = any(
            isinstance(leaf, Tensor) and leaf.device == META for leaf in tree_leaves((args, kwargs, result))
        )
        if on_device and name not in NOT_LAUNCHED:
            self.counted[name] += 2 if name == "convolution_backward" else 1
        return result


def opened(run: Run) -> Trainer:
    """A trainer of a run with its first session."""
    trainer = Trainer(run, Context(NOWHERE, NOWHERE, NOWHERE))
    trainer.open_session(run.stages[0])
    return trainer


def steps_on_meta(run: Run, count: int) -> list[Counter[str]]:
    """Operations of the first steps of a run, pictures cut out of the stored ones included."""
    trainer = opened(run)
    task = trainer.task.to(META)
    tables = vars(trainer.labels).items()
    session = Session(
        run=run,
        model=new_model(run, task, 0, torch.float32),
        labels=Labels(**{name: None if part is None else part.to(META) for name, part in tables}),
        streams=trainer.session.streams,
        base_lr=0.1,
        schedule=run.stages[0].schedule,
        total_updates=10,
    )
    batch = run.task.batch_size
    index, crops = torch.arange(batch).to(META), trainer.task.crops(batch, torch.Generator()).to(META)
    counted = []
    for _ in range(count):
        with Operations() as operations:
            session.step(index, task.inputs(index, crops), 0.35)
        counted.append(operations.counted)
    return counted


@pytest.mark.parametrize("image_format", [torch.preserve_format, torch.channels_last])
def test_a_resnet18_step_asks_little_of_a_device_and_waits_for_nothing(image_format, monkeypatch) -> None:
    monkeypatch.setitem(task_module.IMAGE_FORMATS, "meta", image_format)
    refresh, plain = steps_on_meta(synthetic_run("resnet18", 4, 8, 4, "published"), 2)
    assert plain["convolution"] == 20 and plain["dot"] == 1 and plain["_fused_sgd_"] == 1
    assert plain.total() <= 200, plain
    assert refresh.total() <= plain.total() + 130, refresh  # one more way back, of 62 gradients


class Mixed(TorchDispatchMode):
    """Notes operations that are given half-precision vectors together with a single number of higher precision."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[str] = []

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do the operation."""
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(one.itemsize == 2 and one.dim() for one in given) and any(one.itemsize > 2 for one in given):
            self.noted.append(str(operation))
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mix_of_half_precision_gradients_is_computed_in_float32(dtype: torch.dtype) -> None:
    """A GPU's kernel would round the factor 1 / ‖g‖ to half precision, where it may be infinite."""
    struct, value = (torch.empty(1000, dtype=dtype, device=META) for _ in range(2))
    with Mixed() as mixed:
        made = gradients.mix_units(
            gradients.unit(struct, 1e-12), gradients.unit(value, 1e-12), 0.3, out=struct
        )
        again = gradients.renormalised(made.vector, 1e-12, out=struct)
    assert made.vector is struct and again is struct and struct.dtype is dtype
    assert set(mixed.noted) <= {"aten.copy_.default"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_and_tensors_weigh_half_precision_alike(dtype: torch.dtype) -> None:
    a, b = (torch.randn(1000).mul(1e-6).to(dtype) for _ in range(2))
    alpha, beta = 3e5, -2e5
    exact = alpha * a.double() + beta * b.double()
    for factors in ((alpha, beta), (torch.tensor(alpha), torch.tensor(beta))):
        mixed = gradients.combined(a, factors[0], b, factors[1])
        assert mixed.dtype is dtype
        torch.testing.assert_close(mixed.double(), exact, rtol=0.0, atol=2e-2 * float(exact.abs().max()))
    assert float(gradients.renormalised(a, 0.0).double().norm()) == pytest.approx(1.0, rel=1e-2)


def test_double_precision_is_contiguous_on_a_gpu(monkeypatch) -> None:
    """torch gives cuDNN no other (ATen/native/ConvUtils.h): channels last would be copied at every step."""
    run, asked = synthetic_run("simplecnn", 4, 12, 4, "float64"), []
    monkeypatch.setattr(torch.nn.Module, "to", lambda self, *_, **words: asked.append(words) or self)
    for dtype, wanted in ((torch.float64, torch.contiguous_format), (torch.float32, torch.channels_last)):
        host = load_task(run.task.plain(), "cpu", dtype, NOWHERE)
        with FakeTensorMode(allow_non_fake_inputs=True):  # a GPU's tensors without their numbers
            task = host.to(torch.device("cuda", 0))
            index = torch.arange(4, device="cuda:0")
            (images,) = task.inputs(index, torch.zeros(4, 3, dtype=torch.long, device="cuda:0"))
            for one in (images, *task.test_inputs(0, 4)):
                assert one.device.type == "cuda" and one.dtype is dtype
                assert one.is_contiguous(memory_format=wanted), dtype
        new_model(run, task, 0, dtype)
        assert asked[-1] == {"memory_format": wanted}


def test_batches_are_counted_on_the_host() -> None:
    trainer = opened(synthetic_run("resnet18", 4, 8, 4, "published"))
    model = new_model(trainer.run, trainer.task.to(META), 0, torch.float32)
    states = {name: state.device.type for name, state in model.state_dict().items()}
    assert {kind for name, kind in states.items() if name.endswith("num_batches_tracked")} == {"cpu"}
    assert states["bn1.running_mean"] == "meta"


class Read(TorchFunctionMode):
    """Counts numbers that are read back."""

    count = 0

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the function."""
        self.count += getattr(function, "__name__", "") in (
            "__bool__",
            "__float__",
            "__int__",
            "item",
            "tolist",
        )
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("training", [True, False])
def test_a_pass_of_distilbert_waits_for_nothing(training: bool) -> None:
    """transformers asks whether a mask hides anything; what it makes of one that does is handed over instead."""
    import transformers

    sizes = {"n_layers": 2, "dim": 16, "n_heads": 2, "hidden_dim": 32, "vocab_size": 50, "num_labels": 2}
    net = transformers.DistilBertForSequenceClassification(transformers.DistilBertConfig(**sizes))
    model = Classifier(net).train(training)
    ids = torch.randint(1, 50, (4, 12), generator=torch.Generator().manual_seed(0))
    ids[1:, 7:] = 0
    reads, results = Read(), []
    for network in (model, lambda ids, mask: net(input_ids=ids, attention_mask=mask).logits):
        torch.manual_seed(0)
        with reads if network is model else nullcontext():
            results.append(network(ids, ids != 0))
    assert reads.count == 0
    assert torch.equal(*results)


def test_evaluations_read_their_results_back_at_their_end() -> None:
    trainer = opened(synthetic_run("simplecnn", 4, 12, 8, "float32"))
    labels = replace(trainer.labels, validation=torch.arange(12))
    batches, one_batch = Read(), Read()
    for size, read in ((2, batches), (12, one_batch)):
        with read:
            evaluate(trainer.session.model, trainer.task, size)
            evaluate_aside(trainer.session.model, trainer.task, labels, size)
    assert batches.count == one_batch.count == 5


def test_what_a_fork_finds_prepared_is_moved_to_a_gpu(monkeypatch) -> None:
    run = synthetic_run("simplecnn", 4, 12, 4, "published")
    load_task(run.task.plain(), "cpu", torch.float32, NOWHERE)
    monkeypatch.delattr(task_module, "_image_task")  # nothing is prepared twice
    task = load_task(run.task.plain(), META, torch.float32, NOWHERE)
    assert {part.device for part in (*task.train, *task.test, task.train_labels, task.mean)} == {META}
    assert load_task(run.task.plain(), META, torch.float32, NOWHERE) is task


# ------------------------------------------------------------------------------------------------------ variants


def trained(precision: str, **settings: Any) -> Tensor:
    """All weights after an epoch of four steps, a refresh and three plain ones."""
    run = synthetic_run("simplecnn", 4, 16, 4, precision).model_copy(update=settings)
    trainer = opened(run)
    trainer.train_epoch(trainer.plans["main"][0], StepStatistics(), run.stages[0])
    return torch.cat([part.detach().flatten() for part in trainer.session.params])


def test_choosing_kernels_by_trying_changes_nothing_on_the_cpu() -> None:
    weights = trained("float32", cudnn_benchmark=True)
    assert torch.backends.cudnn.benchmark
    assert torch.equal(weights, trained("float32"))
    assert not torch.backends.cudnn.benchmark


def test_compiled_passes_train_the_same(monkeypatch) -> None:
    """Both gradients come from one compiled pass. (Inductor's own kernels take minutes to compile on a CPU.)"""
    compiled, original = [], functools.partial(torch.compile, backend="aot_eager")
    monkeypatch.setattr(torch, "compile", lambda model: compiled.append(model) or original(model))
    weights = trained("float32", compile=True)
    assert len(compiled) == 1
    torch.testing.assert_close(weights, trained("float32"), rtol=0, atol=1e-6)


def test_channels_last_trains_the_same(monkeypatch) -> None:
    """But for rounding: on the CPU, in float32, BatchNorm adds such images up worse."""
    plain = {precision: trained(precision) for precision in ("float64", "float32")}
    monkeypatch.setitem(task_module.IMAGE_FORMATS, "cpu", torch.channels_last)
    torch.testing.assert_close(trained("float64"), plain["float64"], rtol=0, atol=1e-14)
    torch.testing.assert_close(trained("float32"), plain["float32"], rtol=0, atol=1e-3)


def test_other_kernels_are_part_of_a_run() -> None:
    root = Path(__file__).parents[1]
    plain = load_census(root, {"edition": "paper"}).runs["T1a/seed0"]
    other = load_census(root, {"edition": "paper", "compile": True, "cudnn_benchmark": True})
    run = other.runs["T1a/seed0"]
    assert other.edition["name"] == "paper"
    assert {key: run[key] for key in run if key not in plain} == {"compile": True, "cudnn_benchmark": True}
    with pytest.raises(CensusError, match="compile: applies to the edition paper only"):
        load_census(root, {"edition": "demo", "compile": True})


def test_a_gpus_generator_is_its_own(monkeypatch) -> None:
    """What is looked at and put back is the generator that the device's dropout draws from."""
    asked: list[object] = []
    gpu, host = torch.device("cuda"), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: asked.append(device) or torch.zeros(16))
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: asked.append(devices))
    assert len(generator_state(gpu)) == 16 and torch.equal(generator_state(host), torch.get_rng_state())
    forked_generator(gpu)
    forked_generator(host)
    assert asked == [gpu, [gpu], []]


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory.",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_too_little_memory_of_a_gpu_is_known_by_its_words(said: str) -> None:
    assert lacks_gpu_memory(RuntimeError(said))
    assert lacks_memory(RuntimeError(said)) and not lacks_memory(RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED"))
