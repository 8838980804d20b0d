"""Which experiments and tables each statistic reads.

Snakemake reads this while it parses the workflow, so nothing heavy may be imported here. The name of a
statistic is the name of its module and of its file, ``results/<edition>/statistics/<name>.parquet``.
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """What a statistic reads.

    Attributes:
        tables: tables of :data:`dualgrad.tables.schema.TABLES`.
        experiments: their names; None: every counted experiment of the census; empty: those of one's own.
    """

    tables: tuple[str, ...]
    experiments: tuple[str, ...] | None


# Trained at one λ from scratch, on a grid of at least three λ: curves of error against λ.
IMAGE_CURVES = (
    *("A", "B", "B2", "D1", "D2", "G", "K", "M1", "M2", "M3", "M3b", "N1", "N2"),
    *("O", "P", "P2", "Q1", "Q3", "S1"),
)
TEXT_CURVES = ("X1", "X1b", "X1c", "X1d", "X2")

# The two-branch sweeps: published epochs per λ -> (experiment of the low branch, of the high branch).
TWO_BRANCH = {1: ("Ta1-1", "Ta2-1"), 3: ("Ta1-3", "Ta2-3"), 10: ("Tb1", "Tb1")}
LOOPS = ("R1a", "R1b", "R2a", "R2b", "X3_fast", "X3_slow")

# Trajectories evaluated after every epoch or every λ, which show a run entering and leaving the state of constant
# prediction. The escape attempts (Td2) are counted on their own.
PLATEAUS = (
    *("K", "Q2", "Q4", "R1a", "R1b", "R2a", "R2b", "R3a", "R3b", "T1-spinodal", "T2-spinodal"),
    *("Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1", "Tb2", "Tg1", "Tg2", "V1", "V2", "V3"),
)

# Stages that other stages, or other experiments' runs, go on from; experiments that are nothing but starts.
START_STAGES = ("init", "ordered_init", "collapse_init", "select", "phase1_good")
PREPARATIONS = ("Ta-prep-O", "Ta-prep-C")

# Whose trained states a branch's runs go on from: runs of one of these and one seed are one unit, not several.
_FROM: dict[str | None, str] = {"ordered": "Ta-prep-O", "collapse": "Ta-prep-C"}
START_OF: dict[str, dict[str | None, str]] = {
    **dict.fromkeys(("Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1", "W1"), _FROM),
    "Tg1": {None: "Ta-prep-C", "ordered": "Ta-prep-C", "collapse": "Ta-prep-C"},
    "Tg2": {None: "Ta-prep-O", "ordered": "Ta-prep-O", "collapse": "Ta-prep-O"},
    **{name: {None: "Ta-prep-O"} for name in ("T1-spinodal", "R3a")},
}

# Image trainings from scratch that differ in λ, seed and noise rate (with the levels named here), and otherwise no
# more than four protocols do: whose ResNet-18, which standard deviation of the inputs, incomplete batches or not.
COMMON_TRAINING: dict[str, dict[str, float | str]] = {
    **{name: {} for name in ("A", "K", "M1", "M2", "M3", "M3b", "N1", "N2")},
    "P": {"model": "ResNet18"},
    "Q1": {"width_mult": 1.0},
    "Q3": {"lr": 0.1},
    **{name: {} for name in ("S1", "S2")},
}

# Of these, the runs in which a seed means the same noisy labels and the same initial weights: one way to draw the
# noise (with seed + 1000 or with the seed), one ResNet-18 (the project's own or torchvision's).
SAME_SEED = {
    **dict.fromkeys(("A", "K", "M1", "M2", "M3", "N1", "N2", "P"), 0),
    **dict.fromkeys(("M3b", "Q1"), 1),
    **dict.fromkeys(("Q3", "S1", "S2"), 2),
}

_RUNS = ("runs",)
_PATHS = ("runs", "trajectories")

STATISTICS: dict[str, Source] = {
    "summaries": Source(("runs", "trajectories", "epochs", "geometry"), None),
    "boundaries": Source(_RUNS, (*IMAGE_CURVES, *TEXT_CURVES)),
    "variance_peaks": Source(_RUNS, (*IMAGE_CURVES, *TEXT_CURVES)),
    "bimodality": Source(_PATHS, ("M2", "M3", "Q1", "S1", "S2", "X1", "X1b", "X1c", "X1d", "X2", "X4")),
    "convergence": Source(_PATHS, ("K",)),
    "hysteresis": Source(_PATHS, LOOPS),
    "two_branch": Source(
        _PATHS, ("Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1", "Tb2", "V1", "V2", "V3", "V4", "W1")
    ),
    "spinodals": Source(_PATHS, ("R3a", "R3b", "T1-spinodal", "T2-spinodal")),
    "survival": Source(_PATHS, ("T1a", "T13", "S1", "X4")),
    "escapes": Source(_PATHS, ("Td2", *PLATEAUS)),
    "interventions": Source(_PATHS, ("I", "L", "Q2", "W2")),
    "reruns": Source(_RUNS, ("M1",)),
    "variance_null": Source(_RUNS, (*IMAGE_CURVES, *TEXT_CURVES)),
    "chosen_lambda": Source(_RUNS, (*IMAGE_CURVES, *TEXT_CURVES)),
    "dependence": Source(_PATHS, None),
    "boundary_model": Source(_RUNS, ("Q1", "Q3")),
    "hierarchy": Source(_RUNS, tuple(COMMON_TRAINING)),
    "finite_size": Source(_RUNS, ("Q1",)),
    "learning_rate": Source(_RUNS, ("Q3",)),
    "geometry": Source(
        ("runs", "trajectories", "epochs", "geometry", "steps"), ("M2", "M3", "Q4", "Td1", "W1", "Y1A")
    ),
    "nlp_decomposition": Source(_PATHS, ("X3_fast", "X3_slow", "Y1A", "Y1B", "Y2k3", "Y2k10")),
}

# Made where config/census holds experiments of one's own; the others are of the published ones alone.
OWN_STATISTIC = "own"
ALL_STATISTICS = ChainMap({OWN_STATISTIC: Source(_RUNS, ())}, STATISTICS)
