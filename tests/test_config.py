"""Settings: defaults, overrides, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from dualgrad.project import NULLABLE, ConfigError, load_project, load_settings
from dualgrad.validation import InputError, did_you_mean, read_yaml


def test_defaults(root):
    config = load_settings(root)
    assert config["edition"] == "demo" and config["device"] == "auto" and config["threads_per_job"] == 1
    assert config["precision"] is None and config["released_archive"] is None and config["max_steps"] is None


def test_every_setting_is_described_and_commented(root):
    schema = yaml.safe_load((root / "workflow" / "schemas" / "config.schema.yaml").read_text())
    config = load_settings(root)
    assert list(config) == list(schema["properties"]) == schema["required"]
    assert all(one["description"] for one in schema["properties"].values())
    lines = (root / "config" / "config.yaml").read_text().splitlines()
    for key in config:
        line = next(number for number, text in enumerate(lines) if text.startswith(f"{key}:"))
        above = next(
            text for text in reversed(lines[:line]) if not text or text.startswith("#") or ":" not in text
        )
        assert above.startswith("#") or lines[line - 1].split(":")[0] in config, key


def test_overrides_win(root):
    config = load_settings(
        root, {"edition": "released", "released_archive": "somewhere", "threads_per_job": 4}
    )
    assert (config["edition"], config["released_archive"], config["threads_per_job"]) == (
        "released",
        "somewhere",
        4,
    )


def test_the_word_null_is_nothing(root):
    """Snakemake hands `--config precision=null` over as a text."""
    schema = yaml.safe_load((root / "workflow" / "schemas" / "config.schema.yaml").read_text())["properties"]
    kinds = {
        key: [*one.get("enum", ()), *([one["type"]] if "type" in one else [])] for key, one in schema.items()
    }
    assert set(NULLABLE) == {key for key, kind in kinds.items() if None in kind or "null" in str(kind)}
    config = load_settings(root, dict.fromkeys(NULLABLE, "null"))
    assert {config[key] for key in NULLABLE} == {None}
    with pytest.raises(ConfigError, match="edition: expected one of .*got 'null'"):
        load_settings(root, {"edition": "null"})


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"editon": "demo"}, r"--config: unknown key 'editon'; did you mean 'edition'"),
        ({"edition": "demmo"}, r"--config: edition: expected one of demo, paper.*did you mean 'demo'"),
        ({"device": "gpu"}, r"--config: device: expected one of auto, cpu, cuda.*got 'gpu'"),
        ({"precision": "None"}, r"precision: expected one of null, float64.*got 'None'; did you mean null\?"),
        ({"precision": "double"}, r"precision: expected one of .*float64"),
        ({"threads_per_job": 0}, r"threads_per_job: expected at least 1, number of training threads.*got 0"),
        ({"threads_per_job": "two"}, r"threads_per_job: expected integer"),
        ({"max_steps": -1}, r"max_steps: expected at least 1"),
        (
            {"paper_data": "a b"},
            r"paper_data: expected data of the edition paper: published, synthetic, or names",
        ),
    ],
)
def test_mistakes_on_the_command_line(root, overrides, message):
    with pytest.raises(ConfigError, match=message):
        load_settings(root, overrides)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "device: auto",
            "device: autos",
            r"config/config.yaml: device: expected one of.*did you mean 'auto'",
        ),
        (
            "data_dir: data",
            "datadir: data",
            r"config/config.yaml: the key 'data_dir' is missing|unknown key 'datadir'",
        ),
        (
            "device: auto",
            "device: auto\ndevice: cpu",
            r"config/config.yaml: line \d+: the key 'device' is written twice",
        ),
        ("device: auto", "device: [auto", r"config/config.yaml: line \d+"),
    ],
)
def test_mistakes_in_the_file(workspace, old, new, message):
    path = workspace / "config" / "config.yaml"
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        load_settings(workspace)


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"config/config.yaml: the file does not exist"):
        load_settings(tmp_path)


def test_numbers_with_exponents_are_numbers(tmp_path: Path):
    path = tmp_path / "numbers.yaml"
    path.write_text("a: 1e-3\nb: 5.0e-4\nc: 2E5\nd: e5\n")
    assert read_yaml(path) == {"a": 1e-3, "b": 5e-4, "c": 2e5, "d": "e5"}


def test_merge_keys_of_yaml_are_no_duplicates(tmp_path: Path):
    path = tmp_path / "merged.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\n")
    assert read_yaml(path)["b"] == {"x": 3, "y": 2}
    path.write_text("a: {x: 1, x: 2}\n")
    with pytest.raises(InputError, match="the key 'x' is written twice"):
        read_yaml(path)


def test_did_you_mean():
    assert did_you_mean("lambd", ["lambda", "seed"]) == "; did you mean 'lambda'?"
    assert did_you_mean("resnet18", ["ResNet18", "VGG11"]) == "; did you mean 'ResNet18'?"
    assert did_you_mean("entirely", ["lambda", "seed"]) == ""


@pytest.mark.surroundings
@pytest.mark.parametrize(
    ("given", "means"),
    [
        ("results/", "results"),
        ("./results", "results"),
        ("a//b/../c", "a/c"),
        ("../beside", "../beside"),
        ("/elsewhere/", "/elsewhere"),
        ("with space; touch pwned; 'é' $(id) 🙂", "with space; touch pwned; 'é' $(id) 🙂"),
        ("~/results", "/somebody of mine/results"),
    ],
)
def test_a_folder_has_one_form(root, monkeypatch, given, means):
    monkeypatch.setenv("HOME", "/somebody of mine")
    for key in ("results_dir", "data_dir"):
        assert load_settings(root, {key: given})[key] == means
    project = load_project(root, {"results_dir": given, "edition": "smoke"})
    assert project.results == root / means / "smoke" and project.records == project.results / "runs"


@pytest.mark.surroundings
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("out/{run}", "expected a folder without { } < >, which Snakemake's paths use; got 'out/{run}'"),
        ("<results>", "expected a folder without"),
        (".", "expected a folder of its own"),
        ("results/..", "expected a folder of its own"),
        ("-rf", "cannot be taken for an option"),
        ("s3://bucket/results", "object-storage"),
        ("~nobody-of-this-name/results", "~nobody-of-this-name: there is no home folder of this name"),
        ("Snakefile/results", "Snakefile is a file; expected a folder"),
        ("x" * 300, "File name too long"),
        ("a\x07b", "\\x07"),
        ("\udcff", "expected a name in UTF-8"),
    ],
)
def test_a_folder_that_cannot_work_is_refused(root, given, message):
    for key in ("results_dir", "data_dir"):
        with pytest.raises(ConfigError) as caught:
            load_settings(root, {key: given})
        assert message in str(caught.value)
        assert str(caught.value).startswith(f"--config: {key}: ")


def test_a_trial_of_an_edition_has_a_folder_of_its_own(root):
    project = load_project(root, {"edition": "paper", "paper_data": "synthetic", "results_dir": "out"})
    assert project.edition == "paper-trial" and project.results == root / "out" / "paper-trial"


def test_a_figure_is_drawn_from_the_configured_folder_and_edition(tmp_path, capsys):
    from dualgrad.cli import main

    words = ["figure", "Figure1", "--edition", "paper", "--config", "paper_data=synthetic"]
    words += ["--config", f"results_dir={tmp_path}", "--output", str(tmp_path / "figure.png")]
    assert main(words) != 0
    assert str(tmp_path / "paper-trial" / "tables") in capsys.readouterr().err
