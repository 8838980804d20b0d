"""Train a random sample of the recorded runs again and compare digests.

The sample is drawn from the records that the edition has: of all experiments, or of those that are named. A run that
is named itself (EXPERIMENT/RUN) is verified in any case. Nothing in the results is changed. Leaves with 1 if a run
comes out differently, cannot be verified, or is recorded under another definition than the census has now.

    dualgrad verify --sample 20
    dualgrad verify R1a Td1 --sample 5 --seed 7 --edition paper
    dualgrad verify A/lam0.35_eta0.4_seed0 --json
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import click

from dualgrad.arguments import EXPERIMENT_OR_RUN, job_options, json_option, output_option, verb

if TYPE_CHECKING:
    from dualgrad.training.verify import Verdict

SAMPLE = 10


def _size(text: str) -> int:
    if text == "all":
        return sys.maxsize
    if not re.fullmatch(r"0*[1-9][0-9]{,8}", text):
        raise ValueError(f"expected a positive number or 'all'; got '{text}'")
    return int(text)


def preload(root: Path, overrides: dict, given: SimpleNamespace) -> bool:
    """Import and read, before a worker forks, what the runs to verify need; return whether any of it is new."""
    from dualgrad.commands import train

    return train.read_for(root, overrides, given.names)


@verb
@click.argument(
    "names",
    type=EXPERIMENT_OR_RUN,
    nargs=-1,
    help="experiments to draw the sample from, or runs to verify (default: all experiments)",
)
@click.option(
    "--sample",
    type=_size,
    metavar="N",
    help=f"number of runs to draw (default: {SAMPLE}; 'all': every one)",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="seed of the draw; another one draws others"
)
@json_option(help="write the verdicts as JSON")
@output_option(help="also write the JSON to this file, if all are the same")
@job_options
def run(args: SimpleNamespace) -> int:
    """Draw the sample, train it again, say what came of it."""
    from dualgrad.project import load_project
    from dualgrad.training.verify import SAME, recorded_runs, sample_of, verify_all

    project = load_project(args.root, args.config)
    census, edition = project.census, project.edition
    if project.ingested:
        print(f"dualgrad verify: the edition {edition} is not trained; it has no records", file=sys.stderr)
        return 2
    named = [name for name in args.names if "/" in name]
    for name in named:
        census.run(name)  # refused in words if there is none
    chosen = named
    total = len(named)
    experiments = [name for name in args.names if "/" not in name]
    if experiments or not named:
        known = recorded_runs(census, project.records, experiments)
        total = len(set(known) | set(named))
        drawn = sample_of([run for run in known if run not in named], args.sample or SAMPLE, args.seed)
        chosen = named + drawn
    if not chosen:
        print(
            f"dualgrad verify: no records in {project.records}; train something of the edition {edition} first",
            file=sys.stderr,
        )
        return 2

    from dualgrad.jobs import handed_over
    from dualgrad.jobs.inputs import trained_to_verify
    from dualgrad.training.devices import choose_device
    from dualgrad.training.trainer import Context

    for name in chosen if args.data is None else ():
        handed_over.prepare_missing(census, census.run(name), project.data)
    show = _Show(chosen, total, edition, args.json)
    context = Context(
        records=project.records,
        checkpoints=project.checkpoints,
        data_dir=handed_over.data_folder(args.data, project.data),
        needed=handed_over.files_of_other_runs(args.needs),
        device=choose_device(project.settings["device"], project.edition_file["device"]),
        threads=project.settings["threads_per_job"],
        **handed_over.own_context(
            project, [one for name in chosen for one in trained_to_verify(name, census)], args.files
        ),
        report=show.epoch,
    )
    verdicts = verify_all(chosen, census, context, show.verdict)
    same = all(verdict.result == SAME for verdict in verdicts)
    report = {
        "edition": edition,
        "records": total,
        "seed": args.seed,
        "same": same,
        "runs": [verdict.as_json() for verdict in verdicts],
    }
    text = json.dumps(report, indent=2)
    if args.output and same:
        from dualgrad.records import write_atomically

        write_atomically(args.output, f"{text}\n".encode())
    if args.json:
        print(text)
    else:
        show.summary(verdicts)
    return 0 if same else 1


class _Show:
    """What people see: a table that grows by a row per run, and on a terminal the epoch under way."""

    def __init__(self, runs: list[str], total: int, edition: str, quiet: bool) -> None:
        self._runs, self._total, self._edition, self._quiet = runs, total, edition, quiet
        self._width = max(map(len, runs))
        self._done = 0
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        if not quiet:
            print(f"{len(runs)} of {total} records of the edition {edition}, trained again:")
            print(f"{'run':{self._width}}  {'recorded':12}  {'again':12}  {'seconds':>8}  result", flush=True)

    def epoch(self, done: int, total: int, error: float | None) -> None:
        """Show how far the run under way is: on a terminal often, elsewhere every half minute."""
        now = time.monotonic()
        if now - self._last < (0.2 if self._terminal else 30.0):
            return
        self._last = now
        text = f"[{self._done + 1} of {len(self._runs)}] {self._runs[self._done]}: epoch {done} of {total}"
        print(
            f"\r\x1b[K{text}" if self._terminal else text, end="" if self._terminal else "\n", file=sys.stderr
        )
        sys.stderr.flush()

    def verdict(self, number: int, verdict: Verdict) -> None:
        """Add a row."""
        self._done = number
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        if self._quiet:
            return
        recorded, again = ((digest or "-")[:12] for digest in (verdict.recorded, verdict.again))
        row = f"{verdict.run:{self._width}}  {recorded:12}  {again:12}  {verdict.seconds:8.1f}  {verdict.result}"
        print(row, flush=True)
        for line in (*verdict.differs, *filter(None, [verdict.note])):
            print(f"    {line}", flush=True)

    def summary(self, verdicts: list[Verdict]) -> None:
        """Close the table."""
        same = sum(verdict.result == "same" for verdict in verdicts)
        print(f"{same} of {len(verdicts)} the same")
