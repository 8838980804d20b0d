"""Folders, environments, limits and file systems in which a run must come out as it does here: the same digest.

Each of them trains one tiny run, mostly in a process of its own. Tests of single functions under such conditions
stand with the functions, and have the mark of these: `python -m pytest -m surroundings`.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import workflows
from workflows import copy_workflow

from dualgrad.cli import main
from dualgrad.records import read_record

ROOT = Path(__file__).resolve().parents[2]
RUN, SMOKE = "S1/lam0.42_seed0", ("--edition", "smoke")
RECORD = f"results/smoke/runs/{RUN}.json"
ODD = """it's "a" $(touch pwned) `touch pwned`; touch pwned & é 🙂 *"""

# Several commands in one process: torch is imported once for all of them.
PARQUET = """
from pathlib import Path
import pandas as pd
from dualgrad.data.given import read_column
from dualgrad.figures.build import save_panels
(path,) = save_panels("Figure1", {"a": pd.DataFrame({"label": [3, 1]})}, Path.cwd())
assert read_column(path, "label").tolist() == [3, 1]
"""
COMMANDS = """
import json, sys
from dualgrad.cli import main
sys.exit(max(main(words) for words in json.loads(sys.argv[1])))
"""


@pytest.fixture(scope="module")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workflow in a folder of its own, with the data of the run. Read-only: tests copy it."""
    folder = copy_workflow(tmp_path_factory.mktemp("surroundings") / "flow")
    assert main(["train", RUN, "--root", str(folder), *SMOKE]) == 0
    return folder


@pytest.fixture(scope="module")
def digest(flow: Path) -> str:
    """What the run comes to."""
    return read_record(flow / RECORD)["digest"]


@pytest.fixture
def folder(flow: Path, tmp_path: Path) -> Path:
    """A copy without results, in which the run can be trained."""
    return copied(flow, tmp_path / "flow")


def copied(flow: Path, target: Path) -> Path:
    shutil.copytree(flow, target, symlinks=True, ignore=shutil.ignore_patterns("results"))
    return target


def environment(changes: Mapping[str, str | None]) -> dict[str, str]:
    """This process's environment without what the test suite itself sets; None removes a name."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DUALGRAD_")}
    return {name: value for name, value in (kept | dict(changes)).items() if value is not None}


def python(
    words: Sequence[str], folder: Path, changes: Mapping[str, str | None], **settings
) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, in another environment."""
    return subprocess.run(
        [sys.executable, "-P", *words],
        cwd=folder,
        env=environment(changes),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=300,
        check=False,
        **settings,
    )


def trained(folder: Path, changes: Mapping[str, str | None] | None = None, **settings) -> str:
    """Train the run by hand in another process; its digest."""
    done = python(["-m", "dualgrad", "train", RUN, *SMOKE], folder, changes or {}, **settings)
    assert done.returncode == 0, done.stderr
    return read_record(folder / RECORD)["digest"]


def snakemake(folder: Path, *words: str, more: Mapping[str, str | None] | None = None, **settings) -> str:
    """Run Snakemake as `make setup` installs it, to a good end; what it says."""
    command = ["-c", "from dualgrad.jobs.launcher import main; main()", *words, "--cores", "1"]
    done = python([*command, "--config", "edition=smoke"], folder, more or {}, **settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def limited(kind: int, limit: int):
    """For a new process: so much of something, and no more."""
    return lambda: resource.setrlimit(kind, (limit, limit))


# ---------------------------------------------------------------------------------------------- environments


def test_the_environment_of_a_cluster_without_a_home(folder: Path, digest: str) -> None:
    threads = {"OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "2"}
    pinned = {"OMP_PROC_BIND": "true", "OMP_PLACES": "cores", "GOMP_CPU_AFFINITY": "0"}
    nowhere = dict.fromkeys(("HOME", "USER", "LOGNAME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR", "TMPDIR"))
    assert trained(folder, {**threads, **pinned, **nowhere}) == digest


def test_an_ascii_locale(flow: Path, digest: str, tmp_path: Path) -> None:
    """Names and texts beyond ASCII, bytes that are no text at all, and a home that is not there."""
    folder = copied(flow, tmp_path / f"λ é {os.fsdecode(bytes([0xE9]))}")
    commands = [["train", RUN], ["tables", "S1"], ["results", "S1"], ["show", RUN]]
    words = json.dumps([[*command, *SMOKE] for command in commands])
    ascii_only = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    more = {**ascii_only, "PYTHONIOENCODING": None, "HOME": "/nowhere", "XDG_CACHE_HOME": "/nowhere"}
    done = python(["-c", COMMANDS, words], folder, more)
    assert done.returncode == 0, done.stderr
    assert read_record(folder / RECORD)["digest"] == digest
    done = python(["-c", PARQUET], folder, more)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can take on another user's identity")
def test_a_user_without_a_name(folder: Path, digest: str) -> None:
    """As in a container that is started with `--user`: no entry of passwd, no home."""
    number = 54321
    with pytest.raises(KeyError):
        pwd.getpwuid(number)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, number, number, follow_symlinks=False)
    reach = f"import os, dualgrad.cli; os.listdir({str(folder)!r})"
    try:
        subprocess.run([sys.executable, "-c", reach], user=number, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("another user cannot reach this Python, the package or the folders of these tests")
    names = dict.fromkeys(("HOME", "USER", "LOGNAME"))
    assert trained(folder, names, user=number, group=number, extra_groups=[]) == digest


# ---------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(("mask", "mode"), [(0o077, 0o600), (0o002, 0o664)])
def test_results_follow_the_umask(folder: Path, digest: str, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        assert main(["train", RUN, "--root", str(folder), *SMOKE]) == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / RECORD).stat().st_mode) == mode
    assert read_record(folder / RECORD)["digest"] == digest


def test_files_that_may_not_grow(folder: Path) -> None:
    """`ulimit -f`, or a quota: one line, and nothing left behind."""
    words = ["-m", "dualgrad", "train", RUN, *SMOKE]
    done = python(words, folder, {}, preexec_fn=limited(resource.RLIMIT_FSIZE, 1000))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{RECORD}: File too large" in line
    assert not [path for path in (folder / "results").rglob("*") if path.is_file()]


# ---------------------------------------------------------------------------------------------- folders, file systems


@pytest.fixture(scope="module")
def refusing(tmp_path_factory: pytest.TempPathFactory) -> str | None:
    """A library that refuses chmod, fsync and flock, to be preloaded; None without a compiler to build it."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = tmp_path_factory.mktemp("refusing") / "refusing.so"
    source = Path(__file__).with_name("refusing.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"], check=True)
    return str(library)


# What a library that refuses chmod, fsync and flock says to this.
PROBE = """
import fcntl, os, tempfile
with tempfile.NamedTemporaryFile(dir=".") as file:
    for call in (
        lambda: os.fchmod(file.fileno(), 0o600),
        lambda: os.fsync(file.fileno()),
        lambda: fcntl.flock(file, fcntl.LOCK_EX),
    ):
        try:
            call()
        except OSError:
            print("refused")
"""


def test_an_odd_place_with_few_open_files_that_refuses_chmod_fsync_and_flock(
    flow: Path, digest: str, tmp_path: Path, refusing: str | None
) -> None:
    """The whole workflow: worker, training, tables.

    A project's path has all that means something to a shell or to Snakemake. And results lie on a file system that
    can do little (Snakemake's own folder needs chmod).
    """
    folder = copied(flow, tmp_path / ODD / ("x" * 40))
    results, more = folder.resolve() / "results", {}
    results.mkdir()
    if refusing:
        more = {"LD_PRELOAD": refusing, "REFUSING": str(results)}
        assert python(["-c", PROBE], results, more).stdout == "refused\n" * 3, "the library works"
    table = "results/smoke/tables/parts/S1/runs.parquet"
    snakemake(folder, table, more=more, preexec_fn=limited(resource.RLIMIT_NOFILE, 64))
    assert read_record(folder / RECORD)["digest"] == digest and (folder / table).is_file()
    left = [path for name in ("results", "data", "logs") for path in (folder / name).rglob(".*")]
    assert left == []
    assert not list(tmp_path.rglob("pwned"))
    if not refusing:
        pytest.skip("no C compiler to build the library that refuses system calls; all else has been tried")


def test_a_place_that_snakemake_would_misread_is_refused(flow: Path, tmp_path: Path) -> None:
    """Braces are wildcards to Snakemake in a workflow's own path as well, and end in a traceback without this."""
    folder = copied(flow, tmp_path / "in {braces}")
    done = workflows.snakemake(folder, RECORD, "--cores", "1", "--config", "edition=smoke")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"{folder}: Snakemake reads braces" in done.stdout


def test_a_clone_without_links_is_refused(folder: Path) -> None:
    """By the git of Windows: the file holds what the link led to. Without defaults, `make figures` went on."""
    (folder / "profiles").unlink()
    (folder / "profiles").write_text("workflow/profiles")
    done = workflows.snakemake(folder, RECORD, "--cores", "1", "--dry-run", "--config", "edition=smoke")
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"{folder}/profiles: a file where a link" in done.stdout


@pytest.mark.parametrize("name", ["in {braces}", "a <b"])
def test_a_working_folder_that_jobs_would_refuse_is_refused_first(
    flow: Path, tmp_path: Path, name: str
) -> None:
    """The code lies elsewhere; jobs are told the whole path of data and results."""
    (tmp_path / name).mkdir()
    words = ("--snakefile", str(flow / "Snakefile"), "--cores", "1", "--config", "edition=smoke")
    done = workflows.snakemake(tmp_path / name, RECORD, *words)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert f"{tmp_path / name}: jobs would take {{ }} < >" in done.stdout and "Execute" not in done.stdout


# ---------------------------------------------------------------------------------------------- clones


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone by a git that turns line ends into those of Windows where it may."""
    words = [
        "git",
        "clone",
        "-q",
        "--no-hardlinks",
        "-c",
        "core.autocrlf=true",
        str(ROOT),
        str(tmp_path / "clone"),
    ]
    if not (ROOT / ".git").exists() or subprocess.run(words, check=False, capture_output=True).returncode:
        pytest.skip("no git, or no clone to clone from")
    return tmp_path / "clone"


def test_a_clone_with_autocrlf_runs_its_jobs(clone: Path, flow: Path, digest: str) -> None:
    """A job's own command, a shell script, with the code of that clone."""
    shutil.copytree(flow / "data", clone / "data")
    script = clone / "src" / "dualgrad" / "jobs" / "bin" / "dualgrad"
    assert b"\r" not in script.read_bytes()
    more = {"DUALGRAD_PYTHON": sys.executable, "PYTHONPATH": str(clone / "src")}
    done = subprocess.run(
        [str(script), "train", RUN, *SMOKE],
        cwd=clone,
        env=environment({}) | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert read_record(clone / RECORD)["digest"] == digest


def test_a_copied_clone_is_told_from_the_one_that_it_was_copied_from(folder: Path) -> None:
    """The package beside the Snakefile is not the one that Snakemake imports: which is which, before any job."""
    beside = folder / "src" / "dualgrad"
    shutil.copytree(ROOT / "src" / "dualgrad", beside, ignore=shutil.ignore_patterns("__pycache__"))
    with (beside / "cli.py").open("a") as file:
        file.write("# edited\n")
    done = workflows.snakemake(folder, RECORD, "--dry-run", "--config", "edition=smoke")
    said = done.stdout
    assert done.returncode != 0 and "Traceback" not in said
    assert str(beside) in said and str(ROOT / "src" / "dualgrad") in said and "make clean setup" in said
