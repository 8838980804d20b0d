"""Environments for the jobs: conda's and the container's hold the pins of requirements.txt; Snakemake takes them."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import runpy
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from workflows import ROOT, copy_workflow, planned, snakemake

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


def pins() -> dict[str, set[str]]:
    """What requirements.txt pins, in one form of writing, and the hashes of each."""
    text = (ROOT / "envs" / "requirements.txt").read_text().replace("\\\n", "")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    return dict(map(pin, lines))


def pin(line: str) -> tuple[str, set[str]]:
    name, *hashes = line.split("--hash=")
    return str(Requirement(name)), {one.strip() for one in hashes}


def named(requirements: list[str]) -> dict[str, set[str]]:
    """The extras of packages by their names, both in one form of writing."""
    found = [Requirement(one) for one in requirements]
    return {canonicalize_name(one.name): set(map(canonicalize_name, one.extras)) for one in found}


def asked_for() -> dict[str, set[str]]:
    """What requirements.in asks for by name."""
    text = re.sub("#.*", "", (ROOT / "envs" / "requirements.in").read_text())
    return named([one for one in text.split("\n") if one.strip()])


def declared() -> dict[str, set[str]]:
    """What pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return named([*project["dependencies"], *sum(project["optional-dependencies"].values(), [])])


def test_every_pin_has_hashes_and_no_index_is_named() -> None:
    for name, hashes in pins().items():
        assert "==" in name and hashes, name
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", one) for one in hashes), name
    text = (ROOT / "envs" / "requirements.txt").read_text()
    assert "://" not in text and not re.search(r"^-", text, re.M)


def test_the_pins_are_complete_and_nothing_needs_building() -> None:
    """What is asked for by name is pinned, and so is what that asks for, but for what has no wheel."""
    pinned, asked = {canonicalize_name(Requirement(one).name) for one in pins()}, asked_for()
    assert asked.keys() <= pinned
    missing = set()
    for name in pinned:
        try:
            needed = map(Requirement, metadata.requires(name) or [])
        except metadata.PackageNotFoundError:  # of another system
            continue
        missing |= {
            canonicalize_name(one.name)
            for one in needed
            if one.marker is None
            or any(one.marker.evaluate({"extra": extra}) for extra in ("", *asked.get(name, ())))
        }
    assert missing - pinned == {"connection-pool"}
    spec = importlib.util.find_spec("snakemake")
    for source in Path(spec.origin).parent.rglob("*.py"):
        assert "connection_pool" not in source.read_text(errors="replace"), source
    for file in ("Makefile", "envs/dualgrad.def"):
        command = next(
            one
            for one in (ROOT / file).read_text().splitlines()
            if "requirements.txt" in one and "--requirement" in one
        )
        assert "--no-deps --only-binary :all:" in command, file


def test_what_is_imported_is_declared() -> None:
    """Everything that a module of the package imports, wherever in it, and nothing else but what pins need."""
    imported = set()
    for file in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {one.name.partition(".")[0] for one in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                imported.add(node.module.partition(".")[0])
    imported -= {*sys.stdlib_module_names, "dualgrad"}
    of = metadata.packages_distributions()
    assert {canonicalize_name(of[one][0]) for one in imported} == declared().keys()


def test_what_is_declared_is_asked_for_by_name() -> None:
    """Not only pinned because something else needs it: that could end with any newer version. Extras are the same."""
    found, asked = declared(), asked_for()
    assert found == {name: asked.get(name) for name in found}


def test_conda_has_the_same_pins() -> None:
    text = (ROOT / "workflow" / "envs" / "dualgrad.yaml").read_text()
    *own, packages = yaml.safe_load(text)["dependencies"]
    listed = packages["pip"]
    assert dict(map(pin, listed)) == pins(), "python envs/write_conda.py"
    assert any(one.startswith("connection_pool=") for one in own)  # which pip would have to build
    assert text == runpy.run_path(str(ROOT / "envs" / "write_conda.py"))["content"]()
    version = next(one for one in own if one.startswith("python=")).partition("=")[2]
    definition = (ROOT / "envs" / "dualgrad.def").read_text()
    container = re.search(r"^# python:(\d+\.\d+)\.\d+-slim", definition, re.M)  # what the digest is of
    assert container and container[1] == version
    assert Requirement(f"python>={version}").specifier  # as in pyproject.toml
    assert f'requires-python = ">={version}"' in (ROOT / "pyproject.toml").read_text()


def test_the_container_installs_the_pins_themselves() -> None:
    text = (ROOT / "envs" / "dualgrad.def").read_text()
    assert re.search(r"^ +envs/requirements.txt (\S+)$", text, re.M)[1] in text.partition("%post")[2]


def test_the_containers_base_is_one_image() -> None:
    text = (ROOT / "envs" / "dualgrad.def").read_text()
    assert re.search(r"^From: \{\{ BASE \}\}$", text, re.M)
    assert re.search(r"^ +BASE=python@sha256:[0-9a-f]{64}$", text, re.M)


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


@pytest.mark.parametrize(
    ("methods", "own"),
    [([], False), (["env-modules"], False), (["conda"], True), (["apptainer", "env-modules"], True)],
)
def test_modules_of_the_system_are_no_environment_of_the_jobs(
    tmp_path: Path, methods: list[str], own: bool
) -> None:
    """Jobs run this Python, unless conda or a container brings one."""
    folder = copy_workflow(tmp_path)
    with (folder / "Snakefile").open("a") as snakefile:
        snakefile.write(f'\nprint("jobs run", os.environ["{PYTHON}"])\n')
    done = snakemake(folder, "--list-rules", *(["--sdm", *methods] if methods else []))
    assert f"jobs run {'python' if own else sys.executable}\n" in done.stdout


@pytest.mark.parametrize(("methods", "worker"), [([], True), (["conda"], False)])
def test_jobs_of_an_own_environment_share_the_gpus_as_well(
    tmp_path: Path, methods: list[str], worker: bool
) -> None:
    """Without a worker they were all sent to the first."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "flow").mkdir()
    script = tmp_path / "bin" / "conda"
    script.write_text(STAND_IN)
    script.chmod(0o755)
    folder = copy_workflow(tmp_path / "flow")
    with (folder / "Snakefile").open("a") as snakefile:
        snakefile.write(
            'rule told:\n    output: "told"\n    shell: "echo ${{DUALGRAD_GPUS-}} ${{DUALGRAD_LOCKS:+locks}} '
            '${{DUALGRAD_WORKER:+worker}} > {output}"\n'
        )
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"
    words = ("--config", "edition=smoke", *(["--sdm", *methods] if methods else []), "--cores", "1")
    done = snakemake(folder, "told", *words, more={"PATH": path, "CUDA_VISIBLE_DEVICES": "0,1"})
    assert done.returncode == 0, done.stdout
    assert (folder / "told").read_text().split() == ["0,1", "locks", *(["worker"] if worker else [])]


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
