"""A job that is a plain `def`, run in a worker thread: `python plain_def.py`. It may block; it has to ask."""

import os
import time
from pathlib import Path

import trio

from conductor_jobs import Conductor, LeaseTiming, RunnerResult, TickContext, TimedJobs
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

ROWS = 13
jobs = TimedJobs(interval=1.5)


@jobs.runner("export")
def export(ctx: TickContext) -> RunnerResult:
    """Write rows, one by one, each under the number of the term."""
    with Path("export.txt").open("a", buffering=1) as file:
        for row in range(ROWS):
            # Nothing can cancel a thread. Once the lease is lost this raises, and nothing is written beside
            # the next leader; only a process that is frozen right here can write one row more.
            ctx.check_lease()
            file.write(f"{ctx.term} {row}\n")
            time.sleep(0.1)
    return RunnerResult(details={"rows": ROWS})


if __name__ == "__main__":
    conductor = Conductor(
        jobs,
        store=SQLiteLeaseStore("conductor.db"),
        timing=LeaseTiming(ttl=float(os.environ.get("LEASE_TTL", "30"))),
        log_dir="logs/timed-jobs",
    )
    trio.run(conductor.run_until_signalled)
