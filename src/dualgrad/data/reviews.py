"""The embedded text: 10,605 rated movie-review snippets from the source distribution of vaderSentiment 2.5.

Only token numbers are kept; the sentences stay in the distribution's archive. The label is the sign of the
mean rating (DESIGN section 3); the 37 snippets rated exactly 0 have none and are left out, which leaves
10,568.
"""

from __future__ import annotations

import importlib.util
import io
import math
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from dualgrad.data.errors import DataError
from dualgrad.data.store import check_file, content_digest, load_arrays, member, save_arrays, tar_member

SDIST = "vaderSentiment-2.5.tar.gz"
SDIST_SHA256 = "b960c954831f5ca58afee61780cc04ed48e551b91e783bfcbfb2c18bb8081a84"
_INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"
_LIMIT = 16 << 20

PAD, UNKNOWN, CLS, FIRST_WORD = 0, 1, 2, 3
MAX_LENGTH = 60  # the longest snippet has 58 tokens, and [CLS] comes first
TEST_PER_CLASS, PRETRAIN_PER_CLASS = 400, 2000
SPLIT_SEED = 20260112
DIGEST = "c6248c7d5a3535d7f2ad2a6f5be460908783b21c30b5ee5a0b595be0cc438a6d"

_TOKEN = re.compile(r"\w+(?:'\w+)*|[^\w\s]")


def _download(folder: Path) -> Path:
    """Let pip fetch the source distribution: it knows the user's index, proxy and certificates."""
    target = folder / SDIST
    manual = (
        f"fetch {SDIST} from the package index on a machine that can "
        "(pip download --no-deps --no-binary :all: vaderSentiment==2.5) and give it with --from"
    )
    if importlib.util.find_spec("pip") is None:
        raise DataError(f"this Python has no pip to download {SDIST} with: {manual}")
    problem = ""
    with tempfile.TemporaryDirectory() as scratch:
        # With a hash in a requirements file pip checks the archive before it runs anything from it.
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"vaderSentiment==2.5 --hash=sha256:{SDIST_SHA256}\n")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--no-binary", "vaderSentiment", "--dest", scratch, "-r", str(wanted)]
        if importlib.util.find_spec("setuptools") is not None:
            # pip reads the package's metadata by its setup script; with setuptools here it need not fetch
            # another.
            command.append("--no-build-isolation")
        for attempt in range(3):
            if attempt:
                time.sleep(2**attempt)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = Path(scratch) / SDIST
            if done.returncode == 0 and found.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                partial = target.with_suffix(".part")
                shutil.move(found, partial)
                partial.replace(target)
                return target
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            problem = " ".join(lines[-2:]) or f"pip ended with status {done.returncode}"
    raise DataError(f"{SDIST} could not be downloaded ({problem}): {manual}")


def _snippets(sdist: Path) -> tuple[list[str], np.ndarray]:
    inner = member(sdist, _INNER, _LIMIT)
    content = tar_member(io.BytesIO(inner), f"{sdist}/{_INNER}", _SNIPPETS, _LIMIT)
    try:
        rows = [line.split("\t") for line in content.decode("utf-8").split("\n") if line.strip()]
        rated = [(sentence, float(rating)) for _, rating, sentence in rows]
    except ValueError as error:  # no UTF-8, not three fields, no number
        raise DataError(
            f"{sdist}: {_SNIPPETS}: expected number, rating and sentence in a row ({error})"
        ) from error
    if len(rows) != 10_605 or not all(math.isfinite(rating) for _, rating in rated):
        raise DataError(f"{sdist}: {_SNIPPETS} does not hold 10,605 rows of number, rating and sentence")
    rated = [(sentence, rating) for sentence, rating in rated if rating != 0]
    return [sentence for sentence, _ in rated], np.array([rating > 0 for _, rating in rated], dtype=np.int64)


def tokens(sentence: str) -> list[str]:
    """Lower-case words (with inner apostrophes) and single punctuation marks."""
    return _TOKEN.findall(sentence.lower())


def _split(labels: np.ndarray) -> dict[str, np.ndarray]:
    """Indices of test and pretraining sentences, as many of either class, and of the rest, for training."""
    state = np.random.RandomState(SPLIT_SEED)
    parts: dict[str, list[np.ndarray]] = {"test": [], "pretrain": [], "train": []}
    for c in (0, 1):
        members = state.permutation(np.flatnonzero(labels == c))
        cuts = np.split(members, [TEST_PER_CLASS, TEST_PER_CLASS + PRETRAIN_PER_CLASS])
        for part, indices in zip(parts, cuts, strict=True):
            parts[part].append(indices)
    return {part: np.sort(np.concatenate(indices)) for part, indices in parts.items()}


def encode(sentences: list[str], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Token numbers (n, MAX_LENGTH) uint16 and labels (n,) of the three splits.

    0 pads, 1 is an unknown word, 2 begins each sentence, and words follow by falling frequency (ties: first
    seen first) over the training and pretraining sentences; a smaller vocabulary is a cut of this one.
    """
    splits = _split(labels)
    tokenised = [tokens(sentence) for sentence in sentences]
    seen = np.sort(np.concatenate([splits["train"], splits["pretrain"]]))
    counts = Counter(word for index in seen for word in tokenised[index])
    numbers = {word: FIRST_WORD + rank for rank, (word, _) in enumerate(counts.most_common())}
    ids = np.full((len(sentences), MAX_LENGTH), PAD, dtype=np.uint16)
    for row, words in zip(ids, tokenised, strict=True):
        coded = [CLS, *(numbers.get(word, UNKNOWN) for word in words)][:MAX_LENGTH]
        row[: len(coded)] = coded
    arrays: dict[str, np.ndarray] = {}
    for part, indices in splits.items():
        arrays |= {f"{part}_ids": ids[indices], f"{part}_labels": labels[indices]}
    return arrays


def prepared_path(data_dir: Path) -> Path:
    """Where the prepared reviews lie."""
    return data_dir / "reviews" / "reviews.npz"


def prepare_reviews(data_dir: Path, source: Path | None = None, offline: bool = False) -> tuple[Path, str]:
    """Fetch the source distribution unless given or present, and write the prepared file; path and digest.

    Raises DataError where it cannot be fetched, fails its checksum or does not hold what it should.
    """
    path = prepared_path(data_dir)
    sdist = source or path.parent / SDIST
    if source is not None and source.is_dir():
        sdist = source / SDIST
    if source is None and not sdist.exists() and not offline:
        _download(path.parent)
    check_file(sdist, SDIST_SHA256, "run: dualgrad data reviews (or give the archive with --from)")
    arrays = encode(*_snippets(sdist))
    found = content_digest(arrays)
    if found != DIGEST:
        raise DataError(f"reviews: the prepared arrays have SHA-256 {found}, expected {DIGEST}")
    origin = {"data_set": "reviews", "origin": SDIST, "origin_sha256": SDIST_SHA256, "member": _SNIPPETS}
    return path, save_arrays(path, arrays, origin)


def load_reviews(data_dir: Path) -> dict[str, np.ndarray]:
    """Read the prepared reviews.

    Returns:
        `train_ids`, `pretrain_ids`, `test_ids`: token numbers, uint16 (n, length), padded with 0; `train_labels` and
        so on: int64 (n,), 1 for a positive rating.

    Raises:
        DataError: the file is missing or damaged.
    """
    return load_arrays(
        prepared_path(data_dir), expected=DIGEST, remedy=f"run: dualgrad data reviews --data-dir {data_dir}"
    )
