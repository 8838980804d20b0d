"""How every figure looks: colours, type, panel furniture, and the placing of texts where no data are.

Encodings (figure specification, section 0): green = L branch / ordered; red = H branch / collapse / noise rate 0.8;
blue = noise rate 0.4 / dynamic sweep; orange = critical, gaps, call-outs; purple = variance; teal = TextCNN; grey =
notes; pale yellow span = critical region. The shades stay apart under red-green colour blindness, and markers differ.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import FancyArrowPatch
from matplotlib.text import Text
from matplotlib.typing import ColorType

from dualgrad.figures.captions import figure_name
from dualgrad.figures.frames import known
from dualgrad.figures.sources import PUBLISHED_EDITIONS

GREEN, DARK_GREEN, LIGHT_GREEN = "#009E73", "#00724F", "#66C2A5"
RED, DARK_RED = "#C8321F", "#8E1B10"
BLUE, LIGHT_BLUE = "#0072B2", "#7FB8DA"
ORANGE = "#E08A00"
PURPLE = "#882E72"
TEAL = "#2AA6A6"
GREY, LIGHT_GREY, DARK = "#6B6B6B", "#B8B8B8", "#222222"
YELLOW = "#FFF5C2"

BRANCH_COLOUR = {"L": GREEN, "H": RED, "ordered": GREEN, "collapse": RED}
ERRORS = ("Test error", "Final test error")  # axes of fractions
PAGE_WIDTH = 7.1  # inches: 511 pt, within the published 490-520 pt
PNG_DPI = 200

STYLE: Any = {  # (matplotlib types its settings key by key)
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same glyphs, hence the same bytes, everywhere
    "mathtext.fontset": "dejavusans",
    "font.size": 7.0,
    "axes.titlesize": 7.6,
    "axes.titlepad": 5.0,
    "axes.titlelocation": "left",
    "axes.labelsize": 7.2,
    "axes.labelpad": 2.5,
    "axes.linewidth": 0.7,
    "axes.edgecolor": DARK,
    "axes.labelcolor": DARK,
    "axes.grid": False,
    "axes.axisbelow": True,
    "text.color": DARK,
    "xtick.labelsize": 6.6,
    "ytick.labelsize": 6.6,
    "xtick.direction": "out",
    "ytick.direction": "out",
    "xtick.major.size": 2.6,
    "ytick.major.size": 2.6,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.color": DARK,
    "ytick.color": DARK,
    "legend.fontsize": 6.4,
    "legend.frameon": False,
    "legend.handlelength": 1.9,
    "legend.handletextpad": 0.5,
    "legend.labelspacing": 0.35,
    "legend.borderpad": 0.25,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "errorbar.capsize": 2.0,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "text.hinting": "none",  # widths that do not depend on the resolution: texts are placed at one, saved at another
    "pdf.fonttype": 42,  # embedded TrueType: text stays text
    "svg.hashsalt": "dualgrad",
}


@dataclass(frozen=True)
class Look:
    """What is being drawn: which edition, in which variant, the networks that were trained, in words, and on what."""

    edition: str
    variant: str = "published"
    networks: str = ""
    differing: tuple[str, ...] = ()  # experiments whose records were not made alike
    data: str = ""  # names of the data sets
    text: str = ""  # those of sentences

    @property
    def published_scale(self) -> bool:
        """Whether errors are on the published scale (as against a miniature)."""
        return self.edition in PUBLISHED_EDITIONS

    @property
    def exact(self) -> bool:
        """Whether the published axis limits apply."""
        return self.published_scale and self.variant == "published"

    @property
    def audited(self) -> bool:
        """Whether this is the variant with the artefacts taken out."""
        return self.variant == "audited"

    def points(self, number: str, printed: str = "%") -> str:
        """A number of percentage points with its unit: "pp", or what the published figure prints."""
        return number + (printed if self.exact else " pp")

    def title(self, published: str, plain: str) -> str:
        """The published title, which often states a finding; for other data one that says what is drawn."""
        return published if self.exact else plain

    def footer(self, name: str, note: str) -> str:
        """What the figure says about itself below the panels."""
        says = {
            "released": "released edition: drawn from the published result files",
            "paper": "paper edition: trained anew as published",
            "demo": "demo edition: miniature on embedded data; not the published results",
            "smoke": "smoke edition: cut down for tests on embedded data; not the published results",
        }.get(self.edition)
        if says is None:  # other copies, first epochs, trials
            says = f"{self.edition} edition: not the published results" + (
                f"; trained on {self.data}" if self.data else ""
            )
        if self.networks and not self.published_scale:
            says += f"; {self.networks}"
        text = f"{figure_name(name)}   |   {says}"
        if self.differing:
            several = ", ".join(self.differing[:3]) + (" and others" if len(self.differing) > 3 else "")
            text += f"   |   records of {several} were not made alike: see the table runs"
        return text + (f"   |   audited: {note}" if self.audited else "")


# ------------------------------------------------------------------------------------------------------ page


class Page:
    """A figure of the common width, its panels, and the texts that are placed at the end."""

    def __init__(self, look: Look, name: str, height: float, audit_note: str = "") -> None:
        self.look, self.name, self.audit_note = look, name, audit_note
        self.figure = Figure(figsize=(PAGE_WIDTH, height))
        self.canvas = FigureCanvasAgg(self.figure)
        self._notes: list[_Placed] = []
        self._soft: list[Artist] = []

    def panels(
        self,
        letters: str,
        columns: int,
        *,
        left: float = 0.62,
        right: float = 0.14,
        top: float = 0.32,
        bottom: float | None = None,
        wspace: float = 0.78,
        hspace: float = 0.72,
        widths: Sequence[float] | None = None,
        insets: Mapping[str, float] | None = None,
    ) -> dict[str, Axes]:
        """A grid of axes with panel letters; margins and gaps are in inches, so that type fits at any height.

        ``letters``: one per cell; a capital is a second cell of that panel and carries no letter.
        ``insets``: inches by which a panel's axes start further right (long category names); letter and title stay.
        """
        width, height = self.figure.get_size_inches()
        # The audited footer runs over two lines.
        bottom = bottom if bottom is not None else 0.72 if self.look.audited else 0.62
        count_rows = math.ceil(len(letters) / columns)
        cell_width = (width - left - right - wspace * (columns - 1)) / columns
        cell_height = (height - top - bottom - hspace * (count_rows - 1)) / count_rows
        grid = self.figure.add_gridspec(
            count_rows,
            columns,
            left=left / width,
            right=1 - right / width,
            top=1 - top / height,
            bottom=bottom / height,
            wspace=wspace / cell_width,
            hspace=hspace / cell_height if count_rows > 1 else 0,
            width_ratios=widths,
        )
        axes = {}
        for i, letter in enumerate(letters):
            ax = self.figure.add_subplot(grid[i // columns, i % columns])
            axes[letter] = ax
            inset = (insets or {}).get(letter, 0.0)
            if inset:
                place = ax.get_position()
                ax.set_position(
                    (place.x0 + inset / width, place.y0, place.width - inset / width, place.height)
                )
                ax.set_title(" ").set_x(-inset / (place.width * width - inset))
            if letter.islower():  # a capital continues the panel of its small letter
                self.letter(ax, letter, inset)
        return axes

    def letter(self, ax: Axes, letter: str, inset: float = 0.0) -> None:
        """The bold panel letter, at the left edge of the panel's cell, on the title's line."""
        ax.annotate(
            letter,
            xy=(0, 1),
            xycoords="axes fraction",
            xytext=(-34 - 72 * inset, 4.6),
            textcoords="offset points",
            fontsize=10.5,
            fontweight="bold",
            ha="left",
            va="baseline",
            annotation_clip=False,
        )

    def soft(self, artist: Artist) -> Artist:
        """Mark an artist as background: texts may lie on it."""
        self._soft.append(artist)
        return artist

    # -- texts whose place is found at the end

    def note(
        self,
        ax: Axes,
        text: str,
        *,
        near: tuple[float, float] | None = None,
        corner: str = "upper left",
        arrow: bool = False,
        box: bool = False,
        reach: float = 1.0,
        pale: float = 1.0,
        **style: object,
    ) -> None:
        """A text inside ``ax``: close to the data point ``near`` or in a corner, wherever there is room.

        ``reach``: how far it may go to find room; ``pale``: how much it minds lying on pale bands (0 not at all).
        """
        options: dict[str, Any] = {
            "fontsize": 6.4,
            "color": GREY,
            "ha": "left",
            "va": "bottom",
            "zorder": 8,
            "linespacing": 1.25,
        }
        options.update(style)
        if box:
            edge = options.get("color", GREY)
            options["bbox"] = {
                "boxstyle": "round,pad=0.3",
                "fc": "white",
                "ec": edge,
                "lw": 0.6,
                "alpha": 0.92,
            }
        artist = ax.text(0.5, 0.5, text, transform=ax.transAxes, **options)
        self._notes.append(
            _Placed(ax, artist, near, corner, arrow, pad=4.5 if box else 3.0, reach=reach, pale=pale)
        )

    def legend(
        self,
        ax: Axes,
        *,
        corner: str = "upper left",
        handles: Sequence[Artist] | None = None,
        **options: object,
    ) -> None:
        """The panel's legend, in the named corner if there is room, else where there is."""
        shown = list(handles) if handles is not None else ax.get_legend_handles_labels()[0]
        if not shown:
            return
        legend = ax.legend(handles=shown, loc="upper left", **options)
        legend.set_zorder(7)
        self._notes.insert(self._first_text(), _Placed(ax, legend, None, corner, False, pad=1.0, reach=1.0))

    def _first_text(self) -> int:
        return next((i for i, placed in enumerate(self._notes) if not placed.is_legend), len(self._notes))

    def finish(self) -> Figure:
        """Place the texts, write the footer, hand back the figure."""
        self._place()
        for ax in self.figure.axes:
            if ax.get_ylabel() in ERRORS and ax.get_ylim()[1] > 1:  # room for texts: no error is larger
                ax.set_yticks([tick for tick in ax.get_yticks() if ax.get_ylim()[0] <= tick <= 1])
        width, height = self.figure.get_size_inches()
        text = self.look.footer(self.name, self.audit_note)
        self.figure.text(
            0.14 / width,
            0.09 / height,
            _wrap(text, 172),
            fontsize=5.6,
            color="#8A8A8A" if self.look.published_scale else "#444444",
            ha="left",
            va="bottom",
            linespacing=1.3,
            gid="footer",
        )
        return self.figure

    def _place(self) -> None:
        """Place the texts; panels whose limits are not the published ones are made higher where there is no room."""
        if not self._notes:
            return
        hidden = [
            artist
            for artist in (*self._soft, *(placed.artist for placed in self._notes))
            if artist.get_visible()
        ]
        figure, canvas = self.figure, self.canvas
        full_dpi = figure.dpi
        figure.set_dpi(100)
        renderer = canvas.get_renderer()
        for tries_left in reversed(range(1 if self.look.exact else _TRIES)):
            for artist in hidden:
                artist.set_visible(False)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., :3].astype(float)
            for artist in hidden:
                artist.set_visible(True)
            ink = (255.0 - pixels.min(axis=2)) / 255.0
            said = np.zeros(ink.shape, dtype=bool)
            places = [placed.choose(ink, said, renderer) for placed in self._notes]
            crowded = {
                placed.ax for placed, place in zip(self._notes, places, strict=True) if place[2] > _CROWDED
            }
            if not crowded or not tries_left:
                break
            for ax in crowded:
                low, high = ax.get_ylim()
                ax.set_ylim(low, high + _HIGHER * (high - low))
        for placed, (x0, y0, _) in zip(self._notes, places, strict=True):
            placed.put(x0, y0, renderer)
        figure.set_dpi(full_dpi)


_TRIES, _HIGHER = (
    4,
    0.12,
)  # how often a panel without room for its texts is made higher, and by how much of its height
_CROWDED = 0.07  # mean ink under a text from which on it lies on data
_ARROWS_TRIED = 400  # best places of a text that are looked at for an arrow that crosses no other text
_ARROW_LENGTH = 26.0  # wanted distance of a text from the point its arrow leads to, in pixels at 100 dpi


@dataclass
class _Placed:
    """A text or legend, and what is known of where it wants to be."""

    ax: Axes
    artist: Text | Legend
    near: tuple[float, float] | None
    corner: str
    arrow: bool
    pad: float
    reach: float
    pale: float = 1.0

    @property
    def is_legend(self) -> bool:
        return isinstance(self.artist, Legend)

    def choose(self, ink: np.ndarray, said: np.ndarray, renderer: RendererBase) -> tuple[float, float, float]:
        """Return the place with the least ink under the text, then nearest to where it wants to be: (x, y, ink).

        From then on *ink* has the text, and *said* the text and its arrow; no arrow crosses what has been said, where
        it can be helped.
        """
        height = ink.shape[0]
        extent = self.artist.get_window_extent(renderer)
        box = self.ax.get_window_extent(renderer)
        wide, tall = extent.width + 2 * self.pad, extent.height + 2 * self.pad
        margin = 3.0
        xs = np.arange(box.x0 + margin, max(box.x1 - margin - wide, box.x0 + margin) + 0.5, 3.0)
        ys = np.arange(box.y0 + margin, max(box.y1 - margin - tall, box.y0 + margin) + 0.5, 3.0)
        # A line or a dot under a text makes it hard to read; a pale band does less harm.
        weights = np.where(ink > 0.4, 12.0 * ink, 3.0 * self.pale * ink)
        total = np.zeros((height + 1, ink.shape[1] + 1))
        total[1:, 1:] = weights.cumsum(axis=0).cumsum(axis=1)

        left = np.clip(np.round(xs).astype(int), 0, ink.shape[1])
        right = np.clip(np.round(xs + wide).astype(int), 0, ink.shape[1])
        top = np.clip(height - np.round(ys + tall).astype(int), 0, height)
        bottom = np.clip(height - np.round(ys).astype(int), 0, height)
        covered = (
            total[np.ix_(bottom, right)]
            - total[np.ix_(top, right)]
            - total[np.ix_(bottom, left)]
            + total[np.ix_(top, left)]
        ) / (wide * tall)

        if self.near is not None:
            px, py = self.ax.transData.transform(self.near)
        else:
            px = {"left": box.x0, "right": box.x1}.get(self.corner.split()[-1], (box.x0 + box.x1) / 2)
            py = {"lower": box.y0, "upper": box.y1}.get(self.corner.split()[0], (box.y0 + box.y1) / 2)
        # Distance from the text's box (not its centre) to the wanted point.
        dx = np.maximum(np.maximum(xs - px, px - (xs + wide)), 0.0)
        dy = np.maximum(np.maximum(ys - py, py - (ys + tall)), 0.0)
        distance = np.hypot(dx[None, :], dy[:, None])
        if self.near is not None:  # among equally near places, the one centred on the point
            distance += 0.05 * np.hypot(xs[None, :] + wide / 2 - px, ys[:, None] + tall / 2 - py)
        if self.arrow:
            distance = np.abs(distance - _ARROW_LENGTH)
        far = distance / math.hypot(box.width, box.height)
        weight = 1.0 if self.near is not None else 0.5
        cost = 40.0 * covered + weight / self.reach * far
        iy, ix = np.unravel_index(int(cost.argmin()), cost.shape)
        if self.arrow:
            crossed = math.inf
            for place in np.argsort(cost, axis=None)[:_ARROWS_TRIED]:
                y, x = np.unravel_index(int(place), cost.shape)
                way = self._way(xs[x] + self.pad, ys[y] + self.pad, extent.width, extent.height, px, py)
                rows, columns = _pixels(way, ink.shape)
                if (now := int(said[rows, columns].sum())) < crossed:
                    crossed, iy, ix, best = now, y, x, (rows, columns)
                if not crossed:
                    break
            ink[best], said[best] = 1.0, True
        text = np.s_[int(top[iy]) : int(bottom[iy]), int(left[ix]) : int(right[ix])]
        ink[text], said[text] = 1.0, True
        return float(xs[ix] + self.pad), float(ys[iy] + self.pad), float(covered[iy, ix])

    def put(self, x0: float, y0: float, renderer: RendererBase) -> None:
        """Put the text there: the lower left corner of its box, in pixels."""
        extent = self.artist.get_window_extent(renderer)
        fx, fy = self.ax.transAxes.inverted().transform((x0, y0))
        if isinstance(self.artist, Legend):
            self.artist.set_loc((fx, fy))
            return
        # The text's own anchor may not be its box's corner (descenders, multi-line): shift by the difference.
        ax0, ay0 = self.ax.transAxes.transform(self.artist.get_position())
        shift = self.ax.transAxes.inverted().transform((ax0 + x0 - extent.x0, ay0 + y0 - extent.y0))
        self.artist.set_position(tuple(shift))
        if self.arrow and self.near is not None:
            px, py = self.ax.transData.transform(self.near)
            self._point(self.artist.get_color(), extent.width, extent.height, x0, y0, px, py)

    @staticmethod
    def _way(
        x0: float, y0: float, wide: float, tall: float, px: float, py: float
    ) -> tuple[tuple[float, float], tuple[float, float]]:
        """Where an arrow begins, at the nearest point of the text's box, and where it ends."""
        return (min(max(px, x0), x0 + wide), min(max(py, y0), y0 + tall)), (px, py)

    def _point(
        self, colour: ColorType, wide: float, tall: float, x0: float, y0: float, px: float, py: float
    ) -> None:
        """An arrow from the nearest point of the text's box to the data point."""
        start, _ = self._way(x0, y0, wide, tall, px, py)
        if math.hypot(start[0] - px, start[1] - py) < 6:
            return
        inverse = self.ax.transAxes.inverted()
        self.ax.add_patch(
            FancyArrowPatch(
                tuple(inverse.transform(start)),
                tuple(inverse.transform((px, py))),
                transform=self.ax.transAxes,
                arrowstyle="-|>",
                mutation_scale=6,
                lw=0.8,
                color=colour,
                shrinkA=1.0,
                shrinkB=2.0,
                zorder=6,
            )
        )


def _pixels(
    way: tuple[tuple[float, float], tuple[float, float]], shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the pixels of a straight way, which counts from below."""
    (x0, y0), (x1, y1) = way
    steps = np.linspace(0, 1, max(2, int(math.hypot(x1 - x0, y1 - y0)) + 1))
    columns = np.clip(np.round(x0 + steps * (x1 - x0)).astype(int), 0, shape[1] - 1)
    rows = np.clip(shape[0] - 1 - np.round(y0 + steps * (y1 - y0)).astype(int), 0, shape[0] - 1)
    return rows, columns


def _wrap(text: str, width: int) -> str:
    """Break a footer into lines, between its clauses where that takes no more than two."""
    found = _filled(re.split(r"(?<=;) ", text), width)
    if len(found) > 2 or max(map(len, found)) > width:
        found = _filled(text.split(" "), width)
    return "\n".join(found)


def _filled(pieces: Iterable[str], width: int) -> list[str]:
    """Put pieces into lines, as many as fit."""
    lines = [""]
    for clause in pieces:
        joined = f"{lines[-1]} {clause}".strip()
        if len(joined) <= width:
            lines[-1] = joined
        else:
            lines.append(clause)
    return lines


# ------------------------------------------------------------------------------------------- panel furniture


def on(colour: Sequence[float]) -> str:
    """Return the colour of a text on this background (RGB in 0 … 1), dark or white: the one of higher contrast."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return DARK if luminance > 0.2 else "white"


def labels(ax: Axes, title: str, x: str, y: str) -> None:
    """Title and axis names."""
    ax.set_title(title)
    ax.set_xlabel(x)
    ax.set_ylabel(y)


def limits(
    ax: Axes,
    look: Look,
    *,
    x: tuple[float, float] | None = None,
    y: tuple[float, float] | None = None,
    floor: float | None = None,
    ceiling: float | None = None,
    headroom: float = 0.0,
) -> None:
    """The published limits where they apply and hold the curves; elsewhere limits that hold all that is drawn.

    ``x`` is a grid of the census (lambda), the same in every edition. ``headroom``: share of the height kept free for
    texts above data that are not the published ones.
    """
    if x is not None:
        ax.set_xlim(*x)
    heights = [line.get_ydata() for line in ax.lines if line.get_transform() == ax.transData]
    if y is not None and look.exact and (look.edition == "released" or fits(heights, *y)):
        ax.set_ylim(*y)
    elif y is not None:
        # Extents of lines, bands and dots as drawn.
        low, high = ax.dataLim.y0, ax.dataLim.y1
        if not known(low, high) or high <= low:
            ax.set_ylim(*y)
            return
        room = 0.06 * (high - low)
        low = low - room if floor is None else max(low - room, floor)
        high = high + 1.6 * room if ceiling is None else min(high + 1.6 * room, ceiling)
        high += headroom * (high - low)
        ax.set_ylim(low, high)


def fits(values: Iterable[object], low: float, high: float) -> bool:
    """Whether all finite values lie within limits."""
    flat = [np.ravel(np.asarray(value, dtype=float)) for value in values]
    every = np.concatenate(flat) if flat else np.array([])
    every = every[np.isfinite(every)]
    return bool(len(every) == 0 or (every.min() >= low and every.max() <= high))


def no_data(ax: Axes, text: str = "no data in this edition") -> None:
    """What a panel shows when its rows are missing."""
    ax.text(
        0.5,
        0.5,
        text,
        transform=ax.transAxes,
        ha="center",
        va="center",
        color=GREY,
        fontsize=7,
        style="italic",
    )
    ax.set_xticks([])
    ax.set_yticks([])


def curve(
    ax: Axes,
    mean: pd.DataFrame,
    colour: str,
    *,
    marker: str | None = "o",
    label: str | None = None,
    style: str = "-",
    width: float = 1.2,
    band: float = 0.18,
    size: float = 3.4,
    zorder: float = 3,
    hollow: bool = False,
) -> None:
    """A line of means with its band of one population SD."""
    if mean.empty:
        return
    x, y, sd = (mean[column].to_numpy(dtype=float) for column in ("x", "y", "sd"))
    if band > 0:
        ax.fill_between(x, y - sd, y + sd, color=colour, alpha=band, lw=0, zorder=zorder - 1)
    ax.plot(
        x,
        y,
        color=colour,
        ls=style,
        lw=width,
        marker=marker,
        ms=size,
        mew=0.8 if hollow else 0.4,
        mec=colour if hollow else "white",
        mfc="white" if hollow else colour,
        label=label,
        zorder=zorder,
    )


def variance_axis(
    page: Page, ax: Axes, bars: pd.DataFrame, width: float, published_top: float, region: tuple[float, float]
) -> Axes:
    """Purple bars on a right-hand axis, behind the curves of ``ax``; the critical region behind both."""
    twin = ax.twinx()
    span(page, twin, *region)
    twin.bar(bars["x"], bars["y"], width=width, color=PURPLE, alpha=0.34, lw=0, zorder=1)
    highest = float(bars["y"].max()) if len(bars) else 0.0
    twin.set_ylim(0, published_top if page.look.exact else 1.4 * max(highest, 1e-9))
    twin.set_ylabel(r"Variance ($\times10^{-4}$)", color=PURPLE)
    twin.tick_params(axis="y", colors=PURPLE)
    twin.spines["right"].set_color(PURPLE)
    ax.set_zorder(twin.get_zorder() + 1)
    ax.patch.set_visible(False)
    return twin


def span(
    page: Page,
    ax: Axes,
    low: float,
    high: float,
    *,
    colour: str = YELLOW,
    horizontal: bool = False,
    alpha: float = 1.0,
) -> None:
    """A pale stretch behind the data."""
    if known(low, high):
        draw = ax.axhspan if horizontal else ax.axvspan
        page.soft(draw(low, high, color=colour, lw=0, alpha=alpha, zorder=0))


def double_arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = ORANGE, width: float = 1.1
) -> None:
    """A two-headed arrow between two data points."""
    if known(*start, *end):
        ax.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="<|-|>",
                mutation_scale=6.5,
                lw=width,
                color=colour,
                shrinkA=0,
                shrinkB=0,
                zorder=6,
            )
        )


def arrow(
    ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str = ORANGE, width: float = 1.2
) -> None:
    """An arrow from one data point to another."""
    if known(*start, *end):
        ax.annotate(
            "",
            end,
            start,
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": width, "shrinkA": 0, "shrinkB": 0},
        )


def gap_arrow(page: Page, ax: Axes, x: float, low: float, high: float, text: str) -> None:
    """The orange arrow between two branches, with its printed size beside it."""
    if not known(x, low, high):
        return
    double_arrow(ax, (x, low), (x, high))
    page.note(
        ax,
        text,
        near=(x, (low + high) / 2),
        # Beside its arrow, even if on a pale band: a little ground of its own keeps it legible.
        reach=0.2,
        pale=0.25,
        bbox={"boxstyle": "square,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.6},
        color=ORANGE,
        fontsize=7.2,
        fontweight="bold",
    )


def violins(
    ax: Axes,
    dots: pd.DataFrame,
    order: Sequence[str],
    colours: Sequence[str],
    *,
    width: float,
    value: str = "x",
    horizontal: bool = True,
) -> None:
    """One violin per series at the places 0, 1, …; kernel densities that end at the outermost runs.

    Series without spread, or with a single run, get none: their dots say it all.
    """
    import seaborn

    sized = dots.groupby("series")[value].agg(["size", "std"])
    drawn = set(sized[(sized["size"] > 2) & (sized["std"] > 1e-9)].index)
    places = {name: place for place, name in enumerate(order) if name in drawn}
    mine = dots[dots["series"].isin(list(places))]
    if mine.empty:
        return
    frame = pd.DataFrame(
        {"place": mine["series"].map(places).astype(int), "value": mine[value].astype(float)}
    )
    x, y = ("value", "place") if horizontal else ("place", "value")
    seaborn.violinplot(
        frame,
        x=x,
        y=y,
        hue="place",
        palette={place: colours[place] for place in places.values()},
        orient="h" if horizontal else "v",
        native_scale=True,
        legend=False,
        density_norm="width",
        width=width,
        cut=0,
        inner=None,
        linewidth=0.8,
        fill=True,
        alpha=0.3,
        ax=ax,
        zorder=2,
    )


def end_labels(ax: Axes, ends: Sequence[tuple[float, float, str, ColorType]], *, lines: int) -> None:
    """Names of curves right of their last points, moved apart where they would touch.

    Args:
        ax: axes with their final limits.
        ends: last x and y of each curve, its name and colour; all names stand right of the largest x.
        lines: lines of a name.
    """
    bottom, top = ax.get_ylim()
    height = ax.get_window_extent().height * 72 / ax.figure.dpi  # points
    size = 6.2  # points
    gap = 1.3 * lines * size / height * (top - bottom)
    for (_, _, name, colour), y in zip(ends, spread([end[1] for end in ends], gap), strict=True):
        ax.annotate(
            name,
            (1, y),
            xycoords=("axes fraction", "data"),
            xytext=(3, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=size,
            color=colour,
            annotation_clip=False,
        )


def threshold(ax: Axes, value: float, *, vertical: bool = False, colour: str = GREY) -> None:
    """A dotted reference line."""
    (ax.axvline if vertical else ax.axhline)(value, color=colour, lw=0.8, ls=(0, (1, 1.6)), zorder=1.5)


def spread(values: Sequence[float], gap: float, lowest: float = -math.inf) -> list[float]:
    """Positions close to ``values`` but at least ``gap`` apart, none below ``lowest`` (labels at line ends)."""
    order = np.argsort(values)
    placed = np.asarray(values, dtype=float)[order]
    for _ in range(50):
        moved = bool(len(placed)) and placed[0] < lowest - 1e-9
        placed = np.maximum(placed, lowest)
        for i in range(len(placed) - 1):
            short = gap - (placed[i + 1] - placed[i])
            if short > 1e-9:
                placed[i] -= short / 2
                placed[i + 1] += short / 2
                moved = True
        if not moved:
            break
    result = np.empty_like(placed)
    result[order] = placed
    return result.tolist()


def jitter(count: int, width: float) -> np.ndarray:
    """Sideways offsets for dots: uniform, and the same at every drawing."""
    return np.random.default_rng(0).uniform(-width, width, count)


def counts(frame: pd.DataFrame) -> str:
    """How many rows stand behind the points of a curve: '6', or '6-16' where it varies."""
    values = frame["n"].dropna().astype(int)
    if values.empty:
        return "0"
    return str(values.min()) if values.min() == values.max() else f"{values.min()}–{values.max()}"


def spread_text(low: float, high: float) -> str:
    """'37–53', or one number where both round to the same; '−4 to 12' where a dash would be a riddle."""
    if f"{low:.0f}" == f"{high:.0f}":
        return f"{low:.0f}".replace("-", "−")
    return f"{low:.0f}–{high:.0f}" if low >= 0 else f"{low:.0f} to {high:.0f}".replace("-", "−")


def lr_marks(
    page: Page,
    ax: Axes,
    drops: Iterable[float],
    *,
    horizontal: bool = False,
    shift: float = 0.5,
    top: bool = False,
) -> None:
    """Dashed lines where the learning rate falls to a tenth; the first is named, at its beginning or its ``top``."""
    for i, drop in enumerate(drops):
        (ax.axhline if horizontal else ax.axvline)(drop + shift, color=GREY, lw=0.8, ls="--", zorder=1)
        end = (ax.get_xlim() if horizontal else ax.get_ylim())[int(top)]
        if i == 0:
            page.note(
                ax,
                "lr ×0.1",
                near=(end, drop + shift) if horizontal else (drop + shift, end),
                reach=0.3,  # beside its line
                color=GREY,
                fontsize=6,
            )


def named(text: str, value: float, form: str = ".2f") -> str:
    """Return ``text`` with its number (``", λ="`` and 0.6: ``", λ=0.60"``), or nothing where the edition has none."""
    return f"{text}{value:{form}}" if known(value) else ""


def percent(value: float, digits: int = 0) -> str:
    """A fraction as percentage points, rounded as Python's formats round: an exact tie goes to the even digit."""
    return "n/a" if not known(value) else f"{value * 100:.{digits}f}".replace("-", "−")
