"""What each figure and panel shows, in words that hold for every edition: for reports and their tables of contents.

Nothing heavy is imported here: Snakemake reads it while it parses the workflow. What the published figures *conclude*
is not repeated; the figures of edition released carry their printed titles.
"""

from __future__ import annotations

from typing import NamedTuple

SD = (
    "SD: the standard deviation over runs (divided by their number n), which says how far runs lie apart, not how "
    "well their mean is known."
)


class Caption(NamedTuple):
    """What a figure's caption says.

    Its title, what its panels show by their letters, what to know before reading a result off it, and what bands and
    error bars are.
    """

    title: str
    panels: dict[str, str]
    note: str = ""
    spread: str = ""


CAPTIONS: dict[str, Caption] = {
    "Figure1": Caption(
        "Overview",
        {
            "a": "How the two gradients are mixed (no data)",
            "b": "Test error (mean, band ± SD) against λ (A, M2); bars: variance over the runs of M2",
            "c": "Distribution of the final error at five λ near the boundary, a dot for each run (S2)",
            "d": "First epoch with a test error below 0.20, against λ (K); as published: mean ± SD of the runs that "
            "get there; audited: these runs and their mean",
        },
        "The value gradient is up to 15 steps old (K = 16), and its labels are the true ones of the whole batch; "
        "what the data cannot tell apart for that is in docs/controls.md (snakemake controls).",
        SD,
    ),
    "Figure2": Caption(
        "Hysteresis",
        {
            "a": "Error while λ rises and falls in one training (R1a; mean, band ± SD)",
            "b": "Two branches: networks prepared at low and at high λ, swept towards each other at three speeds "
            "(Ta1, Ta2, Tb1; mean, band ± SD)",
            "c": "Largest gap between the two mean curves over λ, in percentage points (pp), against the epochs "
            "spent at each λ; no interval is drawn",
            "d": "λ at which ordered networks collapse and collapsed ones recover (R3a, R3b; mean, bar ± SD)",
        },
        spread=SD,
    ),
    "Figure3": Caption(
        "Metastability and traps",
        {
            "a": "Ordered networks watched after a switch to λ = 0.46 (T1a; runs, mean, band ± SD)",
            "b": "Error over training of all runs at λ = 0.50 (S2)",
            "c": "Final error after six kinds of attempts to leave the trap (Td2; bar: mean, circle: run)",
            "d": "Both branches moved to the same λ: three seeds, each to three λ (W2; a line for each run)",
        },
        spread=SD,
    ),
    "Figure4": Caption(
        "Noise rate and gradient geometry",
        {
            "a": "Error against λ at two noise rates (A, M2; M3, M3b; mean, band ± SD)",
            "b": "Cosine of structure and value gradient, against λ (M2, M3; mean, band ± SD)",
            "c": "The same cosine along both branches (W1; mean, band ± SD)",
            "d": "Two branches at noise rate 0.8 (Tb2; mean, band ± SD)",
        },
        spread=SD,
    ),
    "Figure5": Caption(
        "Text",
        {
            "a": "Error against λ for two networks and two noise rates (X1, X1c, X1d; mean, band ± SD)",
            "b": "Error (mean, band ± SD) and its variance (bars) on a finer grid of λ at noise rate 0.8 (X2)",
            "c": "Error while λ rises and falls, fast and slow (X3; mean, band ± SD)",
            "d": "Error by training time and by path (Y1A, Y1B, Y2; mean ± SD)",
            "e": "What longer damage adds, a dot for each run (Y2); as published: final errors, mean ± SD; audited: "
            "differences by seed, mean with its t interval",
            "f": "Cosine of structure and value gradient over training at λ = 0.60 (Y1A; mean, band ± SD)",
        },
        spread=SD,
    ),
    "ED_Fig1": Caption(
        "Two branches in other settings",
        {
            "a": "Asymmetric label noise (V1)",
            "b": "A deeper network (V3; published: ResNet-34)",
            "c": "100 classes (V4; published: CIFAR-100)",
            "d": "Noise rate 0.8 (Tb2)",
        },
        "Gaps are those of the mean curves, in percentage points.",
        "Lines with markers: means; bands: ± SD; thin lines: single runs. " + SD,
    ),
    "ED_Fig2": Caption(
        "Near the boundary, run by run",
        {
            "a": "Share of runs that end below an error of 0.30, on the low branch, against λ (S1)",
            "b": "Final errors of all runs, against λ (S1)",
            "c": "Distribution of the final error at λ = 0.50 (S2)",
            "d": "Final errors of all runs, against λ (S2)",
        },
    ),
    "ED_Fig3": Caption(
        "Phase diagram of λ and noise rate",
        {
            "a": "Mean test error on the grid of λ and noise rate (N1, N2)",
            "b": "Estimated boundary, against the noise rate: the λ at which the mean error crosses 0.30 "
            "(audited: and twice its minimum)",
        },
    ),
    "ED_Fig4": Caption(
        "Slowing down near the boundary",
        {
            "a": "First epoch with a test error below 0.20, against λ (K; mean ± SD of the runs that get there)",
            "b": "Final test error, against λ (K; mean ± SD)",
        },
        spread=SD,
    ),
    "ED_Fig5": Caption(
        "Network width",
        {
            "a": "Error against λ for three widths (Q1; mean, band ± SD)",
            "b": "Variance of the error over runs, against λ (Q1)",
        },
        spread=SD,
    ),
    "ED_Fig6": Caption(
        "Learning rate, and alignment over training",
        {
            "a": "Mean test error on the grid of λ and learning rate (Q3)",
            "b": "Cosine of structure and value gradient over training (Q4; mean, band ± SD)",
        },
        spread=SD,
    ),
    "ED_Fig7": Caption(
        "Text: error and variance against λ",
        {
            "a": "DistilBERT (X1b)",
            "b": "TextCNN (X1c)",
            "c": "DistilBERT, trained for longer (X1d)",
        },
        spread="Dots: runs; diamonds: means; bands: ± SD. " + SD,
    ),
    "ED_Fig8": Caption(
        "Text: near the boundary",
        {
            "a": "Error over training of all runs at three λ, with their means (X4)",
            "b": "Share of runs with an error above chance, over training (X4)",
        },
    ),
}


def figure_name(figure: str) -> str:
    """Return a figure's name for readers: ``Extended Data Figure 3`` for ``ED_Fig3``."""
    for prefix, words in (("ED_Fig", "Extended Data Figure "), ("Figure", "Figure ")):
        if figure.startswith(prefix):
            return words + figure.removeprefix(prefix)
    return figure
