"""Cron expressions on a wall clock: what they may say, and which wall times they match. Zones are not its business.

cronsim reads the expressions, and walks the calendar. It is given wall times only: of a zone whose clocks are set by
half an hour, its own arithmetic misses some.
"""

import re
from datetime import datetime
from typing import Final

from .failures import shown

SHORTHANDS: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
# As cronsim names them, in order, with what each takes beside `*`, ranges, lists and steps.
_FIELDS: Final = {
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L for the last day, LW for the last weekday",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 or SUN to SAT, 5#2 for the second Friday, 5L for the last",
}
_FORMS: Final = "* for any, a-b, a,b or */n"
# Twice what any list of numbers takes; more is no expression, and cronsim would take its time to read it.
_MOST_CHARACTERS: Final = 500
# Within fifty years from here, every day of the year falls on every weekday: what is not due then never is.
_ANY_TIME: Final = datetime(2000, 1, 1)


def check_expression(expression: object) -> None:
    """Raise ValueError, naming the field, its value and the rule, unless `expression` can be read and is ever due."""
    if type(expression) is not str or not expression.strip():
        raise ValueError(
            f"cron expression must be a text of five fields, such as '0 6 * * *', not {shown(expression)}."
        )
    if len(expression) > _MOST_CHARACTERS:
        raise ValueError(f"cron expression must have at most {_MOST_CHARACTERS} characters, not {len(expression)}.")
    fields = fields_of(expression).split()
    if fields[0].startswith("@"):
        raise ValueError(f"cron expression must be one of {', '.join(SHORTHANDS)}, or five fields, not {expression!r}.")
    if len(fields) != len(_FIELDS):
        raise ValueError(
            f"cron expression {expression!r} must have five fields, minute hour day-of-month month day-of-week, "
            f"not {len(fields)}."
        )
    _check_values(expression, fields)


def fields_of(expression: str) -> str:
    """Return the five fields of an expression that was checked, a shorthand such as `@daily` being written out."""
    text = " ".join(expression.split())
    return SHORTHANDS.get(text.lower(), text)


def _check_values(expression: str, fields: list[str]) -> None:
    for place, (name, values) in enumerate(_FIELDS.items()):
        alone = ["*"] * len(fields)
        alone[place] = fields[place]
        if not _is_readable(alone):
            raise ValueError(
                f"cron expression {expression!r}: {name} must be {values}; {_FORMS}; not {fields[place]!r}."
            )
    if not _is_readable(fields) or next_match(" ".join(fields), _ANY_TIME) is None:
        raise ValueError(
            f"cron expression {expression!r} is never due: no month has such a day "
            f"(day-of-month {fields[2]!r}, month {fields[3]!r}, day-of-week {fields[4]!r})."
        )


def _is_readable(fields: list[str]) -> bool:
    from cronsim import CronSim, CronSimError

    try:
        CronSim(" ".join(fields), _ANY_TIME)
    except CronSimError:
        return False
    return True


def next_match(fields: str, wall: datetime) -> datetime | None:
    """Return the first wall time after `wall` that matches; None when there is none within fifty years.

    Raises OverflowError where that would be after the year 9999.
    """
    # Imported late: `import conductor_jobs` is not to wait for what many an application does not use.
    from cronsim import CronSim

    return next(CronSim(fields, wall), None)


def is_rhythm(fields: str) -> bool:
    """Return whether minute or hour begin with `*`: what is due every so often, instead of at certain times of the day.

    The two differ where clocks are set. The distinction is that of Debian's cron.
    """
    minute, hour = fields.split()[:2]
    return minute.startswith("*") or hour.startswith("*")


def in_words(fields: str) -> str:
    """Return what an expression says, in English."""
    from cronsim import CronSim

    # cronsim reads `5-5/20` as `5/20`, and explains it as `5`.
    as_read = re.sub(r"\b(\w+)-\1/", r"\1/", fields, flags=re.IGNORECASE)
    return CronSim(as_read, _ANY_TIME).explain()
