"""What a contender is given: a job that does nothing but count, and the command that measures it.

Every contender has N jobs that are due at once, and again as soon as they have run. What is measured is how
many executions it gets done in the seconds after a warm-up, however it goes about it.
"""

import json
import time
from collections.abc import Awaitable, Callable
from typing import final

import click


@final
class Job:
    """The job of all contenders; `executions` counts how often it ran."""

    def __init__(self) -> None:
        self.executions = 0

    async def run(self) -> None:
        """Do nothing, asynchronously."""
        self.executions += 1

    def run_sync(self) -> None:
        """Do nothing, for schedulers that cannot await."""
        self.executions += 1


@final
class Window:
    """Counts the executions of a job from a moment on."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._executions = job.executions
        self._began = time.perf_counter()

    def us_run(self) -> float:
        """Return the microseconds per execution so far."""
        return (time.perf_counter() - self._began) / (self._job.executions - self._executions) * 1e6


def contender_command(measure: Callable[[int, float], float]) -> click.Command:
    """Make the command `N SECONDS` that prints the microseconds per execution as one line of JSON."""

    def run(*, jobs: int, seconds: float) -> None:
        click.echo(json.dumps({"N": jobs, "us_run": measure(jobs, seconds)}))

    arguments = [
        click.Argument(["jobs"], type=click.IntRange(min=1)),
        click.Argument(["seconds"], type=float),
    ]
    return click.Command(None, params=[*arguments], callback=run)


async def us_run(job: Job, seconds: float, sleep: Callable[[float], Awaitable[object]]) -> float:
    """Warm up, watch the job for so many seconds, and return the microseconds per execution."""
    await sleep(warm_up(seconds))
    window = Window(job)
    await sleep(seconds)
    return window.us_run()


def warm_up(seconds: float) -> float:
    """Return for how many seconds to warm up before measuring."""
    return min(0.5, seconds / 4)
