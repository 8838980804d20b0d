"""A stand-in for a complete clone of the published repository: its result files, and beside them what
tests/data/complete_clone.yaml lists, with as much in it as claims ask for."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import yaml

LISTED = Path(__file__).parent / "data" / "complete_clone.yaml"


def build(released: Path, folder: Path) -> Path:
    """Make the stand-in.

    Args:
        released: folder ``notebooks/Paper-A`` of the archive with the result files alone.
        folder: where ``notebooks/Paper-A`` is made.

    Returns:
        The new folder ``notebooks/Paper-A``; its result files are links.
    """
    listed = yaml.safe_load(LISTED.read_text(encoding="utf-8"))
    paper = folder / "notebooks" / "Paper-A"
    paper.mkdir(parents=True)
    (paper / "results").symlink_to(released / "results")
    shutil.copytree(released / "archive", paper / "archive")
    for name in listed["archive"]["empty_results"]:
        path = paper / "archive" / name
        path.parent.mkdir()
        path.write_text("[]", encoding="utf-8")
    (paper / "figures").mkdir()
    for name in listed["figures"]:
        (paper / "figures" / f"{name}.pdf").touch()
    for name in listed["archive"]["notebooks"]:
        (paper / "archive" / f"{name}.ipynb").write_text("{}", encoding="utf-8")
    for kind, names in listed["notebooks"].items():
        source = [] if kind == "plain" else ["torch.backends.cudnn.deterministic = True\n"]
        metadata = {"colab": {"gpuType": kind}} if kind in ("T4", "A100") else {}
        content = {"cells": [{"cell_type": "code", "source": source}], "metadata": metadata}
        for name in names:
            (paper / f"{name}.ipynb").write_text(json.dumps(content), encoding="utf-8")
    return paper


if __name__ == "__main__":  # python tests/complete_clone.py RELEASED FOLDER
    print(build(*map(Path, sys.argv[1:3])))
