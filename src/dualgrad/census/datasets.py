"""Data sets as data (contract.md#editions): what ``config/datasets/*.yaml`` says of each, typed and checked.

An entry says what kind of data a set holds, in which splits and classes, where it can be had, in which layout the
files are, how images are normalised and what the digest of the decoded content is. Everything about a set is read
from its entry: fetching and preparing (``dualgrad.data``), planning, protocol cards, the workflow's rules. Nothing
here imports torch, numpy or pandas.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from dualgrad.census.stages import CensusError
from dualgrad.files import visible
from dualgrad.validation import clipped, did_you_mean, read_yaml

FOLDER = "config/datasets"
# Words of the setting paper_data, of `dualgrad data` and in names of editions (as are first1, first2 …), that no data
# set or annotation can have as its name.
RESERVED = ("published", "synthetic", "cifar", "distilbert", "trial")

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=1)]
_Text = Annotated[str, Field(min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# --------------------------------------------------------------------------------------------- layouts


class CifarBatches(_Entry):
    """Python's pickled batches as CIFAR was published; ``md5``: of each file, for folders without their archive."""

    format: Literal["cifar_batches"]
    labels: _Text
    md5: dict[str, str] = {}


class Pictures(_Entry):
    """A folder, .tar or .zip of ``<split>/<class>/<picture>``, PNG or JPEG.

    ``order``: the order of a split's examples. ``number``: by the pictures' numbers, through all classes; ``name``:
    class by class, by name.
    """

    format: Literal["pictures"]
    order: Literal["number", "name"] = "number"


class ParquetFiles(_Entry):
    """Parquet files as the Hugging Face hub has them; columns by what they hold, e.g. ``{image: img}``."""

    format: Literal["parquet"]
    columns: dict[Literal["image", "text", "label"], _Text] = {}


class NpzFile(_Entry):
    """One ``.npz`` of ``<split>_images`` and ``<split>_labels``; another name of an array under ``columns``."""

    format: Literal["npz"]
    columns: dict[str, _Text] = {}


class Table(_Entry):
    """Text files with a header, .tsv (no quoting) or .csv; columns by what they hold, e.g. ``{text: sentence}``.

    ``md5``: as for CIFAR's batches.
    """

    format: Literal["table"]
    columns: dict[Literal["text", "label"], _Text] = {}
    md5: dict[str, str] = {}


class Digits(_Entry):
    """scikit-learn's handwritten digits; so many test pictures of each class, drawn with ``seed``."""

    format: Literal["digits"]
    test_per_class: _Count
    seed: int


class DigitPairs(_Entry):
    """Two of these digits side by side; class 10 · left + right, so many pairs of each class."""

    format: Literal["digit_pairs"]
    digits: Digits
    train_per_class: _Count
    test_per_class: _Count
    seed: int


class RatedSentences(_Entry):
    """Sentences with a mean rating, whose sign is the label, in an archive within an archive.

    So many sentences of each class for ``test`` and ``pretrain``, drawn with ``seed``; the rest is for training.
    """

    format: Literal["rated_sentences"]
    archive: _Text
    file: _Text
    rows: _Count
    test_per_class: _Count
    pretrain_per_class: _Count
    seed: int


Layout = Annotated[
    CifarBatches | Pictures | ParquetFiles | NpzFile | Table | Digits | DigitPairs | RatedSentences,
    Field(discriminator="format"),
]
# Layouts in which other people's files come, whatever a set's own is.
COMMON: dict[str, type[_Entry]] = {
    "cifar_batches": CifarBatches,
    "pictures": Pictures,
    "parquet": ParquetFiles,
    "npz": NpzFile,
    "table": Table,
}

# --------------------------------------------------------------------------------------------- sources, splits


class Source(_Entry):
    """Where a set can be had: one of a path, a URL, a repository of the Hugging Face hub, a package.

    Attributes:
        path: file or folder, from the workflow's folder or one of ``data_copies``.
        url: archive to download; its ``sha256`` has to be known.
        hub: data set's repository on the hub, at ``revision``; ``files``: patterns of what to take.
        sdist: requirement of a source distribution that pip fetches, e.g. ``vaderSentiment==2.5``; ``sha256`` too.
        package: installed Python package that holds the data.
        file: name of the downloaded file; default: the URL's last part.
        bytes: size of the download.
        layout: layout of this source's files, where it is not the set's.
    """

    path: _Text | None = None
    url: _Text | None = None
    hub: _Text | None = None
    sdist: _Text | None = None
    package: _Text | None = None
    sha256: _Sha256 | None = None
    revision: _Text | None = None
    files: list[_Text] | None = None
    file: _Text | None = None
    bytes: _Count | None = None
    layout: Layout | None = None

    @model_validator(mode="after")
    def _one(self) -> Source:
        kinds = ("path", "url", "hub", "sdist", "package")
        given = [kind for kind in kinds if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"expected one of {', '.join(kinds)}; got {' and '.join(given) or 'none of them'}"
            )
        (kind,) = given
        if kind in ("url", "sdist") and self.sha256 is None:
            raise ValueError(f"the key 'sha256' is missing: what is downloaded by {kind} is checked by it")
        if kind == "hub" and self.revision is None:
            raise ValueError("the key 'revision' is missing: a repository's content changes")
        return self

    @property
    def file_name(self) -> str:
        """Name under which a download is kept."""
        return self.file or (self.url or "").rsplit("/", 1)[-1]

    @property
    def shown(self) -> str:
        """The source in a few words."""
        if self.hub:
            return f"{self.hub} at {self.revision}"
        return self.path or self.url or self.sdist or self.package or ""


class Split(_Entry):
    """One split: how many examples it has, in all or of each class, and where its examples are.

    Attributes:
        examples, per_class: None: the number is not checked.
        files: files or folders that hold it together, in this order; None: what is called as the split is.
        aliases: what people's copies call it otherwise, looked for where none of ``files`` is there.
    """

    examples: _Count | None = None
    per_class: _Count | list[_Count] | None = None
    files: Annotated[list[_Text], Field(min_length=1)] | None = None
    aliases: list[_Text] = []


class Normalisation(_Entry):
    """Mean and standard deviation of each channel, of values between 0 and 1."""

    mean: list[float]
    std: list[Annotated[float, Field(gt=0)]]


class Tokens(_Entry):
    """A vocabulary of the set's own instead of the published tokenizers: words and marks, cut to the most frequent.

    ``length``: most tokens of a sentence; ``vocabulary``: numbers that a run distinguishes unless its task says
    otherwise.
    """

    length: _Count
    vocabulary: _Count


class Annotation(_Entry):
    """Labels that people gave the training examples, published in a file of their own.

    Attributes:
        title: what it is.
        path: where experiments look for the file, from the workflow's folder.
        origin: where it is published.
        clean, noisy: names of its columns with the true labels and with those that experiments train on.
        wrong: share of noisy labels that differ from the true ones.
    """

    title: _Text
    path: _Text
    origin: _Text
    clean: _Text
    noisy: _Text
    wrong: Annotated[float, Field(ge=0, le=1)]


class DataSet(_Entry):
    """A data set's entry; see docs/adding-a-dataset-or-model.md.

    Attributes:
        name: the file's name without its ending.
        title: the set in a few words.
        kind: image or text.
        classes: their names in the order of the labels, or their number.
        shape: of an image: channels, height, width.
        splits: ``train`` and ``test``, and others for runs that ask for them (``task.split``).
        layout: how its files are read.
        sources: where it can be had, tried in order.
        normalize: None: computed from the training images.
        tokens: None: the tokenizers of the published networks.
        content_sha256: digest of the decoded content; None: recorded when it is first prepared.
        copy_of: the published set that this is another copy of.
        annotations: labels that people gave it, by name.
    """

    name: str
    title: _Text
    kind: Literal["image", "text"]
    classes: Annotated[int, Field(ge=2)] | Annotated[list[_Text], Field(min_length=2)]
    shape: Annotated[list[_Count], Field(min_length=3, max_length=3)] | None = None
    splits: dict[str, Split]
    layout: Layout
    sources: list[Source] = []
    normalize: Normalisation | None = None
    tokens: Tokens | None = None
    content_sha256: _Sha256 | None = None
    copy_of: _Text | None = None
    annotations: dict[str, Annotation] = {}

    @field_validator("classes", mode="before")
    @classmethod
    def _named(cls, classes: object) -> object:
        """Say of each kind of mistake what it is: of two alternatives, pydantic would say that neither fits."""
        if not isinstance(classes, list):
            if isinstance(classes, bool) or not isinstance(classes, int):
                raise ValueError(
                    f"expected the number of classes or a list of their names; got {clipped(repr(classes))}"
                )
        elif len(classes) < 2:
            raise ValueError(f"expected at least 2 classes; got {clipped(repr(classes))}")
        elif odd := [name for name in classes if not isinstance(name, str) or not name]:
            hint = " (put it in quotes)" if isinstance(odd[0], int | float | date) else ""
            raise ValueError(f"expected names as text; got {clipped(repr(odd[0]))}{hint}")
        return classes

    @model_validator(mode="after")
    def _fits(self) -> DataSet:
        for split in ("train", "test"):
            if split not in self.splits:
                raise ValueError(f"splits: the split '{split}' is missing")
        for split, given in self.splits.items():
            counts = given.per_class
            if isinstance(counts, list) and len(counts) != self.number_of_classes:
                raise ValueError(
                    f"splits.{split}.per_class: expected a number for each of {self.number_of_classes} classes; "
                    f"got {len(counts)}"
                )
            total = self._of_all_classes(given)
            if None not in (given.examples, total) and given.examples != total:
                raise ValueError(
                    f"splits.{split}.examples: expected {total}, which per_class comes to; got {given.examples}"
                )
        if self.kind == "image" and self.shape is None:
            raise ValueError("the key 'shape' is missing (channels, height and width of an image)")
        if self.kind == "text" and (self.shape or self.normalize):
            raise ValueError(f"{'shape' if self.shape else 'normalize'}: is for images, and this set is text")
        if self.kind == "image" and self.tokens:
            raise ValueError("tokens: is for text, and this set is images")
        if self.shape and self.shape[0] not in (1, 3):
            raise ValueError(f"shape: expected 1 or 3 channels; got {self.shape[0]}")
        if self.shape and self.normalize:
            for key, numbers in (("mean", self.normalize.mean), ("std", self.normalize.std)):
                if len(numbers) != self.shape[0]:
                    raise ValueError(
                        f"normalize.{key}: expected a number for each of {self.shape[0]} channels; got {len(numbers)}"
                    )
        if isinstance(self.classes, list) and len(set(self.classes)) < len(self.classes):
            twice = next(name for name in self.classes if self.classes.count(name) > 1)
            raise ValueError(f"classes: '{twice}' occurs twice")
        formats = {
            "image": ("table", "rated_sentences"),
            "text": ("pictures", "npz", "cifar_batches", "digits", "digit_pairs"),
        }
        if self.layout.format in formats[self.kind]:
            raise ValueError(f"layout.format: {self.layout.format} holds no set of the kind {self.kind}")
        return self

    @property
    def number_of_classes(self) -> int:
        """How many classes there are."""
        return self.classes if isinstance(self.classes, int) else len(self.classes)

    @property
    def is_fixed(self) -> bool:
        """Whether its content is known before it is prepared: by its own digest, or by its sources' sums."""
        sums = [source.sha256 or source.package for source in self.sources]
        return bool(self.content_sha256 or any(sums) or getattr(self.layout, "md5", None))

    def needs_tokenizer(self, reader: str) -> bool:
        """Return whether the published tokenizer has to be there to prepare a text set for a kind of network."""
        return self.tokens is None and reader == "distilbert"

    @property
    def embedded(self) -> bool:
        """Whether it comes with an installed package, so that nothing has to be fetched."""
        return any(source.package for source in self.sources)

    def examples(self, split: str) -> int | None:
        """Return how many examples a split has, where the entry says so."""
        given = self.splits[split]
        return self._of_all_classes(given) if given.examples is None else given.examples

    def _of_all_classes(self, given: Split) -> int | None:
        per_class = given.per_class
        if per_class is None:
            return None
        return sum(per_class) if isinstance(per_class, list) else per_class * self.number_of_classes

    @cached_property
    def planned(self) -> dict[str, Any]:
        """What planning and protocol cards need of it: its title, sizes, shape of an image, bytes on disk."""
        sizes = {split: self.examples(split) or ASSUMED_EXAMPLES[split] for split in ("train", "test")}
        example = math.prod(self.shape) + 8 if self.shape else _BYTES_OF_A_SENTENCE
        download = max((source.bytes or 0 for source in self.sources), default=0)
        shape = list(self.shape) if self.shape else None
        total = sum(sizes.values()) * example + download
        return {"title": self.title, **sizes, "shape": shape, "bytes": total}


# Kinds of networks that read text, each its own numbers: TextCNN, and DistilBERT with its miniature.
READERS = ("textcnn", "distilbert")


def reader_of(model: str) -> str:
    """Return as which kind of network a network reads text."""
    return "textcnn" if model == "textcnn" else "distilbert"


# Of a set that does not say how large it is: a plan should not stand in the way of trying one.
ASSUMED_EXAMPLES = {"train": 50_000, "test": 10_000}
# A sentence with its numbers for both tokenizers.
_BYTES_OF_A_SENTENCE = 350

# --------------------------------------------------------------------------------------------- reading


def load_datasets(root: Path) -> dict[str, DataSet]:
    """Read and check the entries of *root*, by name.

    Raises:
        CensusError: a malformed entry, or a copy of something that it cannot be a copy of; names file and key.
    """
    sets = {path.stem: _read(path) for path in visible(Path(root) / FOLDER, "*.yaml")}
    for one in sets.values():
        if one.copy_of is not None:
            _check_copy(one, sets)
    taken = set(sets)
    for one in sets.values():
        for name in one.annotations:
            _check_name(name, f"{FOLDER}/{one.name}.yaml", "annotations")
            if name in taken:
                problem = f"'{name}' is the name of something else that `dualgrad data` prepares"
                raise CensusError(f"{FOLDER}/{one.name}.yaml", "annotations", problem)
            taken.add(name)
    return sets


def all_annotations(sets: Mapping[str, DataSet]) -> dict[str, tuple[DataSet, Annotation]]:
    """Return all labels that people gave, by name, each with the data set that they belong to."""
    return {name: (one, each) for one in sets.values() for name, each in one.annotations.items()}


def _check_name(name: str, shown: str, key: str) -> None:
    if not re.fullmatch(r"[A-Za-z]\w*", name) or name in RESERVED or re.fullmatch(r"first\d+", name):
        problem = (
            f"'{clipped(name)}' cannot be a data set's name; expected letters, digits and _, and none of "
        )
        raise CensusError(shown, key, problem + ", ".join((*RESERVED, "first1, first2 …")))


def _read(path: Path) -> DataSet:
    shown, name = f"{FOLDER}/{path.name}", path.stem
    _check_name(name, shown, "")
    content = read_yaml(path, shown, CensusError)
    if not isinstance(content, Mapping):
        raise CensusError(shown, "", f"expected keys and values; got {clipped(repr(content))}")
    if "name" in content:
        raise CensusError(shown, "name", "a data set is called as its file is")
    try:
        return DataSet(name=name, **{str(key): value for key, value in content.items()})
    except ValidationError as error:
        _explain(shown, error)


def _explain(shown: str, error: ValidationError) -> NoReturn:
    """Raise the first of what is wrong as a CensusError in this project's words."""
    found = error.errors(include_url=False)
    # Of an alternative that does not fit, what came furthest says most.
    first = max(found, key=lambda one: (one["type"] == "extra_forbidden", -found.index(one)))
    where = [str(part) for part in first["loc"]]
    formats = set(COMMON) | {"digits", "digit_pairs", "rated_sentences"}
    where = [
        part
        for part in where
        if part not in formats and not part.startswith(("constrained-", "list[", "int"))
    ]
    key, kind, value = ".".join(where), first["type"], first.get("input")
    model = _model_at([str(part) for part in first["loc"][:-1]])
    if kind == "extra_forbidden":
        known = sorted(set(model.model_fields) - {"name"})
        hint = did_you_mean(where[-1], known)
        raise CensusError(
            shown,
            ".".join(where[:-1]),
            f"unknown key '{clipped(where[-1])}'{hint} (known: {', '.join(known)})",
        )
    if kind == "missing":
        raise CensusError(shown, ".".join(where[:-1]), f"the key '{where[-1]}' is missing")
    if kind == "value_error":
        raise CensusError(shown, key, str(first["ctx"]["error"]))
    if kind == "union_tag_invalid":
        tag = first["ctx"]["tag"]
        hint = did_you_mean(tag, formats)
        raise CensusError(
            shown, f"{key}.format", f"expected one of {', '.join(sorted(formats))}; got '{tag}'{hint}"
        )
    if kind == "union_tag_not_found":
        raise CensusError(shown, key, "the key 'format' is missing")
    if kind == "literal_error":
        expected = first["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        raise CensusError(
            shown,
            key,
            f"expected one of {expected}; got {clipped(repr(value))}{did_you_mean(value, expected.split(', '))}",
        )
    context = first.get("ctx", {})
    expected = {
        "greater_than_equal": f"at least {context.get('ge')}",
        "less_than_equal": f"at most {context.get('le')}",
        "greater_than": f"more than {context.get('gt')}",
        "string_pattern_mismatch": "64 hexadecimal digits",  # the one pattern there is
        "too_short": f"at least {context.get('min_length')} of them",
        "too_long": f"at most {context.get('max_length')} of them",
        "string_too_short": "a text",
    }.get(kind, first["msg"].removeprefix("Input should be ").removeprefix("a valid "))
    raise CensusError(shown, key, f"expected {expected}; got {clipped(repr(value))}")


def _model_at(loc: list[str]) -> type[_Entry]:
    """Return the model whose keys stand at a place."""
    models: dict[str, type[_Entry]] = {
        **COMMON,
        "splits": Split,
        "sources": Source,
        "normalize": Normalisation,
        "tokens": Tokens,
        "annotations": Annotation,
        "digits": Digits,
        "digit_pairs": DigitPairs,
        "rated_sentences": RatedSentences,
    }
    return next((models[part] for part in reversed(loc) if part in models), DataSet)


def _check_copy(one: DataSet, sets: Mapping[str, DataSet]) -> None:
    shown, original = f"{FOLDER}/{one.name}.yaml", sets.get(one.copy_of or "")
    if original is None or original is one or original.copy_of:
        known = [name for name, other in sets.items() if not other.copy_of and name != one.name]
        problem = f"expected one of {', '.join(known)}; got '{one.copy_of}'{did_you_mean(one.copy_of, known)}"
        raise CensusError(shown, "copy_of", problem)
    for what, mine, theirs in (
        ("kind", one.kind, original.kind),
        ("classes", one.number_of_classes, original.number_of_classes),
        ("shape", one.shape, original.shape),
        *(
            (f"splits.{split}.examples", one.examples(split), original.examples(split))
            for split in ("train", "test")
        ),
    ):
        if None not in (mine, theirs) and mine != theirs:
            problem = f"expected {theirs}, as {original.name} has, of which this is a copy; got {mine}"
            raise CensusError(shown, what, problem)


def copies_named(text: str, sets: Mapping[str, DataSet]) -> list[DataSet]:
    """Return the copies that the setting ``paper_data`` names, by name.

    Raises:
        CensusError: a name that is no copy, or two copies of one set.
    """
    names = [name.strip() for name in text.split(",")]
    known = [name for name, one in sets.items() if one.copy_of]
    chosen: dict[str, DataSet] = {}
    for name in names:
        if name == "cifar":
            raise CensusError(
                "config", "paper_data", "the word 'cifar' is now 'published' (the published data sets)"
            )
        if name in ("published", "synthetic"):
            raise CensusError("config", "paper_data", f"'{name}' stands alone; got '{text}'")
        if name not in sets or not sets[name].copy_of:
            what = "no copy of a published set (its entry has no copy_of)" if name in sets else "unknown"
            words = ["published", "synthetic", *known]
            problem = (
                f"'{clipped(name)}' is {what}; expected {', '.join(words)} (copies with commas between them)"
            )
            raise CensusError("config", "paper_data", problem + did_you_mean(name, words))
        original = sets[name].copy_of or ""
        if original in chosen:
            problem = f"{chosen[original].name} and {name} both stand in for {original}"
            raise CensusError("config", "paper_data", problem)
        chosen[original] = sets[name]
    return sorted(chosen.values(), key=lambda one: one.name)
