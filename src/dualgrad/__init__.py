"""Dual-gradient learning under label noise: the published census as data, one trainer, one DAG.

Importing this package imports nothing heavy; each part imports what it needs.
"""

__version__ = "0.1.0"
