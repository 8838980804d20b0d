"""The label tables of one run on the device it trains on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dualgrad.census.run import Run
from dualgrad.data.noise import label_tables
from dualgrad.training.streams import Streams


@dataclass(frozen=True)
class Labels:
    """Label tables over the n training examples (int64 tensors on the task's device).

    Attributes:
        structure: (m,) indices of the examples the structure gradient sees.
        noisy: (n,) labels with noise.
        value: (n,) labels of the value gradient.
        trusted: (k,) indices of the trusted examples, or None.
        trusted_mask: (n,) whether an example is trusted, or None.
    """

    structure: Tensor
    noisy: Tensor
    value: Tensor
    trusted: Tensor | None
    trusted_mask: Tensor | None


def make_labels(run: Run, clean: Tensor, seed: int) -> Labels:
    """Build the label tables of a run from its base seed s, by the published procedures.

    Random value labels without a fixed seed (B, C) came from the CUDA generator, which no other machine repeats;
    here they have a private stream.
    """
    streams = Streams(run.streams.group, run.streams.replicate, seed, "run")
    tables = label_tables(
        run.noise,
        run.value,
        clean.cpu().numpy(),
        run.task.classes,
        seed,
        subset=run.task.subset,
        generator=streams.generator("random_labels"),
    )
    device = clean.device
    trusted = mask = None
    if tables.trusted is not None:
        trusted = torch.from_numpy(tables.trusted).to(device)
        mask = torch.zeros(len(clean), dtype=torch.bool, device=device)
        mask[trusted] = True
    return Labels(
        structure=torch.from_numpy(tables.structure).to(device),
        noisy=torch.from_numpy(tables.noisy).to(device),
        value=torch.from_numpy(tables.value).to(device),
        trusted=trusted,
        trusted_mask=mask,
    )
