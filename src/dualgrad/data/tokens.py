"""Sentences as token numbers, for TextCNN and for DistilBERT (docs/specification/X-Y.md#1.1).

A text set is prepared twice: ``textcnn.npz`` and ``distilbert.npz`` beside its content. A set with a vocabulary of
its own (``tokens`` in its entry) has the same numbers in both, but for the token that begins a sentence.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dualgrad.census.datasets import DataSet
from dualgrad.data.content import sentences_of

MAX_LENGTH = 128
TEXTCNN_LENGTH = 64
TEXTCNN_VOCABULARY = 25_000
BERT_VOCABULARY = 30_522

# Of a vocabulary of the set's own.
PAD, UNKNOWN, CLS, FIRST_WORD = 0, 1, 2, 3
_TOKEN = re.compile(r"\w+(?:'\w+)*|[^\w\s]")

Arrays = dict[str, np.ndarray]


def tokenised(
    entry: DataSet, content: Mapping[str, np.ndarray], reader: str, tokenizer: Path | None = None
) -> Arrays:
    """Return a text set as one of the two kinds of network reads it.

    Args:
        entry: the data set.
        content: its decoded content.
        reader: textcnn or distilbert.
        tokenizer: folder of DistilBERT's tokenizer, where it is needed.

    Returns:
        ``<split>_ids``: uint16 (n, length), padded with 0; ``<split>_labels``; ``vocabulary``: how many numbers there
        are; for a vocabulary of the set's own ``cut``: how many a run distinguishes unless it says otherwise.
    """
    sentences = {split: sentences_of(content, split) for split in entry.splits}
    if entry.tokens is not None:
        arrays = own_ids(sentences, entry.tokens.length, content)
        arrays["cut"] = np.array(entry.tokens.vocabulary, dtype=np.int64)
        if reader == "textcnn":  # published without a token at the start of the sentence
            arrays |= {name: ids[:, 1:] for name, ids in arrays.items() if name.endswith("_ids")}
    elif reader == "textcnn":
        arrays = textcnn_ids(sentences)
    else:
        assert tokenizer is not None
        arrays = wordpiece_ids(tokenizer, sentences)
    return arrays | {f"{split}_labels": content[f"{split}_labels"] for split in entry.splits}


def words_and_marks(sentence: str) -> list[str]:
    """Lower-case words (with inner apostrophes) and single punctuation marks."""
    return _TOKEN.findall(sentence.lower())


def own_ids(sentences: Mapping[str, list[str]], length: int, content: Mapping[str, np.ndarray]) -> Arrays:
    """Token numbers (n, length) by a vocabulary of all splits but ``test``: uint16, or uint32 where those do not do.

    0 pads, 1 is an unknown word, 2 begins each sentence, and words follow by falling frequency (ties: first seen
    first, in the order of the source where ``content`` has it, else split by split); a smaller vocabulary is a cut of
    this one.
    """
    words = {split: [words_and_marks(one) for one in part] for split, part in sentences.items()}
    known = [one for split in words if split != "test" for one in words[split]]
    orders = [content[f"{split}_order"] for split in words if split != "test" and f"{split}_order" in content]
    if orders:
        known = [known[i] for i in np.argsort(np.concatenate(orders), kind="stable")]
    counts = Counter(word for one in known for word in one)
    numbers = {word: FIRST_WORD + rank for rank, (word, _) in enumerate(counts.most_common())}
    arrays: Arrays = {"vocabulary": np.array(FIRST_WORD + len(numbers), dtype=np.int64)}
    dtype = np.uint16 if FIRST_WORD + len(numbers) <= 2**16 else np.uint32
    for split, part in words.items():
        ids = np.full((len(part), length), PAD, dtype=dtype)
        for row, one in zip(ids, part, strict=True):
            coded = [CLS, *(numbers.get(word, UNKNOWN) for word in one)][:length]
            row[: len(coded)] = coded
        arrays[f"{split}_ids"] = ids
    return arrays


def textcnn_ids(sentences: Mapping[str, list[str]]) -> Arrays:
    """Token numbers (n, 64) uint16 for TextCNN, as published.

    Lower-case words between white space; 0 pads, 1 is an unknown word, then the most frequent words of the
    training sentences (ties: first seen first), 25,000 numbers at most.
    """
    counts = Counter(word for sentence in sentences["train"] for word in sentence.lower().split())
    numbers = {word: 2 + rank for rank, (word, _) in enumerate(counts.most_common(TEXTCNN_VOCABULARY - 2))}
    arrays: Arrays = {"vocabulary": np.array(len(numbers) + 2, dtype=np.int64)}
    for split, part in sentences.items():
        ids = np.zeros((len(part), TEXTCNN_LENGTH), dtype=np.uint16)
        for row, sentence in zip(ids, part, strict=True):
            coded = [numbers.get(word, 1) for word in sentence.lower().split()[:TEXTCNN_LENGTH]]
            row[: len(coded)] = coded
        arrays[f"{split}_ids"] = ids
    return arrays


def wordpiece_ids(folder: Path, sentences: Mapping[str, list[str]]) -> Arrays:
    """Token numbers by DistilBERT's tokenizer: uint16 (n, longest), at most 128, padded with 0."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    coded = {
        split: tokenizer(part, truncation=True, max_length=MAX_LENGTH)["input_ids"]
        for split, part in sentences.items()
    }
    longest = max(len(ids) for part in coded.values() for ids in part)
    arrays: Arrays = {"vocabulary": np.array(BERT_VOCABULARY, dtype=np.int64)}
    for split, part in coded.items():
        arrays[f"{split}_ids"] = np.zeros((len(part), longest), dtype=np.uint16)
        for row, ids in zip(arrays[f"{split}_ids"], part, strict=True):
            row[: len(ids)] = ids
    return arrays
