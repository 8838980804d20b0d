"""Labels, indices and networks of one's own: what they may be, what a record says, what is refused in one message."""

from __future__ import annotations

import contextlib
import pickle
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy._core.multiarray import _reconstruct
from oracles import plain
from oracles.lab import MLP, Lab, run_of, stage, vectors
from torch import Tensor, nn

from dualgrad.census.datasets import DataSet
from dualgrad.census.imports import files_of_module
from dualgrad.census.own import check_own, own_files
from dualgrad.census.run import UnfitRun, check_part, read
from dualgrad.census.stages import CensusError
from dualgrad.data import given
from dualgrad.data.errors import DataError
from dualgrad.data.prepare import copy_places
from dualgrad.models import build_model, imported, needs_two_passes, switches
from dualgrad.project import load_settings
from dualgrad.training.determinism import configure
from dualgrad.training.trainer import TrainingError

N, CLASSES = 150, 4
NAMES = ("red", "green", "blue", "grey")
LABELS = np.random.RandomState(5).randint(0, CLASSES, N)
TRUSTED = np.arange(0, N, 3)


def entry(classes: object = NAMES) -> DataSet:
    return DataSet(
        name="vectors",
        title="t",
        kind="image",
        classes=list(classes) if isinstance(classes, tuple) else classes,
        shape=[1, 3, 4],
        splits={"train": {"examples": N}, "test": {"examples": 60}},
        layout={"format": "npz"},
    )


@pytest.fixture
def lab(tmp_path: Path, monkeypatch) -> Lab:
    (tmp_path / "own").mkdir()
    return Lab(tmp_path, monkeypatch)


def own_run(task, **changes) -> dict:
    """A run with labels and trusted examples from files, and a network from an import path."""
    value = {"labels": "trusted", "period": 2, "trusted": {"path": "trusted.npy"}}
    settings = {
        "noise": {"kind": "file", "path": "labels.npz", "column": "worse"},
        "value": value,
        "head_cosine_every": None,
    }
    network = changes.pop("network", {"import": "own_nets:build", "width": 6})
    return run_of(task, network, [stage(segments=[(0.3, 2)])], **(settings | changes))


MODULE = """
import torch
from torch import nn
from torch.nn import functional as F

def build(options, classes):
    width = options["width"]
    return nn.Sequential(nn.Linear(options["inputs"], width), nn.ReLU(), nn.Linear(width, classes))

class Noisy(nn.Module):
    def __init__(self, options, classes):
        super().__init__()
        self.body, self.head = nn.Linear(12, 8), nn.Linear(8, classes)

    def forward(self, x):
        return self.head(F.dropout(F.relu(self.body(x)), 0.5, self.training))
"""


def write(folder: Path, module: str = MODULE) -> None:
    (folder / "own_nets.py").write_text(module)
    np.savez(folder / "labels.npz", worse=LABELS, other=LABELS[::-1])
    np.save(folder / "trusted.npy", TRUSTED)


@pytest.fixture(autouse=True)
def fresh_module():
    """Each test has a module `own_nets` of its own."""
    path = list(sys.path)
    yield
    sys.modules.pop("own_nets", None)
    sys.path[:] = path


# --- what they may be ----------------------------------------------------------------------------------------


def as_csv(path: Path, values: np.ndarray, header: str = "id,label") -> None:
    path.write_text(f"{header}\n" + "".join(f"{place},{value}\n" for place, value in enumerate(values)))


def as_parquet(path: Path, values: object, name: str = "label") -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: values, "id": np.arange(N)}), path)


WRITERS: dict[str, Callable[[Path, np.ndarray], object]] = {
    "a.npy": np.save,
    "a.npz": lambda path, values: np.savez(path, label=values, id=np.arange(N)),
    "a.csv": as_csv,
    "a.tsv": lambda path, values: path.write_text("label\n" + "\n".join(map(str, values)) + "\n"),
    "a.parquet": as_parquet,
    "spaced.csv": lambda path, values: as_csv(path, values, "id, label"),
    "words.npy": lambda path, values: np.save(path, values.astype(str)),
    "dotted.parquet": lambda path, values: as_parquet(path, values, "my.label"),
    "arrays.pt": lambda path, values: torch.save({"label": values, "id": np.arange(N)}, path),
    "tensors.pth": lambda path, values: torch.save({"label": torch.from_numpy(values), "id": [0]}, path),
    "strided.pt": lambda path, values: torch.save({"label": torch.from_numpy(values.repeat(2))[::2]}, path),
    "alone.pt": lambda path, values: torch.save(torch.from_numpy(values), path),
    "expanded.pt": lambda path, values: torch.save(
        {"label": torch.from_numpy(values), "id": torch.zeros(()).expand(N)}, path
    ),
}


@pytest.mark.parametrize("name", WRITERS)
def test_the_same_labels_in_every_form(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path, LABELS)
    alone = ("a.npy", "words.npy", "alone.pt", "a.tsv")
    column = None if name in alone else "my.label" if name == "dotted.parquet" else "label"
    found = given.as_labels(given.read_column(path, column), N, CLASSES, (), "here")
    assert found.dtype == np.int64 and (found == LABELS).all()
    assert given.digest(found) == given.digest(LABELS)


def test_names_of_classes_and_flags_will_do(tmp_path: Path) -> None:
    as_csv(tmp_path / "names.csv", np.array(NAMES)[LABELS])
    found = given.as_labels(given.read_column(tmp_path / "names.csv", "label"), N, CLASSES, NAMES, "here")
    assert (found == LABELS).all()
    import pyarrow as pa

    words = np.array(NAMES)[LABELS].tolist()
    for kept in (pa.array(words, pa.large_string()), pa.array(words).dictionary_encode()):
        as_parquet(tmp_path / "names.parquet", kept)
        column = given.read_column(tmp_path / "names.parquet", "label")
        assert (given.as_labels(column, N, CLASSES, NAMES, "here") == LABELS).all()
    flags = np.zeros(N, dtype=bool)
    flags[TRUSTED] = True
    np.save(tmp_path / "flags.npy", flags)
    assert (given.as_indices(given.read_column(tmp_path / "flags.npy"), N, "here") == TRUSTED).all()


def test_labels_of_cifar10n() -> None:
    root = Path(__file__).resolve().parents[1]
    places = copy_places(root, load_settings(root)["data_copies"])
    path = next((one for place in places for one in place.glob("cifar10n/CIFAR-10_human.pt")), None)
    if path is None:
        pytest.skip(
            "no CIFAR-10N here: name its folder's parent in $DUALGRAD_DATA (or the setting data_copies)"
        )
    true, worse = (given.read_column(path, column) for column in ("clean_label", "worse_label"))
    labels = given.as_labels(worse, 50_000, 10, (), "here")
    seen = given.measured(labels, true.astype(np.int64), 10)
    assert seen["noise_rate"] == pytest.approx(0.4021, abs=5e-5)
    assert len(seen["transition"]) == 10 and sum(seen["transition"][3]) == pytest.approx(1, abs=1e-5)


def annotation(path: Path, wrong: int = 20_104, n: int = 50_000) -> None:
    true = np.arange(n) % 10
    noisy = np.where(np.arange(n) < wrong, (true + 1) % 10, true)
    torch.save({"clean_label": true, "worse_label": noisy}, path)


def test_an_annotation_is_put_where_its_experiment_looks_for_it(
    workspace: Path, tmp_path: Path, capsys
) -> None:
    from dualgrad.cli import main
    from dualgrad.project import load_project

    words, file = ["data", "cifar10n", "--root", str(workspace)], tmp_path / "mine.pt"
    assert main(words) == 1 and "published at github.com/UCSC-REAL" in capsys.readouterr().err
    for settings, expected in (
        ({"n": 4}, "expected 50,000 labels; got 4 and 4"),
        ({"wrong": 19_000}, "expected worse_label to be wrong on 0.40208; got 0.38000"),
    ):
        annotation(file, **settings)
        assert main([*words, "--from", str(file)]) == 1
        assert capsys.readouterr().err.count(expected) == 1
    annotation(file)
    assert main([*words, "--from", str(file)]) == 0 and main(words) == 0
    census = load_project(workspace, {"edition": "paper", "paper_data": "cifar10_jpeg"}).census
    run = census.runs["Control-human/simplecnn_human_lam0.35_seed0"]
    check_own(run, census.datasets[run["task"]["dataset"]], workspace)
    assert own_files(run, workspace) == [census.datasets["cifar10"].annotations["cifar10n"].path]


def test_what_was_measured() -> None:
    true, noisy = np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 1, 2, 1, 0])
    seen = given.measured(noisy, true, 3)
    assert seen["noise_rate"] == 0.5
    assert seen["transition"] == [[0.5, 0.25, 0.25], [0.5, 0.5, 0.0], None]


# --- a run ---------------------------------------------------------------------------------------------------


def test_a_run_of_ones_own(lab, tmp_path: Path) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    task.model_options["inputs"] = 12
    write(folder)
    run = own_run(task)
    record, _ = lab.train(run, root=folder)
    about = record["provenance"]
    assert about["labels"]["sha256"] == given.digest(LABELS)
    assert about["labels"]["noise_rate"] == pytest.approx((task.train_labels.numpy() != LABELS).mean())
    assert about["trusted"] == {
        "path": "trusted.npy",
        "column": None,
        "sha256": given.digest(TRUSTED),
        "examples": 50,
    }
    assert about["network"]["module"] == "own_nets" and len(about["network"]["sha256"]) == 64
    assert own_files(run, folder) == ["labels.npz", "trusted.npy", "own_nets.py"]
    again, _ = lab.train(run, root=folder)
    assert again["digest"] == record["digest"]
    # Where the files lie is nothing of the run's: a workflow hands them over.
    (folder / "labels.npz").rename(tmp_path / "moved.npz")
    elsewhere, _ = lab.train(run, root=folder, files={"labels.npz": tmp_path / "moved.npz"})
    assert elsewhere["digest"] == record["digest"]
    np.savez(folder / "labels.npz", worse=LABELS[::-1])
    other, _ = lab.train(run, root=folder)
    assert other["trajectory"] != record["trajectory"]


def test_a_state_of_other_labels_is_not_continued(lab, tmp_path: Path, capsys) -> None:
    from dualgrad.training.trainer import Interrupted

    task, folder = lab.add(vectors()), tmp_path / "own"
    task.model_options["inputs"] = 12
    write(folder)
    run, resume = own_run(task), tmp_path / "resume"
    with pytest.raises(Interrupted):
        lab.train(run, root=folder, resume=resume, stop_requested=lambda: True)
    np.savez(folder / "labels.npz", worse=LABELS[::-1])
    lab.train(run, root=folder, resume=resume)
    assert "starts over: the state of an earlier attempt is of another definition" in capsys.readouterr().err


def test_a_state_of_data_that_were_read_otherwise_is_not_continued(lab, tmp_path: Path, capsys) -> None:
    from dualgrad.training.trainer import Interrupted

    task, folder, resume = vectors(), tmp_path / "own", tmp_path / "resume"
    write(folder)
    for mean in (0.5, 0.4):
        known = {"classes": CLASSES, "normalize": {"mean": [mean], "std": [1.0]}}
        lab.tasks["vectors"] = replace(
            task, model_options={"inputs": 12}, origin={"content_sha256": "0" * 64}, definition=known
        )
        with contextlib.suppress(Interrupted):
            lab.train(own_run(task), root=folder, resume=resume, stop_requested=lambda: mean == 0.5)  # noqa: B023
    assert "starts over: the state of an earlier attempt is of another definition" in capsys.readouterr().err


def test_a_network_that_draws_by_itself_resumes_to_the_same_end(lab, tmp_path: Path) -> None:
    """Its dropout is no module: that it draws is found by trying."""
    from dualgrad.training.trainer import Interrupted

    task, folder = lab.add(vectors()), tmp_path / "own"
    task.model_options["inputs"] = 12
    write(folder)
    run, resume = own_run(task, network={"import": "own_nets:Noisy"}), tmp_path / "resume"
    whole, _ = lab.train(run, root=folder)
    asked = iter([False] * 7 + [True] * 100)
    with pytest.raises(Interrupted):
        lab.train(run, root=folder, resume=resume, stop_requested=lambda: next(asked))
    torch.rand(5)
    record, _ = lab.train(run, root=folder, resume=resume)
    assert record["digest"] == whole["digest"]


FIXED = """
import torch
from torch import nn

SEEDING

def build(options, classes):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = nn.Linear(12, 8)
    return nn.Sequential(first, nn.ReLU(), nn.Linear(8, classes))
"""


@pytest.mark.parametrize("seeding", ["", "torch.manual_seed(0)", "torch.rand(3)"])
def test_weights_follow_the_seed_but_for_what_is_meant_to_be_fixed(
    tmp_path: Path, monkeypatch, seeding: str
) -> None:
    """Whatever the module does when it is first imported."""
    monkeypatch.setattr(imported, "ROOT", tmp_path)
    name = f"fixed_{len(seeding)}"
    (tmp_path / f"{name}.py").write_text(FIXED.replace("SEEDING", seeding))
    models = [build_model({"import": f"{name}:build", "name": "x"}, 4, seed) for seed in (1, 1, 2)]
    first, again, other = [one.state_dict() for one in models]
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert {key for key in first if torch.equal(first[key], other[key])} == {"0.weight", "0.bias"}


# What moves in a forward pass, of a network with 8 units: a second pass over the batch moves it again.
MOVING = {
    "mean over all batches": "nn.BatchNorm1d(8, momentum=None)",
    "no running statistics": "nn.BatchNorm1d(8, track_running_stats=False)",
    "a buffer of its own": "Counting()",
}


@pytest.mark.parametrize("name", MOVING)
def test_what_moves_in_a_forward_pass_moves_as_in_two_passes(lab, tmp_path: Path, name: str) -> None:
    """The oracle makes two passes where the value gradient is renewed."""
    module = f"""
import torch
from torch import nn

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x):
        if self.training:
            self.passes += 1
        return x / (1 + self.passes)

def build(options, classes):
    return nn.Sequential(nn.Linear(12, 8), {MOVING[name]}, nn.ReLU(), nn.Linear(8, classes))
"""
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder, module)
    run = own_run(
        task,
        network={"import": "own_nets:build"},
        noise={"kind": "symmetric", "rate": 0.4, "seed_offset": 1000},
        value={"period": 2},
    )
    _, weights = lab.train(run, root=folder)
    bench = lab.session(run)
    for _ in range(2):
        bench.session.epoch(bench.batches(), plain.dual(bench.session, 0.3, period=2))
    lab.same_weights(weights["main"], bench.model)


# --- what is refused -----------------------------------------------------------------------------------------


class Harmful:
    def __reduce__(self):
        return (print, ("it ran",))


def damaged(path: Path, name: str) -> None:
    path.write_bytes(b"PK\x03\x04 no archive" if name.endswith(("z", "pt", "pth")) else b"\x93NUMPY nothing")


def claim(path: Path) -> None:
    """A tensor of more numbers than its storage has."""
    torch.save(torch.arange(4), path.with_suffix(".true"))
    with zipfile.ZipFile(path.with_suffix(".true")) as source, zipfile.ZipFile(path, "w") as target:
        for one in source.infolist():
            content = source.read(one)
            target.writestr(one, content[:8] if one.filename.endswith("data/0") else content)


class Called:
    """What a pickle asks for."""

    def __init__(self, *asked: object) -> None:
        self.asked = asked

    def __reduce__(self):
        function, *given = self.asked
        return (function, tuple(given))


def pickled(path: Path, content: object) -> None:
    """A file of torch.save's form, with a pickle that torch would not write."""
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("x/data.pkl", pickle.dumps(content, protocol=2))


def with_labels(values: object) -> Callable[[Path], None]:
    return lambda folder: np.savez(folder / "labels.npz", worse=np.array(values))


def text(name: str, content: str | bytes) -> Callable[[Path], object]:
    data = content if isinstance(content, bytes) else content.encode()
    return lambda folder: (folder / name).write_bytes(data)


def parquet(table: Callable[[Any], object]) -> Callable[[Path], None]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    return lambda folder: pq.write_table(table(pa), folder / "x.parquet")


def damaged_pages(folder: Path) -> None:
    """The list of columns at a file's end is whole, what they hold is not."""
    parquet(lambda pa: pa.table({"label": LABELS}))(folder)
    content = bytearray((folder / "x.parquet").read_bytes())
    content[4:40] = b"\xff" * 36
    (folder / "x.parquet").write_bytes(content)


NOISE = {"kind": "file", "path": "labels.npz", "column": "worse"}
# name -> what is written, the block `noise`, and what is said.
LABEL_FILES: dict[str, tuple[Callable[[Path], object], dict, str]] = {
    "missing": (lambda _: None, NOISE | {"path": "lables.npz"}, "no such file; did you mean 'labels.npz'"),
    "a folder": (lambda f: (f / "x.npz").mkdir(), NOISE | {"path": "x.npz"}, "this is a folder"),
    "another ending": (text("x.json", "[]"), NOISE | {"path": "x.json"}, "expected a file that ends in .npy"),
    "no ending": (text("labels", "1"), NOISE | {"path": "labels"}, "expected a file that ends in"),
    "no column": (
        lambda _: None,
        {"kind": "file", "path": "labels.npz"},
        "column is needed: the file holds worse",
    ),
    "misspelt column": (
        lambda _: None,
        NOISE | {"column": "wrose"},
        "no column 'wrose'; did you mean 'worse'",
    ),
    "column of one array": (
        lambda f: np.save(f / "x.npy", LABELS),
        NOISE | {"path": "x.npy"},
        "expected no column: the file holds one array",
    ),
    "too short": (with_labels(LABELS[:-1]), NOISE, "expected 150 labels, .*got 149"),
    "a class too many": (
        with_labels([4, *LABELS[1:]]),
        NOISE,
        r"label 0 \(from 0\) is 4; expected classes 0 to 3",
    ),
    "negative": (with_labels([*LABELS[:-1], -1]), NOISE, r"label 149 \(from 0\) is -1"),
    "from 1": (with_labels(LABELS + 1), NOISE, "expected classes 0 to 3; counted from 1"),
    "fractions": (with_labels([0.5, *LABELS[1:]]), NOISE, "is 0.5; expected a whole number"),
    "no numbers": (with_labels([np.nan, *LABELS[1:]]), NOISE, "is nan; expected a whole number"),
    "flags": (with_labels(LABELS > 1), NOISE, "expected whole numbers; got true and false"),
    "one-hot": (with_labels(np.eye(4)[LABELS]), NOISE, r"got an array of shape \(150, 4\)"),
    "misspelt class": (
        with_labels(["gren", *np.array(NAMES)[LABELS[1:]]]),
        NOISE,
        "'gren' is no class; did you mean 'green'",
    ),
    "objects": (
        lambda f: np.savez(f / "labels.npz", worse=np.array([Harmful()] * N)),
        NOISE,
        "'worse' cannot be read .*allow_pickle",
    ),
    "damaged npz": (lambda f: damaged(f / "labels.npz", "npz"), NOISE, "cannot be read as a .npz file"),
    "damaged npy": (
        lambda f: damaged(f / "x.npy", "npy"),
        {"kind": "file", "path": "x.npy"},
        "cannot be read as a .npy file",
    ),
    "csv without header": (
        text("x.csv", "1\n2\n"),
        {"kind": "file", "path": "x.csv"},
        "first line holds numbers .*expected a header",
    ),
    "empty csv": (text("x.csv", ""), {"kind": "file", "path": "x.csv"}, "the first line is empty"),
    "ragged csv": (
        text("x.csv", "id,label\n0,1\n1\n"),
        {"kind": "file", "path": "x.csv", "column": "label"},
        r"line 3: expected 2 value\(s\); got 1",
    ),
    "a column twice": (
        text("x.csv", "label,label\n1,1\n"),
        {"kind": "file", "path": "x.csv", "column": "label"},
        "the column 'label' occurs twice",
    ),
    "another encoding": (
        text("x.csv", b"label\n\xff\n"),
        {"kind": "file", "path": "x.csv"},
        "expected text in UTF-8",
    ),
    "semicolons": (
        text("x.csv", "id;label\n0;1\n"),
        {"kind": "file", "path": "x.csv", "column": "label"},
        r"the first line holds one name \('id;label'\); expected commas between columns",
    ),
    "an empty value": (
        text("x.csv", "label\n" + "1\n" * 149 + '""\n'),
        {"kind": "file", "path": "x.csv"},
        r"label 149 \(from 0\): '' is no class",
    ),
    "bytes that are no text": (
        lambda f: np.save(f / "x.npy", np.array([b"\xff"] * N)),
        {"kind": "file", "path": "x.npy"},
        "expected text in UTF-8",
    ),
    "larger than any number": (
        with_labels(np.full(N, 2**64 - 1, dtype=np.uint64)),
        NOISE,
        "expected classes 0 to 3",
    ),
    "an archive of nothing": (lambda f: np.savez(f / "labels.npz"), NOISE, "holds nothing"),
    "empty values in parquet": (
        parquet(lambda pa: pa.table({"label": [None, *LABELS[1:].tolist()]})),
        {"kind": "file", "path": "x.parquet"},
        r"column 'label' has 1 empty value\(s\)",
    ),
    "a column twice in parquet": (
        parquet(lambda pa: pa.table([LABELS, LABELS[::-1]], names=["label", "label"])),
        {"kind": "file", "path": "x.parquet", "column": "label"},
        "the column 'label' occurs twice",
    ),
    "damaged pages of parquet": (
        damaged_pages,
        {"kind": "file", "path": "x.parquet", "column": "label"},
        "'label' cannot be read",
    ),
    "lists in parquet": (
        parquet(lambda pa: pa.table({"label": [[1]] * N})),
        {"kind": "file", "path": "x.parquet"},
        "expected numbers or words; got values of the type object",
    ),
    "no parquet": (
        text("x.parquet", "PAR1"),
        {"kind": "file", "path": "x.parquet"},
        "cannot be read as a .parquet",
    ),
    "code in a torch file": (
        lambda f: torch.save({"worse": Harmful()}, f / "x.pt"),
        NOISE | {"path": "x.pt"},
        "it asks for .*print; expected NumPy's plain arrays and tensors",
    ),
    "a network in a torch file": (
        lambda f: torch.save(torch.nn.Linear(2, 2), f / "x.pt"),
        NOISE | {"path": "x.pt"},
        "it asks for torch.nn.modules.linear.Linear",
    ),
    "a plain pickle": (
        lambda f: (f / "x.pt").write_bytes(pickle.dumps(LABELS)),
        NOISE | {"path": "x.pt"},
        "expected a file of torch.save",
    ),
    "a tensor of a few bytes, thousands of millions of times": (
        lambda f: torch.save(torch.zeros(1, dtype=torch.uint8).expand(8_000_000_000), f / "x.pt"),
        {"kind": "file", "path": "x.pt"},
        "expected tensors of at most 256 MB together",
    ),
    "many tensors of the same bytes": (
        lambda f: torch.save([torch.zeros(1).expand(1 << 24) for _ in range(5)], f / "x.pt"),
        {"kind": "file", "path": "x.pt"},
        "expected tensors of at most 256 MB together",
    ),
    "an array of any size without numbers": (
        lambda f: pickled(f / "x.pt", Called(np.ndarray, (1 << 28,))),
        {"kind": "file", "path": "x.pt"},
        "cannot be read as a .pt file",
    ),
    "an array that is begun with any size": (
        lambda f: pickled(f / "x.pt", Called(_reconstruct, np.ndarray, (1 << 28,), b"b")),
        {"kind": "file", "path": "x.pt"},
        f"expected {N} labels, one for each training example; got 0",
    ),
    "a tensor that claims more": (
        lambda f: claim(f / "x.pt"),
        {"kind": "file", "path": "x.pt"},
        "claims more numbers than the file holds",
    ),
}
INDEX_FILES: dict[str, tuple[object, str]] = {
    "none": (np.array([], dtype=np.int64), "expected at least one index; got none"),
    "too large": ([0, 150], r"index 1 \(from 0\) is 150; expected 0 to 149"),
    "negative": ([-1, 3], r"index 0 \(from 0\) is -1"),
    "twice": ([3, 4, 3, 3], "the index 3 occurs 3 times"),
    "fractions": ([0.0, 1.5], "is 1.5; expected a whole number"),
    "words": (["first", "second"], "expected whole numbers; got 'first'"),
    "a word among numbers": (["1", "2nd"], "expected whole numbers; got '2nd'"),
    "digits that are no numbers": (["²", "1"], "expected whole numbers; got '²'"),
    "bytes that are no text": ([b"\xff"], "expected text in UTF-8"),
    "no flag set": ([False] * N, "expected at least one index; got none"),
    "too few flags": ([True, False], "expected 150 flags, .*got 2"),
    "ones and zeros": (
        [1, 0] * (N // 2),
        "expected indices from 0, or true and false for each example; got 1 and 0",
    ),
    "a matrix": ([[1, 2], [3, 4]], r"an array of shape \(2, 2\)"),
}


@pytest.mark.parametrize("name", LABEL_FILES)
def test_a_malformed_label_file_is_refused(lab, tmp_path: Path, name: str, capsys) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder)
    written, noise, expected = LABEL_FILES[name]
    written(folder)
    run = own_run(task, noise=noise)
    with pytest.raises(CensusError, match=expected) as found:
        check_own(run, entry(), folder)
    assert str(found.value).startswith("test/run: noise") and str(found.value).count("\n") == 0
    with pytest.raises(DataError, match=expected) as found:  # and by the job, where nobody has looked before
        lab.train(run, root=folder, class_names={task.name: NAMES})
    assert "\n" not in str(found.value) and "it ran" not in capsys.readouterr().out


@pytest.mark.parametrize("name", INDEX_FILES)
def test_a_malformed_index_file_is_refused(lab, tmp_path: Path, name: str) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder)
    values, expected = INDEX_FILES[name]
    np.save(folder / "trusted.npy", np.array(values))
    run = own_run(task)
    with pytest.raises(CensusError, match=expected) as found:
        check_own(run, entry(), folder)
    assert str(found.value).startswith("test/run: value.trusted: ") and "\n" not in str(found.value)
    with pytest.raises(DataError, match=expected):
        lab.train(run, root=folder)


# What can be seen without running it: import path -> module, and what is said.
PATHS: dict[str, tuple[str, str]] = {
    "own_nest:build": (MODULE, "there is no module 'own_nest'.*did you mean 'own_nets'"),
    "own_nets.deep:build": (MODULE, "there is no module 'own_nets.deep'"),
    "own_nets:biuld": (MODULE, "own_nets.py defines no 'biuld'; did you mean 'build'"),
    "own_nets:one": ("def one(options): ...", r"'one' takes options; expected two arguments"),
    "own_nets:three": ("def three(options, classes, depth): ...", "takes options, classes, depth"),
    "own_nets:keyword": ("def keyword(options, classes, *, depth): ...", "expected two arguments"),
    "own_nets:later": ("async def later(options, classes): ...", "'later' is asynchronous"),
    "own_nets:number": ("number = 3", "'number' is no function"),
    "own_nets:broken": ("def broken(options, classes:\n", "own_nets.py, line 1: "),
    "math:sqrt": (MODULE, "there is no module 'math'|is no file of Python"),
}
HEAD = "import numpy, random, threading, torch\nfrom torch import nn\n"
PARTS = """
class With(nn.Module):
    def __init__(self, go, part=None):
        super().__init__()
        self.w, self.go, self.part = nn.Parameter(torch.randn(12, 4)), go, part

    def forward(self, x):
        return self.go(self, x)

class Flip(nn.Module):
    def forward(self, x):
        return x.view(2, 4)  # as many as it is tried with

class Extra(nn.Linear):
    def get_extra_state(self):
        return {"steps": 0}

def counting(persistent):
    net = With(lambda net, x: x @ net.w + net.seen.add_(1) * 0)
    net.register_buffer("seen", torch.zeros(()), persistent=persistent)
    return net
"""
# What only the job can find: body of a factory -> what is said.
FACTORIES: dict[str, str] = {
    "raise KeyError('depth')": r"own_nets:build.*KeyError: 'depth' \(own_nets.py, line 4\)",
    "return None": "returned a NoneType; expected a torch.nn.Module",
    "return nn.Linear": "returned a type; expected a torch.nn.Module",
    "return nn.ReLU()": "returned a network without parameters",
    "return nn.LazyLinear(classes)": "with lazy layers",
    "return nn.Linear(12, classes).double()": "that is not float32",
    "return nn.Linear(12, classes).requires_grad_(False)": "with parameters that need no gradient",
    "return nn.Linear(12, classes + 1)": r"its network gives \(2, 5\); expected logits of shape \(2, 4\)",
    "return nn.Linear(7, classes)": r"its network cannot train on \(2, 12\): RuntimeError",
    "return nn.LSTM(12, classes)": "its network gives tuple; expected logits",
    "net = nn.Linear(12, 4); net.more = nn.Linear(2, 2); return net": "without a part in the output: more.weight",
    "torch.manual_seed(0); return nn.Linear(12, classes)": "seeds PyTorch's generator, so that all seeds",
    "torch.seed(); return nn.Linear(12, classes)": "seeds PyTorch's generator",
    "raise SystemExit(3)": "SystemExit: 3",
    "return nn.Linear(12, classes), 3": "returned a tuple; expected a torch.nn.Module",
    "return nn.Linear(12, classes, device='meta')": "on the device meta, which holds no numbers",
    "return With(lambda net, x: x.sub_(0.5) @ net.w)": "changes its inputs in place; expected it to leave them alone",
    "return With(lambda net, x: x @ net.w if net.training else (x @ net.w).argmax(1))":
        r"gives \(2,\) in eval mode; expected logits of shape \(2, 4\)",
    "return With(lambda net, x: x @ net.w if net.training else 1 / 0)":
        r"cannot be evaluated on \(2, 12\): ZeroDivisionError: division by zero \(own_nets.py, line \d+\)",
    "return With(lambda net, x: x @ net.w, threading.Lock())": "its network cannot be copied: TypeError",
    "return With(lambda net, x: x @ net.w if len(x) < 3 else x.nothing)":
        "its network failed: AttributeError: 'Tensor' object has no attribute 'nothing'",
    "return With(lambda net, x: nn.functional.embedding(torch.arange(len(x)), net.w, sparse=True))":
        "its network has sparse gradients; expected embeddings with sparse=False",
    "return counting(persistent=False)": "the buffer seen, which is not in its state; expected it to be persistent",
    "return Extra(12, classes)": "state holds _extra_state, which is no tensor",
    "return With(lambda net, x: x @ net.w * random.random())": "draws from Python's random, which no run",
    "return With(lambda net, x: x @ net.w * numpy.random.rand())": "draws from NumPy's random, which no run",
    "return With(lambda net, x: (torch.set_num_threads(3), x @ net.w)[1])":
        "its network sets torch.set_num_threads when it is called; expected it to leave PyTorch's switches",
    "return nn.Sequential(nn.Linear(12, 4), Flip())": r"failed: RuntimeError: shape .* \(own_nets.py, line \d+\)",
}  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_an_import_path_that_leads_nowhere_is_refused_without_running_it(
    lab, tmp_path: Path, path: str
) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    module, expected = PATHS[path]
    write(folder, "raise RuntimeError('it ran')\n" * (module == MODULE) + module)
    run = own_run(task, network={"import": path})
    with pytest.raises(CensusError, match=expected) as found:
        check_own(run, entry(), folder)
    said = str(found.value)
    assert said.startswith("test/run: task.model.import: ") and "\n" not in said and "it ran" not in said


@pytest.mark.parametrize("body", FACTORIES)
def test_a_factory_that_builds_no_network_is_refused(lab, tmp_path: Path, body: str) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder, f"{HEAD}def build(options, classes):\n    {body}\n{PARTS}")
    with pytest.raises(TrainingError, match=FACTORIES[body]) as found:
        lab.train(own_run(task), root=folder)
    assert "\n" not in str(found.value) and "task.model.import" in str(found.value)


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        ("import no_such_library\n", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("1 / 0\n", "ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_imported_is_refused(lab, tmp_path: Path, module: str, expected: str) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder, module + MODULE)
    with pytest.raises(TrainingError, match=expected) as found:
        lab.train(own_run(task), root=folder)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("part", "value", "expected"),
    [
        ("noise", {"kind": "file"}, "noise.path: the key is missing"),
        ("noise", {"kind": "file", "path": ""}, "noise.path"),
        ("noise", {"kind": "file", "path": "x.npy", "rate": 0.4}, "unknown key 'rate'"),
        ("noise", {"kind": "fiel", "path": "x.npy"}, "did you mean 'file'"),
        ("value", {"labels": "trusted", "trusted": {}}, "value.trusted: expected either ratio or path"),
        ("value", {"labels": "trusted", "trusted": {"ratio": 0.1, "path": "x.npy"}}, "either ratio or path"),
        ("value", {"labels": "trusted", "trusted": {"ratio": 0.1, "column": "x"}}, "it is for a file"),
        ("value", {"labels": "trusted", "trusted": {"path": "x.npy", "seed_offset": 3}}, "are not drawn"),
        ("task", {"model": {"import": "nets.py"}}, "task.model.path|task.model.import: expected a text like"),
        ("task", {"model": {"import": "nets:"}}, "expected a text like"),
        ("task", {"model": {"import": "a-b:build"}}, "expected a text like"),
        ("task", {"model": {"import": 3}}, "expected a text"),
        (
            "task",
            {"model": {"import": "nets:build", "name": "mlp"}},
            "task.model.name: expected no name beside import",
        ),
    ],
)
def test_what_is_written_wrongly_is_refused_with_the_census(
    lab, part: str, value: dict, expected: str
) -> None:
    run = own_run(lab.add(vectors()))
    with pytest.raises(UnfitRun, match=expected) as found:
        check_part(part, {**run[part], **value} if part == "task" else value)
    assert "\n" not in str(found.value)


def test_files_do_not_go_with_what_draws_by_itself(lab) -> None:
    run = own_run(lab.add(vectors()))
    run["task"] |= {"kind": "text", "normalize": None, "augment": None}
    run["noise"] = {"kind": "text_pool", "rate": 0.4, "seed_offset": 1}
    run["value"] = {**run["value"], "labels": "trusted_batches"}
    with pytest.raises(UnfitRun, match=r"value.trusted.path: expected ratio"):
        read(run)


# First lines of research code, and what reads what they set. Some have no effect without a GPU, but all are kept.
SWITCHES: dict[str, Callable[[], object]] = {
    "torch.set_num_threads(3)": torch.get_num_threads,
    "torch.set_default_dtype(torch.float64)": torch.get_default_dtype,
    "torch.set_default_device('meta')": torch.get_default_device,
    "torch.use_deterministic_algorithms(False)": torch.get_deterministic_debug_mode,
    "torch.use_deterministic_algorithms(True, warn_only=True)": torch.get_deterministic_debug_mode,
    "torch.set_float32_matmul_precision('medium')": torch.get_float32_matmul_precision,
    "torch.backends.cuda.matmul.allow_tf32 = True": lambda: torch.backends.cuda.matmul.allow_tf32,
    "torch.backends.cudnn.allow_tf32 = True": lambda: torch.backends.cudnn.allow_tf32,
    "torch.backends.cudnn.conv.fp32_precision = 'tf32'": lambda: torch.backends.cudnn.allow_tf32,
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'": torch.get_float32_matmul_precision,
    "torch.backends.fp32_precision = 'tf32'": lambda: torch.backends.mkldnn.matmul.fp32_precision,
    "torch.backends.cudnn.benchmark = True": lambda: torch.backends.cudnn.benchmark,
    "torch.backends.cudnn.deterministic = False": lambda: torch.backends.cudnn.deterministic,
    "torch.backends.cudnn.enabled = False": lambda: torch.backends.cudnn.enabled,
    "torch.backends.cuda.enable_flash_sdp(False)": torch.backends.cuda.flash_sdp_enabled,
}


@pytest.mark.parametrize("line", SWITCHES)
def test_every_switch_is_put_back(line: str) -> None:
    with switches.put_back() as changed:
        configure("float64", 1)
        with switches.put_back() as unlike_before:
            before = SWITCHES[line]()
            with switches.put_back() as moved:
                exec(line)
                assert moved()
            assert SWITCHES[line]() == before and unlike_before() == []
    assert changed() == []


@pytest.mark.parametrize("where", ["import", "build"])
def test_a_run_keeps_its_switches_whatever_a_module_sets(lab, tmp_path: Path, where: str) -> None:
    """So the record's threads and precision are those of the training, and the next run's are its own."""
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder)
    run = own_run(task, network={"import": "own_nets:build", "width": 6, "inputs": 12})
    expected, _ = lab.train(run, root=folder)
    before = {line: get() for line, get in SWITCHES.items()}
    lines = "; ".join(SWITCHES)
    later = (
        f"\ndef built(options, classes):\n    net = build(options, classes)\n    {lines}\n    return net\n"
    )
    write(folder, f"import torch\n{lines}\n{MODULE}" if where == "import" else MODULE + later)
    run["task"]["model"]["import"] = "own_nets:build" if where == "import" else "own_nets:built"
    sys.modules.pop("own_nets")
    with switches.put_back():
        record, _ = lab.train(run, root=folder)
        assert {line: get() for line, get in SWITCHES.items()} == before
    assert record["trajectory"] == expected["trajectory"] and record["provenance"]["threads"] == 1


SKIPS = """
import torch
from torch import nn

class Skips(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layer, self.head = nn.Linear(12, 12), nn.Linear(12, classes)

    def forward(self, x):
        if not self.training or torch.rand(()) < 0.5:  # stochastic depth
            x = x + self.layer(x)
        return self.head(x)

def build(options, classes):
    return Skips(classes)
"""


def test_a_network_may_leave_layers_out_at_random(lab, tmp_path: Path) -> None:
    """What a pass left out has a gradient of zeros; the try-out finds such layers in eval mode."""
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder, SKIPS)
    for seed in range(4):
        record, _ = lab.train(own_run(task, seed=seed), root=folder)
        assert record["outcome"]["status"] == "completed"


class Norms(nn.Module):
    """A network whose BatchNorm moves its statistics so often in a pass."""

    def __init__(self, uses: int) -> None:
        super().__init__()
        self.layer, self.norm, self.head = nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 4)
        self.uses = uses

    def train(self, mode: bool = True) -> Norms:
        super().train(mode)
        self.norm.train(mode and self.uses > 0)
        return self

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer(x)
        for _ in range(self.uses or 1):
            x = self.norm(x)
        return self.head(x)


@pytest.mark.parametrize(("uses", "changes"), [(0, True), (1, False), (2, True)])
def test_one_pass_stands_for_two_where_a_batchnorm_is_used_once(uses: int, changes: bool) -> None:
    net = Norms(uses)
    imported.try_out(net, (torch.randn(2, 12),), 4, "mynets:build")
    assert needs_two_passes(net) is changes
    assert not net.norm._forward_hooks, "the network itself stays as it is"


class Large(nn.Linear):
    """A network for which a GPU has no room."""

    def forward(self, x: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")


def test_want_of_memory_is_no_fault_of_a_network() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        imported.try_out(Large(12, 4), (torch.randn(2, 12),), 4, "mynets:build")


def test_flags_in_a_text_file_are_true_and_false(lab, tmp_path: Path) -> None:
    """As pandas writes them."""
    task, folder = lab.add(vectors()), tmp_path / "own"
    write(folder, f"{HEAD}def build(options, classes):\n    return nn.Linear(12, classes)\n")
    flags = [place % 3 == 0 for place in range(N)]
    (folder / "trusted.csv").write_text("trusted\n" + "".join(f"{flag}\n" for flag in flags))
    np.save(folder / "trusted.npy", np.flatnonzero(flags))
    values = [
        {"labels": "trusted", "period": 2, "trusted": {"path": f"trusted.{end}"}} for end in ("csv", "npy")
    ]
    words, indices = (lab.train(own_run(task, value=value), root=folder)[0] for value in values)
    assert words["trajectory"] == indices["trajectory"]
    assert words["provenance"]["trusted"]["examples"] == 50


def test_a_batch_without_trusted_examples_is_logged_against_the_kept_gradient(lab) -> None:
    value = {
        "labels": "trusted",
        "period": 4,
        "trusted": {"ratio": 0.05, "seed_offset": 2},
        "fresh_every_step": True,
    }
    run = run_of(lab.add(vectors()), MLP, [stage(segments=[(0.3, 3)])], value=value)
    run["task"]["batch_size"] = 6  # of 150 examples 7 are trusted
    run["log"] = {**run["log"], "steps_every": 1}
    steps = lab.train(run)[0]["trajectory"]["steps"]
    assert len(steps["loss_value"]) == 75 and 0 < sum(one is None for one in steps["loss_value"]) < 75
    assert None not in steps["cos_struct_value"]


def test_a_trusted_batch_of_one_is_refused_before_training(lab, tmp_path: Path) -> None:
    task, folder = lab.add(vectors()), tmp_path / "own"
    layers = "nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, classes)"
    write(folder, f"{HEAD}def build(options, classes):\n    return nn.Sequential({layers})\n")
    noise = {"kind": "symmetric", "rate": 0.2, "seed_offset": 1}
    for ratio, fits in ((0.14, False), (0.16, True)):  # 21 and 24 of 150
        value = {"labels": "trusted_batches", "period": 4, "trusted": {"ratio": ratio, "seed_offset": 2}}
        run = own_run(task, noise=noise, value=value)
        run["task"]["batch_size"] = 20
        if fits:
            assert lab.train(run, root=folder)[0]["outcome"]["status"] == "completed"
            continue
        with pytest.raises(TrainingError, match="a batch of one of 21 trusted examples, which BatchNorm"):
            lab.train(run, root=folder)


def test_a_package_that_is_a_link_is_of_ones_own(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "src", tmp_path / "project"
    (elsewhere / "nets").mkdir(parents=True)
    for name in ("nets/__init__.py", "nets/small.py", "alone.py"):
        (elsewhere / name).write_text(MODULE)
    root.mkdir()
    (root / "mynets").symlink_to(elsewhere / "nets")
    (root / "alone.py").symlink_to(elsewhere / "alone.py")
    found = [path.relative_to(root.resolve()) for path in files_of_module("mynets.small", root)]
    assert list(map(str, found)) == ["mynets/__init__.py", "mynets/small.py"]
    assert files_of_module("alone", root) == [root.resolve() / "alone.py"]
    assert files_of_module("json.decoder", root) == []
