"""Moments in text: as the journal, the commands and the local API write them."""

from datetime import UTC, datetime, tzinfo


def iso(moment: datetime) -> str:
    """Return a moment of UTC in ISO 8601: `2026-11-23T06:00:00Z`, with a fraction only if it has one."""
    return moment.isoformat().replace("+00:00", "Z")


def ts_of(moment: datetime) -> str:
    """Return a moment of any zone as journals write it: UTC, to the millisecond, with a `Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def in_both(moment: datetime, zone: tzinfo) -> str:
    """Return a moment of UTC for people, in local time and in UTC; local seconds are shown if they are not 0."""
    local = moment.astimezone(zone)
    precision = "auto" if local.second or local.microsecond else "minutes"
    return f"{local:%a} {local.isoformat(' ', precision)}   {iso(moment)}"
