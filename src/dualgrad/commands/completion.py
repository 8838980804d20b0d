"""Print what makes the Tab key complete commands, options, experiments and runs.

For this shell alone: eval "$(dualgrad completion bash)"

dualgrad completion bash > ~/.local/share/bash-completion/completions/dualgrad
dualgrad completion zsh >> ~/.zshrc
"""

from __future__ import annotations

from types import SimpleNamespace

import click

from dualgrad.arguments import OneOf, verb


@verb
@click.argument("shell", type=OneOf(["bash", "zsh", "fish"]), help="the shell to complete in")
def run(args: SimpleNamespace) -> int:
    """Print the shell's script."""
    from click.shell_completion import get_completion_class

    import dualgrad.completion  # noqa: F401  (its ways with the shells)
    from dualgrad.cli import COMPLETION, verbs

    shell = get_completion_class(args.shell)
    assert shell is not None
    print(shell(verbs, {}, "dualgrad", COMPLETION).source(), end="")
    return 0
