"""A malformed input: what is changed in a good folder, what is typed, and the words that the answer must have."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Change = Callable[[Path], None]


@dataclass(frozen=True)
class Case:
    """One malformed input.

    Attributes:
        kind: what is malformed.
        name: the malformation, unique within its kind.
        command: words typed after ``dualgrad``; ``{root}`` stands for the folder.
        words: texts that the message must contain, in any order: file, key or member, expectation.
        change: what is done to the folder first.
    """

    kind: str
    name: str
    command: Sequence[str]
    words: Sequence[str]
    change: Change = lambda root: None

    def __str__(self) -> str:
        return f"{self.kind}: {self.name}"


def edit(file: str, old: str, new: str) -> Change:
    """Replace the first occurrence of a text in a file."""

    def change(root: Path) -> None:
        text = (root / file).read_text(encoding="utf-8")
        assert old in text, f"{file} does not hold {old!r}"
        (root / file).write_text(text.replace(old, new, 1), encoding="utf-8", errors="surrogatepass")

    return change


def write(file: str, content: str | bytes) -> Change:
    """Give a file this content."""

    def change(root: Path) -> None:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    return change


def recode(file: str, made: Callable[[bytes], bytes]) -> Change:
    """Change the bytes of a file."""

    def change(root: Path) -> None:
        (root / file).write_bytes(made((root / file).read_bytes()))

    return change


def rejson(file: str, made: Callable[[Any], Any]) -> Change:
    """Change what a JSON file holds: *made* changes it in place, or returns another."""

    def change(root: Path) -> None:
        data = json.loads((root / file).read_bytes())
        other = made(data)
        (root / file).write_text(json.dumps(data if other is None else other), encoding="utf-8")

    return change


def put(data: Any, value: Any, *keys: Any) -> None:
    """Set ``data[key]…[key]``."""
    for key in keys[:-1]:
        data = data[key]
    data[keys[-1]] = value
