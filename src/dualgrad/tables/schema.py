"""The tables' columns: name, type, unit and meaning, in one place, the same for every edition.

Errors are fractions of the test set, epochs count those done, times are seconds. A column that only the published
archive can fill (``released_only``) is there, all null, in the trained editions too: one schema, one reader.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any

import pyarrow as pa

STRING, INT64, FLOAT64, BOOL = pa.string(), pa.int64(), pa.float64(), pa.bool_()
TABLES = ("runs", "trajectories", "epochs", "geometry", "steps")


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: column name.
        type: Arrow type.
        meaning: what a value says, in plain words.
        unit: "fraction", "epochs", "s", …; "" for names, flags and pure numbers.
        low, high: closed range that every value lies in, or None.
        nullable: whether a row may leave it empty.
        released_only: filled from the published archive alone.
    """

    name: str
    type: pa.DataType
    meaning: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    nullable: bool = True
    released_only: bool = False


def _error(name: str, meaning: str, **more: Any) -> Column:
    return Column(name, FLOAT64, meaning, "fraction", 0.0, 1.0, **more)


def _cosine(name: str, meaning: str, **more: Any) -> Column:
    # Published cosines are means of float32 dot products: allow their rounding beyond ±1.
    return Column(name, FLOAT64, meaning, "cosine", -1.0001, 1.0001, **more)


def _lambda(name: str, meaning: str, **more: Any) -> Column:
    return Column(name, FLOAT64, meaning, "", 0.0, 1.0, **more)


_IDENTITY = (
    Column("edition", STRING, "where the row comes from: demo, smoke, paper or released", nullable=False),
    Column("series", STRING, "A-Q, R-W, X or Y; archived or helper for runs not counted", nullable=False),
    Column("experiment", STRING, "experiment as published (contract.md#names)", nullable=False),
    Column("run", STRING, "run within the experiment: its factor levels", nullable=False),
)

_FACTORS = (
    Column("replicate", INT64, "which execution of the same grid (M1 ran twice)"),
    Column("condition", STRING, "condition of B3 and J"),
    Column("method", STRING, "method of C; where no factor, the method as recorded (A, B, B2, J)"),
    Column("clean_ratio", FLOAT64, "share of the training set that is trusted (D1–D3, V2)", "fraction", 0, 1),
    _cosine("cos_target", "cosine that the value direction was given (I, L)"),
    Column("model", STRING, "architecture, where a factor (P, P2); else as recorded (X series)"),
    Column("width_mult", FLOAT64, "width multiplier of the ResNet (Q1)", "", 0.0),
    Column("lr", FLOAT64, "initial learning rate, where a factor (Q3); else as recorded (P2)", "", 0.0),
    Column("schedule_type", STRING, "λ schedule of Q2"),
    Column("hold_type", STRING, "short or long hold per λ (R3)"),
    Column("branch", STRING, "ordered_up or collapse_down, where a run is one branch (Tb1, V2, W1)"),
    Column("slot", STRING, "place among selected states (Tb2 rank, Td2 trap, Tg and W1 position)"),
    Column("intervention", STRING, "escape attempt of Td2; base in W2"),
    Column("factors", STRING, "all factor levels as JSON, also those without a column of their own"),
)

_EFFECTIVE = (
    _lambda("lam", "mixing weight λ of the run where it has a single one, factor or not"),
    Column("noise_rate", FLOAT64, "label-noise rate η of the run, factor or not", "fraction", 0.0, 1.0),
    Column("seed", INT64, "seed actually used: the selected state's for slots, S for V2, else the factor"),
    Column("num_classes", INT64, "classes of the task", "", 2),
    Column("lr_drops", STRING, "epochs of a session after which the learning rate falls, as a JSON list"),
)

_CONSTANTS = (
    Column("region", STRING, "K: ordered, critical or collapse by λ alone, not by outcome"),
    Column("phase_label", STRING, "Q4: ordered, critical or collapse by λ alone, not by outcome"),
    Column("direction", STRING, "R3: direction of the ladder, up or down"),
    Column("sweep_type", STRING, "R1, R2: fast or slow"),
    Column("hold_epochs", INT64, "epochs per λ of a run that steps λ", "epochs", 1),
    _lambda("target_lambda", "λ that a run is switched to (T1a, T13, W2)"),
    _lambda("lambda_start", "first λ of a sweep (Ta1, Ta2)"),
    _lambda("lambda_end", "last λ of a sweep (Ta1, Ta2)"),
    Column("lr_mult", FLOAT64, "Td2: learning rate of the escape attempt over the base rate", "", 0.0),
    Column("reset_opt", BOOL, "Td2: recorded flag; no effect, every attempt has a fresh optimizer"),
    Column("value_type", STRING, "B3: aligned or anti"),
    Column("renorm", BOOL, "B3: mixed gradient renormalised"),
    Column("K", INT64, "B3: steps between refreshes of the value gradient", "steps", 1),
    Column("aligned", BOOL, "C: value labels are the clean ones (no meaning for CE and Loss-mix)"),
    Column("noise_type", STRING, "symmetric or asymmetric, where recorded"),
    Column("noise_map", STRING, "V1: flipped classes as JSON, from → to"),
    Column("dataset", STRING, "data set that the run was trained on; of published runs, where recorded"),
    Column("damage_epochs", INT64, "Y2: epochs at the damaging λ", "epochs", 1),
    Column("architecture", STRING, "V3: architecture as recorded"),
    Column("trusted_ratio", FLOAT64, "X, Y: trusted share of the training set", "fraction", 0.0, 1.0),
)

OUTCOMES = (
    Column("status", STRING, "completed, dead (not finite) or gate_failed", nullable=False),
    _error(
        "test_error",
        "error of the last evaluation, the main metric; two-branch runs: of the ordered branch",
    ),
    _error("test_acc", "1 - test_error"),
    _error("best_error", "lowest error after training began, as recorded or of all evaluations"),
    _error("best_acc", "1 - best_error"),
    Column("best_epoch", INT64, "first epoch with the lowest error", "epochs", 0),
    Column("test_loss", FLOAT64, "cross-entropy of the last evaluation", "nats", 0.0),
    _error("validation_error", "error of the last evaluation on examples set aside, by the set's own labels"),
    _error("validation_noisy_error", "the same by the noisy labels"),
    Column("epochs", INT64, "epochs trained, all stages of the run together", "epochs", 0),
    Column("steps", INT64, "optimizer steps, all stages of the run together", "steps", 0),
    Column("constant_prediction", BOOL, "the last evaluation gave one class to every example"),
    _error("init_error", "error of the initial state or phase (two-branch runs: of the ordered one)"),
    Column("init_success", BOOL, "the initial phase, or a prepared state, passed its gate"),
    Column("lifetime", INT64, "epochs of the stage until the event, or observed without one", "epochs", 0),
    Column("event", BOOL, "the stop rule fired: collapsed (up) or recovered (down)"),
    Column("censored", BOOL, "observed to the end without the event; false where the gate failed"),
    _lambda("threshold_lambda", "λ at the event; without one null, but in R3 the ladder's end, as published"),
    _lambda("first_crossing_lambda", "first λ with an error beyond the threshold, sustained or not"),
    _lambda("final_lambda", "λ of the last evaluation, where λ is swept on one branch"),
    Column("convergence_epoch", INT64, "K: first epoch below the convergence threshold", "epochs", 1),
    _cosine("avg_cos", "mean over epochs of the mean cosine of structure and value gradient"),
    Column("avg_gmix_norm", FLOAT64, "mean over epochs of the mean norm of the mixed gradient", "", 0.0),
    _cosine("first_cos", "B3: mean cosine over the first 100 steps"),
    Column("first_gmix_norm", FLOAT64, "B3: mean norm of the mixed gradient over these steps", "", 0.0),
    _cosine("cos_actual", "mean cosine reached by a value direction set to cos_target"),
    _cosine("cos_struct_clean", "L: mean cosine of structure and clean gradient"),
    Column("lr_scale", FLOAT64, "J LR_matched: factor on the learning rate", "", 0.0),
    _error("ordered_init_error", "error of the ordered (low-error) initial state"),
    _error("collapse_init_error", "error of the collapsed initial state"),
    _error(
        "ordered_final_error", "last error of the ordered branch, where a run has two (V, Tb2: highest λ)"
    ),
    _error("collapse_final_error", "last error of the collapse branch, where a run has two (lowest λ)"),
    Column("final_gap", FLOAT64, "collapse_final_error - ordered_final_error", "fraction", -1.0, 1.0),
    Column("escaped", BOOL, "Td2: final error below the escape threshold"),
    Column("improvement", FLOAT64, "Td2: init_error - test_error", "fraction", -1.0, 1.0),
    _lambda("collapse_lambda", "Tg2: first λ with error at or above 0.40"),
    Column("selected_seed", INT64, "seed of the state that fills a slot"),
    Column("selected_run", STRING, "run that the slot's state comes from"),
    Column("selection_passed", BOOL, "false where too few states passed and the nearest one was taken"),
    Column("phase", STRING, "S1, S2: ordered ≤ 0.20, collapsed ≥ 0.40, else intermediate, as recorded"),
    Column("category", STRING, "Td1: trapped_90 ≥ 0.85, partial_collapse ≥ 0.55, else ordered, as recorded"),
)

PROVENANCE = (
    Column("seconds", FLOAT64, "wall time as recorded", "s", 0.0),
    Column("digest", STRING, "SHA-256 of the run, its outcome and trajectory (trained editions)"),
    Column("dualgrad", STRING, "version of this package that trained the run"),
    Column("code", STRING, "name of the code that trained the run: its SHA-256 without comments, cut short"),
    Column("torch", STRING, "version of PyTorch"),
    Column("device", STRING, "cpu, or the GPU's name"),
    Column("arithmetic", STRING, "what the precision came to on the device"),
    Column("threads", INT64, "threads of the job", "", 1),
    Column("cpu_capability", STRING, "vector instructions that torch used on the CPU, e.g. AVX512"),
    Column("cpu_model", STRING, "name of the machine's CPU"),
    Column("original_id", STRING, "experiment_id as published", released_only=True),
    Column("checkpoint_source", STRING, "file name of the published starting state", released_only=True),
    Column("source_file", STRING, "published file, below the results folder", released_only=True),
    Column("source_row", INT64, "0-based row of that file", "", 0, released_only=True),
    Column(
        "source_item",
        INT64,
        "0-based item of that row's nested list (Td2, W2)",
        "",
        0,
        released_only=True,
    ),
)

_RUN_KEYS = (
    *_IDENTITY,
    Column("noise_rate", FLOAT64, "label-noise rate η of the run", "fraction", 0.0, 1.0),
    Column("seed", INT64, "seed actually used, as in runs"),
)
_PLACE = (
    Column("stage", STRING, "stage of the run (main, init, sweep, ordered_sweep, …)", nullable=False),
    Column("branch", STRING, "ordered or collapse, where the run has such branches"),
    Column("segment", INT64, "0-based stretch of one λ within the stage", "", 0, nullable=False),
)
_DIRECTION = Column("direction", STRING, "up or down, where λ is swept")
_AT_LAMBDA = _lambda("lam", "λ in force")
_EPOCH = Column(
    "epoch", INT64, "epochs done in the session; 0 is before training", "epochs", 0, nullable=False
)
_STAGE_EPOCH = Column("stage_epoch", INT64, "epochs done in the stage", "epochs", 0, nullable=False)

SCHEMA: dict[str, tuple[Column, ...]] = {
    "runs": (
        *_IDENTITY,
        Column("counted", BOOL, "one of the 3,916 runs of the census", nullable=False),
        *_FACTORS,
        *_EFFECTIVE,
        *_CONSTANTS,
        *OUTCOMES,
        *PROVENANCE,
    ),
    "trajectories": (
        *_RUN_KEYS,
        *_PLACE,
        _DIRECTION,
        _AT_LAMBDA,
        _EPOCH,
        _STAGE_EPOCH,
        _error("test_error", "error of this evaluation", nullable=False),
        Column("test_loss", FLOAT64, "cross-entropy of this evaluation", "nats", 0.0),
        _error("validation_error", "error on the examples set aside, by the data set's own labels"),
        _error("validation_noisy_error", "the same by the noisy labels"),
    ),
    "epochs": (
        *_RUN_KEYS,
        *_PLACE,
        _DIRECTION,
        _AT_LAMBDA,
        _EPOCH,
        _STAGE_EPOCH,
        Column("lr", FLOAT64, "learning rate at the epoch's start", "", 0.0),
        Column("loss_struct", FLOAT64, "mean training loss on noisy labels", "nats", 0.0),
        Column("loss_value", FLOAT64, "mean training loss on value labels", "nats", 0.0),
        _cosine("cos_mean", "mean cosine of structure and value gradient (text: of the head's parameters)"),
        Column("cos_std", FLOAT64, "its population standard deviation over steps", "cosine", 0.0, 1.0001),
        _cosine("cos_min", "its minimum over steps"),
        _cosine("cos_max", "its maximum over steps"),
        Column("norm_struct", FLOAT64, "mean norm of the structure gradient", "", 0.0),
        Column("norm_value", FLOAT64, "mean norm of the value gradient in use", "", 0.0),
        Column("norm_mix", FLOAT64, "mean norm of the mixed gradient", "", 0.0),
        _cosine("cos_mix_value", "mean cosine of mixed and value gradient"),
        Column("n_steps", INT64, "steps averaged over; published X3: all of the λ step", "steps", 0),
        Column("global_step", INT64, "steps done by then (published X3)", "steps", 0, released_only=True),
    ),
    "geometry": (
        *_RUN_KEYS,
        *_PLACE,
        _AT_LAMBDA,
        _error("error", "error at the segment's end"),
        _cosine("cos_struct_value_mean", "mean cosine of structure and fresh value gradient"),
        Column("cos_struct_value_std", FLOAT64, "its population standard deviation", "cosine", 0.0, 1.0001),
        _cosine("cos_mix_value_mean", "mean cosine of mixed and fresh value gradient"),
        Column("cos_mix_value_std", FLOAT64, "its population standard deviation", "cosine", 0.0, 1.0001),
        Column("norm_struct_mean", FLOAT64, "mean norm of the structure gradient", "", 0.0),
        Column("norm_value_mean", FLOAT64, "mean norm of the fresh value gradient", "", 0.0),
        Column("norm_mix_mean", FLOAT64, "mean norm of the mixed gradient", "", 0.0),
        Column("loss_struct_mean", FLOAT64, "mean batch loss on noisy labels", "nats", 0.0),
        Column("loss_value_mean", FLOAT64, "mean batch loss on clean labels", "nats", 0.0),
        Column("n_logs", INT64, "logged steps of the segment", "steps", 1),
    ),
    "steps": (
        *_RUN_KEYS,
        *_PLACE,
        _AT_LAMBDA,
        Column(
            "epoch", INT64, "epochs done before the step's own (0 in the first)", "epochs", 0, nullable=False
        ),
        Column("step", INT64, "optimizer steps done before this one", "steps", 0, nullable=False),
        _cosine("cos_struct_value", "cosine of structure and fresh value gradient"),
        _cosine("cos_mix_value", "cosine of mixed and fresh value gradient"),
        Column("norm_struct", FLOAT64, "norm of the structure gradient", "", 0.0),
        Column("norm_value", FLOAT64, "norm of the fresh value gradient", "", 0.0),
        Column("norm_mix", FLOAT64, "norm of the mixed gradient", "", 0.0),
        Column("loss_struct", FLOAT64, "batch loss on noisy labels", "nats", 0.0),
        Column("loss_value", FLOAT64, "batch loss on clean labels", "nats", 0.0),
    ),
}

#: λ is ``lambda`` in YAML, in records and on the command line, and ``lam`` here: ``lambda`` can be written neither in
#: ``DataFrame.query`` nor as an attribute, nor without quotes in SQL.
_WORDS = {"lambda": "lam"}


def column_of(word: str) -> str:
    """Return the column that a word of YAML or JSON stands for."""
    return _WORDS.get(word, word)


def word_of(column: str) -> str:
    """Return the word that stands for a column in YAML and JSON."""
    return next((word for word, one in _WORDS.items() if one == column), column)


#: Names by which ``runs`` columns can be set from a run's factors and labels.
FACTOR_COLUMNS = tuple(column.name for column in _FACTORS)
#: Factors of the published experiments, by their words.
FACTORS = ("lambda", "noise_rate", "seed", *FACTOR_COLUMNS)
CONSTANT_COLUMNS = tuple(column.name for column in _CONSTANTS)
OUTCOME_COLUMNS = tuple(column.name for column in OUTCOMES)


def columns(table: str) -> dict[str, Column]:
    """Return a table's columns by name, in order."""
    return {column.name: column for column in SCHEMA[table]}


@cache  # the ledger of claims asks thousands of times; SCHEMA does not change
def words(table: str) -> Mapping[str, Column]:
    """Return a table's columns by the words of YAML."""
    return MappingProxyType({word_of(name): column for name, column in columns(table).items()})


def arrow_schema(table: str) -> pa.Schema:
    """Return a table's Arrow schema; units and meanings travel along as field metadata."""
    return pa.schema(
        [
            pa.field(
                column.name,
                column.type,
                nullable=column.nullable,
                metadata={"unit": column.unit, "meaning": column.meaning},
            )
            for column in SCHEMA[table]
        ]
    )


def describe() -> str:
    """Return the schema of all tables as Markdown, for the docs and ``dualgrad tables --schema``."""
    lines = []
    for table in TABLES:
        lines += [f"## {table}", "", "| column | type | unit | meaning |", "|---|---|---|---|"]
        for column in SCHEMA[table]:
            note = " (published archive only)" if column.released_only else ""
            lines.append(f"| `{column.name}` | {column.type} | {column.unit} | {column.meaning}{note} |")
        lines.append("")
    return "\n".join(lines)


def as_plain() -> dict[str, list[dict[str, str]]]:
    """Return the columns of all tables as plain values, for ``dualgrad tables --schema --json``."""
    return {
        table: [
            {"column": one.name, "type": str(one.type), "unit": one.unit, "meaning": one.meaning}
            for one in SCHEMA[table]
        ]
        for table in TABLES
    }
