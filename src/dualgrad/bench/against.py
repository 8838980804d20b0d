"""``dualgrad bench --against COMMIT``: this version beside another one, in turns, each in processes of its own.

The other version is taken from the repository's history into a temporary folder and runs in this environment, with
its own census and its own data. Times are those of the processor (steps: the process's own; commands: with all
processes that they start), so that other work on the machine does little harm.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dualgrad
from dualgrad.bench import turns
from dualgrad.bench.processes import Took, environment, execute
from dualgrad.bench.timing import measurement
from dualgrad.validation import InputError

PIECE = 0.3  # seconds of one turn of steps
# Where the launcher of Snakemake is, now and before.
_LAUNCHERS = ("jobs/launcher.py", "launcher.py")


@dataclass(frozen=True)
class Version:
    """A version of the project: what it is called, its folder with config and workflow, its package, its data."""

    name: str
    root: Path
    package: Path
    data: Path

    def environment(self) -> dict[str, str]:
        """This process's environment with the version's package, without what a workflow around it has put there."""
        return environment({"PYTHONPATH": str(self.package)})

    def execute(self, words: Sequence[str], folder: Path | None = None) -> Took:
        """Run a command under this version; errors as from :func:`processes.execute`."""
        return execute(words, folder or self.root, self.environment(), f"--against {self.name}")


def commit_of(root: Path, name: str) -> str:
    """Return the full name of a commit of the repository that the project lies in.

    Raises:
        InputError: no such commit, no repository, no git.
    """
    try:
        words = ["git", "-C", str(root), "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except OSError:
        raise InputError("bench", "--against", "there is no git here") from None
    if done.returncode:
        raise InputError(
            "bench", "--against", f"expected a commit of the repository around {root}; got {name}"
        )
    return done.stdout.strip()


@contextmanager
def both(root: Path, data_dir: Path, commit: str) -> Iterator[tuple[Version, Version]]:
    """This version and another one, with data of its own made from what was downloaded for this one."""
    full = commit_of(root, commit)
    words = ["git", "-C", str(root), "archive", full]
    packed = subprocess.run(words, capture_output=True, check=True).stdout
    with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
        folder = Path(scratch)
        subprocess.run(["tar", "-x", "-C", scratch], input=packed, check=True)
        ours = Version("ours", root.resolve(), Path(dualgrad.__file__).parents[1], data_dir.resolve())
        other = Version(full[:7], folder, folder / "src", folder / "data")
        for file in data_dir.glob("*/*.tar.gz"):
            place = other.data / file.relative_to(data_dir)
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, place)
        yield ours, other


# ---------------------------------------------------------------------------------------------------------- steps


def bench_steps(
    root: Path, data_dir: Path, commit: str, names: Sequence[str], threads: int, rounds: int
) -> list[dict]:
    """Return the processor's milliseconds of a training step of both versions, in turns.

    A network whose backward pass the other version writes out itself is measured with autograd there as well.

    Args:
        root: folder of the project, in its repository.
        data_dir: folder of prepared data sets.
        commit: the other version.
        names: runs of the edition ``demo``.
        threads: of both.
        rounds: how often each takes its turn.
    """
    with both(root, data_dir, commit) as (ours, other):
        kinds = dict.fromkeys("reviews" if name.startswith(("X", "Y")) else "digits" for name in names)
        for kind in kinds:
            words = ["-P", "-m", "dualgrad", "data", kind, "--data-dir", str(other.data)]
            other.execute([sys.executable, *words])
        return [_steps(ours, other, name, threads, rounds) for name in names]


class _Child:
    """A process that does steps of one version when it is told to."""

    def __init__(self, version: Version, name: str, threads: int, way: str) -> None:
        words = [sys.executable, "-P", str(Path(turns.__file__)), name, str(version.data), str(threads), way]
        self.process = subprocess.Popen(
            words,
            cwd=version.root,
            env=version.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            self.weights: dict[str, float] = json.loads(self._answer())
        except ValueError:
            self.end()
            raise InputError(
                "bench", f"--against {version.name}", f"{name} cannot be trained there"
            ) from None
        self.counts = {
            kind: max(1, round(PIECE / max(self._ask(kind, 10) / 10, 1e-6))) for kind in self.weights
        }

    def turn(self) -> float:
        """Milliseconds of a mean step."""
        each = (
            w * self._ask(kind, self.counts[kind]) / self.counts[kind] for kind, w in self.weights.items()
        )
        return 1000 * sum(each)

    def _ask(self, kind: str, count: int) -> float:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{kind} {count}\n")
        self.process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def _steps(ours: Version, other: Version, name: str, threads: int, rounds: int) -> dict:
    with ExitStack() as opened:
        children = {}
        for shown, version, way in (
            ("ours", ours, "own"),
            (other.name, other, "own"),
            (f"{other.name}, autograd", other, "autograd"),
        ):
            children[shown] = _Child(version, name, threads, way)
            opened.callback(children[shown].end)
        took: dict[str, list[float]] = {shown: [] for shown in children}
        for number in range(rounds):
            for shown in list(children)[:: -1 if number % 2 else 1]:
                took[shown].append(children[shown].turn())
    counts = {f"{kind}_steps_of_a_turn": count for kind, count in children["ours"].counts.items()}
    return _with_ours_over(measurement(f"step of {name}, processor time", "ms", took, **counts))


def _with_ours_over(result: dict) -> dict:
    """A result with the ratios of medians that changes are judged by: ours over each of the others."""
    medians = {name: one["median"] for name, one in result["values"].items()}
    ratios = {
        f"ours_over_{name}": medians["ours"] / value for name, value in medians.items() if name != "ours"
    }
    result["details"] |= ratios
    return result


# ------------------------------------------------------------------------------------------------------- commands


def bench_runs(root: Path, data_dir: Path, commit: str, names: Sequence[str], rounds: int) -> list[dict]:
    """Return what runs of the demo take through Snakemake and the worker, with all that is around their training.

    Args:
        root, data_dir, commit: as from :func:`bench_steps`.
        names: runs; those that they need are trained too.
        rounds: how often each takes its turn, from an empty folder of results.
    """
    wall: dict[str, list[float]] = {}
    cpu: dict[str, list[float]] = {}
    targets = [f"results/demo/runs/{name}.json" for name in names]
    with both(root, data_dir, commit) as (ours, other), tempfile.TemporaryDirectory() as scratch:
        copies = (_copied(ours, Path(scratch)), other)
        for version in copies:
            _snakemake(version, targets[:2])  # makes the data sets
        for number in range(rounds):
            for version in copies[:: -1 if number % 2 else 1]:
                shutil.rmtree(version.root / "results")
                took = _snakemake(version, targets)
                done = len(list((version.root / "results").glob("demo/runs/*/*.json")))
                wall.setdefault(version.name, []).append(took.seconds / done)
                cpu.setdefault(version.name, []).append(took.cpu / done)
    what = f"{len(names)} runs of the demo through Snakemake, two at once"
    order = ("ours", other.name)
    return [
        _with_ours_over(
            measurement(f"{what}, processor time of a run", "s", {name: cpu[name] for name in order})
        ),
        measurement(f"{what}, wall time of a run", "s", {name: wall[name] for name in order}),
    ]


def _copied(version: Version, folder: Path) -> Version:
    """A copy of a version's workflow whose results can be thrown away."""
    from dualgrad.bench.pipeline import copy_workflow

    copy_workflow(version.root, folder)
    for file in version.data.glob("*/*.tar.gz"):
        place = folder / "data" / file.relative_to(version.data)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, place)
    return Version(version.name, folder, version.package, folder / "data")


def _snakemake(version: Version, targets: Sequence[str]) -> Took:
    place = next(one for one in _LAUNCHERS if (version.package / "dualgrad" / one).is_file())
    module = f"dualgrad.{place.removesuffix('.py').replace('/', '.')}"
    start = f"from {module} import main; main()"
    return version.execute([sys.executable, "-P", "-c", start, *targets, "--cores", "2"])


def bench_setup(root: Path, commit: str, rounds: int) -> list[dict]:
    """Return what ``make setup`` takes in a fresh clone of either version, in turns.

    Downloads come from the caches of uv and pip as they are on the machine: fill them before, by an environment of
    either kind.
    """
    full = commit_of(root, commit)
    clones = {"ours": commit_of(root, "HEAD"), full[:7]: full}
    wall: dict[str, list[float]] = {name: [] for name in clones}
    cpu: dict[str, list[float]] = {name: [] for name in clones}
    for number in range(rounds):
        for name in list(clones)[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(prefix="dualgrad-bench-") as scratch:
                folder = Path(scratch) / "clone"
                version = Version(name, folder, folder / "src", folder / "data")
                version.execute(
                    ["git", "clone", "--quiet", "--no-checkout", str(root), str(folder)], Path(scratch)
                )
                version.execute(["git", "checkout", "--quiet", "--detach", clones[name]])
                took = version.execute(["make", "setup"])
            wall[name].append(took.seconds)
            cpu[name].append(took.cpu)
    uses = "uv" if shutil.which("uv") else "pip"
    return [
        _with_ours_over(measurement("make setup in a fresh clone, wall time", "s", wall, installer=uses)),
        _with_ours_over(measurement("make setup in a fresh clone, processor time", "s", cpu, installer=uses)),
    ]
