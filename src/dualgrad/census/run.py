"""A run: what one training is, as frozen and strict models. The only place that knows its keys and their limits.

The census writes runs as plain dicts (for Snakemake, records and digests); :func:`check` holds each against these
models, so that what cannot be trained as it is written is refused before any job. ``Run(...).plain()`` is the dict.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from dualgrad.census.networks import Imported, Model
from dualgrad.census.part import (
    LONGEST,
    ClassNumber,
    Epochs,
    Part,
    Positive,
    RunId,
    Seed,
    Share,
    Word,
    explain,
    optional,
    wrong,
)

Amount = Annotated[float, Field(ge=0)]
Branch = Literal["ordered", "collapse"]


# --- task ----------------------------------------------------------------------------------------------------


class Normalize(Part):
    """Mean and standard deviation of each channel."""

    mean: Annotated[tuple[float, ...], Field(min_length=1, strict=False)] = Field(
        description="mean of each channel"
    )
    std: Annotated[tuple[Annotated[float, Field(ge=1e-9)], ...], Field(min_length=1, strict=False)] = Field(
        description="standard deviation of each channel"
    )

    @model_validator(mode="after")
    def _one_of_each(self) -> Normalize:
        if len(self.mean) != len(self.std):
            wrong("std", f"expected as many as there are means ({len(self.mean)}); got {len(self.std)}")
        return self


class Augment(Part):
    """Random crop with zero padding and horizontal flip of training images."""

    crop_padding: Annotated[int, Field(ge=0)] = Field(description="pixels added on each side before the crop")
    flip: bool = Field(description="whether images are flipped at random")


class Sizes(Part):
    """How many synthetic examples, and of which shape."""

    train: Positive | None = optional("training examples")
    test: Positive | None = optional("test examples")
    shape: Annotated[tuple[Positive, ...], Field(min_length=3, max_length=3, strict=False)] | None = optional(
        "channels, height and width of a picture; default: CIFAR's"
    )


Synthetic = Annotated[
    Annotated[bool, Tag("flag")] | Annotated[Sizes, Tag("sizes")],
    Discriminator(lambda given: "sizes" if isinstance(given, (Mapping, Sizes)) else "flag"),
]


class Validation(Part):
    """Training examples set aside: no gradient sees them, every evaluation does. A private stream draws them."""

    share: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the training set; drawn once per seed, whatever λ and K are"
    )


class Task(Part):
    """Data, batches and network."""

    kind: Literal["image", "text"] = Field(description="kind of the inputs")
    dataset: str = Field(description="name of a data set: one of `config/datasets`, your own included")
    split: str | None = optional(
        "part of the data set to train on, where it has several (reviews: train, pretrain)"
    )
    classes: Annotated[int, Field(ge=2)] = Field(description="number of classes")
    normalize: Normalize | None = Field(
        description="mean and standard deviation per channel; null: the data set's own (images), none (text)"
    )
    augment: Augment | None = Field(
        description="random crop and flip of training images; null: none, as for text"
    )
    model: Model = Field(description="the network: its name and its options")
    batch_size: Positive = Field(description="examples per batch")
    drop_last: bool = Field(description="whether an incomplete last batch is left out")
    steps_per_epoch: Positive | None = Field(
        default=None, description="steps that make an epoch; null: one pass over the structure set"
    )
    eval_batch_size: Positive = Field(default=1000, description="examples per batch in evaluations")
    max_length: Positive | None = Field(default=None, description="tokens per text; null for images")
    subset: Positive | None = Field(
        default=None,
        description="size of the structure set, drawn from the pool of noise text_pool; else null",
    )
    validation: Validation | None = optional(
        "training examples set aside to choose by; records then hold their error too"
    )
    synthetic: Synthetic = Field(
        default=False, description="synthetic data of the same shape, or how many examples of them"
    )

    @model_validator(mode="after")
    def _fits(self) -> Task:
        if not isinstance(self.model, Imported) and self.kind != self.model.inputs_kind:
            wrong(
                "model.name",
                f"{self.model.name} is a network for {self.model.inputs_kind}, not for {self.kind}",
            )
        if self.kind == "text":
            for key in ("normalize", "augment"):
                if getattr(self, key) is not None:
                    wrong(key, "expected null: it is for images")
            longest = getattr(self.model, "max_position", None)
            if longest and self.max_length and self.max_length > longest:
                wrong(
                    "max_length",
                    f"expected at most the network's max_position {longest}; got {self.max_length}",
                )
        elif self.max_length is not None:
            wrong("max_length", "expected null: it is for text")
        return self


# --- label noise ---------------------------------------------------------------------------------------------

Pair = Annotated[tuple[ClassNumber, ClassNumber], Field(strict=False)]


class _Noise(Part):
    rate: Share = Field(description="noise rate η; per mapped class where the noise is asymmetric")
    seed: Seed | None = optional("fixed seed of the generator")
    seed_offset: Seed | None = optional("added to the base seed")

    @model_validator(mode="after")
    def _one_seed(self) -> _Noise:
        if (self.seed is None) == (self.seed_offset is None):
            wrong("", "expected either seed or seed_offset")
        return self


class _Mapped(_Noise):
    map: Annotated[tuple[Pair, ...], Field(min_length=1, strict=False)] = Field(
        description="[from, to] class pairs in the order in which they are drawn"
    )

    @model_validator(mode="after")
    def _moves_labels(self) -> _Mapped:
        for place, (source, target) in enumerate(self.map):
            if source == target:
                wrong(f"map.{place}", f"expected two different classes; got [{source}, {target}]")
            if any(source == other for other, _ in self.map[:place]):
                wrong(f"map.{place}", f"class {source} is mapped twice")
        return self


class Symmetric(_Noise):
    """A share of the labels, each to any of the wrong classes."""

    kind: Literal["symmetric"] = Field(description="how labels are flipped")


class AsymmetricBernoulli(_Mapped):
    """Every label of the mapped classes on its own."""

    kind: Literal["asymmetric_bernoulli"] = Field(description="how labels are flipped")


class AsymmetricExact(_Mapped):
    """An exact share of each mapped class."""

    kind: Literal["asymmetric_exact"] = Field(description="how labels are flipped")


class _FromFile(Part):
    column: str | None = optional("column, array or entry of the file; needed where it has several")


class LabelFile(_FromFile):
    """Labels from a file, one for each training example, in the data set's order."""

    kind: Literal["file"] = Field(description="how labels are flipped")
    path: Annotated[str, Field(min_length=1)] = Field(
        description=".npy, .npz, .csv, .tsv, .parquet, or a torch file (.pt, .pth) of plain arrays; from the "
        "workflow's folder. Class numbers from 0, or the names of the data set's classes"
    )


Row = Annotated[tuple[Share, ...], Field(min_length=2, strict=False)]


class Transition(_Noise):
    """Every label on its own, by what its class is turned into: class-dependent noise."""

    kind: Literal["transition"] = Field(description="how labels are flipped")
    matrix: Annotated[tuple[Row, ...], Field(min_length=2, strict=False)] = Field(
        description="for each true class, the shares of the labels that it gets; a row sums to 1, and the shares of "
        "wrong ones, over equally many examples of each class, come to the rate"
    )

    @model_validator(mode="after")
    def _is_a_transition(self) -> Transition:
        for place, row in enumerate(self.matrix):
            if len(row) != len(self.matrix):
                wrong(f"matrix.{place}", f"expected as many shares as there are rows ({len(self.matrix)})")
            if abs(sum(row) - 1) > 1e-3:
                wrong(f"matrix.{place}", f"expected shares that sum to 1; got {sum(row):.4f}")
        kept = sum(row[place] for place, row in enumerate(self.matrix)) / len(self.matrix)
        if abs(1 - kept - self.rate) > 5e-3:
            wrong("rate", f"expected that of the matrix, {1 - kept:.4f}; got {self.rate:g}")
        return self


class TextPool(_Noise):
    """Trusted set, flips and structure set, drawn from one generator."""

    kind: Literal["text_pool"] = Field(description="how labels are flipped")


Noise = Annotated[
    Symmetric | AsymmetricBernoulli | AsymmetricExact | Transition | TextPool | LabelFile,
    Field(discriminator="kind"),
]


# --- value signal --------------------------------------------------------------------------------------------


class RandomLabels(Part):
    """Generator of random value labels."""

    seed_offset: Seed | None = optional(
        "as published; changes nothing: labels come from a private stream of the run"
    )
    seed: Seed | None = optional("fixed seed of NumPy's generator")

    @model_validator(mode="after")
    def _one_seed(self) -> RandomLabels:
        if (self.seed is None) == (self.seed_offset is None):
            wrong("", "expected either seed or seed_offset")
        return self


class Trusted(_FromFile):
    """Trusted subset: a share of the training set that is drawn, or the examples that a file lists."""

    ratio: Annotated[float, Field(gt=0, le=1)] | None = optional("share of the training set, drawn at random")
    seed_offset: Seed | None = optional("added to the base seed")
    path: Annotated[str, Field(min_length=1)] | None = optional(
        "file of the trusted examples' indices (from 0), or of true and false for each; in the forms of noise file"
    )

    @model_validator(mode="after")
    def _drawn_or_listed(self) -> Trusted:
        if (self.ratio is None) == (self.path is None):
            wrong("", "expected either ratio or path")
        if self.path is None and self.column is not None:
            wrong("column", "expected null: it is for a file (path)")
        if self.path is not None and self.seed_offset is not None:
            wrong("seed_offset", "expected null: a file's examples are not drawn")
        return self


class Direction(Part):
    """A value direction at a set cosine to a reference."""

    about: Literal["struct", "clean"] = Field(
        description="the reference: the current structure gradient or the cached clean one"
    )
    cosine: Annotated[float, Field(ge=-1, le=1)] = Field(description="cosine to the reference")


class ValueSignal(Part):
    """The value gradient."""

    labels: Literal["clean", "random", "shifted", "trusted", "trusted_batches"] = Field(
        default="clean",
        description="labels of the value loss. clean: of the whole batch; trusted: of the trusted examples in it; "
        "trusted_batches: batches of their own",
    )
    sign: Literal[1, -1] = Field(default=1, description="-1 for the negated gradient")
    period: Positive = Field(default=16, description="K: recomputed when the step number is a multiple of K")
    random: RandomLabels | None = Field(default=None, description="generator of random value labels")
    trusted: Trusted | None = Field(
        default=None,
        description="trusted subset: a share of the training set, or from a file",
    )
    synthetic: Direction | None = Field(
        default=None,
        description="a value direction at a set cosine to the current structure or the cached clean gradient",
    )
    fresh_every_step: bool = Field(
        default=False, description="computed at every step for the logs; the mix still uses the cached one"
    )

    @model_validator(mode="after")
    def _has_what_it_takes(self) -> ValueSignal:
        for key, wanted in (("random", ("random",)), ("trusted", ("trusted", "trusted_batches"))):
            given = getattr(self, key) is not None
            # The pool of noise text_pool takes a trusted set too, whatever the value labels.
            if self.labels in wanted and not given:
                wrong(key, f"the key is needed: labels is {self.labels}")
            if key == "random" and given and self.labels not in wanted:
                wrong(key, f"expected null: labels is {self.labels}, so no label is drawn at random")
        if self.synthetic and self.labels != "clean":
            wrong("synthetic", f"expected null, or labels: clean; labels is {self.labels}")
        if self.synthetic and self.synthetic.about == "struct" and self.fresh_every_step:
            wrong("fresh_every_step", "expected false: a direction about struct has no gradient of its own")
        return self


# --- optimizer -----------------------------------------------------------------------------------------------


class _Optimizer(Part):
    lr: Amount = Field(description="learning rate at the start of a session")


class SGD(_Optimizer):
    """Stochastic gradient descent."""

    name: Literal["sgd"] = Field(description="kind of optimizer")
    momentum: Share | None = optional("momentum; default 0")
    weight_decay: Amount = Field(description="weight decay, on all parameters")


class AdamW(_Optimizer):
    """Adam with decoupled weight decay."""

    name: Literal["adamw"] = Field(description="kind of optimizer")
    weight_decay: Amount = Field(description="weight decay, on all parameters")


class Adam(_Optimizer):
    """Adam."""

    name: Literal["adam"] = Field(description="kind of optimizer")
    weight_decay: Amount = Field(description="weight decay, on all parameters")


Optimizer = Annotated[SGD | AdamW | Adam, Field(discriminator="name")]


class MeasuredScale(Part):
    """A factor that another run has measured."""

    run: RunId = Field(description="the run that measures it")
    field: str = Field(description="the field of its outcome that holds it")


# --- method --------------------------------------------------------------------------------------------------

# TorchJD's aggregators that combine two gradients without a memory of earlier steps, with the options that each has.
AGGREGATORS: dict[str, tuple[str, ...]] = {
    "AlignedMTL": ("scale_mode",),
    "CAGrad": ("c",),
    "ConFIG": (),
    "Constant": (),
    "DualProj": (),
    "FairGrad": ("alpha",),
    "IMTLG": (),
    "MGDA": ("epsilon", "max_iters"),
    "Mean": (),
    "PCGrad": (),
    "Sum": (),
    "UPGrad": (),
}


class Aggregated(Part):
    """An aggregator of TorchJD in the place of the mix.

    It gets the two gradients as they are; the value gradient is cached as for the mix. Constant, AlignedMTL, ConFIG,
    DualProj and UPGrad weigh the losses by 1-λ and λ; λ changes nothing in the others.
    """

    aggregator: Literal[
        "AlignedMTL",
        "CAGrad",
        "ConFIG",
        "Constant",
        "DualProj",
        "FairGrad",
        "IMTLG",
        "MGDA",
        "Mean",
        "PCGrad",
        "Sum",
        "UPGrad",
    ] = Field(
        description="its name; Constant, AlignedMTL, ConFIG, DualProj and UPGrad weigh the losses by 1-λ and λ"
    )
    c: Amount | None = optional("CAGrad: how far from the mean gradient to search")
    alpha: Amount | None = optional("FairGrad: which fairness")
    epsilon: Amount | None = optional("MGDA: when to stop")
    max_iters: Positive | None = optional("MGDA: most iterations")
    scale_mode: Literal["min", "median", "rmse"] | None = optional("AlignedMTL: which length")

    @model_validator(mode="after")
    def _options_fit(self) -> Aggregated:
        own = AGGREGATORS[self.aggregator]
        for key in ("c", "alpha", "epsilon", "max_iters", "scale_mode"):
            given = getattr(self, key) is not None
            if given and key not in own:
                wrong(key, f"is no option of {self.aggregator}")
            if key in own and key in ("c", "alpha") and not given:
                wrong(key, f"the key is needed: aggregator is {self.aggregator}")
        return self


Method = Annotated[
    Annotated[Literal["dual", "ce", "lossmix"], Tag("word")] | Annotated[Aggregated, Tag("aggregated")],
    Discriminator(lambda given: "aggregated" if isinstance(given, (Mapping, Aggregated)) else "word"),
]


# A file's trusted examples are counted where it is read; planning takes them for so large a share.
LISTED = 0.1


def trusted_share(value: Mapping[str, Any]) -> float:
    """Share of the training set that a value signal trusts, for planning."""
    return (value["trusted"] or {}).get("ratio") or LISTED


def has_two_gradients(run: Mapping[str, Any]) -> bool:
    """Whether a run's method combines a structure and a value gradient: the mix, or an aggregator."""
    return run["method"] == "dual" or isinstance(run["method"], Mapping)


# --- stages --------------------------------------------------------------------------------------------------


class Fresh(Part):
    """New weights."""

    kind: Literal["fresh"] = Field(description="where the weights come from")


class Continue(Part):
    """The stage before, with its optimizer, schedule and cache."""

    kind: Literal["continue"] = Field(description="where the weights come from")


class OfStage(Part):
    """Weights of an earlier stage."""

    kind: Literal["stage"] = Field(description="where the weights come from")
    stage: str = Field(description="that stage")


class Checkpoint(Part):
    """Weights of another run."""

    kind: Literal["checkpoint"] = Field(description="where the weights come from")
    run: RunId = Field(description="that run")
    stage: str = Field(default="main", description="its stage")


class Select(Part):
    """Weights of one of several runs, chosen by their error."""

    kind: Literal["select"] = Field(description="where the weights come from")
    runs: Annotated[tuple[RunId, ...], Field(min_length=1, strict=False)] = Field(
        description="the candidates"
    )
    stage: str = Field(default="main", description="stage whose weights to take")
    by: Literal["test_error"] = Field(default="test_error", description="what is compared")
    min: Share | None = Field(default=None, description="least error that passes")
    max: Share | None = Field(default=None, description="error from which a candidate no longer passes")
    order: Literal["position", "ascending"] = Field(
        default="position", description="census order or ascending error"
    )
    index: Annotated[int, Field(ge=0)] = Field(default=0, description="which of those that pass, from 0")

    @model_validator(mode="after")
    def _can_choose(self) -> Select:
        if self.index >= len(self.runs):
            wrong("index", f"expected less than the number of candidates, {len(self.runs)}; got {self.index}")
        if self.min is not None and self.max is not None and self.min >= self.max:
            wrong("max", f"expected more than min, {self.min:g}; got {self.max:g}")
        return self


Start = Annotated[Fresh | Continue | OfStage | Checkpoint | Select, Field(discriminator="kind")]


class Constant(Part):
    """The same rate throughout."""

    kind: Literal["constant"] = Field(description="shape of the schedule")


class Multistep(Part):
    """The rate drops after some epochs of the session."""

    kind: Literal["multistep"] = Field(description="shape of the schedule")
    milestones: Annotated[tuple[Annotated[int, Field(ge=0, le=LONGEST)], ...], Field(strict=False)] = Field(
        description="epochs of the session after which the rate drops"
    )
    gamma: Amount = Field(default=0.1, description="factor of each drop")

    @model_validator(mode="after")
    def _in_order(self) -> Multistep:
        if list(self.milestones) != sorted(self.milestones):
            wrong("milestones", f"expected them in ascending order; got {list(self.milestones)}")
        return self


class Warmup(Part):
    """The rate rises from 0, then falls linearly to 0."""

    kind: Literal["warmup_linear"] = Field(description="shape of the schedule")
    warmup: Share = Field(description="share of the updates in which the rate rises")


Schedule = Annotated[Constant | Multistep | Warmup, Field(discriminator="kind")]


class Segment(Part):
    """A stretch of one λ."""

    lam: Share = Field(alias="lambda", description="weight of the value gradient")
    epochs: Epochs | None = optional("its length")
    steps: Positive | None = optional("its length, where that is less than an epoch")
    direction: Literal["up", "down"] | None = Field(default=None, description="which way λ moves around it")

    @model_validator(mode="after")
    def _one_length(self) -> Segment:
        if (self.epochs is None) == (self.steps is None):
            wrong("", "expected either epochs or steps")
        return self


class EvaluateEvery(Part):
    """Evaluate every so many epochs of the stage, and at its end."""

    every: Epochs | None = Field(description="epochs between evaluations; null: only at the end")
    before: bool | None = optional("also before the first step")


class EvaluateAt(Part):
    """Evaluate at the end of each segment."""

    at: Literal["segment_end"] = Field(description="when")
    before: bool | None = optional("also before the first step")


def _calendar(given: Any) -> str:
    """Which of the two a calendar is, so that a mistake in it is explained by that one."""
    return (
        "at" if isinstance(given, EvaluateAt) or (isinstance(given, Mapping) and "at" in given) else "every"
    )


Evaluate = Annotated[
    Annotated[EvaluateEvery, Tag("every")] | Annotated[EvaluateAt, Tag("at")], Discriminator(_calendar)
]


class Gate(Part):
    """What the stage's error must satisfy."""

    on_fail: Literal["warn", "stop"] = Field(default="warn", description="what happens otherwise")
    max: Share | None = optional("the error is at most this")
    below: Share | None = optional("the error is below this")
    min: Share | None = optional("the error is at least this")

    @model_validator(mode="after")
    def _can_pass(self) -> Gate:
        highest = min((one for one in (self.max, self.below) if one is not None), default=None)
        if highest is None and self.min is None:
            wrong("", "expected max, below or min")
        if highest is not None and self.min is not None and self.min > highest:
            wrong("min", f"no error passes: expected at most {highest:g}; got {self.min:g}")
        return self


class Stop(Part):
    """End the stage when the error was beyond a threshold so many times in a row."""

    error: Literal["above", "below"] = Field(description="on which side")
    threshold: Share = Field(description="of which error")
    inclusive: bool = Field(description="whether the threshold itself counts")
    consecutive: Epochs = Field(description="so many times in a row; the count runs on across segments")
    unit: Literal["epoch", "segment"] = Field(
        description="what is counted; the stage is evaluated after each"
    )


class Stage(Part):
    """A stretch of training with one start."""

    name: Word = Field(default="main", description="name of the stage")
    branch: Branch | None = Field(
        default=None, description="branch of a run that follows two, or whose branch is a factor"
    )
    start: Start = Field(default=Fresh(kind="fresh"), description="where it starts")
    seed_offset: Seed = Field(
        default=0, description="added to the base seed for initial weights and streams of the session"
    )
    session: str | None = Field(
        default="main", description="label of the session's random streams; default the stage that begins it"
    )
    lr: Amount | None = Field(
        default=None, description="learning rate of the session, if not the optimizer's"
    )
    schedule: Schedule | None = Field(
        default=Constant(kind="constant"), description="learning rate over the session"
    )
    segments: Annotated[tuple[Segment, ...], Field(strict=False)] = Field(
        default=(), description="λ over time"
    )
    evaluate: Evaluate = Field(default=EvaluateEvery(every=None), description="when the error is measured")
    gate: Gate | None = Field(default=None, description="what the stage's error must satisfy")
    stop: Stop | None = Field(default=None, description="rule that ends the stage")
    save: bool = Field(
        default=False, description="never written by hand; true where another run starts from this stage"
    )

    @model_validator(mode="after")
    def _fits(self) -> Stage:
        if (self.schedule is None) != (self.start.kind == "continue"):
            wrong("schedule", "expected one, unless the stage continues another one's")
        measured = self.segments or self.evaluate.before or self.start.kind not in ("fresh", "continue")
        if self.gate and not measured:
            wrong("gate", "the stage has no evaluation that it could be about")
        if self.stop and not self.segments:
            wrong("stop", "the stage has no segments that it could end")
        wanted = {"epoch": EvaluateEvery(every=1), "segment": EvaluateAt(at="segment_end")}
        if self.stop and self.evaluate.model_copy(update={"before": None}) != wanted[self.stop.unit]:
            expected = {"epoch": "every: 1", "segment": "at: segment_end"}[self.stop.unit]
            wrong("evaluate", f"expected {{{expected}}}: the stop rule counts in {self.stop.unit}s")
        return self


# --- a run ---------------------------------------------------------------------------------------------------


class Streams(Part):
    """What the private random streams are seeded from beside seed and purpose."""

    group: str = Field(description="runs that were one and the same training share a group")
    replicate: Seed = Field(default=0, description="tells independent executions of one grid apart")


class Log(Part):
    """What is kept beside evaluations."""

    epochs: bool = Field(default=False, description="statistics of every epoch")
    steps_every: Positive | None = Field(default=None, description="a log line every so many steps")
    first_steps: Positive | None = Field(default=None, description="averages over the first steps")


Outcome = Literal[
    "fixed",
    "loop",
    "survival",
    "spinodal",
    "prep",
    "sweep",
    "branches",
    "base",
    "jump",
    "trap",
    "escape",
    "phases",
    "measure",
]
Level = str | bool | int | float


class Run(Part):
    """One training, complete."""

    experiment: str = Field(description="name of the experiment")
    run: str = Field(description="name within the experiment")
    series: str = Field(default="", description="series of the experiment")
    counted: bool = Field(default=False, description="whether it is part of the published census")
    edition: str = Field(description="edition that trains it")
    protocol: Positive = Field(
        default=1, description="revision of what training means, raised by hand; a new one re-trains the runs"
    )
    precision: Literal["float64", "float32", "published"] = Field(
        default="float64", description="arithmetic of the training"
    )
    synthetic: bool = Field(default=False, description="synthetic data or cut short: no result")
    max_steps: Positive | None = Field(
        default=None, description="steps that every stage is cut to, in trials"
    )
    max_epochs: Positive | None = optional("epochs that every stage is cut to, where an edition is")
    compile: bool | None = optional("whether training passes go through torch.compile, where they do")
    cudnn_benchmark: bool | None = optional(
        "whether cuDNN chooses its algorithms by trying them, where it does"
    )
    factors: dict[str, Level] = Field(default_factory=dict, description="levels of the experiment's factors")
    labels: dict[Word, Level] = Field(
        default_factory=dict,
        description="constants recorded with the run that are not factors, e.g. a region set beforehand",
    )
    seed: Seed | None = Field(
        default=0,
        description="base seed s of the run; null takes that of the checkpoint that the first stage starts from",
    )
    streams: Streams = Field(
        description="what the private random streams are seeded from beside seed and purpose"
    )
    copy_of: RunId | None = Field(
        default=None,
        description="run of which this one is the same training; its outcome is computed from that one's trajectory",
    )
    prefix_epochs: Epochs | None = Field(default=None, description="of a copy, keep the first epochs only")
    task: Task = Field(description="data, batches and network")
    noise: Noise = Field(
        description="label noise of the structure labels; drawn with base seed + seed_offset, or with the fixed seed"
    )
    value: ValueSignal = Field(default=ValueSignal(), description="the value gradient")
    method: Method = Field(
        default="dual",
        description="dual gradient, plain cross-entropy on the noisy labels, or mixed losses; or a mapping: an "
        "aggregator of TorchJD in the place of the mix",
    )
    renormalize: bool = Field(
        default=False, description="whether the mixed gradient is brought back to length 1"
    )
    optimizer: Optimizer = Field(description="optimizer and its settings")
    lr_scale: Annotated[float, Field(gt=0)] | MeasuredScale | None = Field(
        default=None,
        description="factor on the learning rate, or the run and the field of its outcome that hold it",
    )
    head_cosine_every: Positive | None = Field(
        default=None,
        description="text runs measure the cosine over the head's parameters every so many updates",
    )
    stages: Annotated[tuple[Stage, ...], Field(min_length=1, strict=False)] = Field(
        description="what is trained, in order"
    )
    log: Log = Field(default=Log(), description="what is kept beside evaluations")
    outcome: Outcome = Field(
        default="fixed",
        description="what the record is about: fixed (error after one training), loop (λ up and down), survival "
        "(lifetime), spinodal (λ of an event on a ladder), prep (a starting state), sweep (one branch), branches "
        "(both), base (the states before a jump), jump, trap, escape, phases, measure (a quantity that another run "
        "needs)",
    )
    thresholds: dict[Word, Share] = Field(
        default_factory=dict, description="named error thresholds that outcomes and tables use"
    )
    needs: Annotated[tuple[RunId, ...], Field(strict=False)] = Field(
        default=(), description="runs that come before it"
    )
    saves: bool = Field(default=False, description="whether its weights are kept for other runs")

    @model_validator(mode="after")
    def _fits(self) -> Run:
        self._noise_fits()
        self._method_fits()
        self._stages_fit()
        self._outcome_fits()
        return self

    def _noise_fits(self) -> None:
        noise, value, task = self.noise, self.value, self.task
        if isinstance(noise, _Mapped):
            for place, pair in enumerate(noise.map):
                if max(pair) >= task.classes:
                    problem = (
                        f"expected classes below {task.classes}, which is their number; got {list(pair)}"
                    )
                    wrong(f"noise.map.{place}", problem)
        if isinstance(noise, Transition) and len(noise.matrix) != task.classes:
            wrong(
                "noise.matrix", f"expected a row for each of {task.classes} classes; got {len(noise.matrix)}"
            )
        if noise.kind == "text_pool":
            if value.trusted is None:
                wrong(
                    "value.trusted", "the key is needed: noise text_pool takes a trusted set out of the pool"
                )
            if value.labels not in ("clean", "trusted_batches"):
                problem = f"expected clean or trusted_batches beside noise text_pool; got '{value.labels}'"
                wrong("value.labels", problem)
            if value.trusted.path is not None:
                wrong("value.trusted.path", "expected ratio: noise text_pool draws the trusted set itself")
            if value.trusted.seed_offset is not None:
                wrong("value.trusted.seed_offset", "noise text_pool draws the trusted set with its own seed")
        elif task.subset is not None and (task.kind == "image" or noise.kind == "file" or noise.rate):
            wrong("task.subset", f"expected null: it is drawn by noise text_pool, not by {noise.kind}")
        elif value.trusted is not None and value.labels not in ("trusted", "trusted_batches"):
            wrong("value.trusted", f"expected null: labels is {value.labels}, so nothing would use it")

    def _method_fits(self) -> None:
        value, method = self.value, self.method
        if method == "dual":
            return
        if isinstance(method, Aggregated):
            if value.synthetic or value.sign != 1:
                key = "value.synthetic" if value.synthetic else "value.sign"
                wrong(key, f"has no meaning with the aggregator {method.aggregator}")
            return
        for key, used in (
            ("renormalize", self.renormalize),
            ("value.synthetic", value.synthetic),
            ("value.fresh_every_step", value.fresh_every_step),
            ("value.sign", value.sign != 1),
            ("log.first_steps", self.log.first_steps),
        ):
            if used:
                wrong(key, f"has no meaning with method {method}")
        if method == "lossmix" and value.labels in ("trusted", "trusted_batches"):
            problem = f"expected labels of the whole batch with method lossmix; got '{value.labels}'"
            wrong("value.labels", problem)

    def _stages_fit(self) -> None:
        names = [stage.name for stage in self.stages]
        if len(set(names)) < len(names):
            wrong("stages", "expected names that differ")
        selecting = [stage.name for stage in self.stages if stage.start.kind == "select"]
        if len(selecting) > 1:
            wrong(f"stages.{selecting[1]}.start", "a run selects its start once")
        if self.stages[0].start.kind == "continue":
            wrong(f"stages.{names[0]}.start", "no stage comes before it")
        if self.seed is None and self.stages[0].start.kind not in ("checkpoint", "select"):
            wrong("seed", f"expected an integer: stage '{names[0]}' starts from no other run that has one")
        if self.prefix_epochs is not None and self.copy_of is None:
            wrong("prefix_epochs", "expected null: it is for copies (copy_of)")

    def _outcome_fits(self) -> None:
        """Whether the run measures what its outcome and thresholds are computed from."""
        stages = self.stages
        branches = {stage.branch for stage in stages}
        trained = any(stage.segments for stage in stages)
        directions = {segment.direction for stage in stages for segment in stage.segments}
        first = stages[0]
        begins = len(stages) > 1 or first.evaluate.before or first.start.kind in ("checkpoint", "select")
        if "escaped" in self.thresholds and not begins:
            problem = "the run has no first error: expected evaluate.before, or a start from other weights"
            wrong("thresholds.escaped", problem)
        needs: dict[str, tuple[bool, str]] = {
            "loop": ({"up", "down"} <= directions, "segments with λ up and down"),
            "survival": (any(stage.stop for stage in stages), "a stage with a stop rule"),
            "spinodal": (any(stage.stop for stage in stages), "a stage with a stop rule"),
            "branches": ({"ordered", "collapse"} <= branches, "stages of both branches"),
            "base": ({"ordered", "collapse"} <= branches, "stages of both branches"),
            "jump": ({"ordered", "collapse"} <= branches, "stages of both branches"),
            "trap": (first.start.kind == "select", "a stage that selects its start"),
            "escape": ("escaped" in self.thresholds, "a threshold 'escaped'"),
            "phases": (len(stages) > 1, "more than one stage"),
        }
        met, expected = needs.get(self.outcome, (trained, "a stage with segments"))
        if not met:
            wrong("outcome", f"'{self.outcome}' needs {expected}")


def trained_on(task: Mapping[str, Any], examples: int) -> int:
    """Return how many of a task's training examples are left for gradients."""
    share = (task.get("validation") or {}).get("share", 0.0)
    return examples - int(share * examples)


def measured(run: Mapping[str, Any]) -> set[str]:
    """Numbers that the outcome of a run has and that another run may take its learning rate's factor from."""
    fields = {"test_error", "test_loss", "best_error", "steps", "epochs"}
    if has_two_gradients(run):
        fields |= {"avg_cos", "avg_gmix_norm"}
        if run["log"]["first_steps"]:
            fields |= {"first_cos", "first_gmix_norm"}
        if run["value"]["synthetic"]:
            fields |= {"cos_actual"}
            fields |= {"cos_struct_clean"} if run["value"]["synthetic"]["about"] == "clean" else set()
    return fields


# --- checking plain dicts ------------------------------------------------------------------------------------

# Keys that nobody writes into an entry: whose run it is, what its edition makes of it, what needs it.
GIVEN = (
    "experiment",
    "run",
    "series",
    "counted",
    "edition",
    "precision",
    "synthetic",
    "max_steps",
    "max_epochs",
    "compile",
    "cudnn_benchmark",
)
LINKED = ("needs", "saves")
# The others, in the order in which they are written down.
WRITTEN = tuple(key for key in Run.model_fields if key not in (*GIVEN, *LINKED))
# What is the same object in many runs, so that it is checked once.
SHARED = ("task", "noise", "value", "optimizer", "stages", "log", "thresholds")


class UnfitRun(ValueError):
    """A run that cannot be trained as it is written: ``key`` and ``problem``."""

    def __init__(self, key: str, problem: str) -> None:
        self.key, self.problem = key, problem
        super().__init__(f"{key}: {problem}" if key else problem)


@cache
def _adapter(key: str) -> TypeAdapter[Any]:
    field = Run.model_fields[key]
    annotation: Any = field.annotation
    # A discriminator that is a function stands in both, and twice is once too often.
    metadata = [one for one in field.metadata if not isinstance(one, Discriminator)]
    return TypeAdapter(Annotated[annotation, *metadata, field])


def check_part(key: str, part: Any) -> Any:
    """Return one part of a run as its model.

    Args:
        key: its key in the run, e.g. ``noise``.
        part: its value, without references.

    Raises:
        UnfitRun: it does not fit; says what of it, what was expected and the nearest known word.
    """
    try:
        return _adapter(key).validate_python(part)
    except ValidationError as error:
        place, problem = explain(error, part)
        raise UnfitRun(f"{key}.{place}" if place else key, problem) from None


def read(run: Mapping[str, Any]) -> Run:
    """Return a plain dict as a run.

    Raises:
        UnfitRun: an unknown key, or a value that cannot be; says what was expected and the nearest known word.
    """
    try:
        return Run.model_validate(dict(run))
    except ValidationError as error:
        raise UnfitRun(*explain(error, run)) from None


class Checker:
    """Checks runs that share parts: each part once, and each combination of parts once.

    Parts are known by identity, so they must outlive the checker.
    """

    # Beside the shared parts, what models look at together with others.
    _TOGETHER = (
        *SHARED,
        *("method", "renormalize", "outcome", "precision", "copy_of", "prefix_epochs", "lr_scale"),
    )

    def __init__(self) -> None:
        self._parts: dict[tuple[str, int], tuple[Any, Any]] = {}
        self._known: set[tuple[Any, ...]] = set()

    def check(
        self, run: Mapping[str, Any], more: Mapping[str, Any] | None = None, without: Collection[str] = ()
    ) -> None:
        """Check a run; *more*: keys that it does not have yet; *without*: keys that are no part of it.

        Raises:
            UnfitRun: as from :func:`read`.
        """
        which = (tuple([id(run.get(key)) for key in self._TOGETHER]), run.get("seed") is None, tuple(run))
        if which in self._known:
            return
        own = {key: part for key, part in run.items() if key not in without}
        shared = {key: self._part(key, run[key]) for key in SHARED if key in run}
        try:
            Run.model_validate({**(more or {}), **own, **shared})
        except ValidationError as error:
            raise UnfitRun(*explain(error, own)) from None
        self._known.add(which)

    def _part(self, key: str, part: Any) -> Any:
        known = self._parts.get((key, id(part)))
        if known is None:
            known = self._parts[key, id(part)] = (part, check_part(key, part))
        return known[1]
