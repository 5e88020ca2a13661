"""Time zones: a wall clock's time as a moment, and the moments at which the clocks of a zone are set forward or back.

A *wall time* is what a clock on the wall shows, a datetime without a zone; a *moment* is an aware datetime in UTC.
"""

import difflib
from datetime import UTC, datetime, timedelta, tzinfo

from .failures import shown

SECOND = timedelta(seconds=1)
# No zone has changed its offset twice within a day since 1970, which a test asserts for every zone there is.
_PROBE = timedelta(days=1)


def load_zone(name: object) -> tzinfo:
    """Return the zone of an IANA name such as `Europe/Berlin`. Raises ValueError if this machine knows no such zone.

    `UTC` is known everywhere; all others are read from the system's time zone data, or the package tzdata's.
    """
    if name == "UTC":
        return UTC
    # Imported late: it takes as long as a fortieth of Trio, and only schedules need it.
    import zoneinfo

    # These two mean something else on every machine, or run 27 seconds behind all others.
    if type(name) is not str or not name or name == "localtime" or name.startswith("right/"):
        raise _unknown(name, "")
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
    if not known:
        raise ValueError(
            f"tz {name!r} cannot be looked up: this machine has no time zone data; install the system's, or the "
            "Python package tzdata."
        )
    by_folded = {zone.casefold(): zone for zone in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    raise _unknown(name, f" (did you mean {by_folded[close[0]]!r}?)" if close else "")


def _unknown(name: object, hint: str) -> ValueError:
    return ValueError(f"tz must be the name of a time zone, such as 'UTC' or 'Europe/Berlin', not {shown(name)}{hint}.")


def wall_time(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clocks of `zone` show at `moment`."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def offset_at(moment: datetime, zone: tzinfo) -> timedelta:
    """Return by how much the clocks of `zone` are ahead of UTC at `moment`."""
    return moment.astimezone(zone).utcoffset() or timedelta(0)


def first_moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clocks of `zone` first show `wall`; if they skip it, the moment at which they are set forward."""
    moment = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall_time(moment, zone) == wall:
        return moment
    # A skipped wall time by the offset before the change is a moment after it, by the one after it a moment before.
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    return first_change(before, moment, zone) or moment


def is_repeated(wall: datetime, zone: tzinfo) -> bool:
    """Return whether the clocks of `zone` show `wall` twice, since they are set back after the first time."""
    first, second = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return first < second


def first_change(start: datetime, end: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment after `start`, and not after `end`, at which the clocks are set. In whole seconds."""
    offset = offset_at(start, zone)
    while start < end:
        # In this order, so that the last day before the year 10000 is no error.
        probe = start + _PROBE if end - start > _PROBE else end
        if offset_at(probe, zone) != offset:
            return _narrowed(start, probe, zone)
        start = probe
    return None


def _narrowed(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    offset = offset_at(before, zone)
    while (seconds := (after - before) // SECOND) > 1:
        middle = before + seconds // 2 * SECOND
        if offset_at(middle, zone) == offset:
            before = middle
        else:
            after = middle
    return after
