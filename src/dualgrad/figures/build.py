"""Make one figure: read its tables, compute and save its panel frames, draw it, write the files."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType

import pandas as pd

from dualgrad.drawing import load_matplotlib, save, styled
from dualgrad.figures.frames import Tables, panel, rows, words
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, VARIANTS, experiments_of
from dualgrad.figures.trained import Trained
from dualgrad.tables import parquet
from dualgrad.tables.read import differing
from dualgrad.validation import InputError

#: Letters that a figure's footer has for networks; where there are more, the panels name their own.
NETWORKS_LENGTH = 45


def module(figure: str) -> ModuleType:
    """The module that knows a figure: figure1 ... figure5, ed1 ... ed8, or one of its name in small letters."""
    if figure not in FIGURE_EXPERIMENTS:
        raise ValueError(f"unknown figure '{figure}', expected one of: {', '.join(FIGURE_EXPERIMENTS)}")
    load_matplotlib()
    return importlib.import_module(f"dualgrad.figures.{figure.lower().replace('ed_fig', 'ed')}")


def read(tables_dir: Path, figure: str, variant: str, trained: Mapping[str, Trained] | None = None) -> Tables:
    """The tables of the experiments that a figure draws, from results/<edition>/tables.

    Args:
        tables_dir: folder of the tables.
        figure: its name.
        variant: published or audited.
        trained: what the edition trains (:func:`trained.trained`), where that is known.
    """
    if tables_dir.name != "tables":
        raise InputError(tables_dir, "", "expected a folder named 'tables' (results/<edition>/tables)")
    return Tables.drawn(tables_dir.parent, figure, variant, trained)


def compute(figure: str, tables: Tables) -> dict[str, pd.DataFrame]:
    """All panel frames of a figure."""
    panels = {letter: function(tables) for letter, function in module(figure).PANELS.items()}
    networks = " / ".join(dict.fromkeys(one.network for one in tables.trained.values()))
    sets = {(one.data, one.kind) for one in tables.trained.values()}
    said = {
        "networks": networks if len(networks) <= NETWORKS_LENGTH else "",
        "data": " / ".join(sorted({name for name, _ in sets})),
        "text": " / ".join(sorted({name for name, kind in sets if kind == "text"})),
    }
    first = next(iter(panels))
    for what, text in said.items():
        if text:
            panels[first] = panel(panels[first], rows("words", what, label=text))
    return panels


def networks_of(panels: Mapping[str, pd.DataFrame]) -> str:
    """The networks behind a figure, in words; nothing where nobody said, or where there are many."""
    return words(next(iter(panels.values())), "networks") or ""


def data_of(panels: Mapping[str, pd.DataFrame], what: str = "data") -> str:
    """The names of the data sets, or of the ``text`` sets, behind a figure; nothing where nobody said."""
    return words(next(iter(panels.values())), what) or ""


def save_panels(figure: str, panels: Mapping[str, pd.DataFrame], folder: Path) -> list[Path]:
    """Write the frames as <figure>_<panel>.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for letter, frame in panels.items():
        path = folder / f"{figure}_{letter}.parquet"
        parquet.write_as_is(path, frame)
        written.append(path)
    return written


def make(
    figure: str,
    edition: str,
    tables_dir: Path,
    outputs: Sequence[Path],
    data_dir: Path | None = None,
    variant: str = "published",
    trained: Mapping[str, Trained] | None = None,
) -> dict[str, pd.DataFrame]:
    """Make a figure's files; returns the panel frames.

    Raises:
        ValueError: unknown figure or variant.
        InputError: an output that is neither PDF, PNG nor SVG, or a folder that is none of tables.
        TableError: a table is missing.
    """
    module(figure)
    if variant not in VARIANTS:
        raise ValueError(f"unknown variant '{variant}', expected one of: {', '.join(VARIANTS)}")
    for path in outputs:
        if path.suffix.lower() not in (".pdf", ".png", ".svg"):
            raise InputError(path, "", "expected a name ending in .pdf, .png or .svg")
    panels = compute(figure, read(tables_dir, figure, variant, trained))
    if data_dir is not None:
        save_panels(figure, panels, data_dir)
    unlike = tuple(differing(tables_dir.parent, experiments_of(figure, variant)))
    draw(figure, panels, edition, outputs, variant, unlike)
    return panels


def draw(
    figure: str,
    panels: Mapping[str, pd.DataFrame],
    edition: str,
    outputs: Sequence[Path],
    variant: str = "published",
    differing: tuple[str, ...] = (),
) -> None:
    """Draw a figure from its panel frames and write it; `differing`: see :class:`style.Look`."""
    load_matplotlib()
    from dualgrad.figures import plain, style

    with styled(style.STYLE):
        look = style.Look(
            edition, variant, networks_of(panels), differing, data_of(panels), data_of(panels, "text")
        )
        own = module(figure)
        page = own.draw(panels, look) if hasattr(own, "draw") else plain.draw(figure, panels, look)
        save(page, outputs, style.PNG_DPI)
