"""What the code, the tables and the documents cite can be opened: files and anchors of the specification exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "specification"
CITED = re.compile(
    r"(?:docs/specification/)?\b(A-G|I-P|Q-R|S-T|Td-W|X-Y|FIGURES|contract)\.md(?:#([\w.-]*\w))?"
)
LINKED = re.compile(r"\]\(([^)\s]*?)(?:#([^)\s]+))?\)")
# A document of the specification by its letters, with a section behind: nothing that a reader could open.
BARE = re.compile(r"DESIGN( |\.)?§|\b(A-G|I-P|Q-R|S-T|Td-W|X-Y)\b.{0,3}[0-9]")
TEXT = {".py", ".md", ".yaml", ".yml", ".smk", ".csv", ".js", ".html", ".rst", ".toml", ".svg", ""}


def anchors(path: Path) -> set[str]:
    return set(re.findall(r'<a id="([^"]+)"></a>', path.read_text(encoding="utf-8")))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.splitlines()]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix in TEXT]


def test_what_is_cited_can_be_opened() -> None:
    known = {path.name: anchors(path) for path in FOLDER.glob("*.md")}
    dangling, cited = [], 0
    for path in tracked():
        for document, anchor in CITED.findall(path.read_text(encoding="utf-8", errors="replace")):
            cited += 1
            if anchor and anchor not in known[f"{document}.md"]:
                dangling.append(f"{path.relative_to(ROOT)}: {document}#{anchor}")
    assert not dangling
    assert cited > 100


def test_links_between_documents_have_their_anchors() -> None:
    dangling = []
    for path in (ROOT / "docs").rglob("*.md"):
        for target, anchor in LINKED.findall(path.read_text(encoding="utf-8")):
            there = (path.parent / target).resolve() if target else path
            if "specification" not in str(there) or there.suffix != ".md":
                continue
            if not there.is_file() or (anchor and anchor not in anchors(there)):
                dangling.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert not dangling


def test_no_section_is_cited_without_its_document() -> None:
    found = []
    for path in tracked():
        if path == Path(__file__) or path.parent == FOLDER:
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            rest = re.sub(r"\[[^\]]*\]\([^)]*specification/[^)]*\)", "", line)
            if BARE.search(rest):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:90]}")
    assert not found, "\n".join(found[:40])


def test_anchors_are_unique() -> None:
    for path in FOLDER.glob("*.md"):
        listed = re.findall(r'<a id="([^"]+)"></a>', path.read_text(encoding="utf-8"))
        assert len(listed) == len(set(listed)), path.name
