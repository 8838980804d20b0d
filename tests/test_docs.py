"""What the documents quote: links lead somewhere, commands exist with their options, examples work.

Commands are lines of ```bash blocks, of blocks indented by four spaces, and pieces of `code` that begin with make,
snakemake or dualgrad. They are parsed by the programs' own parsers; targets and settings are looked up in the
workflow.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import types
from argparse import ArgumentParser
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from synthetic import write_results

from dualgrad.census import load_census
from dualgrad.cli import COMMANDS, main, verb_of
from dualgrad.figures.sources import EXTENDED_FIGURES, MAIN_FIGURES
from dualgrad.jobs.launcher import with_separator
from dualgrad.project import load_settings
from dualgrad.tables.read import read_tables

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "config/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
PROGRAMS = ("make", "snakemake", "dualgrad")
# Words that stand for something of the reader's.
PLACEHOLDERS = {
    "PATH",
    "TARGET",
    "EDITION",
    "EXPERIMENT",
    "RUN",
    "EXPERIMENT/RUN",
    "NAME",
    "VERB",
    "COMMAND",
    "DIR",
}


def ids(path: Path) -> str:
    """A document's name."""
    return str(path.relative_to(ROOT))


def blocks(text: str, language: str) -> list[str]:
    """Contents of the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def commands(path: Path) -> Iterator[str]:
    """Command lines that a document quotes."""
    text = path.read_text(encoding="utf-8")
    lines = [line for block in blocks(text, "bash") for line in block.replace("\\\n", " ").splitlines()]
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += [line for line in rest.splitlines() if line.startswith("    ")]
    lines += [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", rest)]
    for line in lines:
        for part in re.split(r"&&|;|\|", line.split("  #")[0]):
            if part.split() and part.split()[0] in PROGRAMS and len(part.split()) > 1:
                yield part.strip()


QUOTED = [
    (path, command) for path in DOCUMENTS if path.is_file() for command in dict.fromkeys(commands(path))
]


def stands_for_something(word: str) -> bool:
    """Whether a word is a placeholder: in capitals, or with an ellipsis."""
    pieces = re.split(r"[/=.]", word)
    return (
        "…" in word or "..." in word or any(piece in PLACEHOLDERS for piece in pieces) or word.startswith("<")
    )


# -------------------------------------------------------------------------------------------------------- links


def anchors(path: Path) -> set[str]:
    """The anchors that headings make, as GitHub writes them, and those set by hand."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ +(.+?) *$", text, re.MULTILINE)
    made = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return made | set(re.findall(r'<a id="([^"]+)"></a>', text))


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.is_file()], ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = path.parent / file if file else path
        assert there.exists(), f"{target}: there is no such file"
        if anchor and there.suffix == ".md":
            assert anchor in anchors(there), f"{target}: no heading makes this anchor"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.is_file()], ids=ids)
def test_files_that_are_named_exist(path: Path) -> None:
    """Pieces of `code` that look like a path inside the repository."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    own = ("config/", "workflow/", "src/", "tests/", "docs/", "envs/", ".ci/")
    for code in re.findall(r"(?<!`)`([^`\s]+)`(?!`)", text):
        if code.startswith(own) and not stands_for_something(code) and "mine" not in code:
            found = list(ROOT.glob(code.rstrip("/"))) if "*" in code else [ROOT / code]
            assert found and found[0].exists(), f"`{code}`: there is no such file"


# ----------------------------------------------------------------------------------------------------- commands


@cache
def named_targets() -> set[str]:
    """Rules that can be asked for by name, as the workflow's files define them."""
    files = [ROOT / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]
    text = "\n".join(file.read_text(encoding="utf-8") for file in files)
    return set(re.findall(r"^ *rule (\w+):", text, re.MULTILINE)) | set(
        re.findall(r'name:\s+"([^"{}]+)"', text)
    )


@cache
def snakemake_parser() -> ArgumentParser:
    """Snakemake's own parser of the command line."""
    from snakemake.cli import get_argument_parser

    return get_argument_parser()


@cache
def census_of(edition: str):
    """The census of an edition."""
    return load_census(ROOT, load_settings(ROOT, {"edition": edition}))


def check_target(target: str, settings: dict) -> None:
    """Assert that the workflow can make a target."""
    if target in named_targets() or stands_for_something(target):
        return
    edition = settings.get("edition", "demo")
    if found := re.fullmatch(r"results/([\w-]+)/(runs|checkpoints)/(.+)\.(json|pt)", target):
        assert found[1] == edition, f"{target}: needs --config edition={found[1]}"
        assert census_of(edition).run(found[3])
    elif found := re.fullmatch(r"results/([\w-]+)/tables/parts/([\w-]+)/\w+\.parquet", target):
        assert found[1] == edition and census_of(edition).experiment(found[2])
    elif found := re.fullmatch(r"figures/(main|extended_data|audited)/(\w+)\.(pdf|png)", target):
        assert found[2] in (*MAIN_FIGURES, *EXTENDED_FIGURES)
    else:
        pages = "explorer.html|claims.html|report/index.html|statistics/\\w+.parquet|tables/\\w+.parquet"
        assert re.fullmatch(rf"results/{edition}/({pages})", target), f"{target}: no rule makes this"


def settings_of(words: list[str], editions: set[str]) -> dict:
    """What --config says, checked against the schema."""
    settings = {}
    for word in words:
        key, equals, value = word.partition("=")
        assert equals, f"--config {word}: expected KEY=VALUE"
        settings[key] = yaml.safe_load(value)
    known = {key: value for key, value in settings.items() if value not in editions}
    load_settings(ROOT, known)
    return settings


def own_names_of(text: str) -> set[str]:
    """Names that a document's example gives to a statistic or a figure."""
    return set(re.findall(r'^(?:STATISTICS|FIGURE_EXPERIMENTS)\["(\w+)"\] =', text, re.MULTILINE))


@pytest.mark.parametrize(
    ("path", "command"), QUOTED, ids=lambda one: one if isinstance(one, str) else one.stem
)
def test_commands_exist(path: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program, *words = shlex.split(command.replace("…", ""))
    words = [word for word in words if word not in ("&", "\\")]
    for sign in (">", "<", ">>"):
        words = words[: words.index(sign)] if sign in words else words
    own = set(re.findall(r"config/editions/([\w-]+)\.yaml", path.read_text(encoding="utf-8")))
    if program == "make":
        rules = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {word for word in words if "=" not in word} <= set(rules)
    elif program == "snakemake":
        args = snakemake_parser().parse_args(with_separator(words))
        settings = settings_of(args.config or [], own)
        text = path.read_text(encoding="utf-8")
        examples = "\n".join(blocks(text, "yaml"))
        for target in args.targets:
            experiment = target.split("/")[-2] if "/" in target else ""
            own = f"  {experiment}:\n" in examples or Path(target).stem in own_names_of(text)
            if not own:  # those of examples are made below
                check_target(target, settings)
    else:
        verb = words[0]
        if verb.startswith("-") or stands_for_something(verb):
            return
        assert verb in COMMANDS, f"dualgrad has no command {verb}"
        params = verb_of(verb).params
        own_names = own_names_of(path.read_text(encoding="utf-8")) | {
            (one.metavar or "").strip("[].") for one in params
        }
        if any(stands_for_something(word) or word in own_names for word in words):
            for one in params:
                if isinstance(one.type, click.Choice):
                    monkeypatch.setattr(one, "type", click.STRING)
        if "--help" not in words and len(words) > 1:
            verb_of(verb).make_context(verb, words[1:])


# ----------------------------------------------------------------------------------------------------- settings


def test_the_table_of_settings_is_complete_and_true() -> None:
    schema = yaml.safe_load((ROOT / "workflow" / "schemas" / "config.schema.yaml").read_text())
    defaults = load_settings(ROOT)
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8").partition("## Settings")[2]
    text = text.partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    assert [row[0] for row in rows] == list(schema["properties"])
    for key, kind, default, example, meaning in rows:
        rule = schema["properties"][key]
        value = defaults[key]
        expected = (
            "null" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"
        )
        assert default == expected, f"{key}: the default is {expected}"
        types = rule.get("type", "")
        words = (
            [str(one) for one in rule["enum"]]
            if "enum" in rule
            else [types]
            if isinstance(types, str)
            else types
        )
        if re.search("folder|names of copies", kind):  # said more exactly than by the schema
            words = [word for word in words if word != "string"]
        for word in words:
            assert ("null" if word in ("None", "null") else word) in kind.replace("`", ""), (
                f"{key}: {word} is missing"
            )
        given = yaml.safe_load(example.strip("`"))
        assert given != defaults[key], f"{key}: the example is the default"
        load_settings(ROOT, {key: given})
        assert meaning


# ----------------------------------------------------------------------------------------------------- examples


def examples(name: str) -> list[tuple[str, str]]:
    """(file, content) of the YAML blocks of a document that begin with a comment that names a file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    found = []
    for block in blocks(text, "yaml"):
        if place := re.match(r"# (config/\S+?\.yaml)", block):
            found.append((place[1], block))
    return found


@pytest.mark.parametrize(
    ("document", "count"), [("docs/adding-an-experiment.md", 2), ("docs/which-lambda.md", 1)]
)
def test_entries_of_the_census(document: str, count: int, workspace: Path, capsys) -> None:
    entries = examples(document)
    assert len(entries) == count
    for file, block in entries:
        (workspace / file).write_text(block)
        census = load_census(workspace, {"edition": "demo"})
        names = [name for name, one in census.experiments.items() if one["series"] == "mine"]
        targets = [
            word
            for command in commands(ROOT / document)
            for word in shlex.split(command)
            if any(re.search(rf"(^|/){name}(/|$)", word) for name in names)
        ]
        assert targets
        for word in targets:
            if found := re.search(r"runs/(.+)\.json", word):
                assert not census.run(found[1])["counted"]
        for name in names:
            assert main(["census", name, "--root", str(workspace)]) == 0
            assert main(["show", census.experiments[name]["runs"][0], "--root", str(workspace)]) == 0
        assert main(["census", "--count", "--root", str(workspace)]) == 0
        assert capsys.readouterr().out.splitlines()[-1] == "3916"


def test_the_edition_of_the_example(workspace: Path) -> None:
    ((file, block),) = examples("config/README.md")
    (workspace / file).write_text(block)
    quick = load_census(workspace, load_settings(workspace, {"edition": Path(file).stem}))
    run = quick.run("A/lam0.35_eta0.4_seed0")
    assert run["edition"] == "quick" and run["task"]["steps_per_epoch"] == 2
    assert quick.run("X1/lam0.1_seed0")["task"]["steps_per_epoch"] == 3


def test_the_data_set_and_the_network_of_the_example(workspace: Path, tmp_path: Path) -> None:
    """The document's own pictures, entries and code, as it says, train a run: in a copy of the package."""
    document = "docs/adding-a-dataset-or-model.md"
    text = (ROOT / document).read_text(encoding="utf-8")
    package = tmp_path / "src" / "dualgrad"
    shutil.copytree(ROOT / "src" / "dualgrad", package, ignore=shutil.ignore_patterns("*.pyc.*"))

    def edit(file: str, old: str, new: str) -> None:
        path = package / file
        content = path.read_text(encoding="utf-8")
        assert content.count(old) == 1, (file, old)
        path.write_text(content.replace(old, new), encoding="utf-8")

    own = []
    for block in blocks(text, "python"):
        first, _, code = block.partition("\n")
        file = first.removeprefix("# src/dualgrad/")
        if file == first:
            own.append(block)
        elif file == "census/networks.py":
            edit(file, "BuiltIn = Annotated[\n", f"{code}\n\n\nBuiltIn = Annotated[\n    Linear |")
        else:
            path = package / file
            path.write_text(path.read_text(encoding="utf-8") + "\n\n" + code, encoding="utf-8")
    edit("models/__init__.py", '"mlp": basic.mlp,', '"mlp": basic.mlp, "linear": basic.linear,')
    for file, block in examples(document):
        path = workspace / file
        if not path.exists():
            path.write_text(block)
            continue
        edition, added = yaml.safe_load(path.read_text()), yaml.safe_load(block)
        for key, value in added.items():
            edition[key] |= value
        path.write_text(yaml.safe_dump(edition, sort_keys=False))
    target = re.search(r"`dualgrad train (\S+)`", text)
    assert target is not None
    pictures = pictures_in_rows(workspace / "package")
    # One process for all: each of its own would import torch.
    (tmp_path / "steps.py").write_text(
        "\n".join(
            [
                *(f"exec({block!r}, {{'__name__': '__main__'}})" for block in own),
                "from dualgrad.census import reference",
                "from dualgrad.cli import main",
                "assert reference.main(['--fix'], standalone_mode=False) == 0",
                "assert main(['data', 'stripes']) == 0",
                f"assert main(['train', {target[1]!r}]) == 0",
            ]
        )
    )
    done = subprocess.run(
        [sys.executable, "-P", str(tmp_path / "steps.py")],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"test error ([\d.]+)", done.stdout)[1]) < 0.5, (
        "ten classes of plain stripes are easy"
    )
    with np.load(workspace / "cifar10_png.npz") as made:
        assert set(made) == {
            f"{split}_{part}" for split in ("train", "test") for part in ("images", "labels")
        }
        images = np.concatenate([made["train_images"], made["test_images"]])
        assert np.array_equal(images, pictures) and images.dtype == np.uint8
        assert made["train_labels"].tolist() == list(range(10)) and made["test_labels"].tolist() == [8, 9]


def pictures_in_rows(folder: Path) -> np.ndarray:
    """Write twelve random pictures as rows of PNGs, and their labels, as the package that the document names."""
    pictures = np.random.default_rng(0).integers(0, 256, size=(12, 32, 32, 3), dtype=np.uint8)
    folder.mkdir()
    for place, name in enumerate([*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]):
        Image.fromarray(pictures[2 * place :][:2].reshape(2, 1024, 3)).save(folder / f"{name}.png")
    (folder / "train_lables.json").write_text(json.dumps(list(range(10))))
    (folder / "test_lables.json").write_text("[8, 9]")
    return pictures


def test_the_statistic_and_the_panel_of_the_example(tmp_path: Path, monkeypatch, capsys) -> None:
    """The document's own code makes a statistic's file and a figure with its numbers, by the commands it names."""
    import dualgrad.figures.captions as said
    import dualgrad.figures.sources as drawn
    import dualgrad.statistics.sources as estimated

    census = load_census(ROOT, {"edition": "demo"})
    results = write_results(tmp_path, census, ["A"])
    text = (ROOT / "docs" / "adding-a-statistic-or-panel.md").read_text(encoding="utf-8")
    for table in (estimated.STATISTICS, drawn.FIGURE_EXPERIMENTS, drawn.FIGURE_PANELS, said.CAPTIONS):
        for name in ("below_half", "Mine"):
            monkeypatch.setitem(table, name, None)  # so that it is taken away again
            monkeypatch.delitem(table, name)
    for block in blocks(text, "python"):
        name = block.partition("\n")[0].removeprefix("# src/").removesuffix(".py").replace("/", ".")
        known = sys.modules.get(name)
        module = known or types.ModuleType(name)
        exec(compile(block, name, "exec"), module.__dict__)
        if not known:
            module.__doc__ = next(iter(ast.parse(block).body)).value.value
            monkeypatch.setitem(sys.modules, name, module)

    where = ["--root", str(ROOT), "--edition", "demo"]
    assert main(["statistics", "below_half", *where, "--results", str(results)]) == 0
    shares = pd.read_parquet(results / "statistics" / "below_half.parquet")
    runs = read_tables(results, ["A"], "runs")
    at = (runs["lam"] == 0.35) & (runs["noise_rate"] == 0.4)
    (row,) = shares[(shares["lam"] == 0.35) & (shares["noise_rate"] == 0.4)].to_dict("records")
    assert row["value"] == (runs[at]["test_error"] < 0.5).mean() and row["n"] == at.sum()
    assert row["low"] < row["high"] and row["interval"] == "Clopper-Pearson"
    assert main(["statistics", "--schema", *where]) == 0
    assert "How many runs end with an error below one half" in capsys.readouterr().out

    # It may have been read before there was a figure Mine.
    monkeypatch.delitem(sys.modules, "dualgrad.commands.figure", raising=False)
    picture = tmp_path / "mine.png"
    words = ["--tables", str(results / "tables"), "--data-dir", str(tmp_path), "--output", str(picture)]
    assert main(["figure", "Mine", *where, *words]) == 0
    data = pd.read_parquet(tmp_path / "Mine_a.parquet")
    assert data["layer"].value_counts()["run"] == len(runs)
    means = data[(data["layer"] == "mean") & (data["series"] == "η = 0.4")]
    assert means.set_index("x")["y"][0.35] == pytest.approx(runs[at]["test_error"].mean())
    pixels = plt_image(picture)
    blue = (abs(pixels[..., :3] - np.array([0x00, 0x72, 0xB2]) / 255) < 0.02).all(axis=-1)
    assert blue.sum() > 100, "the curve of one noise rate is drawn"


def plt_image(path: Path) -> np.ndarray:
    """Pixels of a picture, (height, width, 4), between 0 and 1."""
    from matplotlib import image

    return image.imread(path)


# ------------------------------------------------------------------------------------------------------ README


def test_no_image_run_beyond_the_boundary_mixes_a_fresh_value_gradient() -> None:
    """Of real labels, above λ = 0.3, as the README says."""
    runs = [run for run in load_census(ROOT, {"edition": "paper"}).runs.values() if run["counted"]]
    image = [run for run in runs if run["method"] == "dual" and run["task"]["kind"] == "image"]
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    fresh = [
        run
        for run in image
        if run["value"]["period"] == 1 and not run["value"]["synthetic"]
        if max(part["lambda"] for stage in run["stages"] for part in stage["segments"]) > 0.3
    ]
    assert (
        "No image run above λ = 0.3 takes a fresh value gradient of real labels at every step" in text
        and not fresh
    )


def test_readme_and_report_say_first_what_is_part_of_the_method_as_measured() -> None:
    """Before the first table: K, the oracle, and every sign; and the formula carries the cached gradient."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    head = readme.partition("\n|")[0]
    first = head.partition("    g_mix")[0]
    assert "K and the oracle" in first and "part of the method" in first
    (formula,) = (line for line in head.splitlines() if line.startswith("    g_mix"))
    assert "every K steps" in formula
    for word in (
        "**η**",
        "**λ**",
        "**K**",
        "*oracle*",
        "*value* gradient",
        "*trusted*",
        "*structure* gradient",
    ):
        assert word in head, word
    report = (ROOT / "src" / "dualgrad" / "report" / "index.html").read_text(encoding="utf-8")
    lead = report.partition('<p class="question">')[2]
    question = lead.partition("</p>")[0]
    assert "kept for K steps" in question and "<b>oracle</b>" in question and "part of the method" in question
    explained = lead.partition("<table")[0]
    assert all(f"{word}:" in explained for word in ("η", "λ", "Structure", "Value"))


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 200
