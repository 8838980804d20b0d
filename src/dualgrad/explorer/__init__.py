"""The census explorer: all runs of an edition on one self-contained HTML page.

``data`` gathers what the page shows from the census and the edition's tables, ``build`` puts it into the page.
"""

from dualgrad.explorer.build import build

__all__ = ["build"]
