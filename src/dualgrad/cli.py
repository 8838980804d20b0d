"""The command line: a light front whose sub-commands import their work only when they are called.

To add a command, write a module with ``add_arguments(parser)`` and ``run(args) -> int`` and name it in COMMANDS.
``args.root`` is the workflow's folder, ``args.config`` the settings given on the command line, as a dict.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from dualgrad import __version__
from dualgrad.files import explain
from dualgrad.validation import InputError, clipped, did_you_mean, parse_yaml

# Command -> (module, what it does). Modules are imported only when their command is called.
COMMANDS: dict[str, tuple[str, str]] = {
    "census": ("dualgrad.commands.census", "list, filter and count the runs"),
    "show": ("dualgrad.commands.show", "print one run as it will be executed"),
    "cards": ("dualgrad.commands.cards", "say in words what the experiments train: docs/protocols.md"),
    "train": ("dualgrad.commands.train", "train runs and write their records"),
    "plan": ("dualgrad.commands.plan", "say what training a selection takes: hours, memory, disk, GPUs"),
    "verify": ("dualgrad.commands.verify", "train recorded runs again and compare"),
    "data": ("dualgrad.commands.data", "fetch and prepare a data set"),
    "ingest": ("dualgrad.commands.ingest", "turn the published archive into tables"),
    "tables": ("dualgrad.commands.tables", "turn records into tables"),
    "controls": ("dualgrad.commands.controls", "answer what the census cannot tell apart"),
    "results": ("dualgrad.commands.results", "print what came of an experiment, by its factors"),
    "statistics": ("dualgrad.commands.statistics", "compute statistics of an edition's tables"),
    "claims": ("dualgrad.commands.claims", "measure the published claims"),
    "compare": ("dualgrad.commands.compare", "compare two editions"),
    "numbers": ("dualgrad.commands.numbers", "keep the measured numbers of README and docs true"),
    "replicate": ("dualgrad.commands.replicate", "put re-trained runs beside the published ones"),
    "figure": ("dualgrad.commands.figure", "draw a figure from tables"),
    "explorer": ("dualgrad.commands.explorer", "write all runs as one page to look through"),
    "report": ("dualgrad.commands.report", "write a folder of pages: figures, statistics, explorer, claims"),
    "bench": ("dualgrad.commands.bench", "measure the speed of training and pipeline"),
    "open": ("dualgrad.commands.open", "show a page or a figure that has been made"),
    "completion": ("dualgrad.commands.completion", "make the Tab key complete names in bash, zsh or fish"),
}

EXAMPLES = (
    "dualgrad census A --where lambda=0.35          which runs there are",
    "dualgrad show A/lam0.35_eta0.4_seed0           what one of them is, in full",
    "dualgrad train A/lam0.35_eta0.4_seed0          train it, here and now",
    "snakemake results/demo/runs/A/lam0.35_eta0.4_seed0.json --cores 1    the same, as a job of the workflow",
)

USAGE = "dualgrad COMMAND [--root FOLDER] [--edition NAME] [--config KEY=VALUE] ..."


def command() -> NoReturn:
    """Be the command: run it, and leave with its exit status."""
    try:
        status = main()
    except KeyboardInterrupt:  # within the last few lines of main
        status = 130
    # Python takes a while to end with torch in it, and whoever has typed Ctrl-C may do so again.
    if status == 130:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status (2 for a mistake in what was typed or written)."""
    show_anything()
    try:
        try:
            return _main(list(sys.argv[1:] if argv is None else argv))
        finally:
            sys.stdout.flush()  # here, where a reader that has gone is no news: `dualgrad --help | head -1`
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def show_anything() -> None:
    """Have standard output show what it cannot encode (λ in an ASCII locale, names that are no text) as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors != "backslashreplace":
        sys.stdout.reconfigure(errors="backslashreplace")


def _main(argv: list[str]) -> int:
    name = argv[0] if argv else "--help"
    if name == "help" and argv[1:]:  # `dualgrad help train`
        name, argv = argv[1], [argv[1], "--help"]
    if name in ("-h", "--help", "help"):
        print(_help())
        return 0 if argv else 2
    if name == "--version":
        print(f"dualgrad {__version__}")
        return 0
    if name == "complete":  # what the shell's completion asks
        from dualgrad.completion import main as complete

        return complete(argv[1:])
    if name not in COMMANDS:
        print(
            f"dualgrad: there is no command '{clipped(name)}'{did_you_mean(name, COMMANDS)}\n"
            "`dualgrad --help` lists the commands.",
            file=sys.stderr,
        )
        return 2
    args = parser_of(name).parse_args(argv[1:])
    try:
        args.config = _settings(args)
        if args.root is not None and not args.root.is_dir():
            state = "is no folder" if args.root.exists() else "does not exist"
            raise InputError("--root", str(args.root), f"{state}; expected the folder of the Snakefile")
        if args.root is None:
            from dualgrad.census import find_root

            args.root = find_root()
        return import_module(COMMANDS[name][0]).run(args)
    except InputError as error:
        if args.edition and error.where == "--config" and error.key == "edition":
            error = InputError("--edition", "", error.problem)
        print(f"dualgrad: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # no trouble with a file, unlike the rest of its kind
        raise
    except OSError as error:  # a full disk, a folder that cannot be written to: no fault of the program
        print(f"dualgrad {name}: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser_of(name: str) -> argparse.ArgumentParser:
    """Return the parser of a command, with what all of them share.

    A command's help is its module's docstring; its last paragraph holds the examples.
    """
    module_name, about = COMMANDS[name]
    module = import_module(module_name)
    text, examples = _split(module.__doc__ or about)
    parser = _Parser(
        prog=f"dualgrad {name}",
        description=text,
        epilog=f"examples:\n{examples}" if examples else None,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    module.add_arguments(parser)
    shared = parser.add_argument_group("which workflow")
    shared.add_argument(
        "--root", type=Path, help="folder of the Snakefile (default: the nearest one from here upwards)"
    )
    shared.add_argument("--edition", help="where records come from (default: as in config/config.yaml)")
    shared.add_argument(
        "--config",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="a setting of config/config.yaml, as for snakemake --config; can be given several times",
    )
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser that offers the nearest name for one that it does not know."""

    def error(self, message: str) -> NoReturn:
        known: list[str] = []
        if found := re.match(r"unrecognized arguments: (--[\w-]+)", message):
            known = [name for action in self._actions for name in action.option_strings]
        elif found := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            known = [name.strip("' ") for name in found[2].split(",")]
        hint = did_you_mean(found[1], known) if found else ""
        self.exit(2, f"{self.prog}: {message}{hint}\n`{self.prog} --help` explains the command.\n")


def _split(docstring: str) -> tuple[str, str]:
    """A command's docstring as its text and its examples: the last paragraph, if it is indented or all commands."""
    paragraphs = docstring.strip().replace("`", "").split("\n\n")
    if len(paragraphs) > 1 and all(
        line.startswith(("    ", "dualgrad ")) for line in paragraphs[-1].splitlines()
    ):
        lines = [f"  {line.strip()}" for line in paragraphs.pop().splitlines()]
        return "\n\n".join(paragraphs), "\n".join(lines)
    return "\n\n".join(paragraphs), ""


def _settings(args: argparse.Namespace) -> dict:
    settings: dict = {}
    for text in args.config:
        key, equals, value = text.partition("=")
        if not equals or not key:
            raise InputError("--config", text, "expected KEY=VALUE")
        try:
            settings[key] = parse_yaml(value, "--config")
        except InputError as error:
            raise InputError("--config", key, error.problem) from None
    if args.edition:
        settings["edition"] = args.edition
    return settings


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"usage: {USAGE}",
        "",
        "Dual-gradient learning under label noise: the published census and its pipeline.",
    ]
    lines += ["", "commands:", *(f"  {name:{width}}  {about}" for name, (_, about) in COMMANDS.items())]
    lines += ["", "examples:", *(f"  {line}" for line in EXAMPLES)]
    return "\n".join([*lines, "", "dualgrad COMMAND --help explains a command."])


if __name__ == "__main__":
    command()
