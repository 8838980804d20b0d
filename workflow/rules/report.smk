"""The report: a folder of pages with the figures, the way back to their runs, statistics, claims and the explorer.

(`snakemake TARGET --report report.html` makes Snakemake's own, with the same figures and pages, and the workflow.)
"""

REPORT_REVISION = revision("report/*.*", "pages/*.*", "figures/captions.py")
REPORT_PAGES = ["explorer", "claims"]
REPORTED_NUMBERS = [
    file for variant in VARIANTS for figure in FIGURE_EXPERIMENTS for file in panel_files(figure, variant)
]


rule report_pages:
    """Put figures and pages into one folder, with a table of contents."""
    input:
        collect("<results>/{page}.html", page=REPORT_PAGES),
        "<results>/claims.parquet",
        parts_of(COUNTED),
        REPORTED_NUMBERS,
        collect("<results>/statistics/{statistic}.parquet", statistic=STATISTICS),
        collect(
            "<results>/figures/{variant}/{figure}.{ending}",
            variant=VARIANTS,
            figure=FIGURE_EXPERIMENTS,
            ending=["pdf", "png"],
        ),
    output:
        collect("<results>/report/{page}.html", page=["index", *REPORT_PAGES]),
        collect("<results>/report/tables/{table}.{ending}", table=TABLES, ending=["parquet", "csv"]),
        [file.replace("<results>", "<results>/report") for file in REPORTED_NUMBERS],
        collect(
            "<results>/report/figures/{variant}/{figure}.{ending}",
            variant=VARIANTS,
            figure=FIGURE_EXPERIMENTS,
            ending=["pdf", "png"],
        ),
        statistics=report(
            "<results>/report/statistics.html",
            caption="../report/statistics.rst",
            category="Estimates",
            labels={"page": "All statistics", "edition": EDITION},
        ),
    log:
        "<logs>/report.log",
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        revision=REPORT_REVISION,
        shown=shown,
        results=subpath(input[0], parent=True),
        folder=subpath(output.statistics, parent=True),
    shell:
        "dualgrad report --edition {params.edition:q} --results {params.results:q} --output {params.folder:q}"
        " > {log:q} 2>&1"
