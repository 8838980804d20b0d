"""Statistics of an edition's tables: one Parquet file per statistic, one row per estimate.

``sources`` says what each statistic reads (light: Snakemake imports it), ``build`` makes them; every other
module is one statistic or something that several of them share. docs/statistics.md is made from the modules
themselves.
"""
