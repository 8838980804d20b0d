"""After a kill or a clock that was wrong: what stands in the way of this workflow, before Snakemake looks at files."""

# Where jobs write.
PLACES = [RECORDED, Path("figures")]
PLACES += {Path(SETTINGS["data_dir"]) / run["task"]["dataset"] for run in CENSUS.runs.values()}

if workflow.is_main_process and not INGESTED:
    for line in changed_settings(PROJECT):
        logger.warning(line)

if workflow.is_main_process and not {"-n", "--dry-run", "--dryrun"} & set(sys.argv):
    if remove_stale_lock(Path(".snakemake")):
        logger.warning("The lock of a workflow that was killed here is removed.")
    for path, host in workflows_elsewhere(Path(".snakemake")).items():
        logger.warning(f"A workflow runs in this folder on {host}, or was killed there; then remove {path}.")
    remove_stale_files(*PLACES)
    settle_copies(CENSUS, RECORDED)
    if moved := clamp_future_mtimes(PLACES):
        logger.warning(
            f"{moved} files were dated in the future, as by a clock that was wrong; they are dated now, in their order."
        )
