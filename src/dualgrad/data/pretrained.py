"""The published DistilBERT: a checked local copy of its weights and its tokenizer."""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from dualgrad.data.errors import DataError
from dualgrad.data.store import check_file
from dualgrad.files import replacing

FOLDER = "distilbert-base-uncased"
FILES = {
    "config.json": "69c94b0222d5d1f4b0ad027ca7416cdafb98378cbbb8305d0bf47c9365c60c83",
    "model.safetensors": "5e3f1108e3cb34ee048634875d8482665b65ac713291a7e32396fb18f6ff0063",
    "tokenizer.json": "ce64fce797c24f68df90b40a3f74f579b336a493db14bd583fd520ea0d8c9a98",
    "tokenizer_config.json": "a025160ef0431f1a392f6f050c1310f4c5d9fb6f275932dbccba73c4d214bf10",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


def model_folder(data_dir: Path) -> Path:
    """Where the local copy of distilbert-base-uncased lies."""
    return data_dir / FOLDER


def is_prepared(data_dir: Path) -> bool:
    """Whether all of its files are there."""
    return all((model_folder(data_dir) / name).is_file() for name in FILES)


def prepare_distilbert(data_dir: Path, source: Path | None = None, offline: bool = False) -> Path:
    """A checked local copy of distilbert-base-uncased, fetched from the hub where it is missing.

    `source`: a folder with its files, to copy from. Raises DataError where files are missing, altered or out
    of reach.
    """
    folder = model_folder(data_dir)
    if source is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            if not (source / name).is_file():
                raise DataError(f"{source / name} is missing: give a folder with {', '.join(FILES)}")
            with replacing(folder / name) as temporary:
                shutil.copyfile(source / name, temporary)
    elif not offline and not is_prepared(data_dir):
        from huggingface_hub import snapshot_download

        from dualgrad.models.distilbert import HUB_NAME, HUB_REVISION

        try:
            snapshot_download(HUB_NAME, revision=HUB_REVISION, allow_patterns=list(FILES), local_dir=folder)
        except Exception as error:  # the hub's client raises errors of several libraries
            raise DataError(
                f"{HUB_NAME} could not be fetched ({error}): copy its files ({', '.join(FILES)}) to "
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
    for name, sha256 in FILES.items():
        check_file(folder / name, sha256, "run: dualgrad data distilbert")
    return folder
