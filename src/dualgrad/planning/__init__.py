"""What it takes to train a selection of runs: counts, seconds, memory, disk, and a schedule over several GPUs.

Nothing here but `calibrate` imports torch, and nothing imports pandas: Snakemake asks for estimates while it builds
the DAG, and `dualgrad plan` answers at once.
"""
