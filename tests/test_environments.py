"""Environments for the jobs: conda's and the container's hold the pins of requirements.txt; Snakemake takes them."""

from __future__ import annotations

import os
import re
import runpy
import sys
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from test_workflow import ROOT, copy_workflow, planned, snakemake

from dualgrad.jobs.warm_worker import PYTHON, prepare_jobs

RUN = "results/smoke/runs/A/lam0.1_eta0.4_seed0.json"
# What Snakemake asks conda and apptainer in a dry run.
STAND_IN = """\
#!/bin/sh
case "$*" in
"info --json") echo '{"conda_prefix": "/none", "root_prefix": "/none", "platform": "linux-64"}';;
--version) echo "${0##*/} version 99.1.0";;
"config --get channel_priority --json") echo '{"get": {"channel_priority": "strict"}}';;
*) exit 1;;
esac
"""


def pins() -> set[str]:
    """What requirements.txt pins, in one form of writing."""
    lines = (ROOT / "envs" / "requirements.txt").read_text().splitlines()
    return {str(Requirement(line)) for line in lines if line and not line.startswith("#")}


def test_conda_has_the_same_pins() -> None:
    text = (ROOT / "workflow" / "envs" / "dualgrad.yaml").read_text()
    *own, packages = yaml.safe_load(text)["dependencies"]
    listed = packages["pip"]
    assert {str(Requirement(one)) for one in listed} == pins(), "python envs/write_conda.py"
    assert all("==" in one for one in listed)
    assert text == runpy.run_path(str(ROOT / "envs" / "write_conda.py"))["content"]()
    version = next(one for one in own if one.startswith("python=")).partition("=")[2]
    container = re.search(r"^From: python:(\S+)-slim$", (ROOT / "envs" / "dualgrad.def").read_text(), re.M)
    assert container and container[1] == version
    assert Requirement(f"python>={version}").specifier  # as in pyproject.toml
    assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text()


def test_the_container_installs_the_pins_themselves() -> None:
    text = (ROOT / "envs" / "dualgrad.def").read_text()
    assert re.search(r"^ +envs/requirements.txt (\S+)$", text, re.M)[1] in text.partition("%post")[2]


def test_every_rule_with_a_command_has_the_environment() -> None:
    for file in sorted((ROOT / "workflow" / "rules").glob("*.smk")):
        text = file.read_text()
        rules = len(re.findall(r"^ +shell:$", text, re.M))
        places = re.findall(r'^ +conda:\n +"(.+)"$', text, re.M)
        assert len(places) == rules, file
        assert all(
            (file.parent / place).resolve() == ROOT / "workflow" / "envs" / "dualgrad.yaml"
            for place in places
        )


@pytest.mark.parametrize("method", ["conda", "apptainer"])
def test_snakemake_takes_the_environment(tmp_path: Path, method: str) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "flow").mkdir()
    script = tmp_path / "bin" / method
    script.write_text(STAND_IN)
    script.chmod(0o755)
    folder = copy_workflow(tmp_path / "flow")
    words = ("--config", "edition=smoke", "--software-deployment-method", method, "--dry-run")
    done = snakemake(folder, RUN, *words, more={"PATH": f"{script.parent}{os.pathsep}{os.environ['PATH']}"})
    assert done.returncode == 0, done.stdout
    assert planned(done.stdout) == {"data_set": 1, "train": 1, "total": 2}


def test_jobs_of_an_own_environment_run_its_python(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "PYTHONPATH", "APPTAINERENV_PREPEND_PATH", "SINGULARITYENV_PREPEND_PATH", PYTHON):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    monkeypatch.setenv("DUALGRAD_SETTINGS", "")
    prepare_jobs([])
    assert os.environ[PYTHON] == sys.executable
    prepare_jobs(["--edition", "smoke"], deployed=True)
    own = os.environ["PATH"].split(os.pathsep)[0]
    assert (Path(own) / "dualgrad").is_file()
    assert os.environ["APPTAINERENV_PREPEND_PATH"].split(os.pathsep)[0] == own
    assert os.environ[PYTHON] == "python"
    assert (Path(os.environ["PYTHONPATH"].split(os.pathsep)[0]) / "dualgrad" / "jobs").is_dir()
