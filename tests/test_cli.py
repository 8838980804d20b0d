"""The command line: help with examples that work, hints for slips, completion, progress."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.shell_completion import ShellComplete

from dualgrad.arguments import settings_of
from dualgrad.cli import COMMANDS, COMPLETION, EXAMPLES, main, verb_of, verbs
from dualgrad.completion import names
from dualgrad.progress import progress

ROOT = Path(__file__).resolve().parents[1]


def examples_of(name: str) -> list[str]:
    """The examples that a command's help shows."""
    with verb_of(name).make_context(f"dualgrad {name}", [], resilient_parsing=True) as context:
        _, found, lines = context.get_help().partition("examples:\n")
    assert found, f"dualgrad {name} --help has no examples"
    return [line.strip() for line in lines.splitlines() if line.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_examples_that_parse(name: str, capsys) -> None:
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert all(len(line) <= 120 for line in text.splitlines())
    own = [line for line in examples_of(name) if line.startswith(f"dualgrad {name}")]
    assert own, f"no example of dualgrad {name} itself"
    for line in own:
        words = shlex.split(re.split(r" [>&|]+ ?| && ", line, maxsplit=1)[0].removesuffix(" &"))
        verb_of(name).make_context(name, words[2:])  # raises what an example that does not parse is wrong in


def test_the_front_page_names_every_command(capsys) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(re.search(rf"^  {name} +\S", text, re.MULTILINE) for name in COMMANDS)
    assert all(line in text for line in EXAMPLES)
    assert main([]) == 2
    assert main(["--version"]) == 0


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["cencus"], "there is no command 'cencus'; did you mean 'census'?"),
        (["show", "A/lam0.35_eta0.4_sed0"], "did you mean 'A/lam0.35_eta0.4_seed0'?"),
        (["show", "TD2/trap1_combined"], "did you mean 'Td2'?"),
        (["census", "X1e"], "did you mean 'X1"),
        (["census", "--seris", "X"], "did you mean '--series'?"),
        (["census", "A", "--where", "lamda=0.1"], "did you mean 'lambda'?"),
        (["census", "--edition", "dmo"], "did you mean 'demo'?"),
        (["census", "--config", "devise=cpu"], "did you mean 'device'?"),
        (["data", "cifar"], "did you mean 'cifar"),
        (["show", "A"], "A: is an experiment, not a run; `dualgrad census A` lists its runs"),
        (["show", "--edition", "papr", "A"], "dualgrad: --edition: expected one of"),
        (["statistics", "boundary"], "dualgrad: boundary: no such statistic; did you mean 'boundaries'?"),
        (["census", "--where", "lambda=.35", "--where", "lambda=.4"], "lambda is asked for twice"),
        (["open", "figure", "9"], "expected 1 to 5, or ED1 to ED8; got '9'"),
    ],
)
def test_a_slip_gets_a_hint(words: list[str], hint: str, capsys, monkeypatch) -> None:
    monkeypatch.chdir(ROOT)
    assert main(words) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--help"], ["help"], ["census", "--help"], ["census", "--runs"]])
def test_a_reader_that_has_seen_enough_is_no_error(words: list[str]) -> None:
    """As in `dualgrad --help | head -1`: the pipe is closed before anything is read."""
    front = [sys.executable, "-m", "dualgrad", *words]
    process = subprocess.Popen(front, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.stderr.read() == "" and process.wait() == 0


@pytest.mark.parametrize(
    ("words", "needs", "data"),
    [
        ("A/x", None, None),
        ("A/x --needs", [], None),
        ("--needs --data a b --edition demo A/x", [], ["a", "b"]),
        ("A/x --needs c d --data=a", ["c", "d"], ["a"]),
        ("A/x --needs a --needs b c --data", ["a", "b", "c"], []),
        ("--data a -- A/x", None, ["a"]),
    ],
)
def test_an_option_of_several_words(words: str, needs: list[str] | None, data: list[str] | None) -> None:
    """It has the words up to the next option, as `--needs {input.needs:q}` in a rule asks for: none, one or more."""
    found = verb_of("train").make_context("train", words.split()).params
    assert found["runs"] == ("A/x",)
    for key, paths in (("needs", needs), ("data", data)):
        assert found[key] == (None if paths is None else tuple(map(Path, paths)))


@pytest.mark.parametrize(
    "words",
    [
        "--config device=cpu edition=smoke A/x",
        "A/x --config device=cpu edition=smoke",
        "--config device=cpu edition=smoke --needs a -- A/x",
        "--config=device=cpu --config edition=smoke A/x",
        "--config device=cpu --edition smoke A/x",
    ],
)
def test_settings_are_given_as_to_snakemake(words: str) -> None:
    found = SimpleNamespace(**verb_of("train").make_context("train", words.split()).params)
    assert found.runs == ("A/x",)
    assert settings_of(found) == {"device": "cpu", "edition": "smoke"}


def test_help_of_a_command(capsys) -> None:
    texts = []
    for words in (["help", "census"], ["census", "--help"]):
        assert main(words) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "--where" in texts[0]
    assert main(["help", "cencus"]) == 2


def test_open_says_what_makes_a_page_that_is_not_there(workspace: Path, capsys, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    words = ["open", "--root", str(workspace), "--edition", "smoke"]
    assert main([*words, "report"]) == 1
    assert "make it: snakemake report --config edition=smoke" in capsys.readouterr().err
    assert main([*words, "figure", "ED3", "--variant", "audited"]) == 1
    assert "snakemake figures/audited/ED_Fig3.png" in capsys.readouterr().err
    trial = ["--edition", "paper", "--config", "paper_data=synthetic"]
    assert main(["open", "--root", str(workspace), *trial, "comparison"]) == 1
    assert "compare=released,paper-trial edition=paper paper_data=synthetic" in capsys.readouterr().err
    page = workspace / "results" / "smoke" / "claims.html"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text("<!doctype html>")
    assert main([*words, "claims"]) == 0
    assert opened == [page.resolve().as_uri()] and str(page) in capsys.readouterr().out


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dualgrad", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("dualgrad ")


# -------------------------------------------------------------------------------------------------- completion


@pytest.fixture(scope="module")
def kept_names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder for these tests: the names of the repository's census are expanded once for all of them."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(kept_names: Path, monkeypatch) -> Path:
    """That cache folder is the user's, and the repository the working folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept_names))
    monkeypatch.chdir(ROOT)
    return kept_names


def completed(words: list[str]) -> list[str]:
    """What click offers for the last of these words, apart from names of files."""
    found = ShellComplete(verbs, {}, "dualgrad", COMPLETION).get_completions(words[:-1], words[-1])
    return [one.value for one in found if one.type == "plain"]


@pytest.mark.parametrize(
    ("words", "some", "not_there"),
    [
        (["sh"], ["show"], ["census"]),
        (["show", "T"], ["T1a/", "T13/"], ["A/"]),
        (["show", "V1/"], ["V1/seed0", "V1/seed1", "V1/seed2"], ["V3/seed0"]),
        (["train", "--edition", "sm"], ["smoke"], ["demo"]),
        (["train", "--edition", "smoke", "V1/seed2"], ["V1/seed2"], []),
        (["census", "A", "M"], ["M1", "M2"], ["A"]),
        (["census", "--where", "wid"], ["width_mult="], []),
        (["census", "--where", "width_mult="], ["width_mult=0.5", "width_mult=2"], []),
        (["census", "--config", "dev"], ["device="], []),
        (["census", "--config", "device="], ["device=auto", "device=cpu"], []),
        (["census", "--config", "edition=sm"], ["edition=smoke"], []),
        (["census", "--config", "device=cpu", "B"], ["B", "B2"], []),
        (["figure", "ED_Fig1"], ["ED_Fig1"], ["Figure1"]),
        (["figure", "Figure1", "--variant", ""], ["published", "audited"], []),
        (["census", "--js"], ["--json"], []),
        (["completion", ""], ["bash", "zsh", "fish"], []),
        (["census", "--series", "R"], ["R-W"], ["A-Q"]),
        (["claims", "--verdict", "not"], ["not_reproduced", "not_testable"], ["close"]),
        (["claims", "--topic", "tra"], ["traps"], []),
        (["claims", "census-"], ["census-total", "census-a-q"], []),
        (["statistics", "bound"], ["boundaries"], ["escapes"]),
        (["open", "ex"], ["explorer"], ["report"]),
        (["open", "explorer", "--edition", "re"], ["released"], []),
        (["data", "cifar10"], ["cifar10", "cifar100"], ["sst2"]),
        (["claims", "--document", "Figure"], ["Figure 1"], []),
        (["compare", "released", ""], ["demo", "paper"], ["released"]),
    ],
)
def test_completion_knows(cache, words: list[str], some: list[str], not_there: list[str]) -> None:
    found = completed(words)
    assert set(some) <= set(found) and not set(not_there) & set(found)
    assert all(one.startswith(words[-1]) for one in found)


@pytest.mark.parametrize(
    "words", [["nonsense", "x"], ["figure", "Figure1", "--output", "fig"], ["show", "Nope/"]]
)
def test_completion_leaves_the_rest_to_the_shell(cache, words: list[str]) -> None:
    assert completed(words) == []


def test_names_are_kept_until_the_census_changes(workspace: Path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(workspace))
    first = names(workspace)
    assert "lam0.35_eta0.4_seed0" in first["runs"]["A"]
    (kept,) = (workspace / "dualgrad").glob("names-*.json")
    kept.write_text(json.dumps({**first, "series": ["from the cache"]}))
    assert names(workspace)["series"] == ["from the cache"]
    os.utime(workspace / "config" / "census" / "Y.yaml", (1, 1))
    assert names(workspace) | {"stamp": ""} == first | {"stamp": ""}
    kept.write_text("{")
    assert names(workspace) | {"stamp": ""} == first | {"stamp": ""}


# What is typed, Tab key included, and what then stands in the line.
TYPED = [
    ("open --edition=smo\t expl\t", "open --edition=smoke explorer"),
    ("show Tg1\tpos1\t", "show Tg1/pos1"),
    ("census A --where width_m\t0.\t", "census A --where width_mult=0.5"),
    ("figure Figure1 --output READ\t", "figure Figure1 --output README.md"),
]
SHELLS = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(dualgrad completion bash)"'),
    "zsh": (["zsh", "-f", "-i"], 'autoload -U compinit; compinit -D; eval "$(dualgrad completion zsh)"'),
}


@pytest.fixture
def with_dualgrad(cache: Path, tmp_path: Path) -> dict[str, str]:
    """An environment in which `dualgrad` is this package."""
    front = tmp_path / "bin"
    front.mkdir()
    (front / "dualgrad").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m dualgrad "$@"\n')
    (front / "dualgrad").chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{front}{os.pathsep}{os.environ['PATH']}",
        "TERM": "dumb",
        "HOME": str(tmp_path),
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_the_tab_key(with_dualgrad: dict[str, str], shell: str) -> None:
    """A shell on a terminal, whose lines are printed once they are complete."""
    if not shutil.which(shell):
        pytest.skip(f"no {shell}")
    words, start = SHELLS[shell]
    keyboard, terminal = os.openpty()
    process = subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=with_dualgrad, start_new_session=True
    )
    os.close(terminal)
    lines = [f"dualgrad {typed}\x01echo \r" for typed, _ in TYPED]
    os.write(keyboard, "\r".join([start, *lines, "exit\r"]).encode())
    shown = b""
    with contextlib.suppress(OSError):  # the other end is closed
        while part := os.read(keyboard, 1 << 16):
            shown += part
    os.close(keyboard)
    assert process.wait() == 0
    printed = shown.decode().replace("\r", "").splitlines()
    for _, line in TYPED:
        assert f"dualgrad {line}" in [one.rstrip() for one in printed], shown.decode()


def test_completion_in_fish(with_dualgrad: dict[str, str]) -> None:
    if not shutil.which("fish"):
        pytest.skip("no fish")
    for line, found in (
        ("dualgrad show --edition=smo", "--edition=smoke"),
        ("dualgrad show Tg1", "Tg1/"),
        ("dualgrad census A --where width_mult=0.", "width_mult=0.5"),
    ):
        script = f"dualgrad completion fish | source; complete -C '{line}'"
        done = subprocess.run(
            ["fish", "-c", script], env=with_dualgrad, capture_output=True, text=True, check=True
        )
        assert found in [one.split("\t")[0] for one in done.stdout.splitlines()], done.stdout


# ---------------------------------------------------------------------------------------------------- progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_a_bar_on_a_terminal_and_rare_lines_elsewhere(monkeypatch) -> None:
    clock = iter(range(1000))
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(clock)))
    terminal, log = Terminal(), io.StringIO()
    assert list(progress("abc", 3, "letter", stream=terminal)) == ["a", "b", "c"]
    assert "\n" not in terminal.getvalue()[:-1] and terminal.getvalue().endswith("\n")
    *_, last = terminal.getvalue().split("\r")
    assert last.startswith("letter: 100%") and "3/3" in last and ", c]" in last
    assert list(progress(range(70), 70, "number", stream=log)) == list(range(70))
    lines = log.getvalue().splitlines()
    assert 2 <= len(lines) <= 3  # two or three in seventy seconds, and none to begin or to end with
    assert all(re.fullmatch(r"number (\d+) of 70, \d+", line) for line in lines), lines


# ---------------------------------------------------------------------------------------------------- several runs


def test_several_runs_are_trained_and_what_is_equal_is_left_alone(
    tmp_path: Path, capsys, monkeypatch
) -> None:
    """In an order in which each finds what it starts from; a second time no record gets another date."""
    monkeypatch.chdir(ROOT)
    runs = ["Ta-prep-O/seed0", "Ta1-1/seed0"]
    words = [
        "train",
        "--edition",
        "smoke",
        "--config",
        f"results_dir={tmp_path}/r",
        "--config",
        f"data_dir={tmp_path}/d",
    ]
    folder = tmp_path / "r" / "smoke"
    assert main([*words, *reversed(runs)]) == 0
    files = {
        path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }
    assert folder / "checkpoints" / f"{runs[0]}.pt" in files
    capsys.readouterr()
    assert main([*words, *runs]) == 0
    assert capsys.readouterr().out.count("(as it was)") == 2
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files} == files
    record = folder / "runs" / f"{runs[1]}.json"
    record.write_bytes(record.read_bytes()[:-20])  # a damaged one is not equal
    assert main([*words, runs[1]]) == 0
    assert "(as it was)" not in capsys.readouterr().out
    assert json.loads(record.read_bytes())["digest"] == json.loads(files[record][1])["digest"]
    assert main([*words, *runs, "--output", "x.json"]) == 2
    assert "--output: is for one run; 2 are named" in capsys.readouterr().err


@pytest.mark.surroundings
@pytest.mark.parametrize(
    ("encoding", "shown"), [("ascii", rb"\u03bb caf\udce9"), ("utf-8", rb"\xce\xbb caf\udce9")]
)
def test_what_a_terminal_cannot_show_ends_no_command(monkeypatch, encoding, shown):
    """λ where only ASCII is known, and a folder's name that is no text anywhere."""
    from dualgrad import cli

    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(cli, "_main", lambda argv: print("λ caf\udce9"))
    cli.main([])
    text = stream.buffer.getvalue()
    assert text == shown.replace(rb"\xce\xbb", "λ".encode()) + b"\n"
