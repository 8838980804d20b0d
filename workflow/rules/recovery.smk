"""After a kill or a clock that was wrong: what stands in the way of this workflow, before Snakemake looks at files."""

# Where jobs write.
PLACES = [RECORDED, Path(SETTINGS["results_dir"], "compare"), Path("figures")]
PLACES += {Path(SETTINGS["data_dir"]) / run["task"]["dataset"] for run in CENSUS.runs.values()}

if workflow.is_main_process and not INGESTED:
    for line in changed_settings(PROJECT):
        logger.warning(line)

if workflow.is_main_process:
    recover_before_jobs(workflow, partial(recover, CENSUS, RECORDED, PLACES), logger.warning)
