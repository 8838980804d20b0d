"""What the site has beside the files of docs/: documents of the top folder, the gallery, the package's reference.

MkDocs calls the functions whose names begin with ``on_``
(https://www.mkdocs.org/dev-guide/plugins/#events).
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from dualgrad.figures.captions import CAPTIONS, figure_name
from dualgrad.figures.sources import FIGURE_EXPERIMENTS, MAIN_FIGURES

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "dualgrad"
# Documents outside docs/, and what they are called on the site.
OUTSIDE = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "config/README.md": "configuration.md",
}
# What people call from their own code. The rest is described in the architecture, and in its own files.
REFERENCE = ("method", "torchjd", "census", "data", "estimators", "records", "tables", "training")
# Where one entry says what two arguments are, which MkDocs takes for the name of a third.
SHARED_ENTRIES = ("method",)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that they have in the repository, so that a link means the same in both."""
    config.mdx_configs["toc"]["slugify"] = github_anchor
    return config


def github_anchor(heading: str, separator: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", separator)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made here."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in OUTSIDE.items()}
    made |= {"gallery.md": gallery(), "reference.md": reference()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between documents of the repository lead to their pages."""
    sources = {page: source for source, page in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    here = PurePosixPath(page.file.src_uri).parent

    def follow(link: re.Match[str]) -> str:
        bang, text, target = link.groups()
        path, mark, anchor = target.partition("#")
        if not path or re.match(r"[a-z]+:", target):
            return link[0]
        there = posixpath.normpath(posixpath.join(posixpath.dirname(source), path))
        if there in OUTSIDE:
            there = OUTSIDE[there]
        elif (ROOT / there).is_dir():  # of files that are no pages
            return text
        elif there.startswith("docs/"):
            there = there.removeprefix("docs/")
        else:  # a file of the repository that is no page
            return text
        return f"{bang}[{text}]({posixpath.relpath(there, here)}{mark}{anchor})"

    return LINK.sub(follow, markdown)


def gallery() -> str:
    """The figures, what each panel shows, and the commands that draw them."""
    lines = [
        "# The figures",
        "",
        "All figures of the paper, drawn by this project from the published files. The commands below a figure draw "
        "it again, in any edition; the report of an edition (`snakemake report`) links each figure to its runs.",
        "",
    ]
    for figure, caption in CAPTIONS.items():
        name = figure_name(figure)
        folder = "main" if figure in MAIN_FIGURES else "extended_data"
        lines += [f"## {name}: {caption.title}", ""]
        picture = f"images/gallery/{figure}.png"
        if (ROOT / "docs" / picture).is_file():
            lines += [f"![{name}: {caption.title}, released edition]({picture})", ""]
        lines += [f"- **{panel}** {text}" for panel, text in caption.panels.items()]
        lines += ["", caption.note] if caption.note else []
        lines += ["", caption.spread] if caption.spread else []
        lines += [
            "",
            f"Drawn from {', '.join(FIGURE_EXPERIMENTS[figure])}.",
            "",
            "```bash",
            f"snakemake figures/{folder}/{figure}.pdf    # in miniature",
            f"snakemake figures/{folder}/{figure}.pdf --config edition=released released_archive=PATH",
            f"snakemake figures/audited/{figure}.pdf --config edition=released released_archive=PATH",
            "```",
            "",
        ]
    return "\n".join(lines)


def reference() -> str:
    """Every public module of the rooms that people import from."""
    lines = ["# Reference", "", "From the docstrings. Shapes, units and errors are part of them.", ""]
    for room in REFERENCE:
        lines += [f"## {room}", ""]
        place = PACKAGE / room
        paths = sorted(place.rglob("*.py")) if place.is_dir() else [PACKAGE / f"{room}.py"]
        for path in paths:
            module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(
                ".__init__"
            )
            lines += [f"::: {module}"]
            if room in SHARED_ENTRIES:
                lines += [
                    "    options:",
                    "      docstring_options: {warn_unknown_params: false, warn_missing_types: false}",
                ]
            lines += [""]
    return "\n".join(lines)
