"""Figures: drawn from the parts of the tables that they show, then put where people look for them.

Two steps, because the pictures in `figures` do not name their edition. Each edition draws its own; `show` copies those
of the configured one. A copy whose source is of another edition than last time has another input, so it is made again.
"""

for figure in FIGURE_EXPERIMENTS:
    for variant in VARIANTS:

        rule:
            name:
                f"{figure}_{variant}"
            input:
                parts_of(experiments_of(figure, variant), FIGURE_TABLES),
            output:
                pdf=f"<results>/figures/{variant}/{figure}.pdf",
                png=f"<results>/figures/{variant}/{figure}.png",
                panels=panel_files(figure, variant),
            log:
                f"<logs>/figures/{variant}/{figure}.log",
            localrule: True
            conda:
                "../envs/dualgrad.yaml"
            params:
                figure=figure,
                edition=EDITION,
                variant=variant,
                revision=revision("figure"),
                tables=subpath(input[0], ancestor=3),
                panels=folder_of_panels,
            shell:
                "dualgrad figure {params.figure:q} --edition {params.edition:q} --variant {params.variant:q}"
                " --tables {params.tables:q} --data-dir {params.panels:q} --output {output.pdf:q} {output.png:q}"
                " > {log:q} 2>&1"


rule show:
    """Put a figure of the configured edition into the folder `figures`."""
    input:
        pdf=drawn_figure("pdf"),
        png=drawn_figure("png"),
    output:
        pdf="figures/{folder}/{figure}.pdf",
        png=report(
            "figures/{folder}/{figure}.png",
            caption="../report/figure.rst",
            category=category_of_figure,
            labels=labels_of_figure,
        ),
    log:
        "<logs>/figures/shown/{folder}/{figure}.log",
    wildcard_constraints:
        folder="main|extended_data|audited",
        figure="|".join(FIGURE_EXPERIMENTS),
    localrule: True
    conda:
        "../envs/dualgrad.yaml"
    params:
        edition=EDITION,
        caption=caption_of_figure,
    shell:
        "(cp {input.pdf:q} {output.pdf:q}.part && mv {output.pdf:q}.part {output.pdf:q}"
        " && cp {input.png:q} {output.png:q}.part && mv {output.png:q}.part {output.png:q}) > {log:q} 2>&1"
