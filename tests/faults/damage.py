"""Files that are damaged in all ways: what is said about each, and whether doing as told puts everything right."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .pipeline import EDITION, FIGURE, SAVING, STARTING, TARGETS, Failure, Pipeline

RESULTS = f"results/{EDITION}"
WAYS = ("truncated", "emptied", "flipped", "replaced")


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        path: one of that kind.
        other: what it is replaced by: another one's.
        reads: the command that reads it and has to refuse it.
        makes: what must not come of that.
    """

    path: str
    other: str
    reads: tuple[str, ...]
    makes: str


RUN, OTHER_RUN = "S1/lam0.42_seed0", "S2/eta0.4_lam0.5_seed0"
KINDS = {
    "record": Kind(
        f"{RESULTS}/runs/{RUN}.json",
        f"{RESULTS}/runs/{OTHER_RUN}.json",
        ("tables", "S1"),
        f"{RESULTS}/tables/parts/S1/runs.parquet",
    ),
    "needed record": Kind(
        f"{RESULTS}/runs/{SAVING}.json",
        f"{RESULTS}/runs/{OTHER_RUN}.json",
        ("train", STARTING),
        f"{RESULTS}/runs/{STARTING}.json",
    ),
    "checkpoint": Kind(
        f"{RESULTS}/checkpoints/{SAVING}.pt",
        "other.pt",
        ("train", STARTING),
        f"{RESULTS}/runs/{STARTING}.json",
    ),
    "table": Kind(
        f"{RESULTS}/tables/parts/S1/runs.parquet",
        f"{RESULTS}/tables/parts/S2/runs.parquet",
        (
            *("figure", "ED_Fig2", "--tables", f"{RESULTS}/tables"),
            *("--output", f"{RESULTS}/figures/published/ED_Fig2.png"),
        ),
        f"{RESULTS}/figures/published/ED_Fig2.png",
    ),
    "data": Kind(
        "data/digits/digits.npz",
        "data/digit_pairs/digit_pairs.npz",
        ("train", RUN),
        f"{RESULTS}/runs/{RUN}.json",
    ),
}


def damage(folder: Path, kind: Kind, way: str, dice: random.Random) -> None:
    """Damage a file. Its time is that of the damage, as when somebody copied or edited it."""
    path = folder / kind.path
    content = bytearray(path.read_bytes())
    if way == "truncated":
        content = content[: dice.randrange(1, len(content))]
    elif way == "emptied":
        content = bytearray()
    elif way == "flipped":
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
    else:
        content = bytearray((folder / kind.other).read_bytes())
        note = (folder / kind.other).with_suffix(".json")
        if note.is_file() and kind.other.endswith(".npz"):  # not to be told by the note beside it
            shutil.copy(note, path.with_suffix(".json"))
    path.write_bytes(content)


def told_to_delete(message: str, folder: Path) -> list[Path]:
    """Files that a message says to delete."""
    found = re.findall(r"delete (?!it\b)(\S+) and run the same target again", message)
    found += re.findall(r"(\S+) (?:is altered|is truncated|cannot be read)[^\n]*delete it and run", message)
    return [folder / name for name in dict.fromkeys(found)]


def through_snakemake(
    unhurt: Pipeline, folder: Path, kinds: tuple[str, ...], ways: tuple[str, ...], say: Callable = print
) -> Iterator[str]:
    """Damage files of a finished pipeline, ask for its targets, do what the message says, ask again.

    Yields:
        The line that names the damage, for each.

    Raises:
        Failure: not found, not named, or not repaired.
    """
    expected = unhurt.digests(), (unhurt.folder / FIGURE).read_bytes()
    # Records too: what is only a step on the way to something that is there is not made again.
    targets = *TARGETS, *(f"{RESULTS}/runs/{name}.json" for name in expected[0])
    for kind in kinds:
        for way in ways:
            place = folder / f"{kind}-{way}".replace(" ", "-")
            shutil.copytree(unhurt.folder, place, symlinks=True)
            pipeline, one = Pipeline(place), KINDS[kind]
            prepare_others(pipeline)
            damage(place, one, way, random.Random(f"{kind}/{way}"))
            if kind == "data":  # it is read where something is trained
                (place / one.makes).unlink()
            status, messages = pipeline.run(*targets)
            said = [line for line in messages.splitlines() if line.startswith("dualgrad")]
            files = told_to_delete(messages, place)
            if not status or not said or Path(one.path).name not in said[0] or "Traceback" in messages:
                raise Failure(f"{kind} {way}: status {status}, said {said}\n{messages}")
            if not files:
                raise Failure(f"{kind} {way}: does not say what to do: {said}")
            for path in files:
                path.unlink()
            status, messages = pipeline.run(*targets)
            if status or pipeline.digests() != expected[0]:
                raise Failure(f"{kind} {way}: not repaired\n{messages}")
            if (place / FIGURE).read_bytes() != expected[1]:
                raise Failure(f"{kind} {way}: another figure")
            say(f"{kind} {way}: {said[0].replace(str(place) + os.sep, '')}")
            yield said[0]
            pipeline.end()
            shutil.rmtree(place)


def prepare_others(pipeline: Pipeline) -> None:
    """Make the files of others that are put in the place of a checkpoint and of data."""
    from dualgrad.cli import main

    root = ["--root", str(pipeline.folder), "--edition", EDITION]
    target = pipeline.folder / "other.pt"
    if not target.exists():
        words = ["--output", str(pipeline.folder / "other.json"), "--checkpoint", str(target)]
        assert main(["train", SAVING.replace("seed0", "seed1"), *words, *root]) == 0
        assert main(["data", "digit_pairs", "--data-dir", str(pipeline.folder / "data"), *root]) == 0
