"""`python script.py` works until it is signalled, as a service; `python script.py --once` for one tick, from cron.

Either way only one of those that are started works: the others stand by, or have nothing to do.
"""

import sys

import trio

from conductor_jobs import Conductor, RunnerResult, TickContext, TimedJobs
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

jobs = TimedJobs(interval=1.0)


@jobs.runner("report")
async def report(ctx: TickContext) -> RunnerResult:
    """Take a while, and note under which term."""
    await trio.sleep(0.8)
    return RunnerResult(details={"fencing_token": ctx.term})


async def main(*, once: bool) -> int:
    """Return the exit code."""
    store = SQLiteLeaseStore("conductor.db")
    conductor = Conductor(jobs, store=store, log_dir="logs/timed-jobs", autostart=not once)
    if not once:
        await conductor.run_until_signalled()
        return 0
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run_until_signalled)  # has asked the store: somebody leads
        tick = await conductor.run_tick()
        conductor.request_stop()
    print(tick.decision)  # "scheduled", or "skipped_not_leader"
    return 1 if tick.failed_runner_count else 0


if __name__ == "__main__":
    sys.exit(trio.run(lambda: main(once="--once" in sys.argv)))
