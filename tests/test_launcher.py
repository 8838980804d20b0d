"""The launcher: targets may come last, everything else reaches Snakemake as it was typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dualgrad.jobs import launcher
from dualgrad.jobs.launcher import GREEDY, with_separator


@pytest.mark.parametrize(
    ("typed", "passed"),
    [
        ("--cores 1 --resources gpu=1 figures/main", "--cores 1 --resources gpu=1 -- figures/main"),
        ("--resources gpu=1 mem_mb=9 a b", "--resources gpu=1 mem_mb=9 -- a b"),
        ("-n --config edition=paper census", "-n --config edition=paper -- census"),
        ("-C edition=paper census", "-C edition=paper -- census"),
        ("a --cores 1 --res gpu=1 b", "a --cores 1 --res gpu=1 -- b"),
        ("--config census", "--config -- census"),
    ],
)
def test_targets_at_the_end_are_set_apart(typed: str, passed: str) -> None:
    assert with_separator(typed.split()) == passed.split()


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "figures/main",
        "figures/main --cores 1 --resources gpu=1",
        "--resources gpu=1 --cores 1 figures/main",
        "--resources=gpu=1 figures/main",
        "--resources gpu=1 -- figures/main",
        "--config edition=paper released_archive=a/b",
        "--config released_archive=a b=c",
        "--resources gpu=1 -n",
        "--forcerun train figures/main",
    ],
)
def test_everything_else_stays_as_typed(typed: str) -> None:
    assert with_separator(typed.split()) == typed.split()


def test_the_list_of_options_is_snakemakes() -> None:
    from snakemake.cli import get_argument_parser

    actions = get_argument_parser()._actions
    pairs = [one for one in actions if one.nargs in ("+", "*") and "=" in str(one.metavar)]
    known = {option for one in pairs for option in one.option_strings}
    # Some pairs are not called so in the usage text; those that are must all be known here.
    assert known <= GREEDY
    assert {option for one in actions for option in one.option_strings} >= GREEDY


@pytest.mark.surroundings
@pytest.mark.parametrize("name", ["a folder with spaces", 'it\'s $(touch pwned) `id` "x" \\N'])
def test_installed_in_place_of_snakemake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    folder = tmp_path / name / "bin"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    launcher.install()
    (tmp_path / "Snakefile").write_text(
        'rule target:\n    output:\n        "made"\n    shell:\n        "touch made"\n'
    )
    command = [str(folder / "snakemake"), "--cores", "1", "--config", "key=1", "target"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "made").exists() and not (tmp_path / "pwned").exists()
