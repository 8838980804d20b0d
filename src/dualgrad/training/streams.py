"""Private random streams: every use of chance has a generator of its own (contract.md#determinism).

A stream is named by what it is for, the stream group of the experiment, replicate, seed, session and an index (epoch,
pass over the data, …). It depends on nothing else, so evaluating more often, logging more, resuming at an epoch or
running on other cores changes nothing; runs that share all of these share the stream.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Streams:
    """The streams of one training session.

    Attributes:
        group: stream group, usually the experiment's name (runs that were one training in the release share it).
        replicate: index that keeps independent executions of one grid apart (M1).
        seed: the seed the session was started with, s + offset.
        session: label of the session within its run.
    """

    group: str
    replicate: int
    seed: int
    session: str

    def seed_for(self, name: str, *index: int) -> int:
        """Return the 63-bit seed of stream ``name`` at ``index``."""
        key = json.dumps([name, self.group, self.replicate, self.seed, self.session, *index])
        return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1

    def generator(self, name: str, *index: int, device: torch.device | str = "cpu") -> torch.Generator:
        """Return a fresh generator on ``device`` seeded for stream ``name`` at ``index``."""
        generator = torch.Generator(device=device)
        generator.manual_seed(self.seed_for(name, *index))
        return generator
