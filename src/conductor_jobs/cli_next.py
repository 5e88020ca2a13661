"""The command `conductor-jobs next`: what it takes, prints and returns."""

import itertools
import json
from datetime import UTC, datetime

import click

from .moments import iso
from .next_report import headline, instant_lines
from .printing import reader_may_leave
from .rules import POSITIVE
from .schedules import Cron, due_instants
from .zones import first_moment, load_zone

_FINE = 0
_MOST = 10_000
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


def _count(_context: click.Context, _parameter: click.Parameter, text: str) -> int:
    count = POSITIVE.parse(text)
    if count is None or count > _MOST:
        raise click.BadParameter(f"must be an integer from 1 to {_MOST}, not {text!r}.")
    return int(count)


@click.command("next")
@click.argument("expression")
@click.option("--tz", default="UTC", metavar="<zone>", help="the IANA name of the time zone  [UTC]")
@click.option(
    "--after", metavar="<time>", help="ISO 8601; without an offset it is a local time of the zone  [the present]"
)
@click.option("--count", default="5", metavar="<integer>", callback=_count, help="how many instants  [5]")
@click.option("--json", "as_json", is_flag=True, help="print a list of times in UTC")
def next_command(expression: str, tz: str, after: str | None, count: int, as_json: bool) -> int:
    """Print when a cron expression is due next, and say in words what it means.

    EXPRESSION is minute, hour, day of the month, month and day of the week in quotes, as in '0 6 * * MON-FRI', or
    @hourly, @daily, @weekly, @monthly, @yearly. What is odd where clocks are set is told beside the instant.
    """
    try:
        cron = Cron(expression, tz)
        start = datetime.now(UTC) if after is None else _moment(after, tz)
        instants = list(itertools.islice(due_instants(cron, start), count))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with reader_may_leave():
        if as_json:
            click.echo(json.dumps([iso(due_at) for due_at in instants]))
        else:
            click.echo("\n".join((headline(cron), *instant_lines(cron, instants, start))))
    return _FINE


def _moment(text: str, tz: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        start = first_moment(moment, load_zone(tz)) if moment.utcoffset() is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"--after must be a time such as 2026-03-28 or 2026-03-28T06:00+01:00, not {text!r}."
        ) from error
    if start < _EARLIEST:
        raise ValueError(f"--after must not be before 1970, as {text!r} is.")
    return start
