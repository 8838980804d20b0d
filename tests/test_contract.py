"""The contract of the workflow: a job reads its inputs and parameters, writes its outputs, and touches nothing else.

Commands are checked as they stand in the rules; stores without a shared file system show that nothing is missing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from moto.server import ThreadedMotoServer
from workflows import ROOT, copy_workflow, snakemake

from dualgrad import cli
from dualgrad.cli import verb_of
from dualgrad.data import pretrained
from dualgrad.jobs import inputs
from dualgrad.project import load_project

RULES = sorted((ROOT / "workflow" / "rules").glob("*.smk"))
SMOKE = ("--config", "edition=smoke")
# Options that name files of this machine, no results: where the workflow lies, and the published archive.
OUTSIDE = {"--root", "--archive", "--from"}
HOSTILE = '\'; touch pwned; echo $(touch pwned) "x" `touch pwned` <script> é 🙂'


def commands() -> Iterator[tuple[str, str]]:
    """The shell commands of all rules, with the file that they stand in."""
    for path in RULES:
        for text in re.findall(r"shell:\n((?:\s+\".*\"\n?)+)", path.read_text()):
            yield path.name, "".join(re.findall(r'^\s*"(.*)"$', text, re.M))


def test_every_rule_has_a_command_that_is_found_here() -> None:
    text = "".join(path.read_text() for path in RULES)
    assert len(list(commands())) == len(re.findall(r"^\s*shell:$", text, re.M)) > 12


@pytest.mark.parametrize(("file", "command"), list(commands()))
def test_nothing_reaches_a_shell_unquoted(file: str, command: str) -> None:
    for field in re.findall(r"\{[^}]*\}", command):
        assert field.endswith(":q}"), f"{file}: {field} in: {command}"


@pytest.mark.parametrize(("file", "command"), [one for one in commands() if one[1].startswith("dualgrad ")])
def test_a_command_is_told_all_files_that_it_would_otherwise_look_up(file: str, command: str) -> None:
    name = command.split()[1]
    options = {
        one.opts[-1]
        for one in verb_of(name).params
        if isinstance(one, click.Option) and isinstance(one.type, click.Path)
    }
    if name == "tables":
        options -= {"--records"} if "--merge" in command else {"--parts"}
    if name == "verify":
        options -= {"--results"}
    if file == "runs.smk" and "{output:q}" in command:  # a run that no other one starts from
        options -= {"--checkpoint"}
    untold = {option for option in options - OUTSIDE if f"{option} {{" not in command}
    assert not untold, f"{file}: {command}"


def test_a_run_that_is_not_handed_what_it_starts_from_does_not_look_for_it(tmp_path: Path, capsys) -> None:
    project = load_project(ROOT, {"edition": "smoke"})
    run = next(name for name, one in project.census.runs.items() if one["copy_of"])
    source = project.census.runs[run]["copy_of"]
    record = tmp_path / "results" / "smoke" / "runs" / f"{source}.json"
    shared = ["--root", str(ROOT), "--edition", "smoke", "--config", f"results_dir={tmp_path / 'results'}"]
    assert cli.main(["train", source, *shared, "--output", str(record)]) == 0
    output = ["--output", str(tmp_path / "copy.json")]
    assert cli.main(["train", run, *shared, "--needs", *output]) == 1
    assert f"runs/{source}.json" in capsys.readouterr().err
    elsewhere = tmp_path / "elsewhere" / "runs" / f"{source}.json"
    elsewhere.parent.mkdir(parents=True)
    record.rename(elsewhere)
    assert cli.main(["train", run, *shared, "--needs", str(elsewhere), *output]) == 0
    needs = json.loads((tmp_path / "copy.json").read_text())["provenance"]["needs"]
    assert needs == {source: json.loads(elsewhere.read_text())["digest"]}
    assert cli.main(["train", run, *shared, "--needs", str(tmp_path / "copy.json"), *output]) != 0
    assert "expected .../runs/EXPERIMENT/RUN.json" in capsys.readouterr().err


def test_the_published_network_is_handed_over_whole(census) -> None:
    assert [f"{pretrained.FOLDER}/{name}" for name in pretrained.FILES] == inputs.PRETRAINED
    run = next(run for run in census.runs.values() if run["task"]["model"]["name"] == "distilbert")
    assert set(inputs.PRETRAINED) <= set(inputs.data_files(run))


def test_verifying_a_copy_is_handed_what_its_source_starts_from(census) -> None:
    for name, run in census.runs.items():
        if run["copy_of"]:
            files = inputs.files_to_verify(name, census)
            assert files[0] == f"runs/{name}.json" and f"runs/{run['copy_of']}.json" in files
            assert set(inputs.needed_files(census.run(run["copy_of"]), census)) <= set(files)


def test_pages_follow_titles_and_notes(workspace: Path) -> None:
    before = inputs.shown(load_project(workspace, {"edition": "smoke"}))
    assert inputs.shown(load_project(workspace, {"edition": "smoke"})) == before
    # The commands of the pages name what was set.
    assert inputs.shown(load_project(workspace, {"edition": "smoke", "threads_per_job": 2})) != before
    pages = {one: inputs.shown(load_project(workspace, {"edition": "smoke"}), one) for one in ("A", "B")}
    path = workspace / "config" / "census" / "A-Q.yaml"
    path.write_text(path.read_text().replace("title: ", "title: Another ", 1))
    assert inputs.shown(load_project(workspace, {"edition": "smoke"})) != before
    after = {one: inputs.shown(load_project(workspace, {"edition": "smoke"}), one) for one in pages}
    assert after["A"] != pages["A"] and after["B"] == pages["B"]
    titled, text = inputs.shown(load_project(workspace, {"edition": "smoke"})), path.read_text()
    assert "    notes:\n      - " in text
    path.write_text(text.replace("    notes:\n      - ", "    notes:\n      - Also this. ", 1))
    assert inputs.shown(load_project(workspace, {"edition": "smoke"})) != titled


def test_what_pages_show_is_a_parameter_of_their_rules() -> None:
    for file in ("explorer.smk", "report.smk", "claims.smk", "replicate.smk", "results.smk"):
        assert "shown=shown" in (ROOT / "workflow" / "rules" / file).read_text(), file
    for file in ("controls.smk", "cards.smk"):
        assert "*CENSUS_SOURCES" in (ROOT / "workflow" / "rules" / file).read_text(), file
    assert "titles=[title_of" in (ROOT / "workflow" / "rules" / "compare.smk").read_text()


@pytest.mark.surroundings
def test_hostile_names_run_nothing(tmp_path: Path) -> None:
    (tmp_path / "flow").mkdir()
    folder = copy_workflow(tmp_path / "flow")
    census = folder / "config" / "census" / "A-Q.yaml"
    title = json.dumps(HOSTILE + " {x}", ensure_ascii=False)
    census.write_text(re.sub(r"title: .*", lambda _: f"title: {title}", census.read_text(), count=1))
    name = re.sub("[<>]", "", HOSTILE)  # these mean something to Snakemake, and are refused: below
    # In the file: Snakemake takes quotes off the ends of what --config says.
    settings = folder / "config" / "config.yaml"
    text = settings.read_text()
    for key, one in (("results_dir", name), ("data_dir", f"d {name}")):
        text = re.sub(
            rf"^{key}: .*",
            lambda _, k=key, v=one: f"{k}: {json.dumps(v, ensure_ascii=False)}",
            text,
            flags=re.M,
        )
    settings.write_text(text)
    target = f"{name}/smoke/tables/parts/K/runs.parquet"
    done = snakemake(folder, target, "--cores", "1", *SMOKE)
    assert done.returncode == 0, done.stdout
    assert (folder / target).is_file() and (folder / f"d {name}").is_dir()
    assert not list(folder.rglob("pwned")) and not (folder / "results").exists()


@pytest.mark.parametrize("name", ["out/{x}", "out<script>"])
def test_what_snakemake_would_read_in_a_folders_name_is_refused_before_work(
    tmp_path: Path, name: str
) -> None:
    folder = copy_workflow(tmp_path)
    done = snakemake(folder, "census", "--config", "edition=smoke", f"results_dir={name}")
    assert done.returncode != 0 and "expected a folder without { } < >" in done.stdout
    assert "Traceback" not in done.stdout and not (folder / "out").exists()


# --------------------------------------------------------------------------------------------------- stores

TABLE = "results/smoke/tables/parts/Ta1-1/runs.parquet"
NOT_SHARED = ("--shared-fs-usage", "persistence", "software-deployment", "sources", "source-cache")


def digests(runs: Path) -> dict[str, str]:
    """Digests of all records below a folder, by name."""
    return {
        str(path.relative_to(runs)): json.loads(path.read_text())["digest"] for path in runs.rglob("*.json")
    }


@pytest.fixture(scope="module")
def plain(smoke_figures: Path) -> dict[str, str]:
    """Digests of the runs of the main figures of edition smoke, trained on one file system."""
    return digests(smoke_figures / "results/smoke/runs")


@pytest.mark.skipif(not shutil.which("rsync"), reason="snakemake-storage-plugin-fs copies with rsync")
def test_a_figure_without_a_shared_file_system(plain: dict[str, str], tmp_path: Path) -> None:
    """Some of Figure 2's runs start from other runs' checkpoints, which have to travel too."""
    work, store = tmp_path / "work", tmp_path / "store"
    work.mkdir()
    words = ["figures/main/Figure2.pdf", "--cores", "1", *SMOKE, "--directory", str(work)]
    words += ["--default-storage-provider", "fs", "--default-storage-prefix", str(store), *NOT_SHARED]
    (tmp_path / "flow").mkdir()
    folder = copy_workflow(tmp_path / "flow")
    done = snakemake(folder, *words)
    assert done.returncode == 0, done.stdout
    assert (store / "figures" / "main" / "Figure2.pdf").is_file()
    made = digests(store / "results" / "smoke" / "runs")
    assert len(made) > 10 and made.items() <= plain.items()
    assert list((store / "results" / "smoke" / "checkpoints").rglob("*.pt"))
    assert not (work / "results").exists() and not (work / "data").exists()
    done = snakemake(folder, *words)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """An S3 server on this machine: the URL of a bucket's prefix, and the environment that reaches it."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    address = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    settings = {
        "SNAKEMAKE_STORAGE_S3_ENDPOINT_URL": address,
        "SNAKEMAKE_STORAGE_S3_ACCESS_KEY": "key",
        "SNAKEMAKE_STORAGE_S3_SECRET_KEY": "secret",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    yield "s3://dualgrad-tests/one", settings
    server.stop()


def test_runs_and_their_table_through_an_object_store(
    plain: dict[str, str], bucket: tuple[str, dict[str, str]], tmp_path: Path
) -> None:
    """A run that starts from another one's checkpoint; figures in a store are made above."""
    import boto3

    prefix, settings = bucket
    folder = copy_workflow(tmp_path)
    words = [TABLE, "--workflow-profile", "workflow/profiles/s3", "--default-storage-prefix", prefix]
    words += ["--cores", "2", *SMOKE]
    done = snakemake(folder, *words, more=settings)
    assert done.returncode == 0, done.stdout
    client = boto3.client(
        "s3",
        endpoint_url=settings["SNAKEMAKE_STORAGE_S3_ENDPOINT_URL"],
        aws_access_key_id="key",
        aws_secret_access_key="secret",
        region_name="us-east-1",
    )
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="dualgrad-tests")
    keys = [one["Key"] for page in pages for one in page["Contents"]]
    records = [key for key in keys if key.startswith("one/results/smoke/runs/")]
    assert f"one/{TABLE}" in keys and any(key.endswith(".pt") for key in keys)
    assert len(records) == 2
    for key in records:
        record = json.loads(client.get_object(Bucket="dualgrad-tests", Key=key)["Body"].read())
        assert record["digest"] == plain[key.removeprefix("one/results/smoke/runs/")], key
    assert not (folder / "results").exists() and not (folder / "data").exists()
    done = snakemake(folder, *words, more=settings)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout, done.stdout
