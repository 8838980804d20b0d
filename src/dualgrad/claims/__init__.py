"""Claims: every published number and statement, measured on an edition's tables, with a verdict.

config/claims.yaml is the ledger. :func:`load.load_ledger` reads and checks it, :func:`evaluate.measure_all` measures
it, :mod:`report` writes claims.parquet, claims.md and claims.html.
"""
