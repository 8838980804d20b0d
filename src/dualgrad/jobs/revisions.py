"""Which code makes what is cheap to make again: the files behind each command whose rule carries a digest of them.

Snakemake does not see the code behind a command line. The files are named by hand, because planning would wait for
imports to be followed; a test follows them, and says which file is missing here. Left out are the words of the
command line; how files are written and checked; the census's own code, as what it makes of an entry is a parameter
(not of cards); and all that trains, because a run is not cheap: for its code stands the protocol's revision.
"""

from __future__ import annotations

# A page's foot has the version.
_PAGES = ("__init__.py", "pages/*.*", "wording.py")
_TABLES = ("tables/*.py", "thresholds.py", "records.py")
_COMPARED = ("compare/*.*", "drawing.py")
# What the sweeps of two branches are.
_FIGURES = ("figures/*.py", "statistics/sources.py")
_OUTCOMES = ("outcomes/*.*", "estimators/*.py")
_STATISTICS = ("statistics/*.py", *_OUTCOMES)

#: Patterns below the package, by the command of ``dualgrad``.
CODE: dict[str, tuple[str, ...]] = {
    "cards": ("commands/cards.py", "census/*.py", "census/cards/*.*", *_PAGES),
    "tables": ("commands/tables.py", *_TABLES),
    "ingest": ("commands/ingest.py", "ingest/*.py", "release/*.py", *_TABLES),
    "figure": ("commands/figure.py", *_FIGURES, "drawing.py", "estimators/*.py", *_TABLES),
    "results": ("commands/results.py", "drawing.py", *_OUTCOMES, *_PAGES, *_TABLES),
    "controls": ("commands/controls.py", "controls.*", "planning/*.py", *_OUTCOMES, *_PAGES, *_TABLES),
    "explorer": ("commands/explorer.py", "explorer/*.*", *_PAGES, *_TABLES),
    "statistics": ("commands/statistics.py", *_STATISTICS, *_TABLES),
    "compare": ("commands/compare.py", *_COMPARED, *_STATISTICS, *_PAGES, *_TABLES),
    "replicate": ("commands/replicate.py", "replicate/*.*", "estimators/*.py", *_COMPARED, *_PAGES, *_TABLES),
    "claims": (
        "commands/claims.py",
        "claims/*.py",
        "claims/page/*.*",
        "ingest/__init__.py",
        "release/*.py",
        *_STATISTICS,
        *_PAGES,
        *_TABLES,
    ),
    "report": (
        "commands/report.py",
        "report/*.*",
        "claims/verdicts.py",
        *_FIGURES,
        *_COMPARED,
        *_STATISTICS,
        *_PAGES,
        *_TABLES,
    ),
}
