"""The training loop: executes the stages of a resolved run and returns its record.

One loop for every published experiment (contract.md#run). State that must survive an interruption lives in
:class:`Progress`; everything else is derived from the run.
"""

from __future__ import annotations

import copy
import math
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dualgrad.census.networks import Imported
from dualgrad.census.run import (
    Aggregated,
    Checkpoint,
    MeasuredScale,
    OfStage,
    Run,
    Select,
    Stage,
    UnfitRun,
    read,
)
from dualgrad.data import load_task
from dualgrad.data.errors import DataError
from dualgrad.files import explain
from dualgrad.method.gradients import Number
from dualgrad.models import head_parameters, imported
from dualgrad.models.generators import forked_generator, generator_state
from dualgrad.records import (
    RecordError,
    canonical_json,
    changed_conditions,
    definition,
    make_record,
    read_record,
)
from dualgrad.training import checkpoints
from dualgrad.training.allocator import give_back_freed_memory, keep_freed_memory
from dualgrad.training.batches import StructureOrder, trusted_batches
from dualgrad.training.determinism import autocast_dtype, configure, surroundings
from dualgrad.training.devices import shortages
from dualgrad.training.errors import TrainingError, lacks_memory, of_the_machine
from dualgrad.training.labels import make_labels, read_own
from dualgrad.training.outcome import first_stop, gate_passes, summarise
from dualgrad.training.plan import PlannedEpoch, plan_stage
from dualgrad.training.session import Session, evaluate, evaluate_aside, new_model
from dualgrad.training.streams import Streams
from dualgrad.training.trajectory import StepStatistics, Trajectory

# A record as its JSON has it.
Record = dict[str, Any]
Weights = dict[str, Tensor]

# So many times as long as a state takes to be written, training goes on before the next one.
_OVER_SAVING = 20.0


class Interrupted(RuntimeError):
    """The run was asked to stop; its state is kept, and the same command continues it."""


@dataclass(frozen=True)
class Context:
    """Where and how a run is executed; nothing but ``device`` and, on a CPU, ``threads`` may change its digest.

    Attributes:
        records: folder of the edition's records (``results/<edition>/runs``).
        checkpoints: folder of the edition's checkpoints.
        data_dir: folder of prepared data sets.
        device: where to train.
        threads: intra-op threads.
        resume: file for the state of an interrupted run, or None. It is the caller's to remove once the record is
            safe.
        resume_seconds: seconds between two writes of that file, within an epoch too: what a kill can lose. Where a
            write takes long, twenty times as long; 0: after every step and epoch.
        report_begin: called with (epochs done, epochs planned) before anything is trained; done are those of an
            interrupted attempt.
        report: called with (epochs done, epochs planned, last test error or None) after each epoch.
        report_step: called with (steps done, steps planned) of the epoch under way, after each step.
        stop_requested: asked after each step, each epoch and each batch of an evaluation; True saves the state and
            raises :class:`Interrupted`. Once True it has to stay so.
        given: records of other runs that are in memory, by name.
        read: digests of the records of other runs that were read so far, by name.
        root: the workflow's folder, where files of one's own lie, as runs name them.
        files: where they lie, by the names that the run has for them, where a workflow hands them over.
        class_names: names of the classes of data sets, by the sets' names.
        needed: files of other runs, by their paths below the results (``runs/EXPERIMENT/RUN.json``,
            ``checkpoints/EXPERIMENT/RUN.pt``), where a workflow hands over what a run needs; None: they lie in the
            two folders.
    """

    records: Path
    checkpoints: Path
    data_dir: Path
    device: torch.device = torch.device("cpu")
    threads: int = 1
    resume: Path | None = None
    resume_seconds: float = 60.0
    report_begin: Callable[[int, int], None] | None = None
    report: Callable[[int, int, float | None], None] | None = None
    report_step: Callable[[int, int], None] | None = None
    stop_requested: Callable[[], bool] | None = None
    given: Mapping[str, Record] = field(default_factory=dict)
    needed: Mapping[str, Path] | None = None
    read: dict[str, str] = field(default_factory=dict)
    root: Path = Path()
    files: Mapping[str, Path] = field(default_factory=dict)
    class_names: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def own_file(self, name: str) -> Path:
        """Return where a file of one's own lies."""
        return self.files.get(name, self.root / name)

    def record_of(self, name: str, edition: str) -> Record:
        """Return the verified record of another run."""
        if name in self.given:
            return self.given[name]
        path = self._file(f"runs/{name}.json", self.records / f"{name}.json")
        record = read_record(path, edition=edition, name=name)
        self.read[name] = record["digest"]
        return record

    def checkpoint_of(self, name: str) -> Path:
        """Return the checkpoint file of another run."""
        return self._file(f"checkpoints/{name}.pt", self.checkpoints / f"{name}.pt")

    def _file(self, name: str, place: Path) -> Path:
        """Return where a file of another run lies: the one that was handed over, or, by hand, its usual place."""
        if self.needed is None:
            return place
        if name not in self.needed:
            raise TrainingError(f"{name}: this run starts from it, but it is not among the files of --needs")
        return self.needed[name]


@dataclass
class Progress:
    """State of a run that a resumed one continues from (beside the session's own, and that within an epoch).

    Attributes:
        stage, stage_epoch: stages done, and epochs done of the stage under way.
        begun: the stage under way is past the evaluation before its first step.
    """

    stage: int = 0
    stage_epoch: int = 0
    begun: bool = False
    trajectory: Trajectory = field(default_factory=Trajectory)
    weights: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    start_errors: dict[str, float] = field(default_factory=dict)
    averaged: dict[str, list[float]] = field(default_factory=dict)
    first_steps: dict[str, list[float]] = field(default_factory=dict)
    steps: int = 0
    diverged: bool = False
    gate_failed: bool = False
    constant_prediction: bool | None = None
    seconds: float = 0.0

    def state(self) -> dict[str, Any]:
        """Return plain data and tensors only (the resume file is read with ``weights_only=True``)."""
        return {**self.__dict__, "trajectory": self.trajectory.blocks}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Progress:
        """Restore what :meth:`state` returned."""
        return cls(**{**state, "trajectory": Trajectory(state["trajectory"])})


def train(spec: Mapping[str, Any], context: Context) -> tuple[Record, dict[str, Weights]]:
    """Execute a resolved run, given as the plain dict that its record holds.

    Returns:
        Its record, and the weights of the stages that other runs start from (stage name → state dict on the CPU).

    Raises:
        TrainingError, RecordError, CheckpointError, DataError: what the run needs is missing or not as it should be.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    try:
        run = read(definition(spec))
    except UnfitRun as error:
        raise TrainingError(f"{spec.get('experiment')}/{spec.get('run')}: {error}") from None
    if run.copy_of is not None:
        outcome, trajectory = _copied(run, run.copy_of, context)
        seconds = time.perf_counter() - clock
        return _finish(spec, run, context, outcome, trajectory, {}, started, seconds)
    try:
        trainer = Trainer(run, context)
    except (DataError, RecordError):
        raise
    except (
        ValueError,
        KeyError,
        IndexError,
        TypeError,
    ) as error:  # the census refuses what it can know of this
        what = f"nothing named {error}" if isinstance(error, KeyError) else str(error)
        raise TrainingError(f"{_name(run)}: cannot be trained as it is defined: {what}") from error
    try:
        trainer.execute(clock)
    except Exception as error:
        network = run.task.model
        if (
            not isinstance(network, Imported)
            or lacks_memory(error)
            or not imported.raised_by(error, network.path)
        ):
            raise
        told = imported.said(error, network.path)
        raise TrainingError(
            f"{_name(run)}: task.model.import: {network.path}: its network failed: {told}"
        ) from error
    progress = trainer.progress
    outcome = summarise(run, progress.trajectory, trainer.extra())
    kept = [stage.name for stage in run.stages if stage.save and stage.name in progress.weights]
    saved = {name: progress.weights[name] for name in kept}
    about = {"data": trainer.task.origin or None, **trainer.own}
    return _finish(spec, run, context, outcome, progress.trajectory, saved, started, progress.seconds, about)


def _copied(run: Run, copied: str, context: Context) -> tuple[dict[str, Any], Trajectory]:
    """Outcome and trajectory of a run that is the same training as another one, or the beginning of it."""
    source = context.record_of(copied, run.edition)
    trajectory = Trajectory(source["trajectory"])
    kept = ("status", "constant_prediction", "steps", "avg_cos", "avg_gmix_norm", "lr_scale")
    extra = {key: source["outcome"][key] for key in kept if key in source["outcome"]}
    if run.prefix_epochs is not None:
        trajectory = trajectory.first_epochs(run.prefix_epochs)
        rows = trajectory.rows("epochs")
        extra["steps"] = sum(row["n_steps"] for row in rows)
        extra["status"] = "dead" if any(row["loss_struct"] is None for row in rows) else "completed"
        extra["avg_cos"] = _average([row["cos_mean"] for row in rows])
        extra.pop("avg_gmix_norm", None)
        extra.pop("constant_prediction", None)
    return summarise(run, trajectory, extra), trajectory


def _finish(
    spec: Mapping[str, Any],
    run: Run,
    context: Context,
    outcome: dict[str, Any],
    trajectory: Trajectory,
    weights: dict[str, Weights],
    started: datetime,
    seconds: float,
    about: Mapping[str, Any] | None = None,
) -> tuple[Record, dict[str, Weights]]:
    provenance = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 4),
        "host": platform.node(),
        "platform": platform.platform(),
        **_surroundings(run, context),
        # Which data these were: the set's name, the digest of its content, the published set that it is a copy of;
        # and where labels, trusted examples or the network come from, if they are one's own.
        **(about or {"data": None}),
        "pid": os.getpid(),
    }
    if run.needs:  # so that copied results need no times to tell what was made from what
        missing = [name for name in run.needs if name not in context.read and name not in context.given]
        for name in missing:  # read before an interruption
            context.record_of(name, run.edition)
        provenance["needs"] = {name: context.read[name] for name in run.needs if name in context.read}
    hashes = {stage: checkpoints.weights_digest(state) for stage, state in weights.items()} or None
    return make_record(dict(spec), outcome, trajectory.blocks, hashes, provenance), weights


class Trainer:
    """Executes one run, stage by stage; benchmarks and calibrations enter it where they need to.

    Attributes:
        run, context: the run, and where it is executed.
        dtype, autocast: of weights and arithmetic, and of training passes (None: the same).
        task, labels: its data on the device.
        seed: the run's base seed.
        plans: the planned epochs of each stage by name.
        whole_plans: the same without the cut of ``max_epochs``.
        progress: what is done so far.
        session, order: the session under way and its batches; from ``open_session`` on.
    """

    def __init__(self, run: Run, context: Context) -> None:
        self.run, self.context = run, context
        self.dtype = configure(run.precision, context.threads, cudnn_benchmark=bool(run.cudnn_benchmark))
        keep_freed_memory()
        self.task = load_task(run.task.plain(), context.device, self.dtype, context.data_dir)
        self.progress = Progress()
        self.selected: dict[str, Any] = {}
        self.lr_scale = self._lr_scale()
        self.seed = self._base_seed()
        own = read_own(run, self.task, context.class_names.get(self.task.name, ()), context.own_file)
        self.labels = make_labels(run, self.task.train_labels, self.seed, own)
        self.own: dict[str, Any] = own.about
        if isinstance(run.task.model, Imported):
            imported.ROOT = context.root
            self.own = {**own.about, "network": imported.provenance(run.task.model.path)}
        self.autocast = autocast_dtype(run.precision, run.task.kind, context.device)
        # Cut to its first epochs, a stage keeps the calendar and the schedule of the whole one.
        self.whole_plans = {stage.name: plan_stage(stage, run.max_steps) for stage in run.stages}
        self.plans = {stage.name: plan_stage(stage, run.max_steps, run.max_epochs) for stage in run.stages}
        self.session: Session  # both from the first stage on
        self.order: StructureOrder
        self._takes_one: bool | None = None  # whether the session's model trains on a batch of one
        self._clock = self._saved_at = time.perf_counter()
        self._saving = 0.0
        self._shortages = shortages(context.device)
        # The epoch under way: what its steps logged, and the generators that they draw from; and where a resumed run
        # enters it.
        self._statistics = StepStatistics()
        self._generators: dict[str, torch.Generator] = {}
        self._entry: dict[str, Any] | None = None

    # -------------------------------------------------------------- what the run depends on

    def _lr_scale(self) -> float:
        scale = self.run.lr_scale
        if isinstance(scale, MeasuredScale):  # J's LR_matched: the step size measured by another run
            outcome = self.context.record_of(scale.run, self.run.edition)["outcome"]
            return float(outcome[scale.field])
        return 1.0 if scale is None else scale

    def _base_seed(self) -> int:
        """Base seed s: the run's own, or that of the run it starts from (selected checkpoints, Td2, Tb2, Tg, W1)."""
        for stage in self.run.stages:
            if isinstance(stage.start, Select):
                self._select(stage.start)
        if self.run.seed is not None:
            return self.run.seed
        start = self.run.stages[0].start
        assert isinstance(
            start, (Checkpoint, Select)
        )  # as the model has it: where else would a seed come from
        record = self.context.record_of(self._source_of(start), self.run.edition)
        seed: int = record["outcome"].get("selected_seed", record["spec"]["seed"])
        return seed

    def _source_of(self, start: Checkpoint | Select) -> str:
        source: str = self.selected["selected_run"] if isinstance(start, Select) else start.run
        return source

    def _select(self, rule: Select) -> None:
        """Choose among finished runs: those whose error lies in [min, max), in list order or by ascending error.

        Where too few pass, the candidates nearest to passing follow, and the record says so
        (``selection_passed: false``): the publication just had fewer rows.
        """
        records = [self.context.record_of(name, self.run.edition) for name in rule.runs]
        errors = [record["outcome"]["test_error"] for record in records]
        low, high = rule.min, rule.max

        def miss(error: float) -> float:
            below = max(0.0, (low if low is not None else -math.inf) - error)
            above = max(0.0, error - high) if high is not None else 0.0
            return below + above

        passing = [
            i for i, e in enumerate(errors) if (low is None or e >= low) and (high is None or e < high)
        ]
        if rule.order == "ascending":
            passing.sort(key=lambda i: errors[i])
        failing = sorted(set(range(len(records))) - set(passing), key=lambda i: (miss(errors[i]), i))
        chosen = (passing + failing)[rule.index]
        self.selected = {
            "selected_run": rule.runs[chosen],
            "selected_seed": records[chosen]["spec"]["seed"],
            "selection_passed": chosen in passing,
        }

    # -------------------------------------------------------------- stages

    def execute(self, clock: float) -> None:
        """Run every stage, resuming where an earlier attempt stopped.

        Args:
            clock: when the run began, by ``time.perf_counter``.
        """
        self._clock = clock
        entered = self._restore()
        progress, stages = self.progress, self.run.stages
        if self.context.report_begin is not None:
            self.context.report_begin(*self._epochs())
        while progress.stage < len(stages):
            stage = stages[progress.stage]
            if not entered:
                self._enter(stage)
            entered = False
            if not progress.begun and stage.evaluate.before:
                self._evaluate(stage, self._first(stage))
            progress.begun = True
            plan = self.plans[stage.name]
            while progress.stage_epoch < len(plan) and not self._stopped(stage):
                self.run_epoch(stage, plan[progress.stage_epoch])
                self._pause()
            self._end(stage)
            if progress.gate_failed:
                break
        progress.seconds += time.perf_counter() - clock

    def _enter(self, stage: Stage) -> None:
        """Give a stage its session, with the weights that it starts from."""
        start, progress, name = stage.start, self.progress, stage.name
        progress.stage_epoch = 0
        if start.kind == "continue":
            self._skip_cut_epochs(stage)
            return
        weights: Weights | None = None
        source = ""
        if isinstance(start, OfStage):
            weights, source = progress.weights[start.stage], start.stage
            progress.start_errors[name] = progress.errors[start.stage]
        elif isinstance(start, (Checkpoint, Select)):
            source = self._source_of(start)
            record = self.context.record_of(source, self.run.edition)
            weights = checkpoints.load_stage(self.context.checkpoint_of(source), record, start.stage)
            progress.start_errors[name] = _stage_error(record, start.stage)
        self.open_session(stage)
        if weights is not None:
            self._load(self.session.model, weights, source)

    def _skip_cut_epochs(self, stage: Stage) -> None:
        """Put the session's clocks where the whole run would have them when ``stage`` begins."""
        if self.run.max_epochs is None:
            return
        stages = self.run.stages
        position = stages.index(stage)
        begin = next(i for i in range(position, -1, -1) if stages[i].start.kind != "continue")
        before = self._whole(stages[begin:position])
        self.session.epoch, self.session.update = len(before), self._updates(before)

    def _whole(self, stages: Sequence[Stage]) -> list[PlannedEpoch]:
        return [epoch for stage in stages for epoch in self.whole_plans[stage.name]]

    def _updates(self, planned: Sequence[PlannedEpoch]) -> int:
        return sum(epoch.steps or self.order.steps_per_epoch for epoch in planned)

    def _planned_updates(self, stage: Stage) -> int:
        stages = self.run.stages
        position = stages.index(stage)
        later = range(position + 1, len(stages))
        end = next((i for i in later if stages[i].start.kind != "continue"), len(stages))
        return self._updates(self._whole(stages[position:end]))

    def _first(self, stage: Stage) -> PlannedEpoch:
        """Where an evaluation before the first step stands; a stage that only selects has no λ."""
        plan = self.plans[stage.name]
        return plan[0] if plan else PlannedEpoch(0, None, None, None, False, True)

    def open_session(self, stage: Stage) -> None:
        """Start a session for ``stage`` and the stages that continue it: SEED(s + offset), model, optimizer."""
        run, seed = self.run, self.seed + stage.seed_offset
        streams = Streams(run.streams.group, run.streams.replicate, seed, stage.session or stage.name)
        model = new_model(run, self.task, seed, self.dtype)
        task = run.task
        if stage.start.kind == "fresh" and task.model.body_from is not None:
            self._load_body(model, task.model.body_from)
        try:
            self.order = StructureOrder(
                self.labels.structure, task.batch_size, task.drop_last, task.steps_per_epoch, streams
            )
        except ValueError as error:
            raise TrainingError(f"{_name(run)}: {error}") from None
        assert stage.schedule is not None  # as the model has it: only a stage that continues has none
        base_lr = run.optimizer.lr if stage.lr is None else stage.lr
        self.session = Session(
            run=run,
            model=model,
            labels=self.labels,
            streams=streams,
            base_lr=base_lr * self.lr_scale,
            schedule=stage.schedule,
            total_updates=self._planned_updates(stage),
            autocast=self.autocast,
        )
        model.train()
        self._takes_one = None
        smallest, examples, what = self.order.smallest, self.order.examples, "examples"
        if smallest > 1 and run.value.labels == "trusted_batches":
            assert self.labels.trusted is not None
            examples, what = len(self.labels.trusted), "trusted examples"
            # An epoch need not get as far as the last batch of them.
            if examples // task.batch_size < self.order.steps_per_epoch:
                smallest = examples % task.batch_size
        if smallest == 1 and not self.takes_one_example:
            raise TrainingError(
                f"{_name(run)}: batch size {task.batch_size} leaves a batch of one of {examples} {what}, which "
                f"BatchNorm in {task.model.name} cannot normalise; change batch_size"
                + (" or drop_last" if what == "examples" else " or the trusted set")
            )

    def _load_body(self, model: torch.nn.Module, source: str) -> None:
        """Give a fresh model another run's weights but for the head: fine-tuning, as DistilBERT is fine-tuned."""
        record = self.context.record_of(source, self.run.edition)
        weights = checkpoints.load_stage(self.context.checkpoint_of(source), record, "main")
        head = set(head_parameters(model))
        own = model.state_dict()
        self._load(
            model, {name: own[name] if name in head else value for name, value in weights.items()}, source
        )

    def _load(self, model: torch.nn.Module, weights: Weights, source: str) -> None:
        try:
            model.load_state_dict(weights)
        except RuntimeError:
            name = self.run.task.model.name
            raise TrainingError(
                f"the weights of {source} do not fit this run's model {name}: the two were defined differently when "
                f"{source} was trained; run {source} again"
            ) from None

    def _note_divergence(self) -> None:
        session = self.session
        if not session.diverged and not all(bool(torch.isfinite(p).all()) for p in session.params):
            session.diverged = self.progress.diverged = True

    def _end(self, stage: Stage) -> None:
        progress, name = self.progress, stage.name
        self._note_divergence()
        rows = [r for r in progress.trajectory.rows("evaluations") if r["stage"] == name]
        # A number: what is not evaluated has at least a start.
        error: Any = rows[-1]["test_error"] if rows else progress.start_errors.get(name)
        progress.errors[name] = error
        gate = stage.gate
        if gate and error is None:
            raise TrainingError(
                f"{_name(self.run)}: stage {name} has a gate, but nothing is ever evaluated in it"
            )
        if gate and gate.on_fail == "stop" and not gate_passes(gate, error):
            progress.gate_failed = True
        later = {other.start.stage for other in self.run.stages if isinstance(other.start, OfStage)}
        if stage.save or name in later:
            progress.weights[name] = {
                key: value.detach().to("cpu", copy=True)
                for key, value in self.session.model.state_dict().items()
            }
        progress.stage += 1
        progress.stage_epoch, progress.begun = 0, False

    # -------------------------------------------------------------- one epoch

    def run_epoch(self, stage: Stage, planned: PlannedEpoch) -> None:
        """Train the session's next epoch, log it, and evaluate if that is planned."""
        session, progress = self.session, self.progress
        statistics = self._statistics = StepStatistics()
        self._generators = {}
        if not session.diverged:  # nothing that is done to non-finite weights changes what they predict
            self._seed_dropout(session.streams.seed_for("dropout", session.epoch))
            self.train_epoch(planned, statistics, stage)
        result = self._test() if planned.evaluate else None
        self._check_algorithms()
        # From here to the next pause the epoch is done, evaluation included: a state is of before or of after.
        session.epoch += 1
        progress.stage_epoch += 1
        progress.steps += statistics.steps
        self._log_epoch(stage, planned, statistics)
        self._statistics, self._generators = StepStatistics(), {}
        if result is not None:
            self._log_evaluation(stage, planned, result)
        if self.context.report is not None:
            errors = progress.trajectory.blocks.get("evaluations", {}).get("test_error")
            self.context.report(*self._epochs(), errors[-1] if errors else None)

    def _check_algorithms(self) -> None:
        """Refuse what was computed by other algorithms than with memory enough: its digest would be another.

        torch catches it where cuDNN's first choice finds no room to work in, and takes the next one, without a word.

        Raises:
            RuntimeError: that has happened since the run began.
        """
        free = self.run.cudnn_benchmark or self.run.compile  # to try algorithms, and to do without some
        if not free and shortages(self.context.device) != self._shortages:
            raise RuntimeError("CUDA out of memory. A convolution found no room for its algorithm")

    def _seed_dropout(self, seed: int) -> None:
        """Seed the global generator that dropout draws from, per epoch, so that an epoch can be entered alone."""
        if self.session.shares_forward:  # no dropout
            return
        if self.context.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        else:
            # torch.manual_seed would queue a call for a CUDA that never starts, with a formatted stack each time.
            torch.default_generator.manual_seed(seed)

    def train_epoch(self, planned: PlannedEpoch, statistics: StepStatistics, stage: Stage) -> None:
        """Do the steps of an epoch, and nothing else; what they log goes to ``statistics``."""
        session, run, streams, epoch = self.session, self.run, self.session.streams, self.session.epoch
        direction = None
        if run.value.synthetic is not None:
            direction = streams.generator("direction", epoch, device=self.context.device)
            self._generators["direction"] = direction
        self._reenter(statistics)
        batches = list(self.order.epoch(epoch, planned.steps))
        structure, separate = self._with_inputs(batches, "augment", statistics.steps), None
        if run.value.labels == "trusted_batches":
            assert self.labels.trusted is not None
            others = trusted_batches(self.labels.trusted, run.task.batch_size, epoch, streams)
            separate = self._with_inputs(
                list(islice(others, len(batches))), "augment_trusted", statistics.steps
            )
        assert planned.lam is not None  # only a stage that trains nothing has none
        every = run.log.steps_every
        minimum = self.min_trusted
        for index, inputs in structure:
            trusted = None if separate is None else next(separate)
            step = session.update
            log = session.step(
                index, inputs, planned.lam, trusted=trusted, direction=direction, min_trusted=minimum
            )
            statistics.add(log)
            if every and step % every == 0:
                self._log_step(stage, planned, step, log)
            if self.context.report_step is not None:
                self.context.report_step(statistics.steps, len(batches))
            self._pause()

    def _with_inputs(
        self, batches: list[Tensor], stream: str, after: int
    ) -> Iterator[tuple[Tensor, tuple[Tensor, ...]]]:
        """Yield the batches of an epoch (indices) but for the first ``after``, each with its model inputs."""
        crops: Sequence[Tensor | None] = [None] * len(batches)
        if self.task.augments:  # an epoch's are drawn at once, also where only its end is still to be trained
            sizes = list(map(len, batches))
            generator = self.session.streams.generator(stream, self.session.epoch)
            crops = self.task.crops(sum(sizes), generator).split(sizes)
        for index, crop in zip(batches[after:], crops[after:], strict=True):
            yield index, self.task.inputs(index, crop)

    def _reenter(self, statistics: StepStatistics) -> None:
        """Go to where an interrupted attempt left this epoch, if it did."""
        entry, self._entry = self._entry, None
        if entry is None:
            return
        statistics.load_state(entry["statistics"])
        for name, state in entry["generators"].items():
            self._generators[name].set_state(state.cpu())
        if entry["dropout"] is not None:
            self._dropout_state(entry["dropout"].cpu())

    def _dropout_state(self, state: Tensor | None = None) -> Tensor:
        """Return the state of the generator that dropout draws from, having set it if one is given."""
        if state is not None and self.context.device.type == "cuda":
            torch.cuda.set_rng_state(state, self.context.device)
        elif state is not None:
            torch.default_generator.set_state(state)
        return generator_state(self.context.device)

    @property
    def min_trusted(self) -> int:
        """Fewest trusted examples of a batch that give a value gradient."""
        # BatchNorm over single vectors needs two of them; the published networks end on 4×4 maps and take one.
        return 1 if self.run.value.labels != "trusted" or self.takes_one_example else 2

    @property
    def takes_one_example(self) -> bool:
        """Whether the session's model trains on a batch of one, which BatchNorm may refuse: found by trying."""
        if self._takes_one is None:
            self._takes_one = True
            if self.session.batchnorms:
                index = self.labels.structure[:1]
                crops = self.task.crops(1, torch.Generator()) if self.task.augments else None
                inputs = self.task.inputs(index, crops)
                trial = copy.deepcopy(self.session.model)
                try:
                    with forked_generator(self.context.device), torch.no_grad():
                        trial(*inputs)
                except ValueError:
                    self._takes_one = False
        return self._takes_one

    def _log_step(self, stage: Stage, planned: PlannedEpoch, step: int, log: Mapping[str, Number]) -> None:
        # Plain cross-entropy has no cosines, a stale value gradient no loss.
        def value(name: str) -> float | None:
            return float(log[name]) if name in log else None

        self.progress.trajectory.add(
            "steps",
            stage=stage.name,
            branch=stage.branch,
            segment=planned.segment,
            **{"lambda": planned.lam},
            epoch=self.session.epoch,
            step=step,
            cos_struct_value=value("cos"),
            cos_mix_value=value("cos_mix_value"),
            norm_struct=value("norm_struct"),
            norm_value=value("norm_value"),
            norm_mix=value("norm_mix"),
            loss_struct=value("loss_struct"),
            loss_value=value("loss_value"),
        )

    def _log_epoch(self, stage: Stage, planned: PlannedEpoch, statistics: StepStatistics) -> None:
        run, progress = self.run, self.progress
        loss = statistics.mean("loss_struct") or 0.0
        if not math.isfinite(loss):
            self._note_divergence()
        # Text runs measure c_sv on the head, every so many updates (docs/specification/X-Y.md#1.5).
        cosine = "cos_head" if run.head_cosine_every is not None else "cos"
        names = ["norm_mix", "cos_actual", "cos_struct_clean"]
        if cosine == "cos_head":  # all measures count alike (X-Y.md#6.8), however many an epoch holds
            progress.averaged.setdefault(cosine, []).extend(statistics.first(cosine))
        else:
            names.append(cosine)
        for name in names:
            average = statistics.mean(name)
            if average is not None:
                progress.averaged.setdefault(name, []).append(average)
        first = run.log.first_steps or 0
        for name in ("cos", "norm_mix") if first else ():
            known = progress.first_steps.setdefault(name, [])
            known += statistics.first(name, max(0, first - len(known)))
        if not run.log.epochs:
            return

        cosines = statistics.spread(cosine)
        progress.trajectory.add(
            "epochs",
            **self._place(stage, planned),
            lr=self.session.optimizer.lr,
            loss_struct=statistics.mean("loss_struct"),
            loss_value=statistics.mean("loss_value"),
            cos_mean=cosines.get("mean"),
            cos_std=cosines.get("std"),
            cos_min=cosines.get("min"),
            cos_max=cosines.get("max"),
            norm_struct=statistics.mean("norm_struct"),
            norm_value=statistics.mean("norm_value"),
            norm_mix=statistics.mean("norm_mix"),
            cos_mix_value=statistics.mean("cos_mix_value"),
            n_steps=statistics.steps,
        )

    def _place(self, stage: Stage, planned: PlannedEpoch) -> dict[str, Any]:
        return {
            "stage": stage.name,
            "branch": stage.branch,
            "segment": planned.segment,
            "direction": planned.direction,
            "lambda": planned.lam,
            "epoch": self.session.epoch,
            "stage_epoch": self.progress.stage_epoch,
        }

    def _evaluate(self, stage: Stage, planned: PlannedEpoch) -> None:
        self._log_evaluation(stage, planned, self._test())

    def _test(self) -> dict[str, Any]:
        size, model = self.run.task.eval_batch_size, self.session.model

        def give_back() -> None:
            if self.context.device.type == "cpu":
                give_back_freed_memory()

        def between_batches() -> None:
            give_back()  # a batch's arrays leave gaps that the next one's do not fill
            self._pause()

        give_back()
        result = evaluate(model, self.task, size, between=between_batches)
        result |= evaluate_aside(model, self.task, self.labels, size, between=between_batches)
        give_back()
        return result

    def _log_evaluation(self, stage: Stage, planned: PlannedEpoch, result: dict[str, Any]) -> None:
        self.progress.constant_prediction = result.pop("constant_prediction")
        self.progress.trajectory.add("evaluations", **self._place(stage, planned), **result)

    def _stopped(self, stage: Stage) -> bool:
        if stage.stop is None:
            return False
        columns = self.progress.trajectory.blocks.get("evaluations")
        if columns is None:
            return False
        places = zip(columns["stage"], columns["stage_epoch"], columns["test_error"], strict=True)
        errors = [error for name, epoch, error in places if name == stage.name and epoch > 0]
        return first_stop(stage.stop, errors) is not None

    # -------------------------------------------------------------- outcome and resuming

    def extra(self) -> dict[str, Any]:
        """Return what the outcome needs beside the trajectory."""
        progress = self.progress
        status = "dead" if progress.diverged else "gate_failed" if progress.gate_failed else "completed"
        extra: dict[str, Any] = {
            "status": status,
            "steps": progress.steps,
            "start_errors": progress.start_errors,
        }
        if progress.constant_prediction is not None:
            extra["constant_prediction"] = progress.constant_prediction
        names = {
            "cos": "avg_cos",
            "cos_head": "avg_cos",
            "norm_mix": "avg_gmix_norm",
            "cos_actual": "cos_actual",
            "cos_struct_clean": "cos_struct_clean",
        }
        for name, values in progress.averaged.items():
            extra[names[name]] = _average(values)
        if self.run.log.first_steps is not None:
            # B3 measured the mix after its renormalisation.
            renormalised = self.run.renormalize
            extra["first_cos"] = _average(progress.first_steps["cos"])
            norm = _average(progress.first_steps["norm_mix"])
            extra["first_gmix_norm"] = norm if norm is None or not renormalised else 1.0
        if self.run.lr_scale is not None:
            extra["lr_scale"] = self.lr_scale
        return extra | self.selected

    def _surroundings(self) -> dict[str, Any]:
        return _surroundings(self.run, self.context)

    def _start_over(self, why: str) -> bool:
        print(
            f"{_name(self.run)}: starts over: the state of an earlier attempt {why}",
            file=sys.stderr,
            flush=True,
        )
        return False

    def _fingerprint(self) -> str:
        run = {key: value for key, value in self.run.plain().items() if key != "thresholds"}
        if self.own:
            run["own"] = self.own
        if self.task.definition is not None:  # of sets whose note keeps it: the content, and how it is read
            run["prepared"] = {"content": self.task.origin["content_sha256"], **self.task.definition}
        return canonical_json(run).decode()

    def _pause(self) -> None:
        """Keep the state if that is due, and leave if somebody asked for it.

        Raises:
            Interrupted: somebody did.
        """
        context = self.context
        stopping = context.stop_requested is not None and context.stop_requested()
        long_ago = time.perf_counter() - self._saved_at >= max(
            context.resume_seconds, _OVER_SAVING * self._saving
        )
        if context.resume is not None and (stopping or long_ago or not context.resume_seconds):
            self._check_algorithms()
            self._save(self._state())
        if stopping:
            raise Interrupted(
                f"{_name(self.run)}: stopped in {self._whereabouts()}; run the same target again to continue it"
            )

    def _epochs(self) -> tuple[int, int]:
        """How many are done, and how many are planned."""
        before = (len(self.plans[stage.name]) for stage in self.run.stages[: self.progress.stage])
        return sum(before) + self.progress.stage_epoch, sum(map(len, self.plans.values()))

    def _whereabouts(self) -> str:
        done, total = self._epochs()
        if not self._statistics.steps:
            return f"the training, after epoch {done} of {total}"
        return f"epoch {done + 1} of {total}, after step {self._statistics.steps}"

    def _state(self) -> dict[str, Any]:
        """Everything that a run needs to go on from here, to the last bit."""
        draws = not self.session.shares_forward
        return {
            "run": self._fingerprint(),
            "surroundings": self._surroundings(),
            "progress": {
                **self.progress.state(),
                "seconds": self.progress.seconds + time.perf_counter() - self._clock,
            },
            "session": self.session.state(),
            "epoch": {
                "statistics": self._statistics.state(),
                "generators": {name: one.get_state() for name, one in self._generators.items()},
                "dropout": self._dropout_state() if draws else None,
            },
        }

    def _save(self, state: Mapping[str, Any]) -> None:
        assert self.context.resume is not None
        begun = time.perf_counter()
        try:
            checkpoints.save_with_checksum(self.context.resume, state)
        except OSError as error:  # the run itself needs no disk until its end
            print(f"the state to resume from cannot be kept: {explain(error)}", file=sys.stderr)
        self._saved_at = time.perf_counter()
        self._saving = self._saved_at - begun

    def _restore(self) -> bool:
        """Load the state of an interrupted attempt at this very run; return whether there was one."""
        resume = self.context.resume
        if resume is None or not resume.exists():
            return False
        try:
            state = checkpoints.load_with_checksum(resume, self.context.device)
            if state["run"] != self._fingerprint():
                return self._start_over("is of another definition of this run")
            # A record half of one and half of another would have a digest of neither.
            if changed := _computed_otherwise(state["surroundings"], self._surroundings()):
                return self._start_over(f"was computed otherwise ({'; '.join(changed)})")
            progress = Progress.from_state(state["progress"])
            progress.weights = {  # of finished stages: off the device, as in a run that was not stopped
                stage: {name: one.cpu() for name, one in weights.items()}
                for stage, weights in progress.weights.items()
            }
            position = progress.stage
            while self.run.stages[position].start.kind == "continue":
                position -= 1
            self.open_session(self.run.stages[position])
            self.session.load_state(state["session"])
            entry = state["epoch"] if state["epoch"]["statistics"]["steps"] else None
        except (
            checkpoints.CheckpointError,
            KeyError,
            TypeError,
            ValueError,
            RuntimeError,
            IndexError,
            AttributeError,
        ) as error:
            if of_the_machine(error):
                raise  # the state may be whole: it stays for an attempt that has what it takes
            # A damaged state costs the time it would have saved, never the run.
            return self._start_over("is damaged")
        self.progress, self._entry = progress, entry
        return True


def _name(run: Run) -> str:
    return f"{run.experiment}/{run.run}"


def _surroundings(run: Run, context: Context) -> dict[str, Any]:
    """What may change a result beside the run itself; TorchJD's version where it combines the gradients."""
    found = surroundings(run.precision, run.task.kind, context.device, context.threads)
    if isinstance(run.method, Aggregated):
        found["versions"] |= {"torchjd": metadata.version("torchjd")}
    return found


def _computed_otherwise(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what may round otherwise than where a training began, down to what records are not told apart by."""
    pairs = {
        name: [one["versions"].get(name) for one in (before, now)] for name in ("cuda", "cudnn", "torchjd")
    }
    pairs["multiprocessors"] = [one.get("gpu", {}).get("multiprocessors") for one in (before, now)]
    found = changed_conditions(before, now)
    return found + [f"{name} {old}, here {new}" for name, (old, new) in pairs.items() if old != new]


def _average(values: Sequence[float | None]) -> float | None:
    """Return the mean, or None where there is nothing to average or a value is not finite (a run that diverged)."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not values or len(known) < len(values):
        return None
    return math.fsum(known) / len(known)


def _stage_error(record: Record, stage: str) -> float:
    """Return the last error that a record holds of one of its stages (a stage without training: its outcome's)."""
    block = record["trajectory"].get("evaluations") or {"stage": [], "test_error": []}
    errors = [e for name, e in zip(block["stage"], block["test_error"], strict=True) if name == stage]
    last: float = errors[-1] if errors else record["outcome"]["test_error"]
    return last
