"""``python -m dualgrad``."""

from dualgrad.cli import command

command()
