"""A fault of Snakemake's that this workflow meets: one that ends takes away the locks of all others in its folder.

Each writes lock files of its own into ``.snakemake/locks``, and removes the folder with all that is in it at its end,
even where there was nothing to do (seen in 9.27). One that still runs then keeps nobody from making the same files.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dualgrad.jobs.replaced import replace


def remove_own_locks(persistence: type[Any]) -> None:
    """Have Snakemake's class that keeps locks in files remove its own alone, but for ``--unlock``; once is enough."""
    everything = persistence._delete_locks

    def own(_: Any) -> Any:
        def _delete_locks(self: Any) -> None:
            # The folder stays: another Snakemake may be about to write into it.
            for path in self._lockfile.values():
                Path(path).unlink(missing_ok=True)
            self._lockfile.clear()

        return _delete_locks

    # First what calls it for `--unlock`.
    replace(persistence, "cleanup_locks", lambda _: lambda self: everything(self))
    replace(persistence, "_delete_locks", own)
