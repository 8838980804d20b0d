"""Steps of a run in a process of their own, a turn at a time: ``python turns.py RUN DATA THREADS PASS``.

Run by its path (see ``against``), under whichever version of the package PYTHONPATH names, in the folder of that
version's census. It answers each line ``KIND COUNT`` with the processor seconds of so many steps of that kind. With
``autograd`` as PASS, a backward pass that a network writes out itself is not taken.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from dualgrad.bench import step
from dualgrad.bench.sides import make_sides
from dualgrad.census import load_census


def main(name: str, data_dir: str, threads: str, way: str) -> None:
    """Answer until standard input ends; the first line says which kinds of step there are."""
    run: Any = load_census(Path(), {"edition": "demo"}).run(name)
    try:
        from dualgrad.census.run import read
        from dualgrad.records import definition
    except ImportError:  # in former versions runs are plain dicts
        value, method = run["value"], run["method"]
        period = value["period"]
    else:
        run = read(definition(run))
        method, period = run.method, run.value.period
    sides = make_sides(
        run, Path(data_dir), torch.device("cpu"), int(threads), workers=0, published=False, endless=True
    )
    if way == "autograd":
        sides.session._training_pass = None
    make = getattr(step, "our_steps", None) or step._ours  # type: ignore[attr-defined]
    batches = step.batches_of(sides)
    weights = (
        {"refresh": 1.0}
        if period == 1 or method != "dual"
        else {"refresh": 1 / period, "plain": 1 - 1 / period}
    )
    pieces = {kind: make(sides, batches, kind) for kind in weights}
    for piece in pieces.values():
        piece(3)
    print(json.dumps(weights), flush=True)
    for line in sys.stdin:
        kind, count = line.split()
        began = time.process_time()
        pieces[kind](int(count))
        print(time.process_time() - began, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
