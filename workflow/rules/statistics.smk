"""Statistics: one file each, from the parts of the tables that it reads."""

from dualgrad.statistics.sources import STATISTICS

STATISTICS_REVISION = [TABLE_REVISION, revision("statistics/*.py", "estimators/*.py")]

for statistic, source in STATISTICS.items():

    rule:
        name:
            f"statistics_{statistic}"
        input:
            parts_of(list(source.experiments or COUNTED), source.tables),
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
            revision=STATISTICS_REVISION,
            results=subpath(input[0], ancestor=4),
            folder=subpath(output[0], parent=True),
        shell:
            "dualgrad statistics {params.statistic:q} --edition {params.edition:q} --results {params.results:q}"
            " --output {params.folder:q} > {log:q} 2>&1"
