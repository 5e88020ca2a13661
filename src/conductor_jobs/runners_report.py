"""The report of `conductor-jobs runners`: what is registered, and what the store keeps of it, as lines and as JSON."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Final, final

import click
import msgspec

from .moments import in_both
from .retry import Retry
from .runner_records import Claim
from .runner_status import runner_status
from .runners import Misfire, OnCrash, Runner
from .terminal import one_line
from .zones import load_zone

_LABEL_WIDTH: Final = 10
_UNKNOWN: Final = "-"


@final
class Kept(msgspec.Struct, frozen=True):
    """What the store keeps of runners, by their names; None is what it did not tell."""

    claims: Mapping[str, Claim] | None = None
    paused: frozenset[str] | None = None


@final
class ListedRetry(msgspec.Struct, frozen=True):
    """A `Retry`, with the names of the exceptions."""

    attempts: int
    backoff: float
    max_backoff: float
    jitter: float
    on: tuple[str, ...]


@final
class ListedRunner(msgspec.Struct, frozen=True):
    """A runner as `runners --json` prints it. Seconds are numbers, and moments texts in ISO 8601.

    `tick_interval` is that of the ticks of all, for a runner without a schedule. `last_claim` is None if there is none,
    or if `claims_known` is False; `paused` is None if the store has not told.
    """

    name: str
    description: str | None
    schedule: str | None
    tz: str | None
    tick_interval: float | None
    misfire: Misfire | None
    on_crash: OnCrash | None
    timeout: float | None
    retry: ListedRetry | None
    next_due_at: tuple[datetime, ...]
    next_due_local: tuple[datetime, ...]
    last_claim: Claim | None
    claims_known: bool
    paused: bool | None


def listed(runner: Runner, interval: float, kept: Kept, now: datetime) -> ListedRunner:
    """Describe a runner at the moment `now`, of an APP whose ticks come every `interval` seconds."""
    last_claim = (kept.claims or {}).get(runner.name)
    status = runner_status(runner, now, paused=False, at_work=False, last_claim=last_claim)
    zone = _zone(status.tz)
    return ListedRunner(
        *(runner.name, runner.description, status.schedule, status.tz),
        tick_interval=interval if runner.schedule is None else None,
        misfire=status.misfire,
        on_crash=status.on_crash,
        timeout=runner.timeout,
        retry=None if runner.retry is None else _listed_retry(runner.retry),
        next_due_at=status.next_due_at,
        next_due_local=tuple(due_at.astimezone(zone) for due_at in status.next_due_at),
        last_claim=status.last_claim,
        claims_known=kept.claims is not None,
        paused=None if kept.paused is None else runner.name in kept.paused,
    )


def report_lines(runners: Iterable[ListedRunner]) -> Iterator[str]:
    """Yield the report for a person, with colours: a block of lines for each runner, with an empty one between two."""
    number = 0
    for number, runner in enumerate(runners, 1):
        if number > 1:
            yield ""
        description = f"  {one_line(runner.description)}" if runner.description else ""
        yield click.style(one_line(runner.name), bold=True) + description
        for label, *values in _rows(runner):
            yield f"  {label:<{_LABEL_WIDTH}}  {values[0]}"
            yield from (f"  {'':<{_LABEL_WIDTH}}  {value}" for value in values[1:])
    if not number:
        yield "no runners are registered"


def _rows(runner: ListedRunner) -> Iterator[tuple[str, ...]]:
    if runner.schedule is None:
        yield "schedule", f"every tick ({runner.tick_interval:g} s)"
    else:
        yield "schedule", runner.schedule if runner.tz is None else f"{runner.schedule}, {runner.tz}"
        yield "policies", f"misfire {runner.misfire}, on_crash {runner.on_crash}"
        zone = _zone(runner.tz)
        yield "next due", *([in_both(due_at, zone) for due_at in runner.next_due_at] or ["never"])
        yield "last claim", _claim_text(runner, zone)
    if limits := ", ".join(_limits(runner)):
        yield "limits", limits
    yield "paused", _UNKNOWN if runner.paused is None else "yes" if runner.paused else "no"


def _claim_text(runner: ListedRunner, zone: tzinfo) -> str:
    claim = runner.last_claim
    if claim is None:
        return "none" if runner.claims_known else _UNKNOWN
    return f"{in_both(claim.due_at, zone)}   {claim.result or 'not ended'}, term {claim.term}"


def _limits(runner: ListedRunner) -> Iterator[str]:
    if runner.timeout is not None:
        yield f"timeout {runner.timeout:g} s"
    if (retry := runner.retry) is not None:
        jitter = f" and up to {retry.jitter:g} s" if retry.jitter else ""
        yield f"{retry.attempts} attempts, {retry.backoff:g} s{jitter} apart at first"


def _zone(name: str | None) -> tzinfo:
    return UTC if name is None else load_zone(name)


def _listed_retry(retry: Retry) -> ListedRetry:
    on = retry.on if isinstance(retry.on, tuple) else (retry.on,)
    names = tuple(each.__name__ for each in on)
    return ListedRetry(retry.attempts, retry.backoff, retry.max_backoff, retry.jitter, names)
