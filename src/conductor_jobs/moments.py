"""Due instants in text: as the journal, the command and the local API write them."""

from datetime import datetime


def iso(moment: datetime) -> str:
    """Return a moment of UTC in ISO 8601: `2026-11-23T06:00:00Z`, with a fraction only if it has one."""
    return moment.isoformat().replace("+00:00", "Z")
