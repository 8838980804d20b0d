"""What happens around the jobs: the warm worker starts with the workflow, or with a cluster's submission, and ends
with it.

On a cluster a Snakemake on the node runs the jobs of a submission one by one (`--jobs 1`), each through one more
Snakemake. The first of them has the worker: torch is imported once for all jobs. It calls no hooks, so it starts it here.
"""

import os
import sys

WORKER = WarmWorker()


if workflow.remote_exec and workflow.resource_settings.nodes is not None:
    again = sys.argv[sys.argv.index("--attempt") + 1] != "1" or "SLURM_RESTART_COUNT" in os.environ
    if again and (words := words_for_the_rest(sys.argv[1:], str(RECORDED), TRAINED)):
        os.execv(sys.executable, [sys.executable, "-m", "snakemake", *words])
    slurm_plugin.keep_going(JobScheduler)
    if not DEPLOYED:
        WORKER.start()


# Hooks run in the main process alone: neither in dry runs nor in the jobs of a cluster.
onstart:
    # `--touch` dates what is there, and trains nothing.
    if not workflow.touch and (refusal := requests().unasked_cpu(trained_runs())):
        raise WorkflowError(refusal)
    if not workflow.touch:
        if replaced := replaced_unasked(workflow.dag_settings.targets, SHOWING, planned_runs(), RECORDED):
            raise WorkflowError(replaced)
    if left := left_in_the_queue(Path.cwd(), workflow.executor_settings):
        raise WorkflowError(left)
    TIME_LEFT.begin(planned_seconds())
    if ask_squeue_without_accounting(workflow.executor_settings):
        logger.info("SLURM keeps no accounting here: squeue is asked for the states of jobs.")
    if workflow.local_exec:
        if DEPLOYED:
            share_gpus()
        else:
            WORKER.start()
        # Snakemake 9's rate limiter, meant to spare cluster schedulers, plans again one second after each time it has
        # planned, for ever: in a census that is two thirds of Snakemake's CPU time.
        # (A name that is read nowhere would change nothing, so it has to be there.)
        existing(workflow.scheduler, "job_rate_limiter")
        workflow.scheduler.job_rate_limiter = None


onsuccess:
    WORKER.stop()
    remove_stale_files(*PLACES)
    for place in places_of_targets():
        logger.info(place)


onerror:
    WORKER.stop()
    remove_stale_files(*PLACES)
