"""Figures: drawn from the parts of the tables that they show, in the configured edition.

The pictures' paths do not name the edition, but the tables that they are drawn from do: after a change of edition a
picture's inputs are others than it was made from, so it is drawn again.
"""

for folder, variant, figures in (
    ("main", "published", MAIN_FIGURES),
    ("extended_data", "published", EXTENDED_FIGURES),
    ("audited", "audited", MAIN_FIGURES + EXTENDED_FIGURES),
):
    for figure in figures:

        rule:
            name:
                f"{folder}_{figure}"
            input:
                parts_of(FIGURE_EXPERIMENTS[figure], FIGURE_TABLES),
            output:
                pdf=f"figures/{folder}/{figure}.pdf",
                png=report(
                    f"figures/{folder}/{figure}.png",
                    caption="../report/figure.rst",
                    category="Figures",
                    subcategory=variant,
                    labels={"figure": figure, "edition": EDITION},
                ),
                panels=panel_files(figure, variant),
            log:
                f"<logs>/figures/{variant}/{figure}.log",
            localrule: True
            params:
                figure=figure,
                edition=EDITION,
                variant=variant,
                tables=subpath(input[0], ancestor=3),
                panels=folder_of_panels,
            shell:
                "dualgrad figure {params.figure} --edition {params.edition} --variant {params.variant}"
                " --tables {params.tables} --data-dir {params.panels} --output {output.pdf} {output.png} > {log} 2>&1"
