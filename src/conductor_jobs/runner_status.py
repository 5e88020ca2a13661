"""What a conductor tells of its runners: how they are registered, whether they are at work, when they are due."""

from datetime import datetime
from itertools import islice
from typing import final

import msgspec

from .runner_records import Claim
from .runners import Misfire, OnCrash, Runner
from .schedules import Cron, Every, due_instants

_NEXT = 3


@final
class RunnerStatus(msgspec.Struct, frozen=True):
    """One runner at one moment.

    `timeout` is in seconds. `schedule`: an expression, or an interval in words; None for a runner of the ticks of all,
    as are `tz`, `misfire` and `on_crash` then. `next_due_at`: the next three due instants, in UTC. `last_claim`: the
    due instant that was taken last, as this node knows it. `paused`: as this node knows it.
    """

    name: str
    description: str | None
    timeout: float | None
    paused: bool
    at_work: bool
    schedule: str | None = None
    tz: str | None = None
    misfire: Misfire | None = None
    on_crash: OnCrash | None = None
    next_due_at: tuple[datetime, ...] = ()
    last_claim: Claim | None = None


def runner_status(
    runner: Runner, now: datetime, *, paused: bool, at_work: bool, last_claim: Claim | None
) -> RunnerStatus:
    """Describe a runner at the moment `now`."""
    status = RunnerStatus(runner.name, runner.description, runner.timeout, paused, at_work)
    if runner.schedule is None:
        return status
    # What was taken is past, also while a wall clock that was set back makes it seem to be ahead.
    after = now if last_claim is None else max(now, last_claim.due_at)
    return msgspec.structs.replace(
        status,
        schedule=schedule_text(runner.schedule),
        tz=runner.schedule.tz if isinstance(runner.schedule, Cron) else None,
        misfire=runner.misfire,
        on_crash=runner.on_crash,
        next_due_at=tuple(islice(due_instants(runner.schedule, after), _NEXT)),
        last_claim=last_claim,
    )


def schedule_text(schedule: Every | Cron) -> str:
    """Return a schedule for people, without its zone: `0 6 * * *`, or `every 60 s`."""
    if isinstance(schedule, Cron):
        return schedule.expression
    jitter = f", up to {schedule.jitter:g} s later" if schedule.jitter else ""
    return f"every {schedule.seconds:g} s{jitter}"
