"""The global random generator that a device's dropout draws from: a GPU has one of its own."""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor


def generator_state(device: torch.device) -> Tensor:
    """Return the state of a device's global generator: uint8, on the CPU."""
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.default_generator.get_state()


def forked_generator(device: torch.device) -> contextlib.AbstractContextManager[None]:
    """Put the generators of the CPU and of a device back afterwards, whatever is drawn in between."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])
