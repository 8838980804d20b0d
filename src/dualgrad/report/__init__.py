"""The report of an edition: a folder of pages to open, send or put on any web server.

``index.html`` shows the figures with the way back to their runs, ``statistics.html`` the statistics as tables to
search in; the census explorer and the claims page lie beside them. ``content`` gathers, ``build`` writes.
"""

from dualgrad.report.build import build

__all__ = ["build"]
