"""The package `schedule`: synchronous jobs, `run_pending` called in a loop.

    python -m benchmarks.peers.sync_schedule N SECONDS

Its shortest interval is a second, so before each call of `run_pending` the jobs are made due by setting their
`next_run`, which costs next to nothing.
"""

import time
from datetime import datetime

import schedule  # pyright: ignore[reportMissingModuleSource] - not installed everywhere: `typings` says what is used

from .contender import Job, Window, contender_command, warm_up


def measure(jobs: int, seconds: float) -> float:
    """Return microseconds per execution."""
    job = Job()
    scheduler = schedule.Scheduler()
    for _ in range(jobs):
        scheduler.every().second.do(job.run_sync)
    _run_for(scheduler, warm_up(seconds))
    window = Window(job)
    _run_for(scheduler, seconds)
    return window.us_run()


def _run_for(scheduler: schedule.Scheduler, seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        due = datetime.min
        for each in scheduler.jobs:
            each.next_run = due
        scheduler.run_pending()


main = contender_command(measure)

if __name__ == "__main__":
    main()
