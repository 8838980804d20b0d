"""Statistics: one file each, from the parts of the tables that it reads."""

from dualgrad.statistics.sources import ALL_STATISTICS, OWN_STATISTIC, STATISTICS

MADE_STATISTICS = [*STATISTICS, *([OWN_STATISTIC] if OWN_EXPERIMENTS else [])]

for statistic in MADE_STATISTICS:
    source = ALL_STATISTICS[statistic]
    read = OWN_EXPERIMENTS if statistic == OWN_STATISTIC else list(source.experiments or COUNTED)

    rule:
        name:
            f"statistics_{statistic}"
        input:
            parts_of(read, source.tables),
        output:
            f"<results>/statistics/{statistic}.parquet",
        log:
            f"<logs>/statistics/{statistic}.log",
        localrule: True
        conda:
            "../envs/dualgrad.yaml"
        params:
            statistic=statistic,
            edition=EDITION,
            revision=revision("statistics"),
            results=subpath(input[0], ancestor=4),
            folder=subpath(output[0], parent=True),
        shell:
            "dualgrad statistics {params.statistic:q} --edition {params.edition:q} --results {params.results:q}"
            " --output {params.folder:q} > {log:q} 2>&1"
