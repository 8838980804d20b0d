"""Kills at random moments: whoever is killed, the next start goes on, and ends with what an undisturbed run gives."""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .pipeline import EDITION, FIGURE, SAVING, TABLES, TRAINED, Failure, Pipeline, Process, roles

SIGNALS = (signal.SIGKILL, signal.SIGTERM)
# When to kill: what must have begun (a rule, or a file being written), the longest wait after that in seconds, and
# what must be missing for that to come.
START = ("", 3.0, ())
MOMENTS = {
    "data": ("data_set", 0.5, ["data/digits/digits.npz"]),
    "training": ("train", 1.5, [f"results/{EDITION}/runs/{name}.json" for name in TRAINED]),
    "saving": ("train_and_save", 0.8, [f"results/{EDITION}/checkpoints/{SAVING}.pt"]),
    "writing": (".tmp", 0.1, [f"results/{EDITION}/runs/{name}.json" for name in TRAINED]),
    "tables": ("table_parts", 0.8, TABLES),
    "figure": ("ED_Fig2_published", 2.0, [f"results/{EDITION}/figures/published/ED_Fig2.png"]),
    "showing": ("show", 0.1, [FIGURE]),
}
_PATIENCE = 300.0  # seconds for a Snakemake that was hurt; a busy machine is no failure
_GRACE = 40.0  # seconds for everything else to follow it: the worker gives its jobs five


@dataclass
class Kill:
    """One kill, as it was done."""

    moment: str
    role: str
    number: signal.Signals
    under_way: tuple[str, ...]  # rules whose jobs were running

    def __str__(self) -> str:
        jobs = f" during {'+'.join(self.under_way)}" if self.under_way else ""
        return f"{self.number.name} to {self.role}{jobs}"


@dataclass
class Tally:
    """What was done, over all pipelines."""

    pipelines: int = 0
    starts: int = 0
    kills: list[Kill] = field(default_factory=list)
    records: int = 0
    seconds: float = 0.0

    def text(self, seed: int) -> str:
        """The counts, in a few lines."""
        lines = [
            f"seed {seed}: {len(self.kills)} kills in {self.pipelines} pipelines ({self.starts} starts, "
            f"{self.seconds:.0f} s); every pipeline completed, {self.records} records read while hurt: "
            "none partial, all digests as undisturbed"
        ]
        for what, values in (
            ("killed", [f"{kill.role} {kill.number.name}" for kill in self.kills]),
            ("moment", [kill.moment for kill in self.kills]),
            ("job under way", [job for kill in self.kills for job in kill.under_way or ("none",)]),
        ):
            counts = ", ".join(f"{name} {count}" for name, count in sorted(Counter(values).items()))
            lines.append(f"  {what}: {counts}")
        return "\n".join(lines)


def undisturbed(folder: Path) -> tuple[dict[str, str], bytes]:
    """Run the pipeline once; the digests of its records, and its figure."""
    pipeline = Pipeline(folder)
    status, messages = pipeline.run()
    if status or pipeline.wait_for_silence(_GRACE) or pipeline.leftovers():
        raise Failure(f"undisturbed: status {status}, left {pipeline.leftovers()}\n{messages}")
    return pipeline.digests(), (folder / FIGURE).read_bytes()


def storm(
    folder: Path,
    kills: int,
    seed: int,
    expected: tuple[dict[str, str], bytes] | None = None,
    per_pipeline: tuple[int, int] = (3, 9),
    say: Callable = print,
) -> Tally:
    """Kill until there were *kills* of them, pipeline after pipeline, each with a random number of kills.

    Args:
        folder: where to work.
        kills: how many.
        seed: of the moments, victims and signals.
        expected: what :func:`undisturbed` returned, or None to do that first.
        per_pipeline: fewest and most kills that a pipeline is meant to get.
        say: gets a line for each pipeline.

    Raises:
        Failure: something did not hold. The folder of that pipeline is left as it is.
    """
    tally, clock = Tally(), time.monotonic()
    if expected is None:
        expected = undisturbed(folder / "undisturbed")
        say(f"undisturbed: {len(expected[0])} records in {time.monotonic() - clock:.1f} s")
    while len(tally.kills) < kills:
        number = tally.pipelines
        dice = random.Random(f"{seed}/{number}")
        wanted = min(dice.randint(*per_pipeline), kills - len(tally.kills))
        pipeline = Pipeline(folder / f"pipeline{number}")
        before = len(tally.kills)
        try:
            _hurt(pipeline, wanted, dice, tally, expected[0])
            _finish(pipeline, tally, *expected)
        except (Failure, ValueError, subprocess.TimeoutExpired) as problem:
            done = "; ".join(map(str, tally.kills[before:]))
            raise Failure(
                f"seed {seed}, pipeline {number} in {pipeline.folder}: {problem}\nafter: {done}\n"
                + pipeline.messages()[-4000:]
            ) from problem
        finally:
            pipeline.end()
        tally.pipelines += 1
        say(f"pipeline {number}: {'; '.join(map(str, tally.kills[before:])) or 'no kill'}: the same digests")
        shutil.rmtree(pipeline.folder)
    tally.seconds = time.monotonic() - clock
    return tally


def _hurt(pipeline: Pipeline, wanted: int, dice: random.Random, tally: Tally, expected: dict) -> None:
    first = len(tally.kills)
    while (done := len(tally.kills) - first) < wanted and (moment := _moment(pipeline, dice)):
        tally.starts += 1
        running = pipeline.start()
        if _wait_for(moment, pipeline, running, dice):
            tally.kills += _strike(moment, pipeline, running, dice)
            # The one that was hurt may still be at it, or just be ending: hurt it again.
            while done + 1 < wanted and dice.random() < 0.5:
                time.sleep(dice.uniform(0.0, 1.5))
                tally.kills += _strike("again", pipeline, running, dice)
                done += 1
        running.wait(timeout=_PATIENCE)
        if alive := pipeline.wait_for_silence(_GRACE):
            raise Failure(f"outlived by {alive}")
        found = pipeline.digests()
        tally.records += len(found)
        if changed := [name for name in found if found[name] != expected[name]]:
            raise Failure(f"other digests of {changed}")


def _finish(pipeline: Pipeline, tally: Tally, expected: dict[str, str], figure: bytes) -> None:
    tally.starts += 1
    status, messages = pipeline.run()  # as before: no --unlock, no --rerun-incomplete
    alive = pipeline.wait_for_silence(_GRACE)
    if status or alive:
        raise Failure(f"did not complete on restart: status {status}, alive {alive}\n{messages}")
    if pipeline.digests() != expected:
        raise Failure("other records than undisturbed")
    if (pipeline.folder / FIGURE).read_bytes() != figure:
        raise Failure("another figure than undisturbed")
    if left := pipeline.leftovers():
        raise Failure(f"left behind: {left}")


def _moment(pipeline: Pipeline, dice: random.Random) -> str | None:
    """Draw one of the moments that are still to come, rather an early one: None where the pipeline is done."""
    coming = [
        moment
        for moment, (_, _, files) in MOMENTS.items()
        if not all((pipeline.folder / name).exists() for name in files)
    ]
    if not coming:
        return None
    return "start" if dice.random() < 0.15 else coming[min(int(dice.expovariate(0.4)), len(coming) - 1)]


def _wait_for(moment: str, pipeline: Pipeline, running: subprocess.Popen, dice: random.Random) -> bool:
    """Wait until a moment has come, and a little longer; False where the pipeline ends before."""
    sign, longest, _ = MOMENTS.get(moment, START)
    delay = dice.uniform(0.0, longest)
    while not _has_come(pipeline, sign):
        if running.poll() is not None:
            return False
        time.sleep(0.02)
    time.sleep(delay)
    return True


def _strike(
    moment: str, pipeline: Pipeline, running: subprocess.Popen, dice: random.Random
) -> Iterator[Kill]:
    """Kill somebody, if Snakemake lives."""
    number, preferred = dice.choice(SIGNALS), dice.random()
    processes = pipeline.processes()
    there = roles(processes, running.pid)
    if "snakemake" not in there:
        return
    choices = [*there, "group"]
    role = choices[int(preferred * len(choices))]
    kill = Kill(moment, role, number, tuple(sorted(set(_jobs(processes)))))
    with contextlib.suppress(ProcessLookupError):  # gone in between
        if role == "group":
            os.killpg(running.pid, number)
        else:
            os.kill(there[role][-1], number)
        yield kill


def _has_come(pipeline: Pipeline, sign: str) -> bool:
    if sign == ".tmp":
        places = (pipeline.results / "runs", pipeline.results / "checkpoints", pipeline.results / "tables")
        return any(next(place.rglob(".*.tmp"), None) for place in places)
    return not sign or re.search(rf"^(local)?rule {sign}:", pipeline.messages(), re.MULTILINE) is not None


def _jobs(processes: Mapping[int, Process]) -> Iterator[str]:
    """Commands that jobs are executing: `train`, `tables`, ..."""
    for process in processes.values():
        for place, word in enumerate(process.words):
            if word.endswith("client.py") or word == "dualgrad.jobs.alone":
                yield process.words[place + 1]
