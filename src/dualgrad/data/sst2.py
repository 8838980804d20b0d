"""GLUE SST-2, tokenised for DistilBERT and for TextCNN (docs/specification/X-Y.md#1.1)."""

from __future__ import annotations

from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np

from dualgrad.data.errors import DataError
from dualgrad.data.store import check_file, fetch, file_hash, load_arrays, member, save_arrays

URL = "https://dl.fbaipublicfiles.com/glue/data/SST-2.zip"
ARCHIVE = "SST-2.zip"
SHA256 = "d67e16fb55739c1b32cdce9877596db1c127dc322d93c082281f64057c16deaa"
# MD5 of the unpacked files, for people who have the folder but not the archive.
MD5 = {"train.tsv": "da409a0a939379ed32a470bc0f7fe99a", "dev.tsv": "268856b487b2a31a28c0a93daaff7288"}
_FILES = {
    "train": "train.tsv",
    "test": "dev.tsv",
}  # GLUE's test split has no labels: its validation split is ours
_LIMIT = 16 << 20

# Negative and positive examples of each split (X-Y.md#1.1): checked after reading, and kept by the stand-ins.
COUNTS = {"train": (29_780, 37_569), "test": (428, 444)}

MAX_LENGTH = 128
TEXTCNN_LENGTH = 64
TEXTCNN_VOCABULARY = 25_000
BERT_VOCABULARY = 30_522

MODEL_FOLDER = "distilbert-base-uncased"
MODEL_FILES = {
    "config.json": "69c94b0222d5d1f4b0ad027ca7416cdafb98378cbbb8305d0bf47c9365c60c83",
    "model.safetensors": "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
    "tokenizer.json": "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98",
    "tokenizer_config.json": "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def _content(folder: Path, source: Path | None, offline: bool, name: str) -> bytes:
    remedy = "run: dualgrad data sst2"
    for place in [source, source / "SST-2"] if source else [folder / "SST-2"]:
        path = place / name
        if path.is_file():
            found = file_hash(path, "md5")
            if found != MD5[name]:
                raise DataError(
                    f"{path} is truncated or altered: its MD5 is {found}, expected {MD5[name]}; "
                    f"replace it, or {remedy}"
                )
            return path.read_bytes()
    archive = (source / ARCHIVE if source.is_dir() else source) if source else folder / ARCHIVE
    if not source and not offline:
        fetch(URL, archive, SHA256)
    check_file(archive, SHA256, remedy)
    return member(archive, f"SST-2/{name}", _LIMIT)


def _sentences(content: bytes, split: str) -> tuple[list[str], np.ndarray]:
    rows = []
    try:
        lines = content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise DataError(f"SST-2 {_FILES[split]}: expected text in UTF-8 ({error.reason})") from error
    for number, line in enumerate(lines[1:], start=2):
        sentence, tab, label = line.rpartition("\t")
        if line and (not tab or label not in ("0", "1") or "\t" in sentence):
            raise DataError(f"SST-2 {_FILES[split]}, line {number}: expected a sentence, a tab, and 0 or 1")
        if line:
            rows.append((sentence, label))
    labels = np.array([int(label) for _, label in rows], dtype=np.int64)
    found = tuple(int(count) for count in np.bincount(labels, minlength=2))
    if found != COUNTS[split]:
        raise DataError(
            f"SST-2 {_FILES[split]}: {found} negative and positive rows, expected {COUNTS[split]}"
        )
    return [sentence for sentence, _ in rows], labels


def textcnn_ids(train: list[str], test: list[str]) -> tuple[dict[str, np.ndarray], int]:
    """Token numbers (n, 64) uint16 of both splits, and the vocabulary's size, for TextCNN.

    Lower-case words between white space; 0 pads, 1 is an unknown word, then the most frequent words of the
    training sentences (ties: first seen first), 25,000 numbers at most.
    """
    counts = Counter(word for sentence in train for word in sentence.lower().split())
    numbers = {word: 2 + rank for rank, (word, _) in enumerate(counts.most_common(TEXTCNN_VOCABULARY - 2))}
    arrays = {}
    for split, sentences in (("train", train), ("test", test)):
        ids = np.zeros((len(sentences), TEXTCNN_LENGTH), dtype=np.uint16)
        for row, sentence in zip(ids, sentences, strict=True):
            coded = [numbers.get(word, 1) for word in sentence.lower().split()[:TEXTCNN_LENGTH]]
            row[: len(coded)] = coded
        arrays[f"{split}_ids"] = ids
    return arrays, len(numbers) + 2


def wordpiece_ids(folder: Path, train: list[str], test: list[str]) -> dict[str, np.ndarray]:
    """Token numbers of both splits by DistilBERT's tokenizer: uint16 (n, longest), at most 128, padded with 0."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    coded = {
        split: tokenizer(sentences, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        for split, sentences in (("train", train), ("test", test))
    }
    longest = max(len(ids) for part in coded.values() for ids in part)
    arrays = {}
    for split, part in coded.items():
        arrays[f"{split}_ids"] = np.zeros((len(part), longest), dtype=np.uint16)
        for row, ids in zip(arrays[f"{split}_ids"], part, strict=True):
            row[: len(ids)] = ids
    return arrays


def words_path(data_dir: Path) -> Path:
    """Where SST-2 lies, prepared for TextCNN."""
    return data_dir / "sst2" / "words.npz"


def wordpiece_path(data_dir: Path) -> Path:
    """Where SST-2 lies, prepared for DistilBERT."""
    return data_dir / "sst2" / "wordpiece.npz"


def prepare_sst2(data_dir: Path, source: Path | None = None, offline: bool = False) -> list[tuple[Path, str]]:
    """Fetch SST-2 unless given or present, and write it tokenised for both models; paths and digests.

    The tokenizer is fetched first where it is missing. Raises DataError where something cannot be fetched,
    fails its checksum or has other class counts than published.
    """
    folder = words_path(data_dir).parent
    data = {
        split: _sentences(_content(folder, source, offline, name), split) for split, name in _FILES.items()
    }
    labels = {f"{split}_labels": part[1] for split, part in data.items()}
    train, test = data["train"][0], data["test"][0]
    arrays, vocabulary = textcnn_ids(train, test)
    arrays["vocabulary"] = np.array(vocabulary, dtype=np.int64)
    origin = {"data_set": "sst2", "origin": URL, "origin_sha256": SHA256}
    made = [(words_path(data_dir), save_arrays(words_path(data_dir), arrays | labels, origin))]
    model = prepare_distilbert(data_dir, offline=offline)
    path = wordpiece_path(data_dir)
    made.append((path, save_arrays(path, wordpiece_ids(model, train, test) | labels, origin)))
    return made


def load_sst2(data_dir: Path, model: str) -> dict[str, np.ndarray]:
    """Read SST-2 as tokenised for a model (docs/specification/X-Y.md#1.1).

    Returns:
        `train_ids`, `test_ids`: token numbers, uint16 (n, length), padded with 0; `train_labels`, `test_labels`:
        int64 (n,); for TextCNN also `vocabulary`, the number of words. Tested is on the published validation split.

    Raises:
        DataError: the file is missing or damaged.
    """
    path = words_path(data_dir) if model == "textcnn" else wordpiece_path(data_dir)
    return load_arrays(path, remedy=f"run: dualgrad data sst2 --data-dir {data_dir}")


def synthetic_text(
    model: str, n_train: int | None = None, n_test: int | None = None
) -> dict[str, np.ndarray]:
    """Stand-ins of SST-2's shape, for trying the pipeline without it; class counts as published by default.

    The same arrays on every call. They are no data: a run reads them only where its task says `synthetic`.
    """
    state = np.random.RandomState(20260113)
    cls, lowest = (0, 2) if model == "textcnn" else (101, 1000)
    vocabulary = TEXTCNN_VOCABULARY if model == "textcnn" else BERT_VOCABULARY
    arrays: dict[str, np.ndarray] = {}
    for split, wanted in (("train", n_train), ("test", n_test)):
        negative, positive = COUNTS[split]
        n = wanted or negative + positive
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


def model_folder(data_dir: Path) -> Path:
    """Where the local copy of distilbert-base-uncased lies."""
    return data_dir / MODEL_FOLDER


def prepare_distilbert(data_dir: Path, source: Path | None = None, offline: bool = False) -> Path:
    """A checked local copy of distilbert-base-uncased, fetched from the hub where it is missing.

    `source`: a folder with its files, to copy from. Raises DataError where files are missing, altered or out
    of reach.
    """
    import shutil

    folder = model_folder(data_dir)
    if source is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in MODEL_FILES:
            if not (source / name).is_file():
                raise DataError(f"{source / name} is missing: give a folder with {', '.join(MODEL_FILES)}")
            shutil.copyfile(source / name, folder / f".{name}.part")
            (folder / f".{name}.part").replace(folder / name)
    elif not offline and not all((folder / name).is_file() for name in MODEL_FILES):
        from huggingface_hub import snapshot_download

        from dualgrad.models.distilbert import HUB_NAME, HUB_REVISION

        try:
            snapshot_download(
                HUB_NAME, revision=HUB_REVISION, allow_patterns=list(MODEL_FILES), local_dir=folder
            )
        except Exception as error:  # the hub's client raises errors of several libraries
            raise DataError(
                f"{HUB_NAME} could not be fetched ({error}): copy its files ({', '.join(MODEL_FILES)}) to "
                f"{folder}, or give a folder with them: dualgrad data distilbert --from FOLDER"
            ) from error
    return checked_model_folder(data_dir)


@cache
def checked_model_folder(data_dir: Path) -> Path:
    """The local copy's folder, after checking its files (once per process).

    Raises:
        DataError: a file is missing or altered.
    """
    folder = model_folder(data_dir)
    for name, sha256 in MODEL_FILES.items():
        check_file(folder / name, sha256, "run: dualgrad data distilbert")
    return folder
