"""``python -m dualgrad``."""

from dualgrad.entry import command

command()
