"""Data sets, their files, and what a task hands to the trainer."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dualgrad.commands import data as command  # noqa: E402
from dualgrad.data import cifar, images, reviews, sst2, store, task  # noqa: E402
from dualgrad.data.errors import DataError  # noqa: E402
from dualgrad.data.store import content_digest, file_hash, load_arrays, member, save_arrays  # noqa: E402
from dualgrad.data.task import load_task, preload  # noqa: E402
from dualgrad.files import replacing  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch):
    monkeypatch.setattr(task, "_TASKS", {})
    sst2.checked_model_folder.cache_clear()
    yield
    sst2.checked_model_folder.cache_clear()


def run_command(*arguments) -> int:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def image_task(**keys):
    return {"kind": "image", "dataset": "digits", "classes": 10, "model": {"name": "mlp"}} | keys


# ---------------------------------------------------------------- digits


@pytest.mark.parametrize(
    ("name", "shape", "n_test"), [("digits", (1, 8, 8), 450), ("digit_pairs", (1, 8, 16), 1500)]
)
def test_digits(name, shape, n_test, tmp_path):
    arrays = images.load_images(name, tmp_path)
    classes = images.SETS[name].classes
    assert content_digest(arrays) == images.SETS[name].digest
    assert arrays["train_images"].shape[1:] == shape and arrays["train_images"].dtype == np.uint8
    counts = np.bincount(arrays["test_labels"], minlength=classes)
    assert len(counts) == classes and set(counts) == {
        n_test // classes
    }  # so a constant predictor has error 1 - 1/C
    assert set(arrays["train_labels"]) == set(range(classes))
    again = images.load_images(name, tmp_path)  # from the file this time
    assert all(np.array_equal(arrays[key], again[key]) for key in arrays)


def test_digit_pairs_keep_training_and_test_digits_apart(tmp_path):
    pairs, single = images.load_images("digit_pairs", tmp_path), images.load_images("digits", tmp_path)
    for split in ("train", "test"):
        known = {image.tobytes() for image in single[f"{split}_images"]}
        for half in (pairs[f"{split}_images"][..., :8], pairs[f"{split}_images"][..., 8:]):
            assert all(np.ascontiguousarray(image).tobytes() in known for image in half)
    left = pairs["train_images"][0, 0, :, :8].tobytes()
    index = [image[0].tobytes() for image in single["train_images"]].index(left)
    assert single["train_labels"][index] == pairs["train_labels"][0] // 10


def test_digit_task_without_augmentation(tmp_path):
    prepared = load_task({"task": image_task()}, "cpu", torch.float64, tmp_path)
    assert (prepared.n_train, prepared.n_test, prepared.classes) == (1347, 450, 10)
    assert prepared.train_labels.dtype == torch.int64
    assert not prepared.augments and prepared.model_options == {"inputs": 64}
    (batch,) = prepared.inputs(torch.tensor([3, 1, 3]))
    assert batch.shape == (3, 1, 8, 8) and batch.dtype == torch.float64
    assert torch.equal(batch[0], batch[2])
    raw = images.load_images("digits", tmp_path)["train_images"][3]
    assert np.allclose(batch[0].numpy(), (raw / 255 - 0.3057) / 0.3762, rtol=0, atol=1e-15)
    (whole,) = prepared.test_inputs(0, prepared.n_test)
    assert torch.equal(whole[7:9], prepared.test_inputs(7, 9)[0])
    assert abs(whole.mean()) < 0.05 and abs(whole.std() - 1) < 0.05


def test_task_is_prepared_once_per_process(tmp_path):
    runs = [{"task": image_task()}, {"task": image_task(batch_size=7)}]
    preload(runs, dtype=torch.float64, data_dir=tmp_path)
    first = load_task(runs[0], "cpu", torch.float64, tmp_path)
    assert load_task(runs[1], "cpu", torch.float64, tmp_path) is first
    assert load_task(runs[0], "cpu", torch.float32, tmp_path) is not first


def test_preload_leaves_missing_data_to_the_run(tmp_path):
    run = {"task": image_task(dataset="cifar10", augment={"crop_padding": 4, "flip": True})}
    preload([run], data_dir=tmp_path)
    with pytest.raises(DataError, match="dualgrad data cifar10"):
        load_task(run, data_dir=tmp_path)


def test_preloading_starts_no_threads(tmp_path):
    """A warm worker forks after preloading: a thread of the parent would be missing in the child."""
    tasks = [image_task(), image_task(dataset="digit_pairs", classes=100)]
    code = (
        "import os, sys\n"
        "from dualgrad.data import preload\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        f"preload({tasks!r}, data_dir={str(tmp_path)!r})\n"
        "sys.exit(count() - before)\n"
    )
    if not Path("/proc/self/task").is_dir():
        pytest.skip("counts threads in /proc")
    images.load_images("digits", tmp_path), images.load_images("digit_pairs", tmp_path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{done.returncode} thread(s) more"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "mnist"}, "unknown image data set"),
        ({"normalize": {"mean": [0.1] * 3, "std": [0.2] * 3}}, "3 means"),
        ({"kind": "sound"}, "unknown task kind"),
        ({"kind": "text", "dataset": "novels"}, "unknown text data set"),
    ],
)
def test_bad_tasks_are_refused(keys, message, tmp_path):
    with pytest.raises(DataError, match=message):
        load_task(image_task(**keys), data_dir=tmp_path)


# ---------------------------------------------------------------- augmentation


def cifar_task(**keys):
    augment = {"crop_padding": 4, "flip": True}
    return image_task(dataset="cifar10", augment=augment, synthetic={"train": 300, "test": 50}) | keys


def test_crops_and_flips_equal_torchvision():
    """RandomCrop(32, 4), RandomHorizontalFlip, ToTensor, Normalize with the same offsets, bit for bit in
    float32.
    """
    functional = pytest.importorskip("torchvision.transforms.functional")
    prepared = load_task(cifar_task(), "cpu", torch.float32)
    stored = images.synthetic_images((3, 32, 32), 10, 300, 50)["train_images"]
    indices = torch.arange(300).flip(0)
    (batch,) = prepared.inputs(indices, torch.Generator().manual_seed(4))
    assert batch.shape == (300, 3, 32, 32) and batch.is_contiguous()
    draws = torch.randint(0, 162, (300,), generator=torch.Generator().manual_seed(4))
    mean, std = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
    for position, draw in enumerate(draws.tolist()):
        flipped, row, column = draw // 81, draw % 81 // 9, draw % 9
        image = functional.pad(torch.from_numpy(stored[indices[position]]), [4])
        image = functional.crop(image, row, column, 32, 32)
        image = functional.hflip(image) if flipped else image
        expected = functional.normalize(image.to(torch.float32).div(255), mean, std)
        assert torch.equal(batch[position], expected)
    assert len(set(draws.tolist())) > 120  # all kinds of shifts, flipped and not


def test_padding_is_black_before_normalisation():
    prepared = load_task(cifar_task(), "cpu", torch.float64)
    generator = torch.Generator().manual_seed(0)
    corner = torch.stack([prepared.inputs(torch.arange(64), generator)[0][:, :, 0, 0] for _ in range(20)])
    black = -prepared.mean / prepared.std
    assert (corner == black).all(-1).any()


def test_augmentation_draws_once_per_batch_whatever_is_evaluated():
    prepared = load_task(cifar_task(), "cpu", torch.float32)
    one, two = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    prepared.inputs(torch.arange(100), one)
    prepared.test_inputs(0, 50)
    torch.randint(0, 162, (100,), generator=two)
    assert torch.equal(one.get_state(), two.get_state())
    with pytest.raises(ValueError, match="needs a generator"):
        prepared.inputs(torch.arange(3))


def test_flips_and_crops_can_be_switched_off():
    prepared = load_task(cifar_task(augment={"crop_padding": 0, "flip": False}), "cpu", torch.float32)
    plain = load_task(cifar_task(augment=None), "cpu", torch.float32)
    (one,) = prepared.inputs(torch.arange(5), torch.Generator())
    (two,) = plain.inputs(torch.arange(5))
    assert torch.allclose(one, two, atol=1e-6)
    assert torch.allclose(prepared.test_inputs(3, 9)[0], plain.test_inputs(3, 9)[0], atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_inputs_do_not_depend_on_the_device():
    one, two = (load_task(cifar_task(), device, torch.float64) for device in ("cpu", "cuda"))
    index = torch.arange(200)
    (a,), (b,) = (
        prepared.inputs(index.to(device), torch.Generator().manual_seed(1))
        for prepared, device in ((one, "cpu"), (two, "cuda"))
    )
    assert torch.equal(a, b.cpu())
    assert torch.equal(one.test_inputs(0, 50)[0], two.test_inputs(0, 50)[0].cpu())


def test_stand_ins_have_the_published_shapes():
    arrays = images.synthetic_images((3, 32, 32), 10, 1000, 100)
    assert arrays["train_images"].shape == (1000, 3, 32, 32)
    assert content_digest(arrays) == content_digest(images.synthetic_images((3, 32, 32), 10, 1000, 100))
    text = sst2.synthetic_text("distilbert")
    assert np.bincount(text["train_labels"]).tolist() == [29_780, 37_569]
    assert np.bincount(text["test_labels"]).tolist() == [428, 444]
    spec = {
        "kind": "text",
        "dataset": "sst2",
        "classes": 2,
        "max_length": 128,
        "model": {"name": "distilbert"},
    }
    prepared = load_task(spec | {"synthetic": {"train": 200, "test": 20}})
    ids, mask = prepared.inputs(torch.tensor([0, 5]))
    assert ids.shape == (2, 128) and (ids[:, 0] == 101).all() and torch.equal(mask, ids != 0)
    prepared = load_task(
        spec | {"synthetic": {"train": 200, "test": 20}, "model": {"name": "textcnn"}, "max_length": 64}
    )
    assert len(prepared.test_inputs(0, 3)) == 1 and prepared.model_options["vocab_size"] == 25_000


# ---------------------------------------------------------------- files


def test_prepared_files_are_checked(tmp_path):
    path = tmp_path / "set" / "set.npz"
    arrays = {"a": np.arange(100), "b": np.zeros((2, 3), dtype=np.uint8)}
    digest = save_arrays(path, arrays, {"origin": "here"})
    assert json.loads(path.with_suffix(".json").read_text())["content_sha256"] == digest
    assert np.array_equal(load_arrays(path, expected=digest, remedy="do this")["a"], arrays["a"])
    assert {entry.name for entry in path.parent.iterdir()} == {"set.npz", "set.json"}

    with pytest.raises(DataError, match="altered.*that of this data set.*do this"):
        load_arrays(path, expected="0" * 64, remedy="do this")
    content = bytearray(path.read_bytes())
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="set.npz cannot be read.*do this"):
        load_arrays(path, remedy="do this")
    np.savez(path, a=np.arange(100) + 1, b=arrays["b"])
    with pytest.raises(DataError, match="altered.*recorded in set.json.*do this"):
        load_arrays(path, remedy="do this")
    path.unlink()
    with pytest.raises(DataError, match="set.npz is missing: do this"):
        load_arrays(path, remedy="do this")


def test_no_pickles_in_prepared_files(tmp_path):
    path = tmp_path / "set.npz"
    save_arrays(path, {"a": np.arange(3)}, {})
    np.savez(path, a=np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot be read"):
        load_arrays(path, remedy="do this")


def test_files_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_fetch(tmp_path, monkeypatch):
    monkeypatch.setattr(store.time, "sleep", lambda seconds: None)
    source, target = tmp_path / "source", tmp_path / "target" / "file.zip"
    source.write_bytes(b"content")
    wanted = file_hash(source)
    store.fetch(source.as_uri(), target, wanted)
    assert target.read_bytes() == b"content"
    source.unlink()
    store.fetch(source.as_uri(), target, wanted)  # there already
    target.write_bytes(b"cont")
    with pytest.raises(DataError, match="could not be fetched.*--from file.zip"):
        store.fetch(source.as_uri(), target, wanted)
    source.write_bytes(b"something else")
    with pytest.raises(DataError, match=f"expected {wanted}"):
        store.fetch(source.as_uri(), target, wanted)
    assert target.read_bytes() == b"cont"  # not replaced by what failed the check


def tar_of(path: Path, entries: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_archive_members_are_read_safely(tmp_path):
    link = tarfile.TarInfo("x/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = tar_of(tmp_path / "a.tar.gz", {"x/file": b"12345", "x/link": link, "../out": b"escape"})
    assert member(archive, "x/file", 5) == b"12345"
    with pytest.raises(DataError, match="larger than the 4 bytes"):
        member(archive, "x/file", 4)
    with pytest.raises(DataError, match="not a regular file"):
        member(archive, "x/link", 100)
    with pytest.raises(DataError, match="no readable member 'x/other'"):
        member(archive, "x/other", 100)
    assert member(archive, "../out", 100) == b"escape"  # read in memory: nothing was written anywhere
    assert list(tmp_path.iterdir()) == [archive]
    archive.write_bytes(archive.read_bytes()[:40])
    with pytest.raises(DataError, match="no readable member"):
        member(archive, "x/file", 100)

    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("x/file", b"0" * 1000)
    assert member(zipped, "x/file", 1000) == b"0" * 1000
    with pytest.raises(DataError, match="larger"):
        member(zipped, "x/file", 999)
    zipped.write_bytes(b"no archive")
    with pytest.raises(DataError, match="no readable member"):
        member(zipped, "x/file", 999)


# ---------------------------------------------------------------- CIFAR


@pytest.fixture
def small_cifar(tmp_path, monkeypatch):
    """An archive in CIFAR-10's layout with 20 images a file, made known by its own checksum."""
    state = np.random.RandomState(0)
    files, expected = {}, []
    for part in (*cifar.CIFAR["cifar10"].train, "test_batch"):
        data = state.randint(0, 256, (20, 3072)).astype(np.uint8)
        batch = {"data": data, "labels": [int(label) for label in state.randint(0, 10, 20)]}
        files[f"cifar-10-batches-py/{part}"] = pickle.dumps(batch, protocol=2)
        expected.append(data)
    archive = tar_of(tmp_path / "cifar-10-python.tar.gz", files)
    known = cifar.CIFAR["cifar10"].__dict__ | {"sha256": file_hash(archive), "url": archive.as_uri()}
    monkeypatch.setitem(cifar.CIFAR, "cifar10", cifar.Cifar(**known))
    return archive, files, expected


def test_cifar(small_cifar, tmp_path, capsys):
    archive, _, expected = small_cifar
    folder = tmp_path / "data"
    assert run_command("cifar10", "--data-dir", folder, "--json") == 0
    (made,) = json.loads(capsys.readouterr().out)
    arrays = images.load_images("cifar10", folder)
    assert made["content_sha256"] == content_digest(arrays)
    assert np.array_equal(arrays["train_images"], np.concatenate(expected[:5]).reshape(-1, 3, 32, 32))
    assert np.array_equal(arrays["test_images"], expected[5].reshape(-1, 3, 32, 32))
    assert arrays["train_labels"].dtype == np.int64

    spec = {
        "kind": "image",
        "dataset": "cifar10",
        "classes": 10,
        "augment": {"crop_padding": 4, "flip": True},
    }
    assert load_task(spec, data_dir=folder).n_train == 100


@pytest.mark.parametrize("as_folder", [False, True])
def test_cifar_given_by_hand(small_cifar, tmp_path, as_folder):
    archive, _, _ = small_cifar
    assert (
        run_command(
            "cifar10", "--data-dir", tmp_path / "d", "--from", archive.parent if as_folder else archive
        )
        == 0
    )


def test_cifar_damaged(small_cifar, tmp_path, capsys):
    archive, _, _ = small_cifar
    archive.write_bytes(archive.read_bytes()[:-10])
    assert run_command("cifar10", "--data-dir", tmp_path / "d", "--from", archive) == 1
    message = capsys.readouterr().err
    assert "cifar-10-python.tar.gz is truncated or altered" in message and "dualgrad data cifar10" in message
    assert run_command("cifar10", "--data-dir", tmp_path / "d", "--from", tmp_path / "nowhere") == 1
    assert "does not exist" in capsys.readouterr().err


def test_cifar_folder_in_torchvisions_layout(small_cifar, tmp_path, monkeypatch):
    _, files, _ = small_cifar
    folder = tmp_path / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    checksums = {}
    for name, content in files.items():
        part = Path(name).name
        (folder / part).write_bytes(content)
        checksums[part] = hashlib.md5(content).hexdigest()
    monkeypatch.setattr(cifar, "_checksums", lambda which: checksums)
    assert run_command("cifar10", "--data-dir", tmp_path / "data") == 0
    (folder / "data_batch_3").write_bytes(b"x")
    with pytest.raises(DataError, match="data_batch_3 is truncated or altered"):
        cifar.load_cifar("cifar10", folder.parent)
    (folder / "data_batch_3").unlink()
    with pytest.raises(DataError, match="data_batch_3 is missing"):
        cifar.load_cifar("cifar10", folder.parent)


def test_cifar_checksums_come_from_torchvision():
    pytest.importorskip("torchvision")
    for known in cifar.CIFAR.values():
        assert set(known.train + known.test) <= set(cifar._checksums(known))


def test_a_cifar_pickle_cannot_run_code():
    class Evil:
        def __reduce__(self):
            return (os.system, ("true",))

    with pytest.raises(DataError, match="which no CIFAR file needs"):
        cifar._ArraysOnly(io.BytesIO(pickle.dumps(Evil()))).load()


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_real_cifar(name):
    folder = Path(os.environ.get("DUALGRAD_DATA", ROOT / "data"))
    if not images.prepared_path(name, folder).exists():
        pytest.skip(f"{name} is not in {folder} (set DUALGRAD_DATA, or run: dualgrad data {name})")
    arrays = images.load_images(name, folder)
    classes = images.SETS[name].classes
    assert arrays["train_images"].shape == (50_000, 3, 32, 32) and arrays["test_images"].shape == (
        10_000,
        3,
        32,
        32,
    )
    assert set(np.bincount(arrays["train_labels"])) == {50_000 // classes}
    assert set(np.bincount(arrays["test_labels"])) == {10_000 // classes}


# ---------------------------------------------------------------- reviews


@pytest.fixture(scope="session")
def reviews_folder(tmp_path_factory) -> Path:
    """A data folder with the real reviews: prepared already, or prepared now if pip reaches an index."""
    folder = Path(os.environ.get("DUALGRAD_DATA", ROOT / "data"))
    if reviews.prepared_path(folder).exists():
        return folder
    folder = tmp_path_factory.mktemp("reviews")
    try:
        reviews.prepare_reviews(folder)
    except DataError as error:
        pytest.skip(f"the reviews are not at hand: {error}")
    return folder


def text_task(**keys):
    model = {"name": "distilbert_mini"}
    return {"kind": "text", "dataset": "reviews", "classes": 2, "max_length": 24, "model": model} | keys


def test_reviews(reviews_folder):
    arrays = reviews.load_reviews(reviews_folder)
    sizes = {split: len(arrays[f"{split}_ids"]) for split in ("train", "test", "pretrain")}
    assert sizes == {"train": 5768, "test": 800, "pretrain": 4000}
    assert np.bincount(arrays["test_labels"]).tolist() == [400, 400]
    assert np.bincount(arrays["pretrain_labels"]).tolist() == [2000, 2000]
    ids = np.concatenate([arrays[f"{split}_ids"] for split in sizes])
    assert (ids[:, 0] == reviews.CLS).all()
    lengths = (ids != 0).sum(1)
    assert all((row[:length] != 0).all() for row, length in zip(ids, lengths, strict=True))


def test_review_tasks(reviews_folder):
    prepared = load_task(text_task(), "cpu", torch.float64, reviews_folder)
    assert (prepared.n_train, prepared.n_test) == (5768, 800)
    assert prepared.model_options == {"vocab_size": 2000} and not prepared.augments
    ids, mask = prepared.inputs(torch.arange(50))
    assert ids.shape == mask.shape == (50, 24) and ids.dtype == torch.int64
    assert ids.max() < 2000 and torch.equal(mask, ids != 0)
    assert torch.equal(prepared.test_inputs(3, 5)[0], prepared.test[0][3:5])

    other = load_task(text_task(split="pretrain", vocab_size=500), data_dir=reviews_folder)
    assert other.n_train == 4000 and other.inputs(torch.arange(4000))[0].max() == 499
    assert torch.equal(other.test_labels, prepared.test_labels)
    (words,) = load_task(text_task(model={"name": "textcnn"}), data_dir=reviews_folder).inputs(
        torch.arange(50)
    )
    assert torch.equal(words[:, :23], ids[:, 1:])  # the same words, without [CLS]
    with pytest.raises(DataError, match="no split 'validation'"):
        load_task(text_task(split="validation"), data_dir=reviews_folder)


def test_reviews_damaged(reviews_folder, tmp_path):
    path = reviews.prepared_path(tmp_path)
    path.parent.mkdir()
    for suffix in (".npz", ".json"):
        path.with_suffix(suffix).write_bytes(
            reviews.prepared_path(reviews_folder).with_suffix(suffix).read_bytes()
        )
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="dualgrad data reviews"):
        load_task(text_task(), data_dir=tmp_path)


def test_tokens():
    assert reviews.tokens("It's GOOD, isn't it?!") == ["it's", "good", ",", "isn't", "it", "?", "!"]
    assert reviews.tokens("a ''clich\u00e9''") == ["a", "'", "'", "clich\u00e9", "'", "'"]


@pytest.fixture
def made_up_sdist(tmp_path, monkeypatch):
    """A source distribution with 10,605 made-up rows, made known by its own checksum."""
    words = [f"word{i}" for i in range(40)]
    rows = []
    for number in range(10_605):
        rating = "0.0" if number < 5 else f"{(-1) ** number * 1.5}"
        rows.append(f"{number + 1}\t{rating}\t{' '.join(words[: 1 + number % 40])}.")
    inner = tar_of(tmp_path / "inner.tar.gz", {reviews._SNIPPETS: "\r\n".join(rows).encode()})
    sdist = tar_of(tmp_path / reviews.SDIST, {reviews._INNER: inner.read_bytes()})
    monkeypatch.setattr(reviews, "SDIST_SHA256", file_hash(sdist))
    return sdist


def test_reviews_from_a_given_file(made_up_sdist, tmp_path, monkeypatch, capsys):
    arrays = reviews.encode(*reviews._snippets(made_up_sdist))
    assert sum(len(arrays[f"{split}_labels"]) for split in ("train", "test", "pretrain")) == 10_600
    monkeypatch.setattr(reviews, "DIGEST", content_digest(arrays))
    assert run_command("reviews", "--data-dir", tmp_path / "d", "--from", made_up_sdist) == 0
    assert run_command("reviews", "--data-dir", tmp_path / "d2", "--from", made_up_sdist.parent) == 0
    note = json.loads((tmp_path / "d" / "reviews" / "reviews.json").read_text())
    assert note["content_sha256"] == content_digest(arrays)
    # word0 ends or fills every sentence, so with the full stop it is the most frequent one
    assert set(np.unique(arrays["train_ids"][:, :2])) == {reviews.CLS, reviews.FIRST_WORD}

    monkeypatch.setattr(reviews, "DIGEST", "0" * 64)
    assert run_command("reviews", "--data-dir", tmp_path / "d", "--from", made_up_sdist) == 1
    made_up_sdist.write_bytes(made_up_sdist.read_bytes() + b"x")
    capsys.readouterr()
    assert run_command("reviews", "--data-dir", tmp_path / "d", "--from", made_up_sdist) == 1
    assert "vaderSentiment-2.5.tar.gz is truncated or altered" in capsys.readouterr().err


def test_reviews_without_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reviews.time, "sleep", lambda seconds: None)
    for name, value in (
        ("PIP_INDEX_URL", "http://127.0.0.1:9/simple"),
        ("PIP_RETRIES", "0"),
        ("PIP_NO_INDEX", "1"),
    ):
        monkeypatch.setenv(name, value)
    assert run_command("reviews", "--data-dir", tmp_path) == 1
    message = capsys.readouterr().err
    assert "could not be downloaded" in message and "--from" in message
    assert run_command("reviews", "--data-dir", tmp_path, "--offline") == 1
    assert "vaderSentiment-2.5.tar.gz is missing" in capsys.readouterr().err
    monkeypatch.setattr(reviews.importlib.util, "find_spec", lambda name: None)
    assert run_command("reviews", "--data-dir", tmp_path) == 1
    assert "no pip" in capsys.readouterr().err


# ---------------------------------------------------------------- SST-2


@pytest.fixture
def small_sst2(tmp_path, monkeypatch):
    """SST-2's archive and DistilBERT's tokenizer in miniature, made known by their own checksums."""
    transformers = pytest.importorskip("transformers")
    lines = {
        "train.tsv": "sentence\tlabel\n" + "a good film \t1\nA bad bad film \t0\nit is good \t1\n",
        "dev.tsv": "sentence\tlabel\ngood \t1\nunseen words .\t0\n",
    }
    archive = tmp_path / "SST-2.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in lines.items():
            opened.writestr(f"SST-2/{name}", content)
    monkeypatch.setattr(sst2, "SHA256", file_hash(archive))
    monkeypatch.setattr(sst2, "URL", archive.as_uri())
    monkeypatch.setattr(sst2, "COUNTS", {"train": (1, 2), "test": (1, 1)})
    monkeypatch.setattr(sst2, "MD5", {n: hashlib.md5(c.encode()).hexdigest() for n, c in lines.items()})

    model = tmp_path / "model"
    model.mkdir()
    vocabulary = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "a",
        "good",
        "bad",
        "film",
        "it",
        "is",
        "un",
        "##seen",
        ".",
    ]
    (model / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    config = transformers.DistilBertConfig(
        vocab_size=len(vocabulary), dim=8, n_layers=1, n_heads=2, hidden_dim=16
    )
    torch.manual_seed(0)
    transformers.DistilBertForSequenceClassification(config).save_pretrained(model)
    transformers.DistilBertTokenizerFast.from_pretrained(model).save_pretrained(model)
    monkeypatch.setattr(sst2, "MODEL_FILES", {name: file_hash(model / name) for name in sst2.MODEL_FILES})
    return archive, model, lines


def test_sst2(small_sst2, tmp_path, capsys):
    _, model, _ = small_sst2
    folder = tmp_path / "data"
    assert run_command("distilbert", "--data-dir", folder, "--from", model) == 0
    assert run_command("sst2", "--data-dir", folder) == 0

    spec = {"kind": "text", "dataset": "sst2", "classes": 2, "max_length": 9}
    prepared = load_task(spec | {"model": {"name": "distilbert"}}, data_dir=folder)
    ids, mask = prepared.inputs(torch.tensor([1]))
    assert ids[0].tolist() == [2, 5, 7, 7, 8, 3, 0, 0, 0] and mask[0].sum() == 6
    assert prepared.test_inputs(1, 2)[0][0].tolist() == [2, 11, 12, 1, 13, 3, 0, 0, 0]
    assert prepared.train_labels.tolist() == [1, 0, 1] and prepared.test_labels.tolist() == [1, 0]
    assert prepared.model_options["path"] == str(sst2.model_folder(folder))

    prepared = load_task(spec | {"model": {"name": "textcnn"}}, data_dir=folder)
    (ids,) = prepared.inputs(torch.arange(3))
    # a good film bad it is: by falling frequency, ties in order of appearance
    assert ids[:, :4].tolist() == [[2, 3, 4, 0], [2, 5, 5, 4], [6, 7, 3, 0]]
    assert prepared.test_inputs(1, 2)[0][0, :4].tolist() == [1, 1, 1, 0]
    assert prepared.model_options == {"vocab_size": 8}


def test_sst2_folder_and_damage(small_sst2, tmp_path, capsys):
    archive, model, lines = small_sst2
    folder, given = tmp_path / "data", tmp_path / "SST-2"
    given.mkdir()
    for name, content in lines.items():
        (given / name).write_bytes(content.encode())
    assert run_command("distilbert", "--data-dir", folder, "--from", model) == 0
    assert run_command("sst2", "--data-dir", folder, "--from", given) == 0
    (given / "dev.tsv").write_text("sentence\tlabel\n")
    assert run_command("sst2", "--data-dir", folder, "--from", given) == 1
    assert "dev.tsv is truncated or altered" in capsys.readouterr().err
    archive.write_bytes(archive.read_bytes()[:-5])
    assert run_command("sst2", "--data-dir", folder, "--from", archive) == 1
    assert "SST-2.zip is truncated or altered" in capsys.readouterr().err

    weights = sst2.model_folder(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    sst2.checked_model_folder.cache_clear()
    assert run_command("distilbert", "--data-dir", folder, "--offline") == 1
    assert "model.safetensors is truncated or altered" in capsys.readouterr().err
    (model / "vocab.txt").unlink()
    assert run_command("distilbert", "--data-dir", folder, "--from", model) == 1
    assert "vocab.txt is missing" in capsys.readouterr().err


def test_sst2_class_counts_are_checked(small_sst2, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sst2, "COUNTS", {"train": (29_780, 37_569), "test": (428, 444)})
    assert run_command("sst2", "--data-dir", tmp_path / "data") == 1
    assert "expected (29780, 37569)" in capsys.readouterr().err


def test_real_sst2():
    folder = Path(os.environ.get("DUALGRAD_DATA", ROOT / "data"))
    if not sst2.wordpiece_path(folder).exists():
        pytest.skip(f"SST-2 is not in {folder} (set DUALGRAD_DATA, or run: dualgrad data sst2)")
    arrays = sst2.load_sst2(folder, "distilbert")
    assert np.bincount(arrays["train_labels"]).tolist() == [29_780, 37_569]
    assert np.bincount(arrays["test_labels"]).tolist() == [428, 444]


def test_the_command_lists_what_it_knows(capsys):
    with pytest.raises(SystemExit):
        run_command("imagenet")
    assert "digit_pairs" in capsys.readouterr().err
