"""Data sets as data: entries, layouts, what a set is, and what is refused.

One made-up set of pictures and one of sentences, in every layout that is read: the content is the same each time.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import re
import struct
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from oracles.lab import run_of, stage
from PIL import Image

from dualgrad.census import CensusError, load_census
from dualgrad.census.datasets import (
    DataSet,
    ParquetFiles,
    Pictures,
    Split,
    copies_named,
    load_datasets,
)
from dualgrad.census.run import read
from dualgrad.cli import main
from dualgrad.data import layouts, prepare
from dualgrad.data.content import check_content, sentences_of
from dualgrad.data.errors import DataError
from dualgrad.data.layouts import decoded
from dualgrad.data.places import Place
from dualgrad.data.store import content_digest, load_arrays, save_arrays
from dualgrad.data.task import load_task
from dualgrad.data.tokens import own_ids
from dualgrad.project import load_settings
from dualgrad.training.errors import TrainingError
from dualgrad.training.session import new_model

ROOT = Path(__file__).resolve().parents[1]
CLASSES = ["dot", "bar", "ring"]
SIZES = {"train": 6, "test": 3}
STATE = np.random.RandomState(5)
IMAGES = {split: STATE.randint(0, 256, (n, 3, 4, 5)).astype(np.uint8) for split, n in SIZES.items()}
LABELS = {split: np.arange(n, dtype=np.int64)[::-1] % 3 for split, n in SIZES.items()}
SENTENCES = {
    "train": ['a "quoted" film ', "naïve , but fine", "bad", "it 's good"],
    "test": ["dull ", "bright"],
}
POLARITY = {"train": [1, 1, 0, 1], "test": [0, 1]}

PICTURES = {
    "title": "shapes",
    "kind": "image",
    "classes": CLASSES,
    "shape": [3, 4, 5],
    "splits": {"train": {"per_class": 2}, "test": {"per_class": 1}},
    "layout": {"format": "pictures"},
}
TEXT = {
    "title": "opinions",
    "kind": "text",
    "classes": ["negative", "positive"],
    "splits": {
        "train": {"examples": 4},
        "test": {"per_class": [1, 1], "files": ["dev.tsv"], "aliases": ["validation"]},
    },
    "layout": {"format": "table"},
    "tokens": {"length": 12, "vocabulary": 50},
}


def described(folder: Path, content: dict, name: str = "mine") -> Path:
    """A project with this entry alone added."""
    path = folder / "config" / "datasets" / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


def run_command(root: Path, *words: object) -> int:
    return main(["data", *map(str, words), "--root", str(root)])


# ------------------------------------------------------------------------------------------ the same in every layout


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def picture_files() -> dict[str, bytes]:
    files = {}
    for split in SIZES:
        for number, (image, label) in enumerate(zip(IMAGES[split], LABELS[split], strict=True)):
            files[f"shapes/{split}/{CLASSES[label]}/{number:05}.png"] = png(image)
    return files


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def tar(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
        for name, content in reversed(files.items()):  # the order of an archive means nothing
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def zipped(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
        archive.writestr("__MACOSX/shapes/._00001.png", b"resource fork")
    return path


def batches(folder: Path) -> Path:
    """Python's batches, the training set in two of them."""
    parts = {"data_batch_1": ("train", 0, 4), "data_batch_2": ("train", 4, 6), "test_batch": ("test", 0, 3)}
    for name, (split, start, stop) in parts.items():
        data = IMAGES[split][start:stop].reshape(stop - start, -1)
        batch = {"data": data, "labels": LABELS[split][start:stop].tolist()}
        write(folder, {f"batches/{name}": pickle.dumps(batch, protocol=2)})
    return folder


def parquet(folder: Path) -> Path:
    """As the hub has it: the training set in two pieces, a test set whose name the entry does not use."""
    for name, split, start, stop in (
        ("train-00000-of-00002", "train", 0, 3),
        ("train-00001-of-00002", "train", 3, 6),
        ("test-00000-of-00001", "test", 0, 3),
    ):
        images = [{"bytes": png(image), "path": None} for image in IMAGES[split][start:stop]]
        table = pa.table({"img": images, "label": LABELS[split][start:stop]})
        (folder / "data").mkdir(parents=True, exist_ok=True)
        pq.write_table(table, folder / "data" / f"{name}.parquet")
    return folder


def npz(path: Path, last: bool = False) -> Path:
    arrays = {}
    for split in SIZES:
        images = IMAGES[split].transpose(0, 2, 3, 1) if last else IMAGES[split]
        arrays |= {f"{split}_images": images, f"{split}_labels": LABELS[split].astype(np.uint8)}
    np.savez(path, **arrays)
    return path


PICTURE_LAYOUTS: dict[str, Callable[[Path], Path]] = {
    "folder": lambda folder: write(folder / "f", picture_files()),
    "tar": lambda folder: tar(folder / "shapes.tar", picture_files()),
    "tar.gz": lambda folder: tar(folder / "shapes.tar.gz", picture_files()),
    "zip": lambda folder: zipped(folder / "shapes.zip", picture_files()),
    "npz": lambda folder: npz(folder / "shapes.npz"),
    "npz, channels last": lambda folder: npz(folder / "shapes.npz", last=True),
    "parquet": lambda folder: parquet(folder / "p"),
    "batches": lambda folder: batches(folder / "b"),
    "batches, called as CIFAR's": lambda folder: batches(folder / "b"),
    "folder, with an array of something else": lambda folder: write(
        folder / "f", picture_files() | {"shapes/features.npz": b"x", "shapes/labels.parquet": b"x"}
    ),
}
EXPECTED = content_digest(
    {f"{split}_images": IMAGES[split] for split in SIZES} | {f"{s}_labels": LABELS[s] for s in SIZES}
)


@pytest.mark.parametrize("layout", PICTURE_LAYOUTS)
def test_pictures_are_the_same_in_every_layout(tmp_path, layout):
    entry = PICTURES
    if layout == "batches":  # which files hold a split is part of this layout
        splits = {"train": {"files": ["data_batch_1", "data_batch_2"]}, "test": {"files": ["test_batch"]}}
        entry = {**PICTURES, "splits": splits, "layout": {"format": "cifar_batches", "labels": "labels"}}
    root, data = described(tmp_path, entry), tmp_path / "data"
    given = PICTURE_LAYOUTS[layout](tmp_path)
    (tmp_path / "config" / "config.yaml").write_bytes((ROOT / "config" / "config.yaml").read_bytes())
    (tmp_path / "config" / "editions").symlink_to(ROOT / "config" / "editions")
    assert run_command(root, "mine", "--from", given, "--data-dir", data) == 0
    arrays = load_arrays(data / "mine" / "mine.npz", remedy="")
    assert content_digest(arrays) == EXPECTED
    assert np.array_equal(arrays["train_images"], IMAGES["train"])
    note = json.loads((data / "mine" / "mine.json").read_text())
    pixels = IMAGES["train"].transpose(1, 0, 2, 3).reshape(3, -1) / 255
    assert note["set"]["normalize"]["mean"] == pytest.approx(pixels.mean(1), abs=6e-5)
    assert note["set"]["normalize"]["std"] == pytest.approx(pixels.std(1), abs=6e-5)


def test_what_was_prepared_is_said_in_a_line_for_each_split(tmp_path, capsys):
    """A class that the test split lacks is allowed, and is said."""
    files = {name: content for name, content in picture_files().items() if "test/ring" not in name}
    files["shapes/train/bar/00009.png"] = png(IMAGES["train"][0])
    root = described(tmp_path, {**PICTURES, "splits": {"train": {}, "test": {}}})
    (root / "config" / "config.yaml").write_bytes((ROOT / "config" / "config.yaml").read_bytes())
    (root / "config" / "editions").symlink_to(ROOT / "config" / "editions")
    assert (
        run_command(root, "mine", "--from", write(tmp_path / "f", files), "--data-dir", tmp_path / "d") == 0
    )
    said = capsys.readouterr().out.splitlines()
    assert said[1:] == [
        "  train: 7 pictures of 3 × 4 × 5, 2 (dot) to 3 (bar) of a class",
        "  test: 2 pictures of 3 × 4 × 5, none of class ring, about which its error says nothing",
    ]


def test_a_class_may_be_called_like_a_split(tmp_path):
    """Pictures belong to the split above their class's folder."""
    names = ["train", "test", "plane"]
    files = {
        name.replace("/dot/", "/train/").replace("/bar/", "/test/").replace("/ring/", "/plane/"): content
        for name, content in picture_files().items()
    }
    entry = DataSet.model_validate(
        {**PICTURES, "name": "vehicles", "classes": names, "splits": {"train": {}, "test": {}}}
    )
    for order in ("number", "name"):
        entry = entry.model_copy(update={"layout": Pictures(format="pictures", order=order)})
        arrays = layouts.read(Place(write(tmp_path / order, files)), entry, entry.layout)
        assert {split: np.bincount(arrays[f"{split}_labels"]).tolist() for split in SIZES} == {
            "train": [2, 2, 2],
            "test": [1, 1, 1],
        }


def test_letters_with_accents_are_found_however_a_file_system_writes_them(tmp_path):
    files = {
        name.replace("/ring/", f"/{unicodedata.normalize('NFD', 'Bär')}/"): content
        for name, content in picture_files().items()
    }
    entry = DataSet.model_validate({**PICTURES, "name": "animals", "classes": ["dot", "bar", "Bär"]})
    arrays = layouts.read(Place(write(tmp_path, files)), entry, entry.layout)
    assert arrays["train_labels"].tolist() == LABELS["train"].tolist()


def test_pictures_that_would_be_clipped_and_classes_that_would_vanish_are_refused(tmp_path):
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 5), 40_000, dtype=np.uint16)).save(deep, "PNG")
    with pytest.raises(DataError, match="x-ray.png has more than 8 bits a channel, expected 8"):
        decoded(deep.getvalue(), [1, 4, 5], "x-ray.png")
    # Of 16 bits of three colours PIL makes 8 and says nothing: no such file comes from it, so one is spelt out.
    rows = zlib.compress(b"".join(b"\0" + bytes(5 * 6) for _ in range(4)))
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 5, 4, 16, 2, 0, 0, 0), b"IDAT" + rows, b"IEND")
    colours = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks
    )
    with Image.open(io.BytesIO(colours)) as picture:
        assert (picture.mode, picture.size) == ("RGB", (5, 4))
    with pytest.raises(DataError, match="satellite.png has more than 8 bits a channel, expected 8"):
        decoded(colours, [3, 4, 5], "satellite.png")
    files = {
        name.replace(".png", ".bmp") if "/ring/" in name else name: c for name, c in picture_files().items()
    }
    entry = DataSet.model_validate({**PICTURES, "name": "mine", "splits": {"train": {}, "test": {}}})
    with pytest.raises(DataError, match="the split 'train' has no example of class ring"):
        arrays = layouts.read(Place(write(tmp_path / "p", files)), entry, entry.layout)
        check_content(entry, arrays, "p")


def test_more_words_than_two_bytes_number():
    sentences = {"train": [" ".join(f"w{i}" for i in range(70_000))], "test": ["w0 w69999"]}
    arrays = own_ids(sentences, 70_001, {})
    assert arrays["train_ids"].max() == arrays["vocabulary"] - 1 > 2**16
    assert arrays["test_ids"][0, 2] == arrays["train_ids"][0, 70_000]


def test_prepared_data_whose_entry_has_changed_are_refused(project, capsys):
    """Each key that training takes from the entry: what was prepared before says which, and how to go on."""
    given = write(project / "given", picture_files())
    root = described(project, PICTURES)
    assert run_command(root, "mine", "--from", given) == 0
    path = prepare.content_path(root / "data", "mine")

    def entry(**changes: object) -> DataSet:
        return DataSet.model_validate({**PICTURES, "name": "mine", **changes})

    prepare.check_definition(entry(), path)
    prepare.check_definition(entry(title="other words"), path)
    half = {"mean": [0.5] * 3, "std": [0.5] * 3}
    for changes, key in (({"normalize": half}, "normalize"), ({"classes": CLASSES[::-1]}, "classes")):
        with pytest.raises(DataError, match=rf"changed \({key}\); run: dualgrad data mine --data-dir"):
            prepare.check_definition(entry(**changes), path)
    described(project, {**PICTURES, "normalize": half})
    assert run_command(root, "mine", "--from", given) == 0
    prepare.check_definition(entry(normalize=half), path)
    # Corrected labels are other content: it says what to do with the old one.
    moved = {name.replace("/dot/00002", "/ring/00002"): content for name, content in picture_files().items()}
    described(project, {**PICTURES, "splits": {"train": {}, "test": {}}})
    capsys.readouterr()
    assert run_command(root, "mine", "--from", write(project / "moved", moved)) == 1
    assert f"to take the new content instead, delete {path.parent}" in capsys.readouterr().err


def test_a_run_of_pictures_may_ask_for_another_split(tmp_path):
    arrays = {
        f"{split}_images": IMAGES["train" if split == "pilot" else split] for split in ("pilot", *SIZES)
    }
    arrays |= {f"{split}_labels": LABELS[split] for split in SIZES}
    arrays["pilot_labels"] = (LABELS["train"] + 1) % 3
    note = {"set": {"name": "mine", "kind": "image", "classes": 3}}
    save_arrays(prepare.content_path(tmp_path, "mine"), arrays, note)
    run: dict = {"kind": "image", "dataset": "mine", "classes": 3, "augment": None, "synthetic": None}
    run |= {"normalize": {"mean": [0.5] * 3, "std": [0.5] * 3}, "model": {"name": "mlp"}}
    for augment in (None, {"crop_padding": 1, "flip": True}):
        usual, pilot = (
            load_task({**run, "augment": augment, "split": split}, data_dir=tmp_path)
            for split in (None, "pilot")
        )
        assert torch.equal(pilot.train_labels, (usual.train_labels + 1) % 3)
        with pytest.raises(DataError, match="data set mine has no split 'other'"):
            load_task({**run, "augment": augment, "split": "other"}, data_dir=tmp_path)
    # Synthetic pictures have no set that says how they are normalised.
    made_up = {**run, "normalize": None, "synthetic": {"train": 6, "test": 3, "shape": [3, 4, 5]}}
    assert load_task(made_up, data_dir=tmp_path).n_train == 6


def test_a_network_that_takes_other_pictures_is_refused_in_a_sentence(tmp_path):
    given = {"train": 6, "test": 3, "shape": [1, 12, 12]}
    half = {"mean": [0.5], "std": [0.5]}
    stages = [stage(segments=[(0.3, 1)])]
    for network, said in (
        ({"name": "simplecnn_p"}, "simplecnn_p takes 3 channels; the pictures of mine have 1"),
        (
            {"name": "mlp", "hidden": [8], "inputs": 100},
            "mlp takes 100 inputs; the pictures of mine have 144",
        ),
    ):
        task = {"kind": "image", "dataset": "mine", "classes": 3, "synthetic": given, "normalize": half}
        made_up = load_task({**task, "augment": None, "model": network}, data_dir=tmp_path)
        run = read(run_of(made_up, network, stages))
        with pytest.raises(TrainingError, match=said):
            new_model(run, made_up, 0, torch.float32)


def tsv_files() -> dict[str, bytes]:
    files = {}
    for split, name in (("train", "train.tsv"), ("test", "dev.tsv")):
        rows = [f"{s}\t{label}" for s, label in zip(SENTENCES[split], POLARITY[split], strict=True)]
        files[f"opinions/{name}"] = "\n".join(["sentence\tlabel", *rows, ""]).encode()
    return files


def csv_files() -> dict[str, bytes]:
    files = {}
    for split, name in (("train", "train.csv"), ("test", "dev.csv")):
        buffer = io.StringIO()
        writer = csv.writer(buffer)
        writer.writerow(["index", "label", "text"])
        for number, (s, label) in enumerate(zip(SENTENCES[split], POLARITY[split], strict=True)):
            writer.writerow([number, TEXT["classes"][label], s])  # classes by name
        files[name] = buffer.getvalue().encode()
    return files


def text_parquet(folder: Path) -> Path:
    """As the hub has GLUE's: a test split without labels beside the validation split."""
    folder.mkdir()
    for name, split in (("train", "train"), ("validation", "test")):
        table = pa.table({"sentence": SENTENCES[split], "label": POLARITY[split]})
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    pq.write_table(pa.table({"sentence": ["?"], "label": [-1]}), folder / "test-00000-of-00001.parquet")
    return folder


@pytest.mark.parametrize(
    "given",
    [
        lambda folder: write(folder / "t", tsv_files()),
        lambda folder: zipped(folder / "SST.zip", tsv_files()),
        lambda folder: tar(folder / "t.tgz", tsv_files()),
        lambda folder: write(folder / "c", csv_files()),
        lambda folder: text_parquet(folder / "p"),
    ],
    ids=["tsv", "zip", "tgz", "csv", "parquet"],
)
def test_sentences_are_the_same_in_every_layout(project, given):
    described(project, TEXT)
    assert run_command(project, "mine", "--from", given(project)) == 0
    content = load_arrays(project / "data" / "mine" / "mine.npz", remedy="")
    for split, expected in SENTENCES.items():
        assert sentences_of(content, split) == expected
        assert content[f"{split}_labels"].tolist() == POLARITY[split]
    assert content_digest(content) == "bba860b99e56f868a113e61f08ca4fd9ce6bbffd8ce7447daf07c6e5728e908d"
    # The set's own vocabulary: words and marks of the training sentences, DistilBERT's with a token in front.
    small = load_arrays(project / "data" / "mine" / "distilbert.npz", remedy="")
    words = load_arrays(project / "data" / "mine" / "textcnn.npz", remedy="")
    assert (small["train_ids"][:, 0] == 2).all()
    assert np.array_equal(small["train_ids"][:, 1:], words["train_ids"])
    assert (words["test_ids"][1, :2] == [1, 0]).all(), "a word that no training sentence has"


def test_a_split_in_several_files(tmp_path):
    """All that the entry lists, in its order: half a data set would be a data set that nobody asked for."""
    half = {name: content.split(b"\n") for name, content in tsv_files().items()}
    head, *rows = half["opinions/train.tsv"]
    listed = {"late": [head, *rows[2:]], "early": [head, *rows[:2]], "dev": half["opinions/dev.tsv"]}
    folder = write(tmp_path / "t", {f"{name}.tsv": b"\n".join(lines) for name, lines in listed.items()})
    splits = {"train": {"files": ["early", "late.tsv"]}, "test": {"files": ["dev"]}}
    entry = DataSet.model_validate({**TEXT, "name": "mine", "splits": splits})
    assert sentences_of(layouts.read(Place(folder), entry, entry.layout), "train") == SENTENCES["train"]
    # Numbered pieces of Parquet come in the order of their numbers.
    (tmp_path / "p").mkdir()
    for number, name in zip((2, 10, 1, 3), ("train-2", "train-10", "train-1", "dev"), strict=True):
        table = pa.table({"sentence": [f"{number}"], "label": [1]})
        pq.write_table(table, tmp_path / "p" / f"{name}.parquet")
    entry = entry.model_copy(update={"splits": {**entry.splits, "train": Split()}})
    arrays = layouts.read(Place(tmp_path / "p"), entry, ParquetFiles(format="parquet"))
    assert sentences_of(arrays, "train") == ["1", "2", "10"]
    # Pictures in two folders.
    files = {
        name.replace("train", "old" if int(name[-9:-4]) < 3 else "new"): c
        for name, c in picture_files().items()
    }
    splits = {"train": {"files": ["old", "new"]}, "test": {}}
    entry = DataSet.model_validate({**PICTURES, "name": "mine", "splits": splits})
    assert content_digest(layouts.read(Place(write(tmp_path / "f", files)), entry, entry.layout)) == EXPECTED


def test_sst2_as_the_hub_has_it(tmp_path, root):
    """The shipped entries take its validation split, and not the test split, which has no labels."""
    for name in ("sst2", "sst2_tsv"):
        entry = load_datasets(root)[name]
        layout = layouts.layout_of(Place(text_parquet(tmp_path / name)), entry)
        arrays = layouts.read(Place(tmp_path / name), entry, layout)
        assert sentences_of(arrays, "test") == SENTENCES["test"]
        assert arrays["train_labels"].tolist() == POLARITY["train"]


def test_options_of_data_are_heeded_or_refused(project, capsys):
    described(project, TEXT)
    assert run_command(project, "mine", "--from", write(project / "t", tsv_files())) == 0
    assert run_command(project, "mine", "--tokens", "textcnn", "--from", project / "nowhere.tsv") == 1
    assert "nowhere.tsv does not exist" in capsys.readouterr().err
    other = {name: content.replace(b"bad", b"poor") for name, content in tsv_files().items()}
    assert run_command(project, "mine", "--tokens", "textcnn", "--from", write(project / "o", other)) == 1
    assert "is not mine: its content has SHA-256" in capsys.readouterr().err
    for name, words in (("distilbert", ["--tokens", "textcnn"]), ("cifar10n", ["--content"])):
        assert run_command(project, name, *words) == 1
        assert f"{words[0]} is for data sets, and {name} is none" in capsys.readouterr().err


@pytest.fixture
def project(workspace: Path) -> Path:
    return workspace


# --------------------------------------------------------------------------------------------- what a set is


def test_a_set_is_what_it_holds_whatever_file_it_came_in(project, capsys):
    folder = write(project / "f", picture_files())
    described(project, {**PICTURES, "content_sha256": EXPECTED})
    described(project, {**PICTURES, "copy_of": "mine"}, "another")
    assert run_command(project, "mine", "--from", npz(project / "shapes.npz")) == 0
    # Under the name of a copy the very same content is refused: it is the set itself.
    capsys.readouterr()
    assert run_command(project, "another", "--from", folder) == 1
    assert (
        "exactly as published, no other copy: prepare it as such, dualgrad data mine"
        in capsys.readouterr().err
    )
    assert not (project / "data" / "another").exists()
    # And another copy under the name of the set.
    files = picture_files()
    files["shapes/train/dot/00005.png"] = png(255 - IMAGES["train"][5])
    changed = write(project / "changed", files)
    label = CLASSES[LABELS["train"][5]]
    (changed / "shapes" / "train" / label / "00005.png").write_bytes(png(255 - IMAGES["train"][5]))
    if label != "dot":
        (changed / "shapes" / "train" / "dot" / "00005.png").unlink()
    before = (project / "data" / "mine" / "mine.npz").read_bytes()
    assert run_command(project, "mine", "--from", changed) == 1
    message = capsys.readouterr().err
    assert "is not mine: its content has SHA-256" in message and "pinned in its entry" in message
    assert "`copy_of: mine` in its entry" in message and "another" in message
    assert (project / "data" / "mine" / "mine.npz").read_bytes() == before
    assert run_command(project, "another", "--from", changed) == 0
    note = json.loads((project / "data" / "another" / "another.json").read_text())
    assert note["set"]["copy_of"] == "mine"


def test_a_digest_is_recorded_when_a_set_is_first_prepared(project, capsys):
    described(project, PICTURES)
    assert run_command(project, "mine", "--from", npz(project / "shapes.npz")) == 0
    assert run_command(project, "mine", "--from", write(project / "f", picture_files())) == 0
    arrays = dict(np.load(project / "shapes.npz"))
    arrays["test_images"] = arrays["test_images"] ^ 1
    np.savez(project / "other.npz", **arrays)
    capsys.readouterr()
    assert run_command(project, "mine", "--from", project / "other.npz") == 1
    assert "recorded when it was first prepared" in capsys.readouterr().err


def test_a_published_set_in_an_unknown_file_is_not_taken_on_trust(project, capsys):
    """Nothing says which pixels CIFAR-10 has until its archive has been here."""
    content = yaml.safe_load((project / "config" / "datasets" / "cifar10.yaml").read_text())
    small = {**content, "shape": [3, 4, 5], "splits": PICTURES["splits"], "classes": CLASSES}
    described(project, small, "cifar10")
    for copy in (project / "config" / "datasets").glob("cifar10_*.yaml"):
        copy.unlink()
    assert run_command(project, "cifar10", "--from", npz(project / "shapes.npz")) == 1
    message = capsys.readouterr().err
    assert "cannot be told from other copies of cifar10" in message and "cifar-10-python.tar.gz" in message
    assert not (project / "data" / "cifar10").exists()


def test_shipped_entries(root):
    sets = load_datasets(root)
    assert {"cifar10", "cifar100", "sst2", "digits", "digit_pairs", "reviews"} <= sets.keys()
    assert sets["sst2_tsv"].copy_of == "sst2"
    assert all(sets[name].copy_of == "cifar10" for name in ("cifar10_jpeg", "cifar10_png"))
    assert [sets["cifar10"].examples(split) for split in ("train", "test")] == [50_000, 10_000]
    assert [sets["sst2"].examples(split) for split in ("train", "test")] == [67_349, 872]
    assert sets["digits"].embedded and not sets["cifar10"].embedded
    for one in sets.values():  # an entry as YAML is the entry
        again = {key: value for key, value in one.model_dump(mode="json").items() if key != "name"}
        assert type(one)(name=one.name, **again) == one


def copy_of_set(name: str) -> Path:
    """Where a real copy lies, looked for as the workflow looks for it; without it the test is skipped."""
    places = prepare.copy_places(ROOT, load_settings(ROOT)["data_copies"])
    file = load_datasets(ROOT)[name].sources[0].path
    found = next((place / file for place in places if (place / file).exists()), None)
    if found is None:
        pytest.skip(f"no {file} here: name its folder in $DUALGRAD_DATA (or the setting data_copies)")
    return found


def test_real_sentences(tmp_path, root):
    given = copy_of_set("sst2_tsv")
    sets = load_datasets(root)
    path, digest = prepare.prepare(sets["sst2_tsv"], sets, tmp_path, given)
    assert digest == sets["sst2_tsv"].content_sha256
    content = load_arrays(path, remedy="")
    assert sentences_of(content, "train")[0] == "hide new secretions from the parental units "
    made, _ = prepare.prepare_tokens(sets["sst2_tsv"], tmp_path, "textcnn")
    ids = load_arrays(made, remedy="")
    assert ids["train_ids"].shape == (67_349, 64) and int(ids["vocabulary"]) == ids["train_ids"].max() + 1


def test_real_pictures(tmp_path, root):
    """All of them, by the command as documents give it; a copy's numbers are places in CIFAR-10's own order."""
    given = copy_of_set("cifar10_jpeg")
    assert run_command(root, "cifar10_jpeg", "--from", given, "--data-dir", tmp_path) == 0
    content = load_arrays(prepare.content_path(tmp_path, "cifar10_jpeg"), remedy="")
    assert content_digest(content) == load_datasets(root)["cifar10_jpeg"].content_sha256
    assert content["train_labels"][:3].tolist() == [6, 9, 9]  # frog, truck, truck, as CIFAR-10 begins
    name, one = next(Place(given).read(lambda name: name.parts[-3:] == ("train", "truck", "00002.jpg")))
    assert np.array_equal(content["train_images"][2], decoded(one, [3, 32, 32], str(name)))


def test_real_pictures_without_loss(tmp_path, root):
    """They have the means and standard deviations that are known of CIFAR-10, to all of their eight digits."""
    given = copy_of_set("cifar10_png")
    sets = load_datasets(root)
    path, digest = prepare.prepare(sets["cifar10_png"], sets, tmp_path, given)
    assert digest == sets["cifar10_png"].content_sha256
    pixels = load_arrays(path, remedy="")["train_images"].astype(np.float64) / 255
    assert pixels.mean((0, 2, 3)).round(8).tolist() == [0.49139968, 0.48215841, 0.44653091]
    assert pixels.std((0, 2, 3)).round(8).tolist() == [0.24703223, 0.24348513, 0.26158784]


# --------------------------------------------------------------------------------------------- what is refused


def without(files: dict[str, bytes], part: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if part not in name}


def renamed(files: dict[str, bytes], old: str, new: str) -> dict[str, bytes]:
    return {name.replace(old, new): content for name, content in files.items()}


def broken_npz(**changes: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        arrays = dict(np.load(npz(folder / "whole.npz")))
        (folder / "whole.npz").unlink()
        for name, value in changes.items():
            arrays[name] = value(arrays[name])
        np.savez(folder / "x.npz", **{name: array for name, array in arrays.items() if array is not None})
        return folder / "x.npz"

    return make


def pictures(change: Callable[[dict[str, bytes]], dict[str, bytes]]) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "f", change(picture_files()))


def changed(name: str, content: bytes) -> Callable[[dict[str, bytes]], dict[str, bytes]]:
    return lambda files: files | {next(one for one in files if name in one): content}


def jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size).save(buffer, "JPEG")
    return buffer.getvalue()


def tables(**files: bytes) -> Callable[[Path], Path]:
    return lambda folder: write(
        folder / "t", tsv_files() | {f"opinions/{n}.tsv": c for n, c in files.items()}
    )


def truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-40])
    return path


def parquet_of(**columns: list) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        parquet(folder / "p")
        pq.write_table(pa.table(columns), folder / "p" / "data" / "test-00000-of-00001.parquet")
        return folder / "p"

    return make


class Evil:
    def __reduce__(self):
        return (os.system, ("true",))


def batch_of(content: object) -> Callable[[Path], Path]:
    return lambda folder: write(
        batches(folder / "b"), {"batches/data_batch_2": pickle.dumps(content, protocol=2)}
    )


BATCHES = {
    **PICTURES,
    "splits": {"train": {"files": ["data_batch_1", "data_batch_2"]}, "test": {"files": ["test_batch"]}},
    "layout": {"format": "cifar_batches", "labels": "labels"},
}
PNG = png(IMAGES["train"][0])
REFUSED: dict[str, tuple[dict, Callable[[Path], Path], str]] = {
    "no known layout": (PICTURES, pictures(lambda f: {"notes.txt": b"x"}), "no files of a known layout"),
    "an empty folder": (PICTURES, lambda d: (d / "e").mkdir() or d / "e", "it holds nothing with an ending"),
    "nothing there": (PICTURES, lambda d: d / "nowhere", "nowhere does not exist"),
    "no test split": (
        PICTURES,
        pictures(lambda f: without(f, "/test/")),
        "the split 'test' is missing; expected",
    ),
    "a class too many": (
        PICTURES,
        pictures(lambda f: renamed(f, "/dot/", "/dots/")),
        r"'dots' is no class of mine; did you mean 'dot'\? \(known: ",
    ),
    "no class folders": (
        PICTURES,
        pictures(lambda f: {f"train/{i}.png": PNG for i in range(3)} | f),
        "'train' is no class",
    ),
    "too few pictures": (
        PICTURES,
        pictures(lambda f: without(f, "train/bar")),
        "has 4 examples, expected 6; of class bar it has 0, the fewest",
    ),
    "another size": (
        PICTURES,
        pictures(changed("00003", jpeg((5, 5)))),
        r"00003.png has 5 × 5 pixels, expected 5 × 4",
    ),
    "no picture": (PICTURES, pictures(changed("00003", b"<html>")), r"00003.png is no readable PNG or JPEG$"),
    "half a picture": (
        PICTURES,
        pictures(changed("00003", PNG[:60])),
        r"00003.png is no readable PNG or JPEG",
    ),
    "no number": (
        PICTURES,
        pictures(lambda f: renamed(f, "00003", "three")),
        "expected a number as the picture's name",
    ),
    "one number twice": (
        PICTURES,
        pictures(lambda f: f | {"shapes/train/dot/00004.png": PNG, "shapes/train/bar/00004.png": PNG}),
        "have the same number, so they have no order",
    ),
    "half a tar": (
        PICTURES,
        lambda d: truncated(tar(d / "s.tar.gz", picture_files())),
        "the archive is damaged",
    ),
    "half a zip": (
        PICTURES,
        lambda d: truncated(zipped(d / "s.zip", picture_files())),
        "the archive is damaged",
    ),
    "an array missing": (
        PICTURES,
        broken_npz(test_labels=lambda a: None),
        "the array 'test_labels' is missing",
    ),
    "floats": (PICTURES, broken_npz(train_images=lambda a: a / 255), "train_images: float64 of shape"),
    "another shape": (
        PICTURES,
        broken_npz(train_images=lambda a: a[:, :1]),
        r"expected uint8 of shape \(n, 3, 4, 5\)",
    ),
    "labels missing": (
        PICTURES,
        broken_npz(train_labels=lambda a: a[:2]),
        "a whole number for each of the 6 images",
    ),
    "a label beyond": (
        PICTURES,
        broken_npz(train_labels=lambda a: a + 1),
        "the label 3 is no class; expected a number",
    ),
    "pickled arrays": (
        PICTURES,
        broken_npz(train_labels=lambda a: a.astype(object)),
        "no readable .npz of plain arrays",
    ),
    "no image column": (PICTURES, parquet_of(picture=[b"x"], label=[0]), "no column img or image"),
    "no bytes": (PICTURES, parquet_of(img=["x"], label=[0]), "row 0: expected the bytes of a PNG or JPEG"),
    "no parquet": (
        PICTURES,
        lambda d: write(parquet(d / "p"), {"data/train-1.parquet": b"x"}),
        "no readable Parquet file",
    ),
    "code in a batch": (BATCHES, batch_of(Evil()), "which no CIFAR file needs"),
    "half a batch": (
        BATCHES,
        batch_of({"data": IMAGES["train"], "labels": []}),
        r"uint8 of shape \(6, 3, 4, 5\)",
    ),
    "no labels": (
        BATCHES,
        batch_of({"data": IMAGES["train"].reshape(6, -1)}),
        "labels: expected a label for each",
    ),
    "a batch missing": (
        BATCHES,
        lambda d: ((batches(d / "b") / "batches" / "test_batch").unlink() or d) / "b",
        "the split 'test' is missing; expected files or a folder called test_batch or test",
    ),
    "text for images": (PICTURES, tables(), "files of the layout table, but mine is a set of the kind image"),
    "images for text": (
        TEXT,
        pictures(lambda f: f),
        "files of the layout pictures, but mine is a set of the kind text",
    ),
    "no dev split": (
        TEXT,
        lambda d: write(d / "t", without(tsv_files(), "dev")),
        "the split 'test' is missing",
    ),
    "a field too many": (TEXT, tables(train=b"sentence\tlabel\na\tb\t1\n"), "line 2: 3 fields, expected 2"),
    "no label column": (TEXT, tables(train=b"sentence\tlabels_\na\t1\n"), "no column label or labels"),
    "a label column twice": (
        TEXT,
        tables(train=b"sentence\tlabel\tlabel\na\t1\t0\n"),
        "the column 'label' occurs twice",
    ),
    "another label": (TEXT, tables(train=b"sentence\tlabel\na\tgood\n"), "the label 'good' is no class"),
    "half a label": (TEXT, tables(train=b"sentence\tlabel\na\t0.5\n"), r"the label '0.5' is no class"),
    "no UTF-8": (TEXT, tables(train=b"sentence\tlabel\n\xff\t1\n"), "line 2: expected text in UTF-8"),
    "an open quote": (
        TEXT,
        lambda d: write(d / "c", csv_files() | {"train.csv": b'text,label\n"a,1\n'}),
        "not readable as CSV",
    ),
    "two files of a split": (
        TEXT,
        lambda d: write(d / "t", tsv_files() | {"opinions/train-2.tsv": b"sentence\tlabel\na\t1\n"}),
        "train-2.tsv and .*train.tsv may both be the split 'train'; list them as its `files`",
    ),
    "a file of a split missing": (
        {**TEXT, "splits": {**TEXT["splits"], "train": {"files": ["train", "more"]}}},
        tables(),
        "more is missing, which belongs to the split 'train'",
    ),
    "files of two layouts": (
        {**PICTURES, "layout": {"format": "npz"}},
        lambda d: write(parquet(d / "p"), picture_files()),
        r"files of the layouts parquet and pictures, none of them that of mine \(npz\)",
    ),
    "no number, in a layout that was seen": (
        {**PICTURES, "layout": {"format": "npz"}},
        pictures(lambda f: renamed(f, "00003", "three")),
        r"with `order: name` in the `layout` of one of the entry's sources \(its own is npz\)",
    ),
    "one-hot labels": (
        PICTURES,
        lambda d: parquet_of(img=[{"bytes": PNG, "path": None}], label=[[0, 1, 0]])(d),
        r"example 0: the label \[0, 1, 0\] is no class",
    ),
    "labels in two dimensions": (
        BATCHES,
        batch_of({"data": IMAGES["train"].reshape(6, -1), "labels": np.zeros((6, 2), dtype=np.int64)}),
        "is no class",
    ),
    "too few sentences": (TEXT, tables(train=b"sentence\tlabel\na\t1\n"), "has 1 examples, expected 4"),
    "classes out of balance": (
        TEXT,
        tables(dev=b"sentence\tlabel\na\t1\nb\t1\n"),
        "0 examples of class negative",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_malformed_data_are_refused(project, capsys, name):
    entry, given, message = REFUSED[name]
    described(project, entry)
    (project / "given").mkdir()
    assert run_command(project, "mine", "--from", given(project / "given")) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    assert re.search(message, said), said
    assert not (project / "data").exists(), "nothing half-written"


ANNOTATION = {
    "title": "mine",
    "path": "data/people.npz",
    "origin": "here",
    "clean": "a",
    "noisy": "b",
    "wrong": 0.4,
}
ENTRIES = {
    "an unknown key": (
        {**PICTURES, "clases": 3},
        r"mine.yaml: unknown key 'clases'; did you mean 'classes'\?",
    ),
    "no kind": ({k: v for k, v in PICTURES.items() if k != "kind"}, "the key 'kind' is missing"),
    "another kind": (
        {**PICTURES, "kind": "images"},
        "kind: expected one of image, text; got 'images'; did you mean",
    ),
    "an unknown layout": (
        {**PICTURES, "layout": {"format": "parket"}},
        "layout.format: expected one of .*'parquet'",
    ),
    "a layout without format": ({**PICTURES, "layout": {}}, "layout: the key 'format' is missing"),
    "a key of another layout": (
        {**PICTURES, "layout": {"format": "pictures", "columns": {}}},
        r"layout: unknown key 'columns' \(known: format, order\)",
    ),
    "no test split": ({**PICTURES, "splits": {"train": {}}}, "the split 'test' is missing"),
    "no shape": ({k: v for k, v in PICTURES.items() if k != "shape"}, "the key 'shape' is missing"),
    "two channels": ({**PICTURES, "shape": [2, 4, 5]}, "expected 1 or 3 channels; got 2"),
    "one class": ({**PICTURES, "classes": 1}, "classes: expected at least 2; got 1"),
    "one class by name": (
        {**PICTURES, "classes": ["a"]},
        r"classes: expected at least 2 classes; got \['a'\]",
    ),
    "classes that are numbers": (
        {**PICTURES, "classes": ["0", 1]},
        r"classes: expected names as text; got 1 \(put it in quotes\)",
    ),
    "classes by a word": (
        {**PICTURES, "classes": "many"},
        "classes: expected the number of classes or a list of their names; got 'many'",
    ),
    "a class twice": ({**PICTURES, "classes": ["a", "b", "a"]}, "classes: 'a' occurs twice"),
    "counts for too few classes": (
        {**PICTURES, "splits": {"train": {"per_class": [2, 2]}, "test": {}}},
        "splits.train.per_class: expected a number for each of 3 classes; got 2",
    ),
    "counts that do not add up": (
        {**PICTURES, "splits": {"train": {"per_class": 2, "examples": 5}, "test": {}}},
        "splits.train.examples: expected 6, which per_class comes to; got 5",
    ),
    "no files": (
        {**PICTURES, "splits": {"train": {"files": []}, "test": {}}},
        "splits.train.files: expected at least 1 of them",
    ),
    "a mean too few": (
        {**PICTURES, "normalize": {"mean": [0.5], "std": [0.2, 0.2, 0.2]}},
        "normalize.mean: expected a number for each of 3 channels; got 1",
    ),
    "no deviation": (
        {**PICTURES, "normalize": {"mean": [0.5] * 3, "std": [0.0] * 3}},
        "std.0: expected more than 0",
    ),
    "a short digest": (
        {**PICTURES, "content_sha256": "abc"},
        "content_sha256: expected 64 hexadecimal digits; got 'abc'",
    ),
    "a URL without hash": (
        {**PICTURES, "sources": [{"url": "https://x/y.zip"}]},
        "the key 'sha256' is missing",
    ),
    "a repository without revision": (
        {**PICTURES, "sources": [{"hub": "a/b"}]},
        "the key 'revision' is missing",
    ),
    "two places at once": (
        {**PICTURES, "sources": [{"path": "x", "package": "y"}]},
        r"sources.0: expected one of path, url, hub, sdist, package; got path and package",
    ),
    "a copy of nothing": (
        {**PICTURES, "copy_of": "cifar11"},
        "copy_of: expected one of .* did you mean 'cifar10'",
    ),
    "a copy that does not fit": ({**PICTURES, "copy_of": "cifar10"}, "classes: expected 10, as cifar10 has"),
    "an annotation's share": (
        {**PICTURES, "annotations": {"people": {**ANNOTATION, "wrong": 1.5}}},
        "annotations.people.wrong: expected at most 1",
    ),
    "an annotation's slip": (
        {**PICTURES, "annotations": {"people": {**ANNOTATION, "orgin": "here"}}},
        "annotations.people: unknown key 'orgin'; did you mean 'origin'",
    ),
    "an annotation without a column": (
        {**PICTURES, "annotations": {"people": {k: v for k, v in ANNOTATION.items() if k != "clean"}}},
        "annotations.people: the key 'clean' is missing",
    ),
    "an annotation called as a data set is": (
        {**PICTURES, "annotations": {"digits": ANNOTATION}},
        "annotations: 'digits' is the name of something else",
    ),
    "an annotation called as a setting's word": (
        {**PICTURES, "annotations": {"published": ANNOTATION}},
        "annotations: 'published' cannot be a data set's name",
    ),
    "shape of text": ({**TEXT, "shape": [1, 2, 3]}, "shape: is for images, and this set is text"),
}


@pytest.mark.parametrize("name", ENTRIES)
def test_malformed_entries_are_refused(project, name):
    content, message = ENTRIES[name]
    described(project, content)
    with pytest.raises(CensusError, match=message) as caught:
        load_datasets(project)
    assert "config/datasets/mine.yaml" in str(caught.value)


def test_a_word_of_a_setting_is_no_name(project):
    """Nor what stands in names of editions: paper-trial and paper-first3 are no copies."""
    for name in ("synthetic", "trial", "first3"):
        described(project, PICTURES, name)
        with pytest.raises(CensusError, match=f"'{name}' cannot be a data set's name"):
            load_datasets(project)
        (project / "config" / "datasets" / f"{name}.yaml").unlink()


# --------------------------------------------------------------------------------------------- other copies in runs


def test_runs_on_another_copy_are_the_published_ones_but_for_its_name(census):
    named = load_settings(ROOT, {"edition": "paper-cifar10_jpeg-sst2_tsv"})
    assert named["edition"] == "paper" and named["paper_data"] == "cifar10_jpeg,sst2_tsv"
    other = load_census(ROOT, {"edition": "paper", "paper_data": "sst2_tsv, cifar10_jpeg"})
    assert other.edition["name"] == "paper-cifar10_jpeg-sst2_tsv"
    assert "CIFAR-10 saved as JPEG and SST-2 as TSV" in other.edition["title"]
    for name in (
        "K/lam0.3_eta0.4_seed0",
        "X1c/lam0.3_seed0",
        "V4/" + census.experiments["V4"]["runs"][0].split("/")[1],
    ):
        published, own = census.runs[name], other.runs[name]
        stands_in = {"cifar10": "cifar10_jpeg", "sst2": "sst2_tsv"}
        dataset = published["task"]["dataset"]
        expected = {**published["task"], "dataset": stands_in.get(dataset, dataset)}
        assert own["task"] == expected and own["synthetic"] is False
        same = {key: value for key, value in own.items() if key not in ("task", "edition", "data")}
        assert same == {key: published[key] for key in same} and published.keys() == own.keys()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("cifar", "the word 'cifar' is now 'published'"),
        ("sst2_tvs", "'sst2_tvs' is unknown.*did you mean 'sst2_tsv'"),
        ("digits", "no copy of a published set"),
        ("published,sst2_tsv", "'published' stands alone"),
        ("sst2_tsv,sst2_tsv", "both stand in for sst2"),
    ],
)
def test_words_that_name_no_copy_are_refused(root, value, message):
    with pytest.raises(CensusError, match=message):
        copies_named(value, load_datasets(root))


def test_first_epochs_make_an_edition_of_their_own(root):
    cut = load_census(root, load_settings(root, {"edition": "paper-first3"}))
    assert cut.edition["name"] == "paper-first3"
    run = cut.runs["T1a/seed0"]
    assert (
        run["max_epochs"] == 3 and run["synthetic"] is False and run["stages"][0]["gate"]["on_fail"] == "warn"
    )
    assert "max_epochs" not in load_census(root, {"edition": "paper"}).runs["T1a/seed0"]
    with pytest.raises(CensusError, match="max_epochs: cuts stages as max_steps does"):
        load_census(root, {"edition": "paper", "max_epochs": 3, "max_steps": 2})
    with pytest.raises(CensusError, match="max_epochs: applies to the edition paper only"):
        load_census(root, {"edition": "demo", "max_epochs": 3})


def test_runs_must_fit_their_data(workspace):
    path = workspace / "config" / "census" / "mine.yaml"
    entry = (
        "series: mine\nexperiments:\n  x:\n    title: t\n    count: 1\n    extends: [base, fixed]\n"
        "    let: {{lambda: 0.1, noise_rate: 0.4, epochs: 2, milestones: [1]}}\n    factors: {{seed: 0}}\n"
        "    name: seed{{seed}}\n    task: {{dataset: {}, classes: {}, model: {{name: simplecnn_p}}}}\n"
    )
    path.write_text(entry.format("cifar11", 10))
    with pytest.raises(CensusError, match="x/seed0' trains on 'cifar11'.*did you mean 'cifar10'"):
        load_census(workspace, {"edition": "paper"})
    path.write_text(entry.format("cifar10", 12))
    with pytest.raises(CensusError, match="says 12, but the data set cifar10 has 10"):
        load_census(workspace, {"edition": "paper"})
    described(workspace, PICTURES)
    path.write_text(entry.format("mine", 3))
    with pytest.raises(CensusError, match="with drop_last no batch of 256 is left of 6 examples"):
        load_census(workspace, {"edition": "paper"})


def test_a_hub_repository_is_a_source(project, monkeypatch):
    """Its content is kept at a revision, fetched by the hub's own client."""
    import huggingface_hub

    asked = {}

    def snapshot_download(name, **words):
        asked.update(words, name=name)
        return str(parquet(Path(words["local_dir"])))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    source = {
        "hub": "somebody/shapes",
        "revision": "abc",
        "files": ["data/*.parquet"],
        "layout": {"format": "parquet"},
    }
    described(project, {**PICTURES, "sources": [{"path": "not here"}, source]})
    assert run_command(project, "mine") == 0
    assert asked["repo_type"] == "dataset" and asked["revision"] == "abc"
    arrays = load_arrays(project / "data" / "mine" / "mine.npz", remedy="")
    assert content_digest(arrays) == EXPECTED

    def offline(name, **words):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    sets = load_datasets(project)
    with pytest.raises(
        DataError, match="sources: not here is not in .*; somebody/shapes at abc could not be fetched"
    ):
        prepare.prepare(sets["mine"], sets, project / "elsewhere", places=[project])
