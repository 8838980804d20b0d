"""Malformed archives: of the release, of CIFAR, of the review snippets, of SST-2."""

from __future__ import annotations

import gzip
import io
import pickle
import re
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dualgrad.data.store import file_hash

from . import small
from .case import Case
from .files import Bomb

Content = bytes | tarfile.TarInfo
FETCHED = "release.tar.gz"
_TOP = "dual-gradient-learning-48b95f5"
_ROWS = f"{_TOP}/notebooks/Paper-A/results/a.json"


def tar_bytes(members: Mapping[str, Content] | list[tuple[str, Content]]) -> bytes:
    """A .tar.gz archive of files, and of whatever else a TarInfo says."""
    buffer = io.BytesIO()
    pairs = members if isinstance(members, list) else list(members.items())
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in pairs:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.name = name
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def special(kind: bytes, link: str = "") -> tarfile.TarInfo:
    """A member that is no regular file."""
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, link
    return info


def released() -> bytes:
    """The published rows as they are."""
    import json

    return json.dumps(small.rows()).encode()


def swollen(size: int) -> bytes:
    """A tar archive whose first member's header claims *size* bytes of extended header, which are zeros."""
    info = tarfile.TarInfo("pax")
    info.type, info.size = tarfile.XHDTYPE, size
    return gzip.compress(info.tobuf(tarfile.USTAR_FORMAT) + bytes(64 << 20), compresslevel=1)


def fetched(name: str, made: Callable[[], bytes], *words: str) -> Case:
    """A download of the release that is not one."""

    def change(root: Path) -> None:
        (root / FETCHED).write_bytes(made())

    return Case("release archive", name, ("ingest", "A", "--fetch", "--check"), words, change)


def _with(name: str, content: Content) -> Callable[[], bytes]:
    return lambda: tar_bytes([(_ROWS, released()), (f"{_TOP}/{name}" if name[0] != "/" else name, content)])


def _long_name() -> bytes:
    return tar_bytes([(_ROWS, released()), ("x/" + "a/../" * 100 + "../../../evil", b"x")])


RELEASE = [
    fetched("nothing", lambda: b"", "not a complete tarball"),
    fetched("a web page", lambda: b"<html>404</html>", "not a complete tarball", "gzip"),
    fetched("half of it", lambda: _with("LICENSE", b"MIT" * 999)()[:80], "not a complete tarball"),
    fetched("spoilt", lambda: (b := tar_bytes({_ROWS: released()}))[:20] + b"\xff" * 30 + b[50:], "complete"),
    fetched("gzip of something else", lambda: gzip.compress(b"x" * 9000), "not a complete tarball"),
    fetched("no files", lambda: tar_bytes({}), "a.json", "missing"),
    fetched("other bytes", lambda: tar_bytes({_ROWS: released().replace(b"0.25", b"0.24")}), "a.json", "altered"),
    fetched("fewer bytes", lambda: tar_bytes({_ROWS: b"[]"}), "a.json", "2 bytes, expected"),
    fetched("more bytes", lambda: tar_bytes({_ROWS: bytes(30_000_000)}), "a.json", "30000000 bytes, expected"),
    fetched("a licence of 2 MB", _with("LICENSE", bytes(2_000_000)), "LICENSE", "at most"),
    fetched("a file twice", lambda: tar_bytes([(_ROWS, released())] * 2), "a.json", "twice"),
    fetched("a path that leaves", _with("../../evil", b"x"), "../../evil", "outside"),
    fetched("a long way out", _long_name, "outside"),
    fetched("an absolute path", _with("/evil", b"x"), "/evil", "absolute"),
    fetched("a link out", _with("link", special(tarfile.SYMTYPE, "../../../../etc/passwd")), "link", "outside"),
    fetched("an absolute link", _with("link", special(tarfile.SYMTYPE, "/etc/passwd")), "link", "absolute"),
    fetched("a hard link out", _with("hard", special(tarfile.LNKTYPE, "../../etc/passwd")), "hard", "outside"),
    fetched("a device", _with("null", special(tarfile.CHRTYPE)), "null", "special"),
    fetched("a pipe", _with("pipe", special(tarfile.FIFOTYPE)), "pipe", "special"),
    fetched("a link for the file", lambda: tar_bytes({_ROWS: special(tarfile.SYMTYPE, "b")}), "a.json", "regular"),
    fetched("a folder for the file", lambda: tar_bytes({_ROWS: special(tarfile.DIRTYPE)}), "a.json", "regular"),
    fetched("a header without end", lambda: swollen(7 << 30), "not a complete tarball", "swells"),
    Case("release archive", "nowhere", ("ingest", "A", "--fetch", "--check"), ("not fetched", "released_archive")),
]  # fmt: skip


def _cifar(change: Callable[[dict], object]) -> Callable[[], bytes]:
    def made() -> bytes:
        files: dict[str, bytes] = {}
        for part in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
            batch = {"data": np.zeros((2, 3072), np.uint8), "labels": [0, 9]}
            content = (change(batch) if part == "data_batch_2" else None) or batch
            data = content if isinstance(content, bytes) else pickle.dumps(content, protocol=2)
            files[f"cifar-10-batches-py/{part}"] = data
        return tar_bytes(files)

    return made


def given(kind: str, file: str, name: str, made: Callable[[], bytes], *words: str) -> Case:
    """An archive that is given by hand. Its checksum is made known, so that what lies behind that is reached."""

    def change(root: Path) -> None:
        (root / file).write_bytes(made())

    command = ("data", kind, "--data-dir", "{root}/new", "--from", f"{{root}}/{file}")
    return Case(f"{kind} archive", name, command, words, change)


def cifar_case(name: str, change: Callable[[dict], object], *words: str) -> Case:
    """CIFAR-10's archive with another second batch."""
    return given("cifar10", "cifar-10-python.tar.gz", name, _cifar(change), "data_batch_2", *words)


class Imports:
    """A pickle that asks for a harmless function which CIFAR files do not need."""

    def __reduce__(self) -> tuple:
        return len, ("x",)


CIFAR = [
    cifar_case("nothing", lambda one: b"\x80\x02.", "no CIFAR file"),
    cifar_case("half a pickle", lambda one: pickle.dumps(one)[:99], "no CIFAR file"),
    cifar_case("a pickle that runs code", lambda one: one.update(data=Bomb()), "mkdir"),
    cifar_case("a pickle that asks for len", lambda one: one.update(data=Imports()), "len"),
    cifar_case("a list", lambda one: pickle.dumps([1, 2]), "no CIFAR file"),
    cifar_case("no labels", lambda one: one.pop("labels") and None, "labels"),
    cifar_case("images of another shape", lambda one: one.update(data=np.zeros((2, 3), np.uint8)), "(2, 3)", "3072"),
    cifar_case("images of floats", lambda one: one.update(data=np.zeros((2, 3072))), "float64", "uint8"),
    cifar_case("labels beyond the classes", lambda one: one.update(labels=[0, 10]), "labels", "below 10"),
    cifar_case("labels below zero", lambda one: one.update(labels=[0, -1]), "labels", "below 10"),
    cifar_case("fewer labels than images", lambda one: one.update(labels=[0]), "labels", "each of the 2 images"),
    cifar_case("labels of words", lambda one: one.update(labels=["kitten", "dog"]), "labels"),
    given(
        "cifar10", "cifar-10-python.tar.gz", "a link for a batch",
        lambda: tar_bytes({"cifar-10-batches-py/data_batch_1": special(tarfile.SYMTYPE, "/etc/passwd")}),
        "data_batch_1", "no files of a known layout",
    ),
    given(
        "cifar10", "cifar-10-python.tar.gz", "a header without end", lambda: swollen(7 << 30), "swells",
    ),
    given("cifar10", "cifar-10-python.tar.gz", "no batches", lambda: tar_bytes({"x": b""}), "data_batch_1"),
]  # fmt: skip


_INNER = "vaderSentiment-2.5/additional_resources/hutto_ICWSM_2014.tar.gz"
_SNIPPETS = "hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt"


def _sdist(text: Content) -> Callable[[], bytes]:
    return lambda: tar_bytes({_INNER: tar_bytes({_SNIPPETS: text})})


def review_case(name: str, made: Callable[[], bytes], *words: str) -> Case:
    """The source distribution of the snippets with other content."""
    return given("reviews", "vaderSentiment-2.5.tar.gz", name, made, "movieReviewSnippets", *words)


_MANY = b"1\t1.5\tgood\n" * 10_604
REVIEWS = [
    review_case("too few", _sdist(b"1\t1.5\tgood\n"), "10,605"),
    review_case("a row of two fields", _sdist(_MANY + b"1\tgood"), "number, rating and sentence"),
    review_case("a rating that is a word", _sdist(_MANY + b"1\thigh\tgood"), "'high'"),
    review_case("a rating that is no number", _sdist(_MANY + b"1\tnan\tgood"), "10,605"),
    review_case("no UTF-8", _sdist(_MANY + b"1\t1.5\t\xff"), "utf-8"),
    review_case("a link for the snippets", _sdist(special(tarfile.SYMTYPE, "x")), "not a regular file"),
    review_case("snippets of 20 MB", _sdist(bytes(20_000_000)), "larger than"),
    review_case("no archive inside", lambda: tar_bytes({_INNER: b"x"}), "no readable member"),
]


def _zipped(train: bytes, change: Callable[[bytes], bytes] = lambda data: data) -> Callable[[], bytes]:
    def made() -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("SST-2/train.tsv", train)
            archive.writestr("SST-2/dev.tsv", b"sentence\tlabel\ngood\t1\n")
        return change(buffer.getvalue())

    return made


def sst2_case(name: str, made: Callable[[], bytes], *words: str) -> Case:
    """SST-2's archive with other content."""
    return given("sst2", "SST-2.zip", name, made, "SST-2.zip", *words)


def _encrypted(data: bytes) -> bytes:
    return data.replace(b"PK\x03\x04\x14\x00\x00", b"PK\x03\x04\x14\x00\x01").replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"
    )


SST2 = [
    sst2_case("a row without a tab", _zipped(b"sentence\tlabel\ngood"), "train.tsv", "line 2", "1 fields"),
    sst2_case(
        "a label of two", _zipped(b"sentence\tlabel\ngood\t1\nbad\t2"), "train.tsv", "example 1", "'2'"
    ),
    sst2_case("a label that is a word", _zipped(b"sentence\tlabel\ngood\tgreat"), "train.tsv", "positive"),
    sst2_case("too few rows", _zipped(b"sentence\tlabel\ngood\t1"), "expected 67,349"),
    sst2_case("no UTF-8", _zipped(b"sentence\tlabel\n\xff\t1"), "train.tsv", "UTF-8"),
    sst2_case("20 MB of nothing", _zipped(bytes(20_000_000)), "train.tsv", "no column sentence"),
    sst2_case("encrypted", _zipped(b"sentence\tlabel\ngood\t1", _encrypted), "damaged", "password"),
    sst2_case("half of it", _zipped(b"x" * 5000, lambda data: data[:60]), "damaged"),
    sst2_case("spoilt", _zipped(b"x" * 5000, lambda data: data[:45] + b"\xff\xff" + data[47:]), "damaged"),
]

ARCHIVES = [*CIFAR, *REVIEWS, *SST2]


def make_known(root: Path, case: Case, monkeypatch) -> None:
    """Let the checksums be those of the malformed archives, and the release's address be the malformed one."""
    monkeypatch.setattr("dualgrad.release.fetch.URL", (root / FETCHED).as_uri())
    file = root / Path(case.command[-1]).name
    if case in ARCHIVES:
        entry = root / "config" / "datasets" / f"{case.kind.split()[0]}.yaml"
        entry.write_text(re.sub(r"\bsha256: [0-9a-f]{64}", f"sha256: {file_hash(file)}", entry.read_text()))
