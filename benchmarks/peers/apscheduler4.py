"""APScheduler 4, a pre-release: the asynchronous scheduler on Trio, its data store in memory.

    python -m benchmarks.peers.apscheduler4 N SECONDS

The trigger is one of ours, as for APScheduler 3. As many jobs may run at once as there are: with its defaults (one
of a task, a hundred in all) it gets less done.
"""

from datetime import UTC, datetime
from typing import final

import trio

# Not installed everywhere: `typings` says what is used of it.
from apscheduler import AsyncScheduler, TaskDefaults  # pyright: ignore[reportMissingModuleSource]
from apscheduler.abc import Trigger  # pyright: ignore[reportMissingModuleSource]

from .contender import Job, contender_command, us_run


@final
class AlwaysDue(Trigger):
    """Fires once whenever the scheduler looks: the time has gone on since it read the clock."""

    def next(self) -> datetime:
        """See `Trigger.next`."""
        return datetime.now(UTC)

    def __getstate__(self) -> object:
        return ()

    def __setstate__(self, state: object) -> None:
        pass


async def _measure(jobs: int, seconds: float) -> float:
    job = Job()
    defaults = TaskDefaults(max_running_jobs=None, misfire_grace_time=None)
    async with AsyncScheduler(task_defaults=defaults, max_concurrent_jobs=max(100, jobs)) as scheduler:
        for _ in range(jobs):
            await scheduler.add_schedule(job.run, AlwaysDue())
        await scheduler.start_in_background()
        taken = await us_run(job, seconds, trio.sleep)
        await scheduler.stop()
    return taken


def measure(jobs: int, seconds: float) -> float:
    """Return microseconds per execution."""
    return trio.run(_measure, jobs, seconds)


main = contender_command(measure)

if __name__ == "__main__":
    main()
