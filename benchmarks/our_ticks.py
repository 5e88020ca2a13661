"""One case of ours: a conductor over a lease store in memory, whole ticks of N no-op runners, one after the other.

python -m benchmarks.our_ticks N a|b 0|1 SECONDS [--sync] [--timeouts]
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import click
import trio

from conductor_jobs import Conductor, RunnerResult, TickContext, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

from .flat_out import Case, case_command, log_folder, outcome, run_flat_out

# What one run of a conductor writes beside its ticks.
FRAME = ("started", "leader_started", "stopping", "leader_ended", "lease_released", "stopped")
# A timeout far off: what is measured is what it costs to have one.
TIMEOUT = 30.0


async def returns(_: TickContext) -> RunnerResult:
    """Do what variant `a` does."""
    return RunnerResult(details={"projected_messages": 0})


async def logs(ctx: TickContext) -> RunnerResult:
    """Do what variant `b` does."""
    ctx.log("scan_window", result="ok", details={"cursor": "message:1"})
    return RunnerResult(details={"projected_messages": 0})


def no_op_jobs(case: Case, *, timeout: float | None = None) -> TimedJobs:
    """Register as many no-op runners as the case asks for."""
    jobs = TimedJobs(interval=5, max_tasks_per_tick=8, settle_delay=12)
    for number in range(case.runners):
        run = logs if case.variant == "b" else returns
        jobs.register_runner(f"renewal.runner-{number}", run, timeout=timeout)
    return jobs


Watch = Callable[[Conductor], AbstractContextManager[object]]


def measure(case: Case, *, sync: bool = False, timeouts: bool = False) -> dict[str, object]:
    """Run ticks for about the seconds of the case, after a warm-up."""
    jobs = no_op_jobs(case, timeout=TIMEOUT if timeouts else None)
    return measure_jobs(case, jobs, journal_sync="tick" if sync else None)


def measure_jobs(case: Case, jobs: TimedJobs, watch: Watch = nullcontext, **settings: Any) -> dict[str, object]:
    """Run ticks of these jobs; `settings` are further ones of the conductor, `watch` is entered while it runs."""
    with log_folder(case) as folder:
        conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=folder, autostart=False, **settings)
        with watch(conductor):
            return trio.run(_measure, case, conductor, folder)


async def _measure(case: Case, conductor: Conductor, folder: Path | None) -> dict[str, object]:

    async def tick() -> bool:
        return (await conductor.run_tick()).decision == "scheduled"

    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        ran = await run_flat_out(tick, case.seconds)
        conductor.request_stop()
    return outcome("ours", case, ran, folder, len(FRAME))


OPTIONS = (
    click.Option(["--sync"], is_flag=True, help="Have the disk confirm the journal after each tick."),
    click.Option(["--timeouts"], is_flag=True, help="Give each runner a timeout, which never fires."),
)
main = case_command(measure, *OPTIONS)

if __name__ == "__main__":
    main()
