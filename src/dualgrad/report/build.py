"""The pages of a report, and the files that lie beside them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dualgrad.census import Census
from dualgrad.pages import assemble, escape, packed, write_page
from dualgrad.project import load_settings
from dualgrad.report import content

TEMPLATES = Path(__file__).parent
# Pages that other commands make, and what they are.
PAGES = {
    "explorer": (
        "Census explorer",
        "All runs: filter them, open one, see its protocol and how to make it again.",
    ),
    "statistics": ("Statistics", "Every estimate with its interval, to search and sort."),
    "claims": ("Claims", "Every published number, measured again on these records, with a verdict."),
}
KINDS = {
    "demo": "A miniature on small data, made to show the phenomena. It is not evidence for the published results.",
    "smoke": "Cut down for tests. The numbers mean nothing.",
    "released": "Drawn and computed from the published archive's result files.",
    "paper": "Trained anew as published.",
}


def build(census: Census, config: Mapping[str, Any], edition_dir: Path, output: Path) -> dict[str, int]:
    """Write a report of what is there: a folder with index.html, statistics.html, other pages, and figures.

    Args:
        census: the edition's census.
        config: settings of this execution.
        edition_dir: ``results/<edition>``.
        output: folder to write.

    Returns:
        Number of figures, of statistics and of other pages in the report.

    Raises:
        TableError: a table is of another version.
    """
    figures = content.figures(edition_dir)
    sheets = content.sheets(edition_dir)
    output.mkdir(parents=True, exist_ok=True)
    pages = ["statistics"] if sheets else []
    for name in ("explorer", "claims"):
        if (edition_dir / f"{name}.html").is_file():
            _copy(edition_dir / f"{name}.html", output / f"{name}.html")
            pages.append(name)
    for one in figures:
        for variant in one["variants"]:
            for ending in ("png", "pdf"):
                source = edition_dir / "figures" / variant / f"{one['figure']}.{ending}"
                if source.is_file():
                    _copy(source, output / "figures" / variant / source.name)
    if sheets:
        write_page(output / "statistics.html", _statistics(census, sheets, explorer="explorer" in pages))
    write_page(output / "index.html", _index(census, config, edition_dir, figures, pages))
    return {"figures": len(figures), "statistics": len(sheets), "pages": len(pages)}


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _statistics(census: Census, sheets: Sequence[Mapping[str, Any]], *, explorer: bool) -> str:
    data = {
        "edition": census.edition["name"],
        "experiments": [name for name, one in census.experiments.items() if one["counted"]],
        "explorer": explorer,
        "sheets": sheets,
    }
    return assemble(
        TEMPLATES / "statistics.html",
        {"edition": escape(census.edition["name"]), "data": packed(data)},
    )


def _index(
    census: Census,
    config: Mapping[str, Any],
    edition_dir: Path,
    figures: Sequence[Mapping[str, Any]],
    pages: Sequence[str],
) -> str:
    edition = census.edition
    counted = {name: one for name, one in census.experiments.items() if one["counted"]}
    total = sum(len(one["runs"]) for one in counted.values())
    statuses = content.record_counts(edition_dir, list(counted))
    default = load_settings(census.root)["edition"]
    settings = "" if edition["name"] == default else f" --config edition={edition['name']}"
    groups = {
        "main": ("Main figures", [one for one in figures if one["figure"].startswith("Figure")]),
        "extended_data": (
            "Extended data",
            [one for one in figures if not one["figure"].startswith("Figure")],
        ),
    }
    sections = [
        f'<section class="figures"><h2>{title}</h2>'
        + "".join(_figure(one, folder, counted, edition["name"], config, settings, pages) for one in members)
        + "</section>"
        for folder, (title, members) in groups.items()
        if members
    ]
    numbers = {"runs": f"{sum(statuses.values()):,} <small>of {total:,}</small>"}
    numbers |= {status.replace("_", " "): f"{count:,}" for status, count in statuses.items()}
    return assemble(
        TEMPLATES / "index.html",
        {
            "edition": escape(edition["name"]),
            "title": escape(edition["title"]),
            "kind": escape(KINDS.get(edition["name"], "Not the published results.")),
            "numbers": "".join(
                f"<div><dt>{key}</dt><dd>{value}</dd></div>" for key, value in numbers.items()
            ),
            "cards": "".join(_card(name, edition_dir) for name in PAGES if name in pages),
            "figures": "\n".join(sections) or '<p class="muted">No figure has been drawn yet.</p>',
            "audited": "" if any("audited" in one["variants"] for one in figures) else "hidden",
        },
    )


def _card(name: str, edition_dir: Path) -> str:
    title, about = PAGES[name]
    more = ""
    if name == "claims" and (verdicts := content.verdict_counts(edition_dir)):
        words = ", ".join(f"{count} {verdict.replace('_', ' ')}" for verdict, count in verdicts.items())
        more = f"<p class=muted>{escape(words)}</p>"
    return f'<a class="card" href="{name}.html"><h2>{title}</h2><p>{about}</p>{more}</a>'


def _figure(
    one: Mapping[str, Any],
    folder: str,
    counted: Mapping[str, Mapping[str, Any]],
    edition: str,
    config: Mapping[str, Any],
    settings: str,
    pages: Sequence[str],
) -> str:
    figure, name = one["figure"], one["name"]
    pictures = "".join(
        _picture(figure, f"{name}: {one['title']}, {variant}", variant, hidden=variant != one["variants"][0])
        for variant in one["variants"]
    )
    panels = "".join(f"<li><b>{letter}</b> {escape(text)}</li>" for letter, text in one["panels"].items())
    link = "explorer.html#exp={}" if "explorer" in pages else None
    runs = [
        f'<a href="{link.format(experiment)}" title="{escape(counted[experiment]["title"])}">{experiment}</a>'
        if link
        else f'<span title="{escape(counted[experiment]["title"])}">{experiment}</span>'
        for experiment in one["experiments"]
    ]
    count = sum(len(counted[experiment]["runs"]) for experiment in one["experiments"])
    together = (
        f'<a href="{link.format(",".join(one["experiments"]))}">{count:,} runs</a>'
        if link
        else f"{count:,} runs"
    )
    results = f"{config['results_dir']}/{edition}"
    files = "".join(f"<code>{file}</code> " for file in one["numbers"])
    downloads = " · ".join(
        f'<a href="figures/{variant}/{figure}.pdf">PDF, {variant}</a>' for variant in one["variants"]
    )
    return f"""
<article class="figure" id="{figure}">
  <div class="pictures">{pictures}</div>
  <div class="about">
    <h3>{escape(name)} <span class="muted">{escape(one["title"])}</span></h3>
    <ul class="panels">{panels}</ul>
    <dl>
      <dt>Drawn from</dt><dd>{together}: {", ".join(runs)}</dd>
      <dt>Plotted numbers</dt><dd>in <code>{results}/figure_data/</code>: {files}</dd>
      <dt>Draw it again</dt><dd>{_copyable(f"snakemake figures/{folder}/{figure}.pdf{settings}")}</dd>
      <dt>Files</dt><dd>{downloads}</dd>
    </dl>
  </div>
</article>"""


def _picture(figure: str, says: str, variant: str, *, hidden: bool) -> str:
    path = f"figures/{variant}/{figure}.png"
    return (
        f'<a class="picture" data-variant="{variant}" href="{path}"{" hidden" if hidden else ""}>'
        f'<img src="{path}" alt="{escape(says)}" loading="lazy"></a>'
    )


def _copyable(command: str) -> str:
    button = '<button class="button" data-copy="">Copy</button>'
    return f'<pre class="copyable"><code>{escape(command)}</code>{button}</pre>'
