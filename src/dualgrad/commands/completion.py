"""Print what makes the Tab key complete commands, options, experiments and runs.

For this shell alone: eval "$(dualgrad completion bash)"

dualgrad completion bash > ~/.local/share/bash-completion/completions/dualgrad
dualgrad completion zsh >> ~/.zshrc
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    from dualgrad.completion import SCRIPTS

    parser.add_argument("shell", choices=list(SCRIPTS), help="the shell to complete in")


def run(args: argparse.Namespace) -> int:
    """Print the shell's script."""
    from dualgrad.completion import SCRIPTS

    print(SCRIPTS[args.shell], end="")
    return 0
