"""APScheduler 3: the asyncio scheduler, its job store in memory, jobs that are coroutine functions.

    python -m benchmarks.peers.apscheduler3 N SECONDS

The trigger is one of ours, for none of its own fires without a pause: it costs less than its interval trigger.
`max_instances` is set so high that no execution is skipped because the one before is only about to end.
"""

import asyncio
from datetime import datetime, timedelta
from typing import final

# Not installed everywhere: `typings` says what is used of it.
from apscheduler.schedulers.asyncio import AsyncIOScheduler  # pyright: ignore[reportMissingModuleSource]
from apscheduler.triggers.base import BaseTrigger  # pyright: ignore[reportMissingModuleSource]

from .contender import Job, contender_command, us_run

SOON = timedelta(microseconds=1)
MANY = 1_000_000


@final
class AlwaysDue(BaseTrigger):
    """Fires once whenever the scheduler looks."""

    def get_next_fire_time(self, previous_fire_time: datetime | None, now: datetime) -> datetime:
        """See `BaseTrigger.get_next_fire_time`."""
        return now if previous_fire_time is None else now + SOON


async def _measure(jobs: int, seconds: float) -> float:
    job = Job()
    scheduler = AsyncIOScheduler()
    for _ in range(jobs):
        scheduler.add_job(job.run, AlwaysDue(), max_instances=MANY, misfire_grace_time=None)
    scheduler.start()
    taken = await us_run(job, seconds, asyncio.sleep)
    # A shutdown with executions in flight would report every one of them.
    scheduler.pause()
    await asyncio.sleep(0.05)
    scheduler.shutdown(wait=False)
    return taken


def measure(jobs: int, seconds: float) -> float:
    """Return microseconds per execution."""
    return asyncio.run(_measure(jobs, seconds))


main = contender_command(measure)

if __name__ == "__main__":
    main()
