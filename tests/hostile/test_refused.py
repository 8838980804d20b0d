"""Malformed input gets one clear message and a status that is not 0, and changes no file (contract.md#failures)."""

from __future__ import annotations

from collections import Counter

import pytest

from . import archives, claims, files, words
from .case import Case

CASES: list[Case] = [
    *(*words.SETTINGS, *words.EDITIONS, *words.CENSUSES, *words.NETWORKS, *words.COMMANDS),
    *(*claims.CLAIMS, *claims.MAPPINGS, *claims.MANIFESTS),
    *(*files.RECORDS, *files.TABLES_, *files.CHECKPOINTS, *files.PREPARED_DATA, *files.PUBLISHED),
    *(*archives.RELEASE, *archives.ARCHIVES),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_refused(case: Case, refused) -> None:
    refused(case)


def test_there_are_enough_of_them(capsys) -> None:
    """Each is named once; how many there are is printed."""
    assert [name for name, n in Counter(map(str, CASES)).items() if n > 1] == []
    counts = Counter(case.kind for case in CASES)
    with capsys.disabled():
        print(f"\n{len(CASES)} malformed inputs: {', '.join(f'{kind} {n}' for kind, n in counts.items())}")
    assert len(CASES) >= 150
