"""The epochs of a stage, one by one: which λ, how many steps, whether to evaluate at its end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dualgrad.census.run import EvaluateAt, Segment, Stage


@dataclass(frozen=True)
class PlannedEpoch:
    """One epoch of a stage.

    Attributes:
        segment: 0-based index of its segment.
        lam: λ, or None where nothing is trained.
        direction: ``up``, ``down`` or None.
        steps: updates in this epoch, or None for the task's steps per epoch.
        segment_end: last epoch of its segment.
        evaluate: evaluate at its end.
    """

    segment: int
    lam: float | None
    direction: str | None
    steps: int | None
    segment_end: bool
    evaluate: bool


def plan_stage(
    stage: Stage, max_steps: int | None = None, max_epochs: int | None = None
) -> list[PlannedEpoch]:
    """Return the epochs of a stage in order.

    Args:
        stage: a stage of a resolved run; a stage without segments trains nothing (trap selection, Td2).
        max_steps: with a number, the stage is cut to one epoch of so many steps (trial runs on synthetic data).
        max_epochs: with a number, the stage ends after so many epochs, which are those of the whole stage; only the
            last one is evaluated in any case.
    """
    epochs: list[tuple[int, Segment, int | None, bool]] = []
    for number, segment in enumerate(stage.segments):
        if segment.epochs is None:
            epochs.append((number, segment, segment.steps, True))
        else:
            epochs += [
                (number, segment, None, epoch == segment.epochs - 1) for epoch in range(segment.epochs)
            ]
    if max_steps is not None:
        epochs = [(0, stage.segments[0], max_steps, True)] if epochs else []
    at_end = isinstance(stage.evaluate, EvaluateAt)
    every = None if isinstance(stage.evaluate, EvaluateAt) else stage.evaluate.every
    planned = []
    for position, (number, segment, steps, segment_end) in enumerate(epochs, start=1):
        due = position == len(epochs) or (at_end and segment_end) or bool(every and position % every == 0)
        planned.append(PlannedEpoch(number, segment.lam, segment.direction, steps, segment_end, due))
    if max_epochs is not None and len(planned) > max_epochs:
        planned = planned[:max_epochs]
        planned[-1] = replace(planned[-1], evaluate=True)
    return planned
