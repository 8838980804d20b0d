"""Standard usage: the workflow as a module of another one, deployed from a repository, and the installed package."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from test_workflow import dry_run, runs_in
from workflows import ROOT, copy_workflow, environment, snakemake

from dualgrad import __version__
from dualgrad.census import find_root, load_census
from dualgrad.cli import main
from dualgrad.release.manifest import COMMIT

RUN = "A/lam0.1_eta0.4_seed0"

# Another workflow: hooks of a module run only where it calls them.
OTHER = """\
configfile: "settings.yaml"


module dualgrad:
    snakefile: "{snakefile}"
    config: config["dualgrad"]


use rule * from dualgrad


rule worker:
    output: "worker.txt"
    shell: "printenv DUALGRAD_WORKER > {{output}}"


onstart:
    dualgrad.onstart()


onsuccess:
    dualgrad.onsuccess()


onerror:
    dualgrad.onerror()
"""

# What `snakedeploy deploy-workflow https://github.com/someone/dualgrad . --tag v1` writes into workflow/Snakefile.
DEPLOYED = """\
configfile: "config/config.yaml"


module dualgrad:
    snakefile:
        github("someone/dualgrad", path="workflow/Snakefile", tag="v1")
    config:
        config


use rule * from dualgrad
"""


def files_of(folder: Path) -> set[Path]:
    """All files below a folder, relative to it."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


# ---------------------------------------------------------------------------------------------------- a module


def test_a_module_trains_in_the_folder_of_the_workflow_that_includes_it(tmp_path: Path) -> None:
    own, other = tmp_path / "clone", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    copy_workflow(own)
    before = files_of(own)
    (other / "Snakefile").write_text(OTHER.format(snakefile=own / "workflow" / "Snakefile"))
    (other / "settings.yaml").write_text("dualgrad: {edition: smoke, results_dir: made}\n")

    done = snakemake(other, f"made/smoke/runs/{RUN}.json", "worker.txt", "--cores", "1")
    assert done.returncode == 0, done.stdout
    record = json.loads((other / "made" / "smoke" / "runs" / f"{RUN}.json").read_text())
    assert (other / "worker.txt").read_text().strip(), "the hooks start the warm worker"
    assert (other / "data" / "digits" / "digits.npz").is_file()
    assert files_of(own) == before

    by_hand = other / "by_hand.json"
    words = ["train", RUN, "--root", str(own), "--config", f"data_dir={other / 'data'}"]
    assert main([*words, "--edition", "smoke", "--output", str(by_hand)]) == 0
    assert json.loads(by_hand.read_text())["digest"] == record["digest"]


@pytest.mark.parametrize("place", ["clone/mine", "elsewhere"])
def test_jobs_read_the_configuration_that_the_rules_read(tmp_path: Path, place: str) -> None:
    """The working folder's, where it has one and no Snakefile: below a clone, whose own is not meant, or outside."""
    clone, folder = copy_workflow(tmp_path / "clone"), tmp_path / place
    shutil.copytree(clone / "config", folder / "config")
    protocols = folder / "config" / "census" / "protocols.yaml"
    assert "\n      lr: 0.1\n" in protocols.read_text()
    protocols.write_text(protocols.read_text().replace("\n      lr: 0.1\n", "\n      lr: 0.11\n"))
    words = ("--snakefile", str(clone / "Snakefile"), "--cores", "1", "--config", "edition=smoke")
    done = snakemake(folder, f"results/smoke/runs/{RUN}.json", *words)
    assert done.returncode == 0, done.stdout
    trained = json.loads((folder / "results" / "smoke" / "runs" / f"{RUN}.json").read_text())["spec"]
    rates = [load_census(root, {"edition": "smoke"}).run(RUN)["optimizer"]["lr"] for root in (folder, clone)]
    assert trained["optimizer"]["lr"] == rates[0] == pytest.approx(1.1 * rates[1])
    assert find_root(folder) == folder, "by hand too"


TWO = """\
module single:
    snakefile: "{snakefile}"
    config: {{"edition": "smoke"}}


use rule * from single as single_*
use rule train from single as mine with:
    priority: 1


module double:
    snakefile: "{snakefile}"
    config: {second}


use rule census from double as double_*
"""


@pytest.mark.parametrize(
    ("second", "status"),
    [('{"edition": "smoke"}', 0), ('{"edition": "smoke", "precision": "float32", "results_dir": "r32"}', 1)],
)
def test_two_modules_with_different_settings_are_refused(tmp_path: Path, second: str, status: int) -> None:
    """They share the environment of their jobs, so runs of the first were trained as the second says."""
    snakefile = copy_workflow(tmp_path / "clone") / "workflow" / "Snakefile"
    (tmp_path / "Snakefile").write_text(TWO.format(snakefile=snakefile, second=second))
    done = snakemake(tmp_path, "--list-rules")
    assert done.returncode == status, done.stdout
    assert ("is included twice" in done.stdout and "'precision': 'float32'" in done.stdout) == bool(status)
    assert "Traceback" not in done.stdout


def test_rules_of_a_module_may_have_other_names(tmp_path: Path) -> None:
    own, other = tmp_path / "clone", tmp_path / "other"
    own.mkdir()
    other.mkdir()
    copy_workflow(own)
    text = OTHER.format(snakefile=own / "workflow" / "Snakefile").replace("worker", "verify")
    (other / "Snakefile").write_text(text.replace("from dualgrad\n", "from dualgrad as dg_*\n"))
    (other / "settings.yaml").write_text("dualgrad: {edition: paper}\n")
    assert dry_run(other, "verify") == {"verify": 1, "total": 1}
    assert "verify: the edition 'paper' has no records yet" in snakemake(other, "dg_verify", "-n").stdout
    assert dry_run(other, "dg_figures/main/")["dg_train"] > 100
    plan = snakemake(other, "results/paper/runs/S1/lam0.42_seed0.json", "-n").stdout
    assert "so 1 run of edition paper would train on the CPU" in plan
    assert "did you mean 'dg_census'?" in snakemake(other, "dg_cenus", "-n").stdout


def test_the_catalogs_front_door_makes_what_the_other_one_makes(tmp_path: Path) -> None:
    copy_workflow(tmp_path)
    words = ("--config", "edition=smoke")
    first, second = dry_run(tmp_path, *words), dry_run(tmp_path, "-s", "workflow/Snakefile", *words)
    assert first.pop("figures/main") == second.pop("all") == 1
    assert first == second


# ---------------------------------------------------------------------------------------------------- deployed


@pytest.fixture
def deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as snakedeploy leaves it. Git takes the repository's address for a folder here."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    copy_workflow(source)
    git = ["git", "-C", str(source), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "all"], ["tag", "v1"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{source.as_uri()}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/someone/dualgrad")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    shutil.copytree(source / "config", target / "config")
    (target / "workflow").mkdir()
    (target / "workflow" / "Snakefile").write_text(DEPLOYED)
    return target


def test_a_deployed_workflow_uses_the_configuration_beside_it(deployed: Path) -> None:
    settings = deployed / "config" / "config.yaml"
    settings.write_text(settings.read_text().replace("edition: demo", "edition: smoke"))
    assert find_root(deployed) == deployed
    wanted = load_census(deployed, {"edition": "smoke"})
    counted = [name for name, run in wanted.runs.items() if run["counted"]]
    assert len(counted) <= runs_in(dry_run(deployed, "census")) < len(counted) + 60

    shutil.rmtree(deployed / "config" / "census")
    refused = snakemake(deployed, "census", "--dry-run")
    assert refused.returncode != 0
    assert "config/census is missing" in refused.stdout and "snakedeploy" in refused.stdout


def test_the_catalog_finds_what_it_asks_for() -> None:
    usage = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert set(usage) == {"mandatory-flags", "software-stack-deployment", "report"}
    for path in ("workflow/Snakefile", "config/README.md", "config/config.yaml"):
        assert (ROOT / path).is_file(), path
    text = (ROOT / "README.md").read_text().lower()
    assert "snakemake" in text and "workflow" in text


def test_citation_and_hooks_fit_the_rest() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    original = next(one for one in citation["references"] if one["type"] == "data")
    assert original["commit"].startswith(COMMIT)

    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    checks = {line.split()[0] for line in lint.split("$(BIN)/")[1:]} - {"snakemake"}
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert {hook["entry"].partition(" ")[0] for hook in hooks} == {f".venv/bin/{tool}" for tool in checks}


# ---------------------------------------------------------------------------------------------------- installed


def test_an_installed_package_lacks_nothing(tmp_path: Path) -> None:
    source, target, folder = (tmp_path / name for name in ("source", "target", "folder"))
    source.mkdir()
    unwanted = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", source / "src", ignore=unwanted)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-compile", "--no-index"]
    installing = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(source)]
    subprocess.run(installing, check=True)
    assert files_of(source / "src" / "dualgrad") == files_of(target / "dualgrad")
    assert os.access(target / "dualgrad" / "jobs" / "bin" / "dualgrad", os.X_OK)

    shutil.copytree(ROOT / "config", folder / "config")
    (folder / "Snakefile").touch()
    code = "import dualgrad, sys; print(dualgrad.__file__, file=sys.stderr); from dualgrad.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "census", "--json"],
        cwd=folder,
        env=environment({"PYTHONPATH": str(target)}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr.strip() == str(target / "dualgrad" / "__init__.py")
    assert sum(run["counted"] for run in json.loads(done.stdout)) == 3916
