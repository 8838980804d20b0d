"""The pages of a report, and the files that lie beside them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from dualgrad.census import Census
from dualgrad.compare.pair import newest_comparison
from dualgrad.files import replacing
from dualgrad.outcomes import FILES
from dualgrad.outcomes.conditions import Condition
from dualgrad.outcomes.words import rows_of
from dualgrad.pages import assemble, escape, linked, packed, write_page
from dualgrad.project import is_own, load_settings
from dualgrad.report import content
from dualgrad.tables.read import read_tables

TEMPLATES = Path(__file__).parent
# Pages beside the index, and what they are; all but the statistics are made by other commands.
PAGES = {
    "explorer": (
        "Census explorer",
        "All runs: filter them, open one, see its protocol and how to make it again.",
    ),
    "statistics": ("Statistics", "Every estimate with its interval, to search and sort."),
    "claims": ("Claims", "Every published number, measured again on these records, with a verdict."),
    "comparison": ("Comparison", "This edition beside another one: every condition, every phenomenon."),
    "replication": (
        "Replication",
        "What was trained again, beside the published rows of the same conditions.",
    ),
}
# Tables that travel with the report, as Parquet and as CSV.
TABLES = ("runs", "trajectories", "epochs", "geometry", "steps")
KINDS = {
    "demo": "A miniature on small data, made to show the phenomena. It is not evidence for the published results.",
    "smoke": "Cut down for tests. The numbers mean nothing.",
    "released": "Drawn and computed from the published archive's result files.",
    "paper": "Trained anew as published.",
}


def build(
    census: Census,
    config: Mapping[str, Any],
    edition_dir: Path,
    output: Path,
    others: Mapping[str, Path] | None = None,
) -> dict[str, int]:
    """Write a report of what is there: a folder that holds all that its pages show and lead to.

    That is index.html, statistics.html and the pages of other commands, the figures, the numbers that they draw, and
    the edition's tables.

    Args:
        census: the edition's census.
        config: settings of this execution.
        edition_dir: ``results/<edition>``.
        output: folder to write.
        others: pages to take along, by their names in PAGES; None: all that are there, of the comparisons the newest.

    Returns:
        Number of figures, of statistics and of other pages in the report.

    Raises:
        TableError: a table is of another version.
    """
    figures = content.figures(edition_dir)
    sheets = content.sheets(edition_dir)
    output.mkdir(parents=True, exist_ok=True)
    if others is None:
        others = {name: edition_dir / f"{name}.html" for name in ("explorer", "claims")}
        others["replication"] = edition_dir / "replication" / "replication.html"
        if comparison := newest_comparison(edition_dir.parent, edition_dir.name):
            others["comparison"] = comparison
    texts = {name: path.read_text(encoding="utf-8") for name, path in others.items() if path.is_file()}
    if sheets:
        texts["statistics"] = _statistics(census, sheets, explorer="explorer" in texts)
    pages = [name for name in PAGES if name in texts]
    for one in figures:
        for variant in one["variants"]:
            for ending in ("png", "pdf"):
                source = edition_dir / "figures" / variant / f"{one['figure']}.{ending}"
                if source.is_file():
                    _copy(source, output / "figures" / variant / source.name)
    own = content.own(edition_dir, census)
    for one in (one for members in own.values() for one in members):
        folder = f"experiments/{one['experiment']}"
        for name in FILES:
            if (edition_dir / folder / name).is_file():
                _copy(edition_dir / folder / name, output / folder / name)
    if (edition_dir / "controls.md").is_file():
        _copy(edition_dir / "controls.md", output / "controls.md")
    numbers = _copy_numbers(figures, edition_dir, output)
    tables = _copy_tables(census, edition_dir, output)
    texts["index"] = _index(census, config, edition_dir, figures, pages, numbers, tables, own)
    titles = {"index.html": "Report"} | {f"{name}.html": PAGES[name][0] for name in pages}
    for name, text in texts.items():
        write_page(output / f"{name}.html", linked(text, f"{name}.html", titles))
    return {"figures": len(figures), "statistics": len(sheets), "pages": len(pages)}


def _copy_numbers(figures: Sequence[Mapping[str, Any]], edition_dir: Path, output: Path) -> set[str]:
    """Copy the numbers that the figures draw; returns their paths within the report."""
    copied = set()
    for one in figures:
        for variant in one["variants"]:
            inner = "figure_data" if variant == "published" else f"figure_data/{variant}"
            for name in one["numbers"]:
                source = edition_dir / inner / name
                if source.is_file():
                    _copy(source, output / inner / name)
                    copied.add(f"{inner}/{name}")
    return copied


def _copy_tables(census: Census, edition_dir: Path, output: Path) -> list[str]:
    """Write the edition's tables, as Parquet and as CSV; returns the names of those that have rows."""
    parts = edition_dir / "tables" / "parts"
    shown = [name for name, one in census.experiments.items() if one["counted"] or is_own(one)]
    there = [name for name in shown if (parts / name / "runs.parquet").is_file()]
    written = []
    for table in TABLES if there else ():
        frame = read_tables(edition_dir, there, table)
        (output / "tables").mkdir(parents=True, exist_ok=True)
        for ending, write in (("parquet", frame.to_parquet), ("csv", frame.to_csv)):
            with replacing(output / "tables" / f"{table}.{ending}") as temporary:
                write(temporary, index=False)
        if not frame.empty:
            written.append(table)
    return written


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)


def _statistics(census: Census, sheets: Sequence[Mapping[str, Any]], *, explorer: bool) -> str:
    data = {
        "edition": census.edition["name"],
        "experiments": [name for name, one in census.experiments.items() if one["counted"] or is_own(one)],
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
    numbers_there: set[str],
    tables: Sequence[str],
    own: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> str:
    edition = census.edition
    controls = (edition_dir / "controls.md").is_file()
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
        + "".join(_figure(one, folder, counted, settings, pages, numbers_there) for one in members)
        + "</section>"
        for folder, (title, members) in groups.items()
        if members
    ]
    unlike = content.differing(edition_dir, list(counted))
    differing = "".join(f" Records of {name} differ in {', '.join(in_)}." for name, in_ in unlike.items())
    numbers = {"runs": f"{sum(statuses.values()):,} <small>of {total:,}</small>"}
    numbers |= {status.replace("_", " "): f"{count:,}" for status, count in statuses.items()}
    return assemble(
        TEMPLATES / "index.html",
        {
            "edition": escape(edition["name"]),
            "title": escape(edition["title"]),
            "kind": escape(KINDS.get(edition["name"], "Not the published results.") + differing),
            "oracle": f"{sum(_has_oracle(run) for run in census.runs.values() if run['counted']):,}",
            "controls": '<a href="controls.md">controls</a>' if controls else "<code>docs/controls.md</code>",
            "numbers": "".join(
                f"<div><dt>{escape(key)}</dt><dd>{value}</dd></div>" for key, value in numbers.items()
            ),
            "cards": "".join(_card(name, edition_dir) for name in PAGES if name in pages),
            "tables": _tables(tables),
            "own": "\n".join(_series(name, members, pages) for name, members in (own or {}).items()),
            "figures": "\n".join(sections) or '<p class="muted">No figure has been drawn yet.</p>',
            "audited": "" if any("audited" in one["variants"] for one in figures) else "hidden",
        },
    )


def _has_oracle(run: Mapping[str, Any]) -> bool:
    """Whether a run's value labels are the true ones of the whole batch."""
    return run["method"] == "dual" and run["value"]["labels"] == "clean"


def _series(series: str, members: Sequence[Mapping[str, Any]], pages: Sequence[str]) -> str:
    """A series of experiments of one's own: each with its figure, what it says, and its conditions."""
    return (
        f'<section class="figures own"><h2>Series {escape(series)}</h2>'
        + "".join(_experiment(one, pages) for one in members)
        + "</section>"
    )


def _experiment(one: Mapping[str, Any], pages: Sequence[str]) -> str:
    name, address = escape(one["experiment"]), quote(one["experiment"])
    folder = f"experiments/{address}"
    links = [f'<a href="explorer.html#exp={address}">runs</a>'] if "explorer" in pages else []
    if "statistics" in pages:
        links.append(f'<a href="statistics.html#table=own&amp;experiment=%22{address}%22">statistics</a>')
    links += [f'<a href="{folder}/{file}">{file}</a>' for file in FILES]
    said = "".join(f"<li>{escape(text)}</li>" for text in [*one["advice"], *one["says"]])
    head, cells = rows_of([Condition(**row) for row in one["conditions"]], one["by"], one["of"])
    table = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in cells)
    heads = "".join(f"<th>{escape(word)}</th>" for word in head)
    return f"""
<article class="figure" id="{name}">
  <div class="pictures"><a class="picture" href="{folder}/results.png"><img src="{folder}/results.png"
    alt="{escape(one["of"].replace("_", " "))} of {name} by its factors" loading="lazy"></a></div>
  <div class="about">
    <h3>{name} <span class="muted">{escape(one["title"])}</span></h3>
    <p class="muted">{one["made"]:,} of {one["planned"]:,} runs. {" · ".join(links)}</p>
    <ul class="says">{said}</ul>
    <details><summary>{len(cells):,} conditions</summary><table><tr>{heads}</tr>{table}</table></details>
  </div>
</article>"""


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
    counted: Mapping[str, Any],
    settings: str,
    pages: Sequence[str],
    numbers: set[str],
) -> str:
    figure, name, variants = one["figure"], one["name"], one["variants"]

    def by_variant(tag: str, content: Mapping[str, str]) -> str:
        return "".join(
            f'<{tag} data-variant="{variant}"{"" if variant == variants[0] else " hidden"}>{text}</{tag}>'
            for variant, text in content.items()
        )

    pictures = "".join(
        _picture(figure, f"{name}: {one['title']}, {variant}", variant, hidden=variant != variants[0])
        for variant in variants
    )
    panels = "".join(
        f"<li><b>{escape(letter)}</b> {escape(text)}</li>" for letter, text in one["panels"].items()
    )
    note = f"<p>{escape(one['note'])}</p>" if one.get("note") else ""
    link = "explorer.html#exp={}" if "explorer" in pages else None
    runs = [
        f'<a href="{link.format(quote(experiment))}" title="{escape(counted[experiment]["title"])}">'
        f"{escape(experiment)}</a>"
        if link
        else f'<span title="{escape(counted[experiment]["title"])}">{escape(experiment)}</span>'
        for experiment in one["experiments"]
    ]
    count = sum(len(counted[experiment]["runs"]) for experiment in one["experiments"])
    together = (
        f'<a href="{link.format(",".join(map(quote, one["experiments"])))}">{count:,} runs</a>'
        if link
        else f"{count:,} runs"
    )
    commands, files, plotted = {}, {}, {}
    for variant in variants:
        target = f"figures/{folder if variant == 'published' else variant}/{figure}.pdf"
        commands[variant] = _copyable(f"snakemake {target}{settings}")
        files[variant] = " · ".join(
            f'<a href="figures/{variant}/{figure}.{ending}">{ending.upper()}</a>' for ending in ("pdf", "png")
        )
        inner = "figure_data" if variant == "published" else f"figure_data/{variant}"
        there = [file for file in one["numbers"] if f"{inner}/{file}" in numbers]
        plotted[variant] = (
            " ".join(f'<a href="{inner}/{quote(file)}">{escape(file)}</a>' for file in there) or "not there"
        )
    return f"""
<article class="figure" id="{figure}">
  <div class="pictures by-variant">{pictures}</div>
  <div class="about">
    <h3>{escape(name)} <span class="muted">{escape(one["title"])}</span></h3>
    <ul class="panels">{panels}</ul>
    {note}
    <dl>
      <dt>Drawn from</dt><dd>{together}: {", ".join(runs)}</dd>
      <dt>Plotted numbers</dt><dd class="by-variant">{by_variant("div", plotted)}</dd>
      <dt>Draw it again</dt><dd class="by-variant">{by_variant("div", commands)}</dd>
      <dt>Files</dt><dd class="by-variant">{by_variant("div", files)}</dd>
    </dl>
  </div>
</article>"""


def _tables(names: Sequence[str]) -> str:
    """Links to the tables, in both forms."""
    if not names:
        return ""
    rows = "".join(
        f'<li>{name}: <a href="tables/{name}.parquet">Parquet</a> · <a href="tables/{name}.csv">CSV</a></li>'
        for name in names
    )
    return f'<section class="tables"><h2>Tables</h2><ul>{rows}</ul></section>'


def _picture(figure: str, says: str, variant: str, *, hidden: bool) -> str:
    path = f"figures/{variant}/{figure}.png"
    return (
        f'<a class="picture" data-variant="{variant}" href="{path}"{" hidden" if hidden else ""}>'
        f'<img src="{path}" alt="{escape(says)}" loading="lazy"></a>'
    )


def _copyable(command: str) -> str:
    button = '<button class="button" data-copy="">Copy</button>'
    return f'<pre class="copyable"><code>{escape(command)}</code>{button}</pre>'
