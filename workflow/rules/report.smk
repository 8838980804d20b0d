"""The report: a folder of pages with the figures, the way back to their runs, statistics, claims and the explorer.

(`snakemake TARGET --report report.html` makes Snakemake's own, with the same figures and pages, and the workflow.)
"""

# Pages that the report takes along: always these two; a comparison where one is asked for or has been made, a
# replication and the answer of the controls that have been made.
REPORT_PAGES = {name: f"<results>/{name}.html" for name in ("explorer", "claims")}
if SETTINGS["compare"] and EDITION in PAIR:
    REPORT_PAGES["comparison"] = rules.compare_editions.output.page
elif made := newest_comparison(Path(SETTINGS["results_dir"]), EDITION):
    REPORT_PAGES["comparison"] = local(str(made))
if not INGESTED and (RECORDED / "replication" / "replication.html").is_file():
    REPORT_PAGES["replication"] = "<results>/replication/replication.html"
REPORT_PARTS = (
    {} if INGESTED or not (RECORDED / "controls.md").is_file() else {"controls": "<results>/controls.md"}
)
REPORTED_NUMBERS = [
    file for variant in VARIANTS for figure in FIGURE_EXPERIMENTS for file in panel_files(figure, variant)
]


rule report_pages:
    """Put figures and pages into one folder, with a table of contents."""
    input:
        "<results>/claims.parquet",
        parts_of(COUNTED + OWN_EXPERIMENTS),
        results_of(OWN_EXPERIMENTS),
        REPORTED_NUMBERS,
        collect("<results>/statistics/{statistic}.parquet", statistic=MADE_STATISTICS),
        collect(
            "<results>/figures/{variant}/{figure}.{ending}",
            variant=VARIANTS,
            figure=FIGURE_EXPERIMENTS,
            ending=["pdf", "png"],
        ),
        pages=[*REPORT_PAGES.values(), *REPORT_PARTS.values()],
    output:
        collect("<results>/report/{page}.html", page=["index", *REPORT_PAGES]),
        collect("<results>/report/{part}.md", part=REPORT_PARTS),
        collect("<results>/report/tables/{table}.{ending}", table=TABLES, ending=["parquet", "csv"]),
        [
            file.replace("<results>", "<results>/report")
            for file in [*REPORTED_NUMBERS, *results_of(OWN_EXPERIMENTS)]
        ],
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
        revision=revision("report"),
        shown=shown,
        results=subpath(input[0], parent=True),
        folder=subpath(output.statistics, parent=True),
    shell:
        "dualgrad report --edition {params.edition:q} --results {params.results:q} --output {params.folder:q}"
        " --pages {input.pages:q} > {log:q} 2>&1"
