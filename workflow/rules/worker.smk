"""What happens around the jobs: the warm worker starts with the workflow and ends with it."""

WORKER = WarmWorker()


# Hooks run in the main process alone: neither in dry runs nor in the jobs of a cluster.
onstart:
    sweep(RECORDED, map(Path, (SETTINGS["data_dir"], "figures")))
    if workflow.local_exec:
        WORKER.start()
        # Snakemake 9's rate limiter, meant to spare cluster schedulers, plans again one second after each time it has
        # planned, for ever: in a census that is two thirds of Snakemake's CPU time.
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    WORKER.stop()


onerror:
    WORKER.stop()
