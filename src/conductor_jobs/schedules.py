"""When something is due: `Every` so many seconds, or by a `Cron` expression in a time zone. Pure: nothing is kept.

A schedule is a value, from which every node works out the same *due instants*, in UTC, whenever it is asked: after a
failover nothing has to be handed over, and a due instant can be told by its time alone.
"""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Protocol, final

import msgspec

from .cron_fields import check_expression, fields_of, is_rhythm, next_match
from .failures import shown
from .seconds import checked_seconds
from .zones import SECOND, first_change, first_moment, load_zone, offset_at, wall_time

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_SHORTEST, _LONGEST = 0.001, 366 * 86_400.0


class Schedule(Protocol):
    """What `Every` and `Cron` have in common: what is due, and how long after that it is to start."""

    def due_after(self, moment: datetime) -> datetime | None:
        """Return the first due instant after `moment`, in UTC, or None when there is none before the year 10000.

        Raises ValueError unless `moment` is an aware datetime from 1970 on.
        """
        ...

    def start_delay(self, name: str, due_at: datetime) -> float:
        """Return the seconds from a due instant to its start, for the runner `name`: the same on every node."""
        ...


def due_instants(schedule: Schedule, after: datetime) -> Iterator[datetime]:
    """Return the due instants after a moment, in order, in UTC."""
    due_at = schedule.due_after(after)
    while due_at is not None:
        yield due_at
        due_at = schedule.due_after(due_at)


@final
class Every(msgspec.Struct, frozen=True):
    """Due every so many seconds, counted from 1970-01-01 00:00 UTC: `Every(3600)` is due at each full hour of UTC.

    `seconds`: from one due instant to the next, from 0.001 to 366 days, exact to the microsecond. `jitter`: less than
    `seconds`; a runner starts up to so many seconds after it is due, so that runners of one interval do not start all
    at once. Its due instants stay where they are. Raises ValueError naming the argument, its value and the rule.
    """

    seconds: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if not _SHORTEST <= checked_seconds("Every seconds", self.seconds) <= _LONGEST:
            raise ValueError(
                f"Every seconds must be from {_SHORTEST:g} to {_LONGEST:.0f}, which is 366 days, not {self.seconds!r}."
            )
        if checked_seconds("Every jitter", self.jitter, zero_allowed=True) >= self.seconds:
            raise ValueError(f"Every jitter must be less than seconds, {self.seconds!r}, not {self.jitter!r}.")
        # Schedules that are equal are described alike, whether they were written with integers or not.
        msgspec.structs.force_setattr(self, "seconds", float(self.seconds))
        msgspec.structs.force_setattr(self, "jitter", float(self.jitter))

    def due_after(self, moment: datetime) -> datetime | None:
        """Return the first instant of the grid after `moment`; see `Schedule`."""
        # In whole microseconds: sums of floats would drift, and differ by where one begins to add.
        interval = round(self.seconds * 1_000_000)
        try:
            count = (_checked(moment) - _EPOCH) // _MICROSECOND // interval + 1
            return _EPOCH + timedelta(microseconds=count * interval)
        except OverflowError:
            return None

    def start_delay(self, name: str, due_at: datetime) -> float:
        """Return from 0 to `jitter` seconds, by a hash of both arguments; see `Schedule`.

        Not drawn anew, or a node that takes over would start what the one before it was about to start, at
        another time.
        """
        seed = f"{name}\n{_checked(due_at).isoformat()}".encode(errors="surrogatepass")
        share = int.from_bytes(hashlib.blake2b(seed, digest_size=6).digest()) / 2**48
        return self.jitter * share


@final
class Cron(msgspec.Struct, frozen=True):
    """Due when the clocks of a time zone show what a cron expression says.

    `expression`: minute, hour, day of the month, month, day of the week, or `@hourly`, `@daily`, `@weekly`, `@monthly`,
    `@yearly`. `tz`: the IANA name of a zone. Raises ValueError naming the field, its value and the rule, also for an
    expression that is never due.

    Where clocks are set forward, what was to be due at a skipped time of the day is due at the moment of the change,
    once. Where they are set back, it is due the first time only. An expression whose minute or hour begins with `*` is
    due whenever the clocks show a matching time: not at skipped times, and at repeated times twice.
    """

    expression: str
    tz: str = "UTC"

    def __post_init__(self) -> None:
        check_expression(self.expression)
        load_zone(self.tz)

    def due_after(self, moment: datetime) -> datetime | None:
        """Return the first instant after `moment` that the expression says; see `Schedule`."""
        fields, zone = fields_of(self.expression), load_zone(self.tz)
        try:
            # Due instants are whole seconds, so the rest of a second makes no difference.
            start = _checked(moment).replace(microsecond=0)
            return _next_in_rhythm(fields, zone, start) if is_rhythm(fields) else _next_of_day(fields, zone, start)
        except OverflowError:
            return None

    def start_delay(self, name: str, due_at: datetime) -> float:  # noqa: ARG002 - it keeps to the clock, whoever runs
        """Return 0; see `Schedule`."""
        return 0.0


def _next_of_day(fields: str, zone: tzinfo, start: datetime) -> datetime | None:
    wall = next_match(fields, wall_time(start, zone))
    while wall is not None:
        due_at = first_moment(wall, zone)
        # When clocks have been set back, what they show again has been due before.
        if due_at > start:
            return due_at
        wall = next_match(fields, wall)
    return None


def _next_in_rhythm(fields: str, zone: tzinfo, start: datetime) -> datetime | None:
    wall = next_match(fields, wall_time(start, zone))
    while wall is not None:
        due_at = wall.replace(tzinfo=UTC) - offset_at(start, zone)
        change = first_change(start, due_at, zone)
        if change is None:
            return due_at
        # Until the clocks are set nothing is due; from then on they show other times.
        start = change
        wall = next_match(fields, wall_time(change, zone) - SECOND)
    return None


def _checked(moment: datetime) -> datetime:
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise ValueError(f"moment must be a datetime with a time zone, not {shown(moment)}.")
    if moment < _EPOCH:
        raise ValueError(f"moment must not be before 1970, as {moment.isoformat()} is.")
    return moment.astimezone(UTC)
