"""What a training step asks of a device, as torch's profiler sees it, and what other kernels would take."""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile

from dualgrad.bench.sides import Sides, make_sides
from dualgrad.bench.step import PIECE, Batch, batches_of, our_steps
from dualgrad.bench.timing import measurement, repeats_for, synchronise, take_turns
from dualgrad.census.run import Run
from dualgrad.data.task import IMAGE_FORMATS

_NOWHERE = Path("/nonexistent")
SHOWN = 12  # kernels of the table


@dataclass(frozen=True)
class Variant:
    """A way to do the same step: what the run says otherwise, and how images lie in memory (None: as they do)."""

    settings: dict[str, bool]
    images: torch.memory_format | None = None

    def sides(self, run: Run, device: torch.device, threads: int) -> tuple[Sides, list[Batch]]:
        """Our side of a run on synthetic pictures, done so, and its batches."""
        formats = {} if self.images is None else {device.type: self.images}
        with mock.patch.dict(IMAGE_FORMATS, formats):
            changed = run.model_copy(update=self.settings)
            sides = make_sides(changed, _NOWHERE, device, threads, published=False)
            return sides, batches_of(sides)

    @contextlib.contextmanager
    def switched(self) -> Iterator[None]:
        """With the switches of the whole process as this one has them."""
        before = torch.backends.cudnn.benchmark
        torch.backends.cudnn.benchmark = self.settings.get("cudnn_benchmark", False)
        try:
            yield
        finally:
            torch.backends.cudnn.benchmark = before


VARIANTS = {
    "as is": Variant({}),
    "images contiguous": Variant({}, torch.contiguous_format),
    "cudnn_benchmark": Variant({"cudnn_benchmark": True}),
    "compile": Variant({"compile": True}),
}


def time_variants(
    run: Run,
    device: torch.device,
    threads: int,
    rounds: int,
    enough: Callable[[], bool],
    left_out: Callable[[str], None],
) -> dict:
    """Return the measurement of a plain step, as it is and in each other way, in turns, in milliseconds.

    Args:
        run: a resolved run on synthetic pictures.
        device, threads, rounds: as from ``bench_step``.
        enough: asked before each variant is made ready, and before every round but the first; True ends it.
        left_out: told of a variant that is left out or fails, and why.
    """
    pieces: dict[str, Callable[[], object]] = {}
    repeats: dict[str, int] = {}
    weights: dict[str, torch.Tensor] = {}
    for name, variant in VARIANTS.items():
        if name == "compile" and device.type == "cpu":
            left_out(f"step, {name}: to compile for a CPU takes minutes")
            continue
        if pieces and enough():
            left_out(f"step, {name}: too little time")
            continue
        try:
            sides, batches = variant.sides(run, device, threads)
            with variant.switched():
                for kind in ("refresh", "plain"):
                    our_steps(sides, batches, kind)(1)
                weights[name] = torch.cat([part.detach().flatten() for part in sides.session.params])
                piece = our_steps(sides, batches, "plain")
                repeats[name] = repeats_for(partial(piece, 1), device, PIECE)
        except Exception as problem:  # a compiler that is not there, say
            if not pieces:
                raise
            left_out(f"step, {name}: {type(problem).__name__}: {str(problem).splitlines()[0]}")
            continue
        pieces[name] = partial(_switched, variant, partial(piece, repeats[name]))
    seconds = take_turns(pieces, rounds, device, enough)
    first, *others = weights
    differences = {
        f"{name}: largest difference of weights after two steps": (weights[name] - weights[first])
        .abs()
        .max()
        .item()
        for name in others
    }
    values = {name: [1000 * s / repeats[name] for s in times] for name, times in seconds.items()}
    return measurement("plain step, in other ways", "ms", values, **differences)


def _switched(variant: Variant, piece: Callable[[], object]) -> None:
    with variant.switched():
        piece()


def kernels(sides: Sides, device: torch.device) -> list[dict]:
    """Return what a refresh and a plain step launch: how many kernels, their time, and the longest of them.

    On the CPU, operations of torch stand in for kernels.
    """
    batches = batches_of(sides)
    results = []
    for kind in ("refresh", "plain"):
        piece = our_steps(sides, batches, kind)
        piece(1)
        synchronise(device)
        on_gpu = device.type == "cuda"
        with profile(
            activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
        ) as found:
            piece(1)
            synchronise(device)
        results.append(_table(kind, _times(found.events() or EventList(), on_gpu)))
    return results


def _times(events: EventList, on_gpu: bool) -> dict[str, list[float]]:
    """Microseconds of each kernel by its name."""
    times: dict[str, list[float]] = defaultdict(list)
    for event in events:
        if on_gpu and event.device_type == torch.autograd.DeviceType.CUDA:
            times[event.name].append(event.self_device_time_total)
        elif not on_gpu and event.name.startswith("aten::") and event.self_cpu_time_total > 0:
            times[event.name].append(event.self_cpu_time_total)
    return times


def _table(kind: str, times: dict[str, list[float]]) -> dict:
    longest = sorted(times, key=lambda name: -sum(times[name]))[:SHOWN]
    lines = {
        f"{place:02} {name[:90]}": f"{sum(times[name]) / 1000:.3f} ms in {len(times[name])}"
        for place, name in enumerate(longest, 1)
    }
    in_all = sum(map(sum, times.values())) / 1000
    return measurement(
        f"kernels of a {kind} step",
        "ms",
        {"in all": [in_all]},
        launches=sum(map(len, times.values())),
        **lines,
    )
