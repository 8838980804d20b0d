"""Learning-rate schedules: pure functions of the epoch and the update."""

from __future__ import annotations

from dualgrad.census.run import Constant, Multistep, Schedule


def lr_factor(schedule: Schedule, *, epoch: int, update: int, total_updates: int) -> float:
    """Return the factor on the base learning rate for one update.

    Args:
        schedule: constant; multistep, by epochs of the session; or warm-up and linear decay, by updates
            (docs/specification/X-Y.md#1.6 schedule "WL").
        epoch: 0-based epoch of the session.
        update: 0-based update of the session.
        total_updates: updates planned for the session (used by ``warmup_linear``).
    """
    if isinstance(schedule, Constant):
        return 1.0
    if isinstance(schedule, Multistep):
        return schedule.gamma ** sum(epoch >= milestone for milestone in schedule.milestones)
    warmup = int(schedule.warmup * total_updates)
    if update < warmup:
        return update / warmup
    return (total_updates - update) / max(1, total_updates - warmup)
