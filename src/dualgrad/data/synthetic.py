"""Stand-ins of the published data's shape, for trying things out without them.

The same arrays on every call. They are no data: a run reads them only where its task says ``synthetic``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dualgrad.data.tokens import BERT_VOCABULARY, TEXTCNN_LENGTH, TEXTCNN_VOCABULARY

Arrays = dict[str, np.ndarray]

# As published (A-G.md#1.1, X-Y.md#1.1): of an image, of the two splits, and of each class of sentences in them.
SHAPE = (3, 32, 32)
IMAGES = {"train": 50_000, "test": 10_000}
SENTENCES = {"train": (29_780, 37_569), "test": (428, 444)}


def sizes_of(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a task says of its synthetic data: ``train``, ``test``, ``shape``, as far as it does."""
    given = task["synthetic"]
    return given if isinstance(given, Mapping) else {}


def images(task: Mapping[str, Any]) -> Arrays:
    """Faint patterns in noise, as many and as large as a task says."""
    given, classes = sizes_of(task), int(task["classes"])
    shape = tuple(given.get("shape", SHAPE))
    state = np.random.RandomState(20260114)
    patterns = state.randint(-24, 25, size=(classes, *shape)).astype(np.int16)
    arrays: Arrays = {}
    for split, usual in IMAGES.items():
        n = given.get(split, usual)
        labels = np.arange(n, dtype=np.int64) % classes
        pixels = state.randint(0, 256, size=(n, *shape), dtype=np.uint8)
        pixels = np.clip(pixels + patterns[labels], 0, 255).astype(np.uint8)
        arrays |= {f"{split}_images": pixels, f"{split}_labels": labels}
    return arrays


def token_ids(task: Mapping[str, Any], reader: str) -> Arrays:
    """Token numbers with a hundred telling words of each class, as ``tokens.tokenised`` returns them."""
    given = sizes_of(task)
    state = np.random.RandomState(20260113)
    cls, lowest = (0, 2) if reader == "textcnn" else (101, 1000)
    vocabulary = TEXTCNN_VOCABULARY if reader == "textcnn" else BERT_VOCABULARY
    arrays: Arrays = {}
    for split, (negative, positive) in SENTENCES.items():
        n = given.get(split) or negative + positive
        labels = np.ones(n, dtype=np.int64)
        labels[: n * negative // (negative + positive)] = 0
        labels = state.permutation(labels)
        ids = state.randint(lowest + 200, vocabulary, size=(n, TEXTCNN_LENGTH))
        # A hundred words of its own give each class away now and then.
        telling = state.random_sample(ids.shape) < 0.1
        ids = np.where(telling, lowest + 100 * labels[:, None] + ids % 100, ids)
        ids[np.arange(TEXTCNN_LENGTH) >= state.randint(6, 50, size=(n, 1))] = 0
        if cls:
            ids[:, 0] = cls
        arrays |= {f"{split}_ids": ids.astype(np.uint16), f"{split}_labels": labels}
    arrays["vocabulary"] = np.array(vocabulary, dtype=np.int64)
    return arrays
