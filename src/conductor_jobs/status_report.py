"""The report of `conductor-jobs status`: what a local API tells, what of it is a problem, and lines for a person."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, final

import click
import msgspec

from .terminal import one_line

_COLUMNS: Final = ("RUNNER", "SCHEDULE", "LAST", "NEXT DUE", "")
_UNITS: Final = (("d", 86_400), ("h", 3600), ("min", 60))


# What is read of the answers; there is more in them.
class _Node(msgspec.Struct, frozen=True):
    node_id: str
    host: str
    role: str


class _Lease(msgspec.Struct, frozen=True):
    holder_id: str | None
    expires_in: float
    asked_ago: float


class _Overrun(msgspec.Struct, frozen=True):
    work: str
    seconds: float


@final
class NodeStatus(msgspec.Struct, frozen=True):
    """What `GET /v1/status` answers, as far as it is told."""

    now: datetime
    node: _Node
    lease_name: str
    leadership: str
    term: int | None
    holder_id: str | None
    lease_remaining: float | None
    lease: _Lease | None
    degraded: bool
    problem: str | None
    consecutive_renew_failures: int
    entries_lost: int
    overruns: tuple[_Overrun, ...] = ()


class _Run(msgspec.Struct, frozen=True):
    ended_at: datetime
    duration_ms: float | None
    outcome: str
    result: str | None
    error: str | None


class _Runs(msgspec.Struct, frozen=True):
    last_run: _Run | None = None


@final
class RunnerAnswer(msgspec.Struct, frozen=True):
    """A runner as `GET /v1/runners` answers, as far as it is told."""

    name: str
    schedule: str | None
    tz: str | None
    paused: bool
    at_work: bool
    next_due_at: datetime | tuple[datetime, ...] | None = None
    runs: _Runs = _Runs()

    @property
    def due_at(self) -> datetime | None:
        """The next due instant, if the runner has a schedule of its own."""
        if isinstance(self.next_due_at, tuple):
            return self.next_due_at[0] if self.next_due_at else None
        return self.next_due_at


@final
class RunnerAnswers(msgspec.Struct, frozen=True):
    """What `GET /v1/runners` answers."""

    runners: list[RunnerAnswer]
    runner_count: int


def problems_of(status: NodeStatus, unready: str | None) -> list[str]:
    """Return what is wrong with the node, in words: what its exit code tells of."""
    found = [] if unready is None else [f"not ready: {unready}"]
    if status.degraded:
        found.append(f"degraded: {status.consecutive_renew_failures} store calls in a row have failed")
    if status.problem is not None:
        found.append(f"the store: {status.problem}")
    overdue = ((each.work, each.seconds) for each in status.overruns)
    found += [f"{work} is still at work {seconds:.1f} s after its lease has run out" for work, seconds in overdue]
    return found


def report_lines(status: NodeStatus, answers: RunnerAnswers, problems: Sequence[str]) -> Iterator[str]:
    """Yield the lines for a person, with colours; click takes them out where they are not wanted."""
    yield click.style(_headline(status), bold=True)
    for problem in problems:
        yield click.style(one_line(problem), fg="red", bold=True)
    if status.entries_lost:
        yield click.style(f"{status.entries_lost} journal entries were lost", fg="yellow")
    if not answers.runners:
        yield "no runners are registered"
        return
    rows = [_COLUMNS, *(_cells(each, status.now) for each in answers.runners)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, answer in zip(rows, (None, *answers.runners), strict=True):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield click.style(line, fg=_colour(answer))
    if answers.runner_count > len(answers.runners):
        yield f"and {answers.runner_count - len(answers.runners)} more"


def _headline(status: NodeStatus) -> str:
    node, lease = status.node, one_line(status.lease_name)
    who = one_line(f"{node.node_id} on {node.host} ({node.role})")
    if status.lease_remaining is not None:
        return f"{who} leads {lease}, term {status.term}, for {status.lease_remaining:.1f} s if not renewed"
    if status.holder_id is None:
        return f"{who} stands by; nobody is known to have led {lease}"
    # The store was asked a moment ago, at the most.
    left = 0.0 if status.lease is None else status.lease.expires_in - status.lease.asked_ago
    holder = one_line(status.holder_id)
    if left <= 0:
        return f"{who} stands by; {holder} led {lease} last, term {status.term}"
    return f"{who} stands by; {holder} leads {lease}, term {status.term}, for {left:.1f} s if not renewed"


def _cells(runner: RunnerAnswer, now: datetime) -> tuple[str, ...]:
    schedule = "with each tick" if runner.schedule is None else runner.schedule
    zone = f", {runner.tz}" if runner.tz else ""
    due = "" if runner.due_at is None else f"{_moment(runner.due_at)}, in {_span(runner.due_at - now)}"
    state = " ".join(word for word, holds in (("paused", runner.paused), ("at work", runner.at_work)) if holds)
    return (one_line(runner.name), one_line(schedule + zone), _last(runner.runs.last_run), due, state)


def _last(run: _Run | None) -> str:
    if run is None:
        return "not here yet"
    said: Any = run.result if run.error is None else f"{run.outcome}: {run.error}"
    took = "" if run.duration_ms is None else f", {run.duration_ms:g} ms"
    return f"{_moment(run.ended_at)} {one_line(said or run.outcome)}{took}"


def _colour(runner: RunnerAnswer | None) -> str | None:
    if runner is None or runner.runs.last_run is None:
        return None
    return {"failed": "red", "cancelled": "yellow"}.get(runner.runs.last_run.outcome)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"


def _span(span: timedelta) -> str:
    seconds = max(0.0, span.total_seconds())
    for unit, length in _UNITS:
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
