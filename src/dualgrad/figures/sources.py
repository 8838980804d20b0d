"""Which experiments each figure draws, and which of its panels hold data.

Snakemake reads these tables while it parses the workflow, so nothing heavy may be imported here.
Source: the figure specification (the source keys, section 0.1, and each panel's source line).
"""

from __future__ import annotations

# The two-branch sweeps at 1, 3 and 10 epochs per lambda, and the dynamic loops: three figures quote their gaps.
_TWO_BRANCH = ["Ta1-1", "Ta1-3", "Ta2-1", "Ta2-3", "Tb1"]
_LOOPS = ["R1a", "R1b"]

FIGURE_EXPERIMENTS: dict[str, list[str]] = {
    "Figure1": ["A", "K", "M2", "S2"],
    "Figure2": [*_LOOPS, *_TWO_BRANCH, "R3a", "R3b"],
    "Figure3": ["T1a", "S2", "Td2", "W2"],
    # Panel d quotes the gaps at noise rate 0.4 beside its own, hence the two-branch sweeps.
    "Figure4": ["A", "M2", "M3", "M3b", "W1", "Tb2", *_TWO_BRANCH],
    # Panel c quotes the range of the vision gaps, hence the loops and the two-branch sweeps.
    "Figure5": [
        *["X1", "X1c", "X1d", "X2", "X3_fast", "X3_slow", "Y1A", "Y1B", "Y2k3", "Y2k10"],
        *_LOOPS,
        *_TWO_BRANCH,
    ],
    "ED_Fig1": ["V1", "V3", "V4", "Tb2"],
    "ED_Fig2": ["S1", "S2"],
    "ED_Fig3": ["N1", "N2"],
    "ED_Fig4": ["K"],
    "ED_Fig5": ["Q1"],
    "ED_Fig6": ["Q3", "Q4"],
    "ED_Fig7": ["X1b", "X1c", "X1d"],
    "ED_Fig8": ["X4"],
}

# What the audited variant draws beside: the runs from scratch that panel a of Figure 3 is to be compared with.
AUDITED_ALSO: dict[str, list[str]] = {"Figure3": ["S1"]}


def experiments_of(figure: str, variant: str = "published") -> list[str]:
    """Experiments that a variant of a figure draws."""
    return FIGURE_EXPERIMENTS[figure] + (AUDITED_ALSO.get(figure, []) if variant == "audited" else [])


# Panels with plotted numbers: one parquet file each. Figure1 a is a schematic.
FIGURE_PANELS: dict[str, list[str]] = {
    "Figure1": ["b", "c", "d"],
    "Figure2": ["a", "b", "c", "d"],
    "Figure3": ["a", "b", "c", "d"],
    "Figure4": ["a", "b", "c", "d"],
    "Figure5": ["a", "b", "c", "d", "e", "f"],
    "ED_Fig1": ["a", "b", "c", "d"],
    "ED_Fig2": ["a", "b", "c", "d"],
    "ED_Fig3": ["a", "b"],
    "ED_Fig4": ["a", "b"],
    "ED_Fig5": ["a", "b"],
    "ED_Fig6": ["a", "b"],
    "ED_Fig7": ["a", "b", "c"],
    "ED_Fig8": ["a", "b"],
}

MAIN_FIGURES: tuple[str, ...] = tuple(name for name in FIGURE_EXPERIMENTS if name.startswith("Figure"))
EXTENDED_FIGURES: tuple[str, ...] = tuple(name for name in FIGURE_EXPERIMENTS if name.startswith("ED_"))

# "published": drawn as printed, quirks included. "audited": the listed artefacts taken out.
VARIANTS: tuple[str, ...] = ("published", "audited")

# Editions on the published scale: their axes keep the published limits.
PUBLISHED_EDITIONS: tuple[str, ...] = ("released", "paper")

# Tables a figure reads (results/<edition>/tables/...).
FIGURE_TABLES: tuple[str, ...] = ("runs", "trajectories", "epochs", "geometry")
