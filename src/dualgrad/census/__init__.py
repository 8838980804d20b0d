"""The census: every published run as data (contract.md#run), expanded from ``config/census/*.yaml``.

``load_census`` reads, checks and expands; nothing here imports torch, numpy or pandas, because the workflow's
front door and every thin job call it.
"""

from dualgrad.census.editions import edition_names
from dualgrad.census.load import Census, find_root, load_census
from dualgrad.census.stages import CensusError

__all__ = ["Census", "CensusError", "edition_names", "find_root", "load_census"]
