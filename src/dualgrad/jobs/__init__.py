"""How jobs are run: the warm worker and its client, recovery after a kill, the launcher of Snakemake."""
