"""Imported by the process that the tests' Snakemakes are forked from: the censuses that most of them ask for."""

from __future__ import annotations

from pathlib import Path

from dualgrad.project import load_project

for edition in ("demo", "smoke", "paper"):
    _ = load_project(Path(__file__).resolve().parents[1], {"edition": edition}).census
