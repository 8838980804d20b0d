"""Label noise, value labels and trusted subsets against the check values of the protocol specifications."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from dualgrad.census.run import check_part
from dualgrad.data.errors import DataError
from dualgrad.data.noise import (
    asymmetric_bernoulli,
    asymmetric_exact,
    label_tables,
    noisy_labels,
    random_labels,
    shifted,
    symmetric,
    text_pool,
)
from dualgrad.data.trusted import trusted_subset

N = 50_000
BY_INDEX = np.arange(N) % 10
BY_INDEX_100 = np.arange(N) % 100
# With every label the last class, the noisy label is the drawn k itself.
LAST = np.full(N, 9)

G_MAP = [[9, 1], [2, 0], [4, 7], [3, 5], [5, 3]]
V1_MAP = [[9, 1], [2, 0], [4, 7], [3, 5]]


def head(array: np.ndarray) -> str:
    """First 16 hex digits of the SHA-256 of an int64 little-endian vector."""
    return hashlib.sha256(array.astype("<i8").tobytes()).hexdigest()[:16]


def drawn(seed: int, count: int, classes: int = 10) -> tuple[list[int], list[int]]:
    """The first `count` noisy examples in drawn order, and their draws k, from `symmetric` alone."""
    labels = np.full(N, classes - 1)  # then the noisy label is the draw itself
    indices: list[int] = []
    previous = labels
    for number in range(1, count + 1):
        current = symmetric(labels, classes, (number + 0.5) / N, seed)
        # The noise is nested in the rate, so one example more shows as one more change.
        (new,) = np.flatnonzero((current != labels) & (previous == labels))
        indices.append(int(new))
        previous = current
    return indices, previous[indices].tolist()


@pytest.mark.parametrize(
    ("seed", "first", "sum_04", "sum_08"),
    [  # docs/specification/A-G.md#1.2: numpy seed = run seed + 1000
        (0, [9170, 48685, 31128, 39393, 24265, 30149], 498279001, 1000738375),
        (1, [16890, 35689, 4004, 12407, 39394, 31701], 502711095, 1001619593),
        (2, [14643, 34964, 40026, 44537, 39051, 7104], 501100231, 1002088230),
        (3, [49504, 18937, 22284, 40043, 25697, 40255], 501325274, 1000183812),
        (4, [14349, 8450, 8994, 42013, 48303, 13596], 500484519, 999825807),
    ],
)
def test_symmetric_indices_with_offset(seed, first, sum_04, sum_08):
    assert drawn(seed + 1000, 6)[0] == first
    for rate, total in ((0.4, sum_04), (0.8, sum_08)):
        noisy = symmetric(BY_INDEX, 10, rate, seed + 1000)
        assert np.flatnonzero(noisy != BY_INDEX).sum() == total


@pytest.mark.parametrize(
    ("seed", "indices", "draws", "sums", "draw_sums"),
    [  # docs/specification/I-P.md#0 and docs/specification/Q-R.md#1.2
        (
            0,
            [11841, 19602, 45519, 25747, 42642, 31902],
            [6, 7, 2, 1, 8, 6],
            (499733295, 1000472768),
            (79901, 159733),
        ),
        (
            1,
            [26247, 35067, 34590, 16668, 12196, 2600],
            [1, 1, 2, 4, 3, 7],
            (497809279, 999453135),
            (80332, 160755),
        ),
        (
            1000,
            [9170, 48685, 31128, 39393, 24265],
            [1, 4, 3, 0, 5, 5, 8, 0],
            (498279001, 1000738375),
            (79422, None),
        ),
        (1001, [16890, 35689, 4004, 12407, 39394], [3, 2, 0, 1, 3, 2, 2, 1], (502711095, None), (None, None)),
    ],
)
def test_symmetric_draws(seed, indices, draws, sums, draw_sums):
    found_indices, found_draws = drawn(seed, 8)
    assert found_indices[: len(indices)] == indices
    assert found_draws[: len(draws)] == draws
    for rate, total, draw_total in zip((0.4, 0.8), sums, draw_sums, strict=True):
        noisy = symmetric(LAST, 10, rate, seed)
        if total is not None:
            assert np.flatnonzero(noisy != LAST).sum() == total
        if draw_total is not None:
            assert noisy[noisy != LAST].sum() == draw_total


def test_symmetric_draws_with_100_classes():  # docs/specification/I-P.md#0
    noisy = symmetric(np.full(N, 99), 100, 0.4, 1000)
    assert noisy[noisy != 99].sum() == 978193
    assert drawn(1000, 8, classes=100)[1] == [12, 17, 83, 93, 32, 10, 85, 21]


@pytest.mark.parametrize(
    ("rate", "seed", "first", "labels", "checksum"),
    [  # docs/specification/S-T.md#0.2
        (0.4, 0, [11841, 19602, 45519, 25747, 42642], [7, 8, 2, 1, 9], 5627176596),
        (0.4, 1, [26247, 35067, 34590, 16668, 12196], [1, 1, 3, 4, 3], 5632030469),
        (0.8, 0, [11841, 19602, 45519, 25747, 42642], [7, 8, 2, 1, 9], 5611281964),
    ],
)
def test_symmetric_checksum(rate, seed, first, labels, checksum):
    noisy = symmetric(BY_INDEX, 10, rate, seed)
    assert noisy.dtype == np.int64
    assert noisy[first].tolist() == labels
    assert int((noisy * np.arange(1, N + 1)).sum()) == checksum


@pytest.mark.parametrize(
    ("classes", "seed", "expected"),
    [  # docs/specification/Td-W.md#1
        (10, 0, "308f14dbce74e448"),
        (10, 1, "f75114f497a32030"),
        (10, 100, "8746eb156759e26a"),
        (100, 0, "736e62903e038b8a"),
        (100, 1, "2fe42c51f17797aa"),
        (100, 100, "8ac03c6862655e4f"),
    ],
)
def test_symmetric_hash(classes, seed, expected):
    assert head(symmetric(np.arange(N) % classes, classes, 0.4, seed)) == expected


@pytest.mark.parametrize(
    ("rate", "count"),
    [(0.4, 20000), (0.45, 22500), (0.5, 25000), (0.55, 27500), (0.6, 30000), (0.65, 32500), (0.7, 35000)]
    + [(0.75, 37500), (0.8, 40000), (0.2, 10000)],
)
def test_symmetric_count_is_exact(rate, count):  # docs/specification/A-G.md#1.2
    assert (symmetric(BY_INDEX, 10, rate, 1000) != BY_INDEX).sum() == count


def test_symmetric_equals_the_published_loop():
    """The loop on numpy's global generator, as in the notebooks."""
    for seed, labels, classes in ((3, BY_INDEX[:2000], 10), (4, BY_INDEX_100[:2000], 100)):
        np.random.seed(seed)
        expected = labels.copy()
        for index in np.random.choice(len(labels), int(0.8 * len(labels)), replace=False):
            expected[index] = np.random.choice([c for c in range(classes) if c != labels[index]])
        assert np.array_equal(symmetric(labels, classes, 0.8, seed), expected)


def test_noise_is_nested_in_the_rate():
    low, high = symmetric(BY_INDEX, 10, 0.4, 7), symmetric(BY_INDEX, 10, 0.8, 7)
    changed = low != BY_INDEX
    assert np.array_equal(low[changed], high[changed])


def test_noise_leaves_the_global_generator_and_its_input_alone():
    labels = BY_INDEX.copy()
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    symmetric(labels, 10, 0.4, 0)
    asymmetric_exact(labels, V1_MAP, 0.4, 0)
    text_pool(np.arange(1000) % 2, 0.4, 0.05, 100, 0)
    assert np.array_equal(np.random.get_state()[1], before)
    assert np.array_equal(labels, BY_INDEX)


@pytest.mark.parametrize(
    ("seed", "flips_02", "flips_04"), [(0, 4950, 10000), (1, 4934, 9836), (2, 4892, 10064)]
)
def test_asymmetric_bernoulli_counts(seed, flips_02, flips_04):  # docs/specification/A-G.md#1.3
    low = asymmetric_bernoulli(BY_INDEX, G_MAP, 0.2, seed + 1000)
    high = asymmetric_bernoulli(BY_INDEX, G_MAP, 0.4, seed + 1000)
    assert (low != BY_INDEX).sum() == flips_02
    assert (high != BY_INDEX).sum() == flips_04
    changed = low != BY_INDEX
    assert np.array_equal(low[changed], high[changed])
    for source, target in G_MAP:
        assert set(high[(source == BY_INDEX) & (high != BY_INDEX)]) == {target}
    assert np.array_equal(
        high[np.isin(BY_INDEX, [0, 1, 6, 7, 8])], BY_INDEX[np.isin(BY_INDEX, [0, 1, 6, 7, 8])]
    )


@pytest.mark.parametrize(("seed", "first"), [(0, 0.65358959), (1, 0.30623218), (2, 0.12898829)])
def test_asymmetric_bernoulli_uniforms(
    seed, first
):  # docs/specification/A-G.md#1.3: flip iff u < rate, first draw for the first mapped
    labels = np.array([0, 6, 2, 2, 2])
    assert asymmetric_bernoulli(labels, G_MAP, first - 1e-7, seed + 1000)[2] == 2
    assert asymmetric_bernoulli(labels, G_MAP, first + 1e-7, seed + 1000)[2] == 0
    if seed == 0:
        for position, value in ((3, 0.11500694), (4, 0.95028286)):
            assert asymmetric_bernoulli(labels, G_MAP, value - 1e-7, 1000)[position] == 2
            assert asymmetric_bernoulli(labels, G_MAP, value + 1e-7, 1000)[position] == 0


@pytest.mark.parametrize(
    ("seed", "expected"), [(0, "d613fd833a2bc95a"), (1, "74fd6da421e70d4c"), (2, "fbad93d0f728631f")]
)
def test_asymmetric_exact_hash(seed, expected):  # docs/specification/Td-W.md#V1
    noisy = asymmetric_exact(BY_INDEX, V1_MAP, 0.4, seed)
    assert head(noisy) == expected
    assert (noisy != BY_INDEX).sum() == 8000


@pytest.mark.parametrize(
    ("seed", "first", "sums", "noisy_04", "noisy_08"),
    [  # docs/specification/A-G.md#1.4: numpy seed = run seed + 2000
        (
            0,
            [24939, 17508, 26970, 10868, 33804, 38432],
            (12698492, 62665896, 125637277),
            (184, 989, 1987),
            (408, 1991, 4019),
        ),
        (
            1,
            [29925, 49998, 17503, 23425, 16335, 35012],
            (12492833, 61148762, 123601500),
            (196, 1009, 2022),
            (394, 2020, 4021),
        ),
        (
            2,
            [49086, 17382, 10443, 40789, 3882, 17287],
            (12068115, 61736103, 124712595),
            (198, 962, 1949),
            (393, 1981, 3977),
        ),
    ],
)
def test_trusted_subset(seed, first, sums, noisy_04, noisy_08):
    low = symmetric(BY_INDEX, 10, 0.4, seed + 1000) != BY_INDEX
    high = symmetric(BY_INDEX, 10, 0.8, seed + 1000) != BY_INDEX
    for ratio, size, total, in_low, in_high in zip(
        (0.01, 0.05, 0.10), (500, 2500, 5000), sums, noisy_04, noisy_08, strict=True
    ):
        subset = trusted_subset(N, ratio, seed + 2000)
        assert subset.dtype == np.int64
        assert subset[:6].tolist() == first
        assert (len(subset), len(set(subset.tolist())), int(subset.sum())) == (size, size, total)
        assert (int(low[subset].sum()), int(high[subset].sum())) == (in_low, in_high)


@pytest.mark.parametrize(
    ("seed", "one", "five"),
    [  # docs/specification/Td-W.md#V2: numpy seed = seed + 999
        (0, "ce7acc065b305cfb", "e63a1fa223186af7"),
        (1, "2dbb58391f5dc860", "264ec6c0447e5839"),
        (100, "3e104746a7cba1c9", "3042337f815666f0"),
    ],
)
def test_trusted_subset_hash(seed, one, five):
    assert head(np.sort(trusted_subset(N, 0.01, seed + 999))) == one
    assert head(np.sort(trusted_subset(N, 0.05, seed + 999))) == five


def test_random_labels_of_j():  # docs/specification/I-P.md#J
    labels = random_labels(N, 10, seed=2000)
    assert labels[:12].tolist() == [6, 8, 6, 4, 2, 7, 4, 2, 1, 7, 7, 9]
    assert int(labels.sum()) == 225938


def test_random_labels_from_a_private_generator():  # docs/specification/A-G.md#B
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = random_labels(N, 10, generator=torch.Generator().manual_seed(3))
    two = random_labels(N, 10, generator=torch.Generator().manual_seed(3))
    assert np.array_equal(one, two)
    assert torch.equal(torch.get_rng_state(), before)
    assert abs((one == BY_INDEX).mean() - 0.1) < 0.01  # the true class is not excluded
    with pytest.raises(ValueError, match="seed or a generator"):
        random_labels(10, 10)


def test_shifted():  # docs/specification/A-G.md#B2
    assert shifted(np.array([0, 4, 9]), 10).tolist() == [1, 5, 0]


SST2 = np.repeat([0, 1], [29_780, 37_569])


@pytest.mark.parametrize(
    ("seed", "rate_08", "rate_04"),
    [(0, 0.8005, 0.3968), (1, 0.7982, 0.4017), (2, 0.7988, 0.3956), (3, 0.8009, 0.3990), (4, 0.8023, 0.4024)],
)
def test_text_pool(seed, rate_08, rate_04):  # docs/specification/X-Y.md#1.2
    structure, noisy, trusted = text_pool(SST2, 0.8, 0.05, 16_000, seed)
    assert (len(structure), len(trusted)) == (16_000, 3_367)
    assert np.bincount(SST2[trusted]).tolist() == [1_489, 1_878]
    assert (np.diff(structure) > 0).all() and (np.diff(trusted) > 0).all()
    assert not set(structure.tolist()) & set(trusted.tolist())
    assert np.array_equal(noisy[trusted], SST2[trusted])
    assert (noisy != SST2).sum() == 51_185
    assert (noisy != SST2)[structure].mean() == pytest.approx(rate_08, abs=5.1e-5)

    same_structure, fewer, same_trusted = text_pool(SST2, 0.4, 0.05, 16_000, seed)
    assert (fewer != SST2).sum() == 25_592
    assert np.array_equal(structure, same_structure) and np.array_equal(trusted, same_trusted)
    assert not ((fewer != SST2) & (noisy == SST2)).any()
    assert (fewer != SST2)[structure].mean() == pytest.approx(rate_04, abs=5.1e-5)


@pytest.mark.parametrize(
    ("rate", "mean", "deviation", "low", "high"),
    [(0.8, 0.7995, 0.0028, 0.7919, 0.8051), (0.4, 0.4006, 0.0030, 0.3951, 0.4066)],
)
def test_text_pool_realised_rates(rate, mean, deviation, low, high):  # X-Y.md#1.2, seeds 0-29
    rates = []
    for seed in range(30):
        structure, noisy, _ = text_pool(SST2, rate, 0.05, 16_000, seed)
        rates.append((noisy != SST2)[structure].mean())
    assert np.mean(rates) == pytest.approx(mean, abs=5.1e-5)
    assert min(np.std(rates), np.std(rates, ddof=1)) - 5.1e-5 <= deviation <= np.std(rates, ddof=1) + 5.1e-5
    assert min(rates) == pytest.approx(low, abs=5.1e-5)
    assert max(rates) == pytest.approx(high, abs=5.1e-5)


def test_text_pool_equals_the_published_loop():
    labels = np.random.RandomState(8).randint(0, 2, 3000)
    state = np.random.RandomState(6 + 10_000)
    trusted = np.sort(
        np.concatenate(
            [
                state.choice(
                    np.flatnonzero(labels == c), max(1, int(0.05 * (labels == c).sum())), replace=False
                )
                for c in (0, 1)
            ]
        )
    )
    pool = np.setdiff1d(np.arange(len(labels)), trusted)
    noisy = labels.copy()
    for index in state.choice(pool, int(0.8 * len(pool)), replace=False):
        noisy[index] = state.choice([c for c in range(2) if c != noisy[index]])
    structure = np.sort(state.choice(pool, 500, replace=False))
    found = text_pool(labels, 0.8, 0.05, 500, 6)
    for one, two in zip(found, (structure, noisy, trusted), strict=True):
        assert np.array_equal(one, two)


def test_text_pool_limits():
    labels = np.arange(100) % 2
    assert len(text_pool(labels, 0.4, 0.05, None, 0)[0]) == 96
    with pytest.raises(ValueError, match="only 96"):
        text_pool(labels, 0.4, 0.05, 97, 0)


@pytest.mark.parametrize("rate", [-0.1, 1.5])
def test_rates_are_checked(rate):
    with pytest.raises(ValueError, match="outside"):
        symmetric(BY_INDEX, 10, rate, 0)
    with pytest.raises(ValueError, match="outside"):
        trusted_subset(100, rate, 0)


def noise_of(**given):
    return check_part("noise", given)


def test_dispatch():
    noise = noise_of(kind="symmetric", rate=0.4, seed_offset=1000)
    assert np.array_equal(noisy_labels(noise, BY_INDEX, 10, 2), symmetric(BY_INDEX, 10, 0.4, 1002))
    fixed = noise_of(kind="symmetric", rate=0.4, seed=1000)
    assert np.array_equal(noisy_labels(fixed, BY_INDEX, 10, None), symmetric(BY_INDEX, 10, 0.4, 1000))
    noise = noise_of(kind="asymmetric_bernoulli", rate=0.2, seed_offset=1000, map=G_MAP)
    assert np.array_equal(
        noisy_labels(noise, BY_INDEX, 10, 1), asymmetric_bernoulli(BY_INDEX, G_MAP, 0.2, 1001)
    )
    noise = noise_of(kind="asymmetric_exact", rate=0.4, seed_offset=0, map=V1_MAP)
    assert head(noisy_labels(noise, BY_INDEX, 10, 0)) == "d613fd833a2bc95a"
    with pytest.raises(DataError, match="base seed"):
        noisy_labels(noise_of(kind="symmetric", rate=0.1, seed_offset=0), BY_INDEX, 10, None)


def image_tables(seed=0, **value):
    noise = noise_of(kind="symmetric", rate=0.4, seed_offset=1000)
    return label_tables(noise, check_part("value", value), BY_INDEX, 10, seed)


def test_label_tables_of_images():
    tables = image_tables(3)
    assert np.array_equal(tables.noisy, symmetric(BY_INDEX, 10, 0.4, 1003))
    assert np.array_equal(tables.value, BY_INDEX) and tables.trusted is None
    assert np.array_equal(tables.structure, np.arange(N))

    tables = image_tables(labels="trusted", trusted={"ratio": 0.01, "seed_offset": 2000})
    assert tables.trusted[:3].tolist() == [24939, 17508, 26970]
    assert int(image_tables(labels="random", random={"seed": 2000}).value.sum()) == 225938
    assert image_tables(labels="random", random={"seed_offset": 0}).value is None
    assert image_tables(labels="shifted").value[0] == 1


def test_label_tables_of_text():
    noise = noise_of(kind="text_pool", rate=0.8, seed_offset=10_000)
    value = check_part("value", {"labels": "trusted_batches", "trusted": {"ratio": 0.05}})
    tables = label_tables(noise, value, SST2, 2, 1, subset=16_000)
    structure, noisy, trusted = text_pool(SST2, 0.8, 0.05, 16_000, 1)
    assert np.array_equal(tables.structure, structure)
    assert np.array_equal(tables.noisy, noisy)
    assert np.array_equal(tables.trusted, trusted)
    assert np.array_equal(tables.value, SST2)
