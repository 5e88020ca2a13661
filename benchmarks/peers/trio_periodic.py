"""`trio_util.periodic`: a Trio task for each job, `async for _ in periodic(…)` around it, without a pause.

python -m benchmarks.peers.trio_periodic N SECONDS
"""

import trio
from trio_util import periodic

from .contender import Job, contender_command, us_run

PERIOD = 1e-9


async def _measure(jobs: int, seconds: float) -> float:
    job = Job()

    async def run_often() -> None:
        async for _ in periodic(PERIOD):
            await job.run()

    async with trio.open_nursery() as nursery:
        for _ in range(jobs):
            nursery.start_soon(run_often)
        taken = await us_run(job, seconds, trio.sleep)
        nursery.cancel_scope.cancel()
    return taken


def measure(jobs: int, seconds: float) -> float:
    """Return microseconds per execution."""
    return trio.run(_measure, jobs, seconds)


main = contender_command(measure)

if __name__ == "__main__":
    main()
