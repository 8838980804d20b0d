"""What came of an experiment, whoever wrote it: conditions, scans over a numeric factor, a choice of λ, a figure.

Nothing here knows which experiments there are: factors come from the census, numbers from tables or records.
"""

#: What the folder of an experiment, ``results/<edition>/experiments/<name>``, holds. (Snakemake imports it.)
FILES = ("results.md", "results.json", "results.png", "results.pdf")
