"""What the verbs of the command line are made of: click's commands, with the arguments that many of them share.

A verb is a function ``run(args) -> int`` under ``@verb``, with click's decorators for its own arguments; its module's
docstring is its help. ``args.root`` is the workflow's folder, ``args.config`` the settings given on the command line.
Nothing heavier than click is imported here, so that parsing takes no time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click

from dualgrad.validation import InputError, did_you_mean, parse_yaml

FILE = click.Path(path_type=Path, dir_okay=False)
FOLDER = click.Path(path_type=Path, file_okay=False)
_KEY_VALUE = re.compile(r"[A-Za-z_]\w*=")  # no name of a run: these have a slash before all else


# --------------------------------------------------------------------------------------------------- kinds of words


class Name(click.ParamType):
    """A name that a file of the workflow gives, under which completion finds it; the verb itself checks it.

    Args:
        name: what help calls it.
        offer: what a word that begins like this could become, from :func:`dualgrad.completion.names`.
    """

    def __init__(self, name: str, offer: Callable[[Mapping[str, Any], str], Iterable[str]]) -> None:
        self.name, self._offer = name, offer

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        """Call it by its name."""
        return self.name

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[Any]:
        """Offer what has not been typed yet."""
        from click.shell_completion import CompletionItem

        from dualgrad.completion import known_from

        known = known_from(ctx.params.get("root"))
        typed = ctx.params.get(param.name)
        found = [one for one in self._offer(known, incomplete) if one.startswith(incomplete)]
        return [CompletionItem(one) for one in found if not isinstance(typed, tuple) or one not in typed]


def _all(key: str) -> Callable[[Mapping[str, Any], str], Iterable[str]]:
    return lambda known, begun: known.get(key, ())


def _run(known: Mapping[str, Any], begun: str) -> Iterable[str]:
    experiment, slash, _ = begun.partition("/")
    if not slash:  # the experiment first: thousands of names help nobody
        return [f"{name}/" for name in known.get("runs", ())]
    return [f"{experiment}/{run}" for run in known["runs"].get(experiment, ())]


def _either(known: Mapping[str, Any], begun: str) -> Iterable[str]:
    return _run(known, begun) if "/" in begun else known.get("runs", ())


def _pair(key: str) -> Callable[[Mapping[str, Any], str], Iterable[str]]:
    def offer(known: Mapping[str, Any], begun: str) -> Iterable[str]:
        name, equals, _ = begun.partition("=")
        values = known.get(key, {})
        return (
            [f"{name}={value}" for value in values.get(name, ())] if equals else [f"{one}=" for one in values]
        )

    return offer


RUN = Name("EXPERIMENT/RUN", _run)
EXPERIMENT = Name("EXPERIMENT", _all("runs"))
EXPERIMENT_OR_RUN = Name("EXPERIMENT[/RUN]", _either)
LEVEL = Name("FACTOR=LEVEL", _pair("factors"))
SETTING = Name("KEY=VALUE", _pair("settings"))
EDITION = Name("EDITION", _all("editions"))
SERIES = Name("SERIES", _all("series"))
CLAIM = Name("CLAIM", _all("claims"))
VERDICT = Name("VERDICT", _all("verdicts"))
TOPIC = Name("TOPIC", _all("topics"))
DOCUMENT = Name("DOCUMENT", _all("documents"))
STATISTIC = Name("STATISTIC", _all("statistics"))
DATA_SET = Name("NAME", _all("datasets"))


class OneOf(click.Choice[str]):
    """One of few words, which offers the nearest one for a slip."""

    def get_invalid_choice_message(self, value: Any, ctx: click.Context | None) -> str:
        """Say it as all messages of this project do."""
        return f"expected one of {', '.join(self.choices)}; got '{value}'{did_you_mean(value, self.choices)}"


# -------------------------------------------------------------------------------------------------------- arguments


class Several(click.Option):
    """An option that takes all words up to the next option, and may have none: None where it is not given."""

    def __init__(self, declared: Sequence[str], **rest: Any) -> None:
        super().__init__(
            declared, multiple=True, is_flag=False, flag_value="", callback=_none_if_absent, **rest
        )

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        """Leave out the empty word that stands for none."""
        return super().type_cast_value(ctx, [word for word in value if word])


def _none_if_absent(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    return None if ctx.get_parameter_source(param.name) is click.core.ParameterSource.DEFAULT else value


json_option = partial(click.option, "--json", is_flag=True)
output_option = partial(click.option, "--output", type=FILE)
results_option = partial(
    click.option, "--results", type=FOLDER, help="the edition's results (default: results/EDITION)"
)
_JOB = {
    "--needs": "records and checkpoints of the runs that it starts from: .../runs/EXPERIMENT/RUN.json and "
    ".../checkpoints/EXPERIMENT/RUN.pt (default: where the workflow makes them)",
    "--data": "files of its data set: .../NAME/FILE (default: those in the folder of the setting data_dir)",
    "--files": "files of one's own that it reads (labels, trusted indices, its network's module), in the order in "
    "which the workflow names them (default: where the run says, from the workflow's folder)",
}


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Declare the files that a workflow hands over to a job that trains."""
    for name, text in reversed(_JOB.items()):
        function = click.option(name, cls=Several, type=FILE, help=text)(function)
    return function


# ------------------------------------------------------------------------------------------------------------ verbs


class Verb(click.Command):
    """A command with the options that say which workflow, whose help is its module's docstring.

    Args:
        either: names of arguments of which one can be given.
    """

    def __init__(
        self, name: str | None, *, callback: Callable[..., int], either: Sequence[str] = (), **rest: Any
    ) -> None:
        super().__init__(name, callback=callback, **rest)
        self._either = either
        self._text, self.epilog = _split(sys.modules[callback.__module__].__doc__ or "")
        self.params += [
            click.Option(
                ["--root"],
                type=click.Path(path_type=Path),
                help="folder of config/census (default: the nearest one from here upwards)",
            ),
            click.Option(
                ["--edition"],
                type=EDITION,
                help="where records come from (default: as in config/config.yaml)",
            ),
            click.Option(
                ["--config"],
                type=SETTING,
                multiple=True,
                help="settings of config/config.yaml, as for snakemake --config",
            ),
        ]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, once `--needs A B` reads `--needs A --needs B`, as click knows it; no option is another's value.

        Likewise `--config a=1 b=2`, as Snakemake takes it, up to a word that is no KEY=VALUE.
        """
        options = {name: one for one in self.params if isinstance(one, click.Option) for name in one.opts}
        words: list[str] = []
        option = ""
        for word in args:
            if word.startswith("-"):
                before = options.get(words[-1]) if words else None
                if word in options and before and not (before.is_flag or isinstance(before, Several)):
                    raise click.UsageError(f"Option '{before.opts[0]}' requires an argument.", ctx)
                option = word if word == "--config" or isinstance(options.get(word), Several) else ""
            elif option and words[-1] != option:
                if option != "--config" or _KEY_VALUE.match(word):
                    words.append(option)
                else:
                    option = ""
            words.append(word)
        rest = super().parse_args(ctx, words)
        given = [one.opts[0] for one in self.params if one.name in self._either and ctx.params[one.name]]
        if len(given) > 1 and not ctx.resilient_parsing:
            raise click.UsageError(f"{given[1]} and {given[0]} exclude each other", ctx)
        return rest

    def invoke(self, ctx: click.Context) -> int:
        """Run the verb; returns its exit status."""
        args = SimpleNamespace(**ctx.params)
        args.config = settings_of(args)
        if args.root is not None and not args.root.is_dir():
            state = "is no folder" if args.root.exists() else "does not exist"
            raise InputError("--root", str(args.root), f"{state}; expected the folder of config/census")
        if args.root is None:
            from dualgrad.census import find_root

            args.root = find_root()
        assert self.callback is not None
        try:
            return self.callback(args)
        except InputError as error:
            if args.edition and (error.where, error.key) == ("--config", "edition"):
                raise InputError("--edition", "", error.problem) from None
            raise

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the text as it stands."""
        formatter.write(f"\n{self._text}\n")

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, likewise."""
        if self.epilog:
            formatter.write(f"\nexamples:\n{self.epilog}\n")


def verb(function: Callable[[SimpleNamespace], int] | None = None, **options: Any) -> Any:
    """Make a function a verb of the command line."""
    return click.command(cls=Verb, **options) if function is None else click.command(cls=Verb)(function)


def settings_of(args: SimpleNamespace) -> dict[str, Any]:
    """Return the settings that a command line gives.

    Raises:
        InputError: one is not KEY=VALUE, or its value is no YAML.
    """
    settings: dict[str, Any] = {}
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


def _split(docstring: str) -> tuple[str, str]:
    """A verb's docstring as its text and its examples: the last paragraph, if it is indented or all commands."""
    paragraphs = docstring.strip().replace("`", "").split("\n\n")
    if len(paragraphs) > 1 and all(
        line.startswith(("    ", "dualgrad ")) for line in paragraphs[-1].splitlines()
    ):
        lines = [f"  {line.strip()}" for line in paragraphs.pop().splitlines()]
        return "\n\n".join(paragraphs), "\n".join(lines)
    return "\n\n".join(paragraphs), ""
