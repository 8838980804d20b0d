"""``dualgrad bench gpu``: what one GPU does in one call of a few minutes, without Snakemake and without data.

A ResNet-18 on synthetic pictures of CIFAR's shape: epochs of ours beside the published loop's, single steps and their
kernels, the step in other ways, whether a run repeats to the last bit, other precisions, several runs packed on the
device, and the hours that the census would take; and, on real pictures, the first epoch of experiment K beside the
published one. Each part has a share of the time; a part that does not fit or fails is left out, and the notes say so.
"""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import queue
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dualgrad.bench import flops, mps
from dualgrad.bench.baseline import published_switches
from dualgrad.bench.kernels import kernels, time_variants
from dualgrad.bench.sides import Sides, make_sides
from dualgrad.bench.step import time_steps
from dualgrad.bench.synthetic import MODELS, synthetic_run
from dualgrad.bench.timing import measurement, seconds_of, take_turns
from dualgrad.census.run import Run
from dualgrad.data.prepare import content_path
from dualgrad.training.session import evaluate
from dualgrad.training.trainer import Context
from dualgrad.training.trainer import train as train_run
from dualgrad.training.trajectory import StepStatistics

if TYPE_CHECKING:
    from dualgrad.census import Census

EPOCHS_OF_A_RUN = 100
# Network, batch, training and test images whose epoch is the census's unit.
PUBLISHED = ("resnet18", 256, 50_000, 10_000)
START = 60.0  # seconds that a process of its own may take to be ready
STEPS_REPEATED = 20  # of a run that is trained twice
WINDOW = 1.0  # seconds that packed processes train at least
LONGEST = 10.0  # and, with their start, at most, for each round: a rate does not get better with minutes
# Published after the first epoch of experiment K at λ = .3 and η = .4, seeds 0 to 4 (results.json of the release).
K_ERRORS = (0.6927, 0.7037, 0.6824, 0.7262, 0.7193)
K_LOSSES = (2.3275, 2.3559, 2.4018, 2.3528, 2.3117)
_NOWHERE = Path("/nonexistent")  # synthetic pictures need no folder


@dataclass
class Gpu:
    """One call of the benchmark.

    Attributes:
        device, threads: where, and with how many threads.
        model: one of ``synthetic.MODELS``.
        batch, images, test_images: sizes of the synthetic task.
        rounds: most turns of each alternative.
        workers: processes of the published image loader.
        precision: of the comparison with the published loop.
        packed: numbers of processes to pack on the device.
        seconds: time for everything.
        census_epochs: what the census comes to (see ``census_epochs``), or None.
        pictures: folder of a prepared data set of CIFAR-10's pictures, or None.
    """

    device: torch.device
    threads: int
    model: str
    batch: int
    images: int
    test_images: int
    rounds: int
    workers: int
    precision: str
    packed: list[int]
    seconds: float
    census_epochs: float | None
    pictures: Path | None = None
    results: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._began = time.monotonic()
        self._epoch_seconds: float | None = None
        self._packed_rate: float | None = None

    def left(self) -> float:
        """Seconds that are left."""
        return self.seconds - (time.monotonic() - self._began)

    def measure(self) -> None:
        """Do every part that the time allows, the most wanted first; fills ``results`` and ``notes``."""
        gpu = self.device.type == "cuda"
        self._part("epochs", 0.0, 0.3, self._epochs)
        self._part("kernels", 1.0, 0.1, self._kernels)
        self._part("the same run twice", 1.0, 0.1, self._twice)
        if self.pictures is not None and (self.model, self.batch) != PUBLISHED[:2]:
            self.notes.append("the first epoch of K left out: K is a ResNet-18 and has batches of 256")
        elif self.pictures is not None:
            self._part("the first epoch of K", 1.0, 0.3, self._first_epoch)
        self._part("steps in other ways", 5.0, 0.3, self._variants)
        # With less time, processes would be started that end before they are ready.
        self._part("packed runs", START if gpu else 5.0, 0.6, self._packing)
        for precision in ("float64", "float32"):
            if precision != self.precision:
                self._part(precision, 5.0, 0.4, partial(self._precision, precision))
        self._hours()

    def _part(self, name: str, least: float, share: float, part: Callable[[float], None]) -> None:
        """Do a part with its share of the time that is left, in seconds.

        It is left out where less than ``least`` is left, or where it fails: the others stay worth having.
        """
        if self.left() < least:
            self.notes.append(f"{name} left out: less than {least:.0f} seconds were left")
            return
        try:
            part(share * self.left())
        except Exception as problem:
            self.notes.append(f"{name} left out: {type(problem).__name__}: {problem}")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, precision: str) -> Run:
        return synthetic_run(self.model, self.batch, self.images, self.test_images, precision)

    def _sizes(self) -> str:
        return f"{MODELS[self.model][1]}, batch {self.batch}, {self.images} images"

    def _sides(self, precision: str, published: bool) -> Sides:
        return make_sides(
            self._run(precision), _NOWHERE, self.device, self.threads, self.workers, published=published
        )

    # ---------------------------------------------------------------------------------- beside the published loop

    def _epochs(self, share: float) -> None:
        until = time.monotonic() + share
        try:
            sides = self._sides(self.precision, published=True)
        except ImportError as missing:
            self.notes.append(f"without the published loop: {missing}")
            sides = self._sides(self.precision, published=False)
        if sides.published is not None:
            # Before anything is trained: steps begin with a check that both sides agree.
            soon = time.monotonic() + 0.2 * share
            self.results.append(time_steps(sides, self.device, self.rounds, lambda: time.monotonic() > soon))
        full = sides.trainer.order.steps_per_epoch
        pieces = {"ours": lambda: train(sides), "baseline": lambda: train_published(sides)}
        if sides.published is None:
            del pieces["baseline"]
        cut(sides, min(10, full))
        for piece in pieces.values():
            piece()  # kernels are chosen, loaders' processes start
        slowest = max(seconds_of(piece, self.device) for piece in pieces.values()) / min(10, full)
        # Whole epochs if three rounds of them fit into what is left of the share.
        room = max(0.0, until - time.monotonic())
        steps = max(1, min(full, int(room / 3 / (len(pieces) * slowest))))
        cut(sides, steps)
        took = take_turns(pieces, self.rounds, self.device, lambda: time.monotonic() > until)
        pieces = {"ours": lambda: evaluate_ours(sides), "baseline": lambda: evaluate_published(sides)}
        for name in took:
            pieces[name]()
        evaluated = take_turns({name: pieces[name] for name in took}, len(took["ours"]), self.device)
        values = {
            name: [a * full / steps + b for a, b in zip(took[name], evaluated[name], strict=True)]
            for name in took
        }
        result = measurement(
            f"epoch with an evaluation: {self._sizes()}, {self.precision}",
            "s",
            values,
            steps_of_an_epoch=full,
            steps_measured=steps,
            test_images=self.test_images,
            **{f"evaluation_{name}_s": seconds[0] for name, seconds in evaluated.items()},
        )
        self.results.append(result)
        self._epoch_seconds = result["values"]["ours"]["median"]

    # ------------------------------------------------------------------------------------- kernels and repetitions

    def _kernels(self, share: float) -> None:
        self.results += kernels(self._sides(self.precision, published=False), self.device)

    def _variants(self, share: float) -> None:
        until = time.monotonic() + share
        run = self._run(self.precision)
        found = time_variants(
            *(run, self.device, self.threads, self.rounds),
            lambda: time.monotonic() > until,
            lambda what: self.notes.append(f"left out: {what}"),
        )
        self.results.append(found)

    def _twice(self, share: float) -> None:
        run = {**self._run(self.precision).plain(), "max_steps": STEPS_REPEATED}
        digests, seconds = [], []
        for _ in range(2):
            record = self._trained(run, _NOWHERE)
            digests.append(record["digest"])
            seconds.append(record["provenance"]["seconds"])
        same = len(set(digests)) == 1
        result = measurement(
            f"a run of {STEPS_REPEATED} steps and an evaluation, twice",
            "s",
            {"ours": seconds},
            digests_equal=same,
        )
        self.results.append(result)

    def _trained(self, run: dict[str, Any], data_dir: Path) -> dict[str, Any]:
        record, _ = train_run(run, Context(_NOWHERE, _NOWHERE, data_dir, self.device, self.threads))
        return record

    def _first_epoch(self, share: float) -> None:
        """Train K's first epochs (λ = .3, η = .4) on real pictures, as many seeds as fit."""
        until, folder = time.monotonic() + share, self.pictures
        assert folder is not None
        if not content_path(folder.parent, folder.name).is_file():
            raise FileNotFoundError(
                f"{folder} holds no prepared data set (dualgrad data NAME --data-dir FOLDER)"
            )
        seconds: list[float] = []
        errors, losses = [], []
        for seed in range(len(K_ERRORS)):
            if seed and time.monotonic() + seconds[-1] > until:
                break
            record = self._trained(self._k(folder.name, seed), folder.parent)
            trajectory = record["trajectory"]
            seconds.append(record["provenance"]["seconds"])
            errors.append(trajectory["evaluations"]["test_error"][-1])
            losses.append(trajectory["epochs"]["loss_struct"][-1])
        result = measurement(
            f"first epoch of K, λ = .3, η = .4, {folder.name}, {self.precision}: with an evaluation",
            "s",
            {"ours": seconds},
            test_errors=[round(error, 4) for error in errors],
            test_errors_published=list(K_ERRORS),
            losses=[round(loss, 4) for loss in losses],
            losses_published=list(K_LOSSES),
        )
        self.results.append(result)

    def _k(self, dataset: str, seed: int) -> dict[str, Any]:
        """The run of experiment K, its first epoch. (As ``dualgrad show`` prints it; the census is not at hand.)"""
        run = synthetic_run(PUBLISHED[0], self.batch, 1, 1, self.precision, lam=0.3).plain()
        run |= {"experiment": "K", "run": f"lam0.3_eta0.4_seed{seed}", "seed": seed, "max_epochs": 1}
        run["streams"] = {"group": "K", "replicate": 0}
        run["log"]["epochs"] = True
        cifar = {"mean": [0.4914, 0.4822, 0.4465], "std": [0.2023, 0.1994, 0.201]}
        run["task"] |= {"dataset": dataset, "synthetic": False, "normalize": cifar}
        run["task"]["model"] = {"name": MODELS[self.model][0]}
        run["stages"][0]["evaluate"] = {"every": 1}
        return run

    # ------------------------------------------------------------------------------------------ other precisions

    def _precision(self, precision: str, share: float) -> None:
        until = time.monotonic() + share
        sides = self._sides(precision, published=False)
        full = sides.trainer.order.steps_per_epoch
        cut(sides, 1)
        train(sides)
        one = seconds_of(lambda: train(sides), self.device)
        # Sixteen steps hold one refresh; fewer where they do not fit.
        steps = max(1, min(16, full, int(share / 3 / one)))
        cut(sides, steps)
        product, operations = flops.fastest_matmul(self.device, sides.trainer.dtype, tf32=False)
        took = take_turns(
            {"ours": lambda: train(sides), "matmul": product},
            self.rounds,
            self.device,
            lambda: time.monotonic() > until,
        )
        images = torch.empty(self.batch, 3, 32, 32, device="meta", dtype=sides.trainer.dtype)
        counted = flops.pass_flops(copy.deepcopy(sides.session.model).to("meta"), (images,))
        per_step = flops.update_flops(*counted, sides.run.value, sides.run.method, shared=True)
        rates = [operations / s / 1e9 for s in took["matmul"]]
        reached = [per_step * steps / s / 1e9 for s in took["ours"]]
        self.results.append(
            measurement(
                f"epoch without evaluation: {self._sizes()}, {precision}",
                "s",
                {"ours": [s * full / steps for s in took["ours"]]},
                steps_measured=steps,
                ours_gflop_per_s=sum(reached) / len(reached),
                matmul_gflop_per_s=sum(rates) / len(rates),
                ours_fraction_of_matmul=sum(reached) / sum(rates),
            )
        )

    # -------------------------------------------------------------------------------------- several runs at once

    def _packing(self, share: float) -> None:
        run, alone = self._run(self.precision), None
        ways = [(count, False) for count in self.packed]
        if self.device.type == "cuda":
            if mps.available():
                ways += [(count, True) for count in self.packed if count > 1]
            else:
                self.notes.append(f"packed runs through MPS left out: there is no {mps.CONTROL} here")
        until = time.monotonic() + share
        for number, (count, served) in enumerate(ways):
            each = min(LONGEST * self.rounds, (until - time.monotonic()) / (len(ways) - number))
            try:
                with mps.serving() if served else contextlib.nullcontext():
                    rates, window = _together(run, self.device, self.threads, count, each, self.left())
            except (RuntimeError, TimeoutError) as problem:
                self.notes.append(f"{count} packed runs{' through MPS' * served} left out: {problem}")
                continue
            steps = self.images // self.batch * EPOCHS_OF_A_RUN
            per_hour = 3600 * sum(rates) / steps
            self._packed_rate = max(self._packed_rate or 0.0, sum(rates))
            if count == 1:
                alone = per_hour
            self.results.append(
                measurement(
                    f"{count} run(s) at once on the device{' through MPS' * served}, {EPOCHS_OF_A_RUN} epochs each, "
                    "without evaluations",
                    "runs/h",
                    {"in all": [per_hour]},
                    steps_per_second_of_each=[round(rate, 3) for rate in rates],
                    seconds_measured=round(window, 1),
                    times_one_alone=per_hour / alone if alone and count > 1 else None,
                )
            )

    # ---------------------------------------------------------------------------------------------- the census

    def _hours(self) -> None:
        if (self.model, self.batch, self.images, self.test_images) != PUBLISHED:
            self.notes.append("hours of the census left out: measured with another network or other sizes")
        elif self.census_epochs is None:
            self.notes.append(
                "hours of the census left out: give --census-epochs where the census cannot be read"
            )
        elif self._epoch_seconds:
            hours = {"one run at a time": [self.census_epochs * self._epoch_seconds / 3600]}
            if self._packed_rate:
                steps = self.images // self.batch
                hours["packed"] = [self.census_epochs * steps / self._packed_rate / 3600]
            self.results.append(
                measurement(
                    f"the census on this device at precision {self.precision}",
                    "h",
                    hours,
                    epochs_of_resnet18=round(self.census_epochs),
                )
            )


def census_epochs(census: Census) -> float:
    """Return how many epochs of ResNet-18 (as measured here, with an evaluation) the census's training comes to."""
    from dualgrad.planning.networks import network_of
    from dualgrad.planning.rates import completed, rates_of_epochs
    from dualgrad.planning.selection import select
    from dualgrad.planning.work import work_of

    runs = [census.runs[name] for name in select(census, ["census"])]
    by_network = {network_of(run["task"]): run for run in runs}
    rates = completed(rates_of_epochs({"resnet18": 1.0}, runs, "one second an epoch"), by_network)
    return sum(rates[network_of(run["task"])].seconds(work_of(run)) for run in runs)


# ------------------------------------------------------------------------------------------------ pieces of work


def cut(sides: Sides, steps: int) -> None:
    """Cut both sides' epochs to so many steps."""
    sides.plan = [replace(epoch, steps=steps) for epoch in sides.plan]


def train(sides: Sides) -> None:
    """Train one epoch of ours, without evaluation."""
    sides.trainer.train_epoch(sides.plan[0], StepStatistics(), sides.stage)
    sides.session.epoch += 1


def train_published(sides: Sides) -> None:
    """Train one epoch of the published loop, without evaluation."""
    with published_switches(sides.run.experiment):
        sides.loop.epoch(sides.lam)


def evaluate_ours(sides: Sides) -> None:
    """Evaluate ours."""
    evaluate(sides.session.model, sides.trainer.task, sides.run.task.eval_batch_size)


def evaluate_published(sides: Sides) -> None:
    """Evaluate the published loop's model."""
    with published_switches(sides.run.experiment):
        sides.loop.evaluate()


# -------------------------------------------------------------------------------------------- processes of packing


def _together(
    run: Run, device: torch.device, threads: int, count: int, seconds: float, patience: float
) -> tuple[list[float], float]:
    """Train in ``count`` processes at once; return the steps per second of each, and for how many seconds.

    Args:
        run, device, threads: what each trains, and where.
        count: how many.
        seconds: from now on, until when they train; what it takes them to be ready goes off it, but for WINDOW.
        patience: seconds to wait for them at most, if that is less than they may need.
    """
    window = max(WINDOW, seconds)
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(count), context.Queue()
    arguments = (run, str(device), threads, time.time() + seconds, barrier, answers)
    processes = [context.Process(target=_one_of_several, args=arguments, daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    until = time.monotonic() + min(patience, START * 3 + window)
    try:
        found: list[tuple[float, float]] = []
        while len(found) < count:
            try:
                answer = answers.get(timeout=1.0)
            except queue.Empty:
                if time.monotonic() > until:
                    raise TimeoutError(f"{count} processes at once gave no answer") from None
                if any(process.exitcode for process in processes):  # killed, or never came to its work
                    raise RuntimeError(f"one of {count} processes at once died") from None
                continue
            if isinstance(answer, str):
                raise RuntimeError(f"{count} at once: {answer}")
            found.append(answer)
        return [rate for rate, _ in found], min(measured for _, measured in found)
    finally:
        for process in processes:
            process.join(timeout=5)
            if process.is_alive():
                process.kill()


def _one_of_several(
    run: Run, device: str, threads: int, until: float, barrier: Barrier, answers: Queue
) -> None:
    """Train until then, beginning when all others are ready; answer with steps per second and seconds."""
    try:
        where = torch.device(device)
        sides = make_sides(run, _NOWHERE, where, threads, published=False)
        cut(sides, 1)
        seconds_of(lambda: train(sides), where)
        one = seconds_of(lambda: train(sides), where)
        window = max(WINDOW, until - time.time())
        cut(sides, max(1, min(16, sides.trainer.order.steps_per_epoch, int(window / 4 / one))))
        barrier.wait(timeout=START * 2)
        window = max(WINDOW, until - time.time())
        steps, began = 0, time.perf_counter()
        while time.perf_counter() - began < window:
            seconds_of(lambda: train(sides), where)
            steps += sides.plan[0].steps or 0
        took = time.perf_counter() - began
        answers.put((steps / took, took))
    except Exception as problem:
        barrier.abort()
        answers.put(f"{type(problem).__name__}: {problem}")
