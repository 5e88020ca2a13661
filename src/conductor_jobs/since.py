"""`--since`: how long ago, or since when, as a journal's lines bear their time."""

import re
from datetime import datetime, timedelta
from typing import Final

from .moments import ts_of

WORDS: Final = "a span such as 90s, 15m, 2h or 3d, or an ISO 8601 time such as 2026-03-28T06:00"
_SPAN: Final = re.compile(r"([0-9]{1,9})([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def since_ts(text: str, now: datetime) -> str | None:
    """Return the `ts` of an entry that was written then, or None when `text` is neither a span nor a time.

    A span counts back from `now`; a time without an offset is a local time, as `logs` prints them.
    """
    try:
        span = _SPAN.fullmatch(text.strip())
        moment = datetime.fromisoformat(text) if span is None else now - timedelta(**{_UNITS[span[2]]: int(span[1])})
        return ts_of(moment)
    except (ValueError, OverflowError):
        return None
