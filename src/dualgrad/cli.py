"""The command line: a group of click's commands, whose modules are imported only when they are called.

To add a command, write a module with a function ``run`` under ``@verb`` (``dualgrad.arguments``) and name it in
COMMANDS.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from dualgrad import __version__
from dualgrad.validation import InputError, clipped, did_you_mean

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

# What a shell's completion asks by.
COMPLETION = "_DUALGRAD_COMPLETE"


class _Verbs(click.Group):
    """The commands, by their names alone as long as none is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return verb_of(name) if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        lines = "\n".join(f"  {line}" for line in EXAMPLES)
        formatter.write(f"\nexamples:\n{lines}\n\ndualgrad COMMAND --help explains a command.\n")

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[Any]:
        from click.shell_completion import CompletionItem

        found = [(name, about) for name, (_, about) in COMMANDS.items() if name.startswith(incomplete)]
        return [CompletionItem(name, help=about) for name, about in found]


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, message="dualgrad %(version)s")
def verbs() -> None:
    """Dual-gradient learning under label noise: the published census and its pipeline."""


def verb_of(name: str) -> click.Command:
    """Return a command, importing its module."""
    return import_module(COMMANDS[name][0]).run


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
            if asked := os.environ.get(COMPLETION):
                return _complete(asked)
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
    words = argv or ["--help"]
    if words[0] == "help":  # `dualgrad help train`
        words = [*words[1:2], "--help"]
    try:
        # Not click's main(): it takes EOFError for Ctrl-C and a full pipe for an error.
        with verbs.make_context("dualgrad", [*words]) as context:
            return verbs.invoke(context)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code if argv else 2
    except click.UsageError as error:
        place = "dualgrad" if words[0] not in COMMANDS else f"dualgrad {words[0]}"
        print(f"{place}: {clipped(_problem(error), 1000)}\n`{place} --help` explains it.", file=sys.stderr)
        return 2
    except InputError as error:
        print(f"dualgrad: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # no trouble with a file, unlike the rest of its kind
        raise
    except OSError as error:  # a full disk, a folder that cannot be written to: no fault of the program
        from dualgrad.files import explain

        print(f"dualgrad {words[0]}: {explain(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _problem(error: click.UsageError) -> str:
    """What was mistyped, with the nearest name that is known; click looks for none that differs in capitals."""
    if isinstance(error, click.NoSuchCommand):
        name = clipped(error.command_name)
        return f"there is no command '{name}'{did_you_mean(error.command_name, COMMANDS)}"
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name}{did_you_mean(error.option_name, error.possibilities or ())}"
    return error.format_message()


def _complete(asked: str) -> int:
    """Print what a word could become; never a message, which the shell would offer."""
    from click.shell_completion import shell_complete

    import dualgrad.completion  # noqa: F401  (its ways with the shells)

    try:
        return shell_complete(verbs, {}, "dualgrad", COMPLETION, asked)
    except Exception:  # a broken census is told by every other command; here it would garble the prompt
        return 1


if __name__ == "__main__":
    command()
