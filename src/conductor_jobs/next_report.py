"""The report of `conductor-jobs next`: due instants as lines for a person, with what is odd about them."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, tzinfo

from .cron_fields import fields_of, in_words, is_rhythm, next_match
from .moments import in_both
from .schedules import Cron
from .zones import SECOND, first_change, first_moment, is_repeated, load_zone, wall_time

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def headline(cron: Cron) -> str:
    """Return what the expression says, in words."""
    return f"{in_words(fields_of(cron.expression))}, {cron.tz}"


def instant_lines(cron: Cron, instants: Iterable[datetime], after: datetime) -> Iterator[str]:
    """Return a line for each due instant: in local time, in UTC, how long after `after`, and what is odd there."""
    zone, previous = load_zone(cron.tz), after
    for due_at in instants:
        line = f"{in_both(due_at, zone)}   in {_duration(due_at - after)}"
        note = _oddity(fields_of(cron.expression), zone, previous, due_at)
        yield f"{line}   {note}" if note else line
        previous = due_at


def _duration(span: timedelta) -> str:
    # The two largest units say enough.
    rest, parts = round(span.total_seconds()), list[str]()
    for unit, seconds in _UNITS:
        count, rest = divmod(rest, seconds)
        if count or parts:
            parts.append(f"{count} {unit}" if count else "")
    return " ".join(part for part in parts[:2] if part) or "0 s"


def _oddity(fields: str, zone: tzinfo, previous: datetime, due_at: datetime) -> str:
    wall = wall_time(due_at, zone)
    if is_repeated(wall, zone):
        which = "first" if first_moment(wall, zone) == due_at else "second"
        return f"(the clocks show {wall:%H:%M} twice: this is the {which} time)"
    skipped = _skipped(fields, zone, previous.replace(microsecond=0), due_at)
    if skipped is None:
        return ""
    what = "passed over" if is_rhythm(fields) else "due at once when they are set"
    return f"(the clocks skip {skipped.isoformat(' ', 'minutes')}: {what})"


def _skipped(fields: str, zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first matching wall time that the clocks skip when they are set forward after `start`, up to `end`."""
    while (change := first_change(start, end, zone)) is not None:
        last_shown, shown = wall_time(change - SECOND, zone), wall_time(change, zone)
        match = next_match(fields, last_shown)
        if match is not None and match < shown:
            return match
        start = change
    return None
