"""Learning-rate schedules: pure functions of the epoch and the update."""

from __future__ import annotations


def lr_factor(schedule: dict, *, epoch: int, update: int, total_updates: int) -> float:
    """Return the factor on the base learning rate for one update.

    Args:
        schedule: ``{kind: constant}``; ``{kind: multistep, milestones, gamma}`` in epochs of the session;
            ``{kind: warmup_linear, warmup}`` per update (docs/specification/X-Y.md#1.6 schedule "WL").
        epoch: 0-based epoch of the session.
        update: 0-based update of the session.
        total_updates: updates planned for the session (used by ``warmup_linear``).

    Raises:
        ValueError: unknown kind.
    """
    kind = schedule["kind"]
    if kind == "constant":
        return 1.0
    if kind == "multistep":
        return schedule["gamma"] ** sum(epoch >= milestone for milestone in schedule["milestones"])
    if kind == "warmup_linear":
        warmup = int(schedule["warmup"] * total_updates)
        if update < warmup:
            return update / warmup
        return (total_updates - update) / max(1, total_updates - warmup)
    raise ValueError(f"schedule kind {kind!r}: expected constant, multistep or warmup_linear")
