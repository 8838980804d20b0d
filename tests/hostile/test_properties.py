"""Whatever is changed in a good input, it is accepted, or refused with an error of the package's own."""

from __future__ import annotations

import copy
import io
import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dualgrad import strict_json
from dualgrad.archives import ArchiveDamage, open_tar
from dualgrad.census import load_census
from dualgrad.claims.load import ClaimsError, load_ledger
from dualgrad.data.errors import DataError
from dualgrad.data.store import tar_member
from dualgrad.ingest.mapping import Source, load_mapping
from dualgrad.ingest.rows import build_experiment, load_rows
from dualgrad.project import load_settings
from dualgrad.records import RecordError, digest, read_record, write_record
from dualgrad.release.errors import ArchiveError, MappingError
from dualgrad.release.manifest import read_manifest
from dualgrad.tables.build import experiment_tables
from dualgrad.tables.errors import TableError
from dualgrad.validation import InputError, parse_yaml

from . import claims, files, small, words

# The same inputs every time: what has once been found is a case of its own beside this.
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([2**31, 2**63, 10**30, -(10**400)]),
    st.floats(),
    st.sampled_from(["", "x", "$lambda", "{seed}", "0..3", "9..1", "../x", "A", "\0", "é", "=", "no"]),
    st.text(max_size=5),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(st.sampled_from(["lambda", "run", "x", "epochs"]), st.integers(0, 2), max_size=2),
)


def places(data: Any, here: tuple = ()) -> list[tuple]:
    """All places in nested data, as keys to follow."""
    inside = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    return [here, *(place for key, one in inside for place in places(one, (*here, key)))]


@st.composite
def mutated(draw: st.DrawFn, data: Any) -> Any:
    """Nested data with one or two values replaced, removed, doubled or renamed."""
    data = copy.deepcopy(data)
    for _ in range(draw(st.integers(1, 2))):
        place = draw(st.sampled_from(places(data)))
        if not place:
            continue
        holder = data
        for key in place[:-1]:
            holder = holder[key]
        key = place[-1]
        what = draw(st.sampled_from(["replace", "replace", "remove", "double", "rename"]))
        if what == "replace":
            holder[key] = draw(ODD)
        elif what == "remove":
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        elif what == "rename":
            holder[draw(st.one_of(st.sampled_from(["x", 5, True, None]), st.text(max_size=3)))] = holder.pop(
                key
            )
    return data


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What people write, to be overwritten again and again."""
    root = tmp_path_factory.mktemp("words") / "workflow"
    root.mkdir()
    small.write_words(root)
    return root


@pytest.fixture(scope="module")
def published(written: Path) -> list[dict]:
    """The runs of A that published rows are of. Shared: read-only."""
    runs = load_census(written, {"edition": "released"}).runs.values()
    return [run for run in runs if run["experiment"] == "A"]


@pytest.fixture(scope="module")
def sources(written: Path) -> list[Source]:
    """The good mapping of A."""
    return load_mapping(written / "config" / "released")["A"]


def tried(root: Path, file: str, content: bytes, read: Callable[[], Any], errors: tuple) -> Any:
    """Read with other content in a file; None where it was refused. Nothing but the file may differ afterwards."""
    before = (root / file).read_bytes()
    try:
        (root / file).write_bytes(content)
        tree = small.tree(root)
        try:
            return read()
        except errors as error:
            text = str(error)
            assert text and "Traceback" not in text and len(text) < 3000
            return None
        finally:
            assert small.tree(root) == tree
    finally:
        (root / file).write_bytes(before)


def as_yaml(data: Any) -> bytes:
    return yaml.safe_dump(data, allow_unicode=True, sort_keys=False).encode("utf-8", "surrogatepass")


@quick
@given(st.data())
def test_settings(written: Path, data: st.DataObject) -> None:
    content = as_yaml(data.draw(mutated(yaml.safe_load((written / words.CONFIG).read_text()))))
    found = tried(written, words.CONFIG, content, lambda: load_settings(written), (InputError,))
    if found is not None:
        assert found["threads_per_job"] >= 1 and 0 < found["compare_margin"] < 1


@settings(quick, max_examples=120)
@given(st.data())
def test_census(written: Path, data: st.DataObject) -> None:
    content = as_yaml(data.draw(mutated(yaml.safe_load(small.CENSUS))))
    found = tried(written, words.CENSUS, content, lambda: load_census(written), (InputError,))
    for run in found.runs.values() if found is not None else ():
        assert "/" not in run["run"] and not run["run"].startswith(".")
        assert all(0 <= one["lambda"] <= 1 for stage in run["stages"] for one in stage["segments"])
        assert 0 <= run["noise"]["rate"] <= 1 and json.dumps(run, allow_nan=False)


@quick
@given(st.data())
def test_editions(written: Path, data: st.DataObject) -> None:
    file = "config/editions/demo.yaml"
    content = as_yaml(data.draw(mutated(yaml.safe_load((written / file).read_text()))))
    tried(written, file, content, lambda: load_census(written, {"edition": "demo"}), (InputError,))


@settings(quick, max_examples=80)
@given(st.data())
def test_claims(written: Path, data: st.DataObject) -> None:
    content = as_yaml(data.draw(mutated(yaml.safe_load(small.CLAIMS))))
    tried(written, claims.FILE, content, lambda: load_ledger(written, ["A"]), (ClaimsError,))


@settings(quick, max_examples=80)
@given(st.data())
def test_mapping(written: Path, published: list[dict], data: st.DataObject) -> None:
    """A mapping that is accepted can be applied, or fails with a message, on good rows."""
    content = as_yaml(data.draw(mutated(yaml.safe_load(small.MAPPING))))

    def read() -> None:
        for sources in load_mapping(written / "config" / "released").values():
            build_experiment("A", sources, published, lambda file: small.rows())

    tried(written, claims.MAPPING, content, read, (MappingError, ArchiveError, TableError))


@quick
@given(st.data())
def test_manifest(written: Path, data: st.DataObject) -> None:
    good = (written / claims.MANIFEST).read_bytes()
    at, junk = data.draw(st.integers(0, len(good))), data.draw(st.binary(max_size=4))
    content = good[:at] + junk + good[at + data.draw(st.integers(0, 9)) :]
    found = tried(written, claims.MANIFEST, content, lambda: read_manifest(written), (ArchiveError,))
    assert found is None or all(len(one.sha256) == 64 and one.size >= 0 for one in found.values())


@settings(quick, max_examples=150)
@given(st.one_of(st.text(max_size=60), st.text("[]{}:,-&*!|>'\"% \n\t#?ab01", max_size=60)))
def test_any_text_as_yaml(text: str) -> None:
    try:
        found = parse_yaml(text, "text")
    except InputError as error:
        assert str(error).startswith("text")
    else:
        json.dumps(found, allow_nan=False, default=str, skipkeys=True)


@settings(quick, max_examples=150)
@given(st.data())
def test_published_rows(
    written: Path, published: list[dict], sources: list[Source], data: st.DataObject
) -> None:
    rows = data.draw(mutated(small.rows()))
    path = written / "rows.json"
    path.write_text(json.dumps(rows))
    try:
        tables = build_experiment("A", sources, published, lambda file: load_rows(path))
    except (ArchiveError, TableError) as error:
        assert "results/a.json" in str(error) or "rows.json" in str(error)
    else:
        assert len(tables.arrow("runs")) == 4
        assert set(tables.arrow("runs")["test_error"].to_pylist()) <= {row["test_error"] for row in rows}
    finally:
        path.unlink()


@pytest.fixture(scope="module")
def trained(good: Path) -> dict:
    """The run that the good record is of. Shared: read-only."""
    return load_census(good).runs["A/lam0.1_eta0.4_seed0"]


@settings(quick, max_examples=120)
@given(st.data())
def test_records(good: Path, trained: dict, tmp_path: Path, data: st.DataObject) -> None:
    """Records that are changed, with or without digest and checksum that fit, give tables or a message."""
    record = data.draw(mutated(json.loads((good / files.RECORD).read_bytes())))
    path = tmp_path / "lam0.1_eta0.4_seed0.json"
    path.write_text(json.dumps(record))
    if data.draw(st.booleans()):
        with suppress(ValueError, TypeError, KeyError, AttributeError):
            record.pop("seal")
            write_record(path, record | {"digest": digest(record)})
    try:
        read_record(path)
        tables = experiment_tables([trained], tmp_path, "demo")
    except (RecordError, TableError) as error:
        assert path.name in str(error)
    else:
        assert len(tables.arrow("runs")) == 1 and tables.arrow("trajectories") is not None


@settings(quick, max_examples=150)
@given(st.one_of(st.binary(max_size=40), st.text('[]{}:,"\\0e-1NaInfity ', max_size=40).map(str.encode)))
def test_any_bytes_as_json(content: bytes) -> None:
    try:
        found = strict_json.loads(content)
    except ValueError as error:
        assert str(error)
    else:
        assert found == json.loads(content) or found != found


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, size in (("x/first", 700), ("x/" + "long" * 40, 10), ("x/wanted", 2000)):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes(range(250)) * 8))
    return buffer.getvalue()


ARCHIVE = _archive()


@settings(quick, max_examples=150)
@given(st.data())
def test_archives(tmp_path: Path, data: st.DataObject) -> None:
    """Damaged anywhere, before or after compression, an archive gives a member's bytes or a message.

    Whether they are the right bytes is for checksums, which callers compare first.
    """
    import gzip

    inside = data.draw(st.booleans())
    content = bytearray(gzip.decompress(ARCHIVE) if inside else ARCHIVE)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(1, len(content))) if data.draw(st.booleans()) else len(content) :]
    path = tmp_path / "a.tar.gz"
    path.write_bytes(gzip.compress(bytes(content)) if inside else bytes(content))
    try:
        with path.open("rb") as stream:
            found = tar_member(stream, "a.tar.gz", "x/wanted", 2000)
    except DataError as error:
        assert "a.tar.gz" in str(error)
    else:
        assert len(found) <= 2000
    try:
        with path.open("rb") as stream, open_tar(stream, 20_000) as archive:
            for one in archive:
                assert one.size <= 20_000 or not one.isreg()
    except ArchiveDamage as error:
        assert str(error)
    assert list(tmp_path.iterdir()) == [path]
