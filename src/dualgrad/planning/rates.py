"""Seconds: how long a run takes on a device, and where the number comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dualgrad.planning.networks import SMALL, numbers_of
from dualgrad.planning.work import work_of

# Seconds that a job takes beside its training: start of the process, imports, the record.
START = {"cpu": 0.02, "cuda": 5.0}
# How many times longer than the published runs on their A100. On the GPU assumed, from its peak rates (TF32 156,
# float32 19.5, float64 9.7 TFLOP/s) and what the published runs reached (about 30); on the CPU from two cores that
# reached 100 GFLOP/s in float32 and 26 in float64 on ResNet-18. A calibration replaces them.
ASSUMED_FACTORS = {
    ("cuda", "published"): 1.0,
    ("cuda", "float32"): 3.0,
    ("cuda", "float64"): 6.0,
    ("cpu", "published"): 300.0,
    ("cpu", "float32"): 300.0,
    ("cpu", "float64"): 1100.0,
}


def seconds(run: Mapping[str, Any], device: str = "cuda") -> float:
    """Estimate how many seconds a resolved run takes, without importing torch and without reading a file.

    For published networks: the seconds that the publication recorded for this run, or for as many passes through
    its network, times an assumed factor for precision and device (ASSUMED_FACTORS). The trainer here does less work
    than the notebooks did, so this is rather too long than too short. For the demo's networks: measured on a CPU.
    A run that nobody timed counts in full even where gates or stop rules may end it early. About 6 µs a call.

    Args:
        run: a resolved run of any edition that trains.
        device: ``cuda`` or ``cpu``; the demo's networks always count as on a CPU.

    Raises:
        KeyError: an unknown data set, device or precision.
    """
    task = run["task"]
    work = work_of(run)
    if not work.runs:  # a copy of another run
        return START["cpu"]
    if task["dataset"] in SMALL:
        return START["cpu"] + numbers_of(task).seconds * work.units * 1e-6
    recorded = None if run["synthetic"] else run["seconds_recorded"]
    if recorded is None:
        recorded = numbers_of(task).seconds * work.units_published * 1e-6
    return START[device] + recorded * ASSUMED_FACTORS[device, run["precision"]]
