"""Class-dependent label noise: drawn by the rows of a matrix, each label on its own; no other matrix is taken."""

from __future__ import annotations

import numpy as np
import pytest

from dualgrad.census.run import UnfitRun, check_part
from dualgrad.data.noise import noisy_labels, transition

MATRIX = [[0.5, 0.4, 0.1], [0.0, 0.9, 0.1], [0.3, 0.0, 0.7]]


def test_labels_follow_the_matrix() -> None:
    truth = np.repeat([0, 1, 2], 20_000)
    noisy = transition(truth, MATRIX, 3)
    found = np.array([[np.mean(noisy[truth == c] == k) for k in range(3)] for c in range(3)])
    assert np.abs(found - MATRIX).max() < 0.012
    assert found[1, 0] == 0 and found[2, 1] == 0  # what has no share never occurs
    spec = {"kind": "transition", "matrix": MATRIX, "rate": 0.3, "seed_offset": 7}
    assert np.array_equal(noisy_labels(check_part("noise", spec), truth, 3, 1), transition(truth, MATRIX, 8))
    assert not np.array_equal(noisy, transition(truth, MATRIX, 4))


def test_each_label_is_drawn_on_its_own() -> None:
    """The first examples get the same labels, however many follow and whatever classes these have."""
    truth = np.random.RandomState(0).randint(0, 3, 500)
    assert np.array_equal(transition(truth, MATRIX, 3)[:100], transition(truth[:100], MATRIX, 3))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"matrix": MATRIX[:2]}, "expected as many shares as there are rows"),
        ({"matrix": [[0.5, 0.4, 0.2], *MATRIX[1:]]}, "expected shares that sum to 1; got 1.1000"),
        ({"rate": 0.4}, "expected that of the matrix, 0.3000; got 0.4"),
        ({"matrix": [[0.5, 0.6, -0.1], *MATRIX[1:]]}, "expected at least 0"),
        ({"map": [[0, 1]]}, "unknown key 'map'"),
    ],
)
def test_what_is_no_matrix_is_refused(change: dict, said: str) -> None:
    spec = {"kind": "transition", "matrix": MATRIX, "rate": 0.3, "seed_offset": 7}
    assert check_part("noise", spec).kind == "transition"
    with pytest.raises(UnfitRun, match=said):
        check_part("noise", {**spec, **change})
