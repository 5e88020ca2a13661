"""A second implementation of cron expressions, too slow to be wrong: it looks at every single minute.

It shares nothing with the first: it reads expressions by itself, and asks of a zone only what its clocks show.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

MINUTE = timedelta(minutes=1)
MONTHS = ["", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


def numbers(field: str, low: int, high: int, names: list[str]) -> set[int]:
    """Return what a field of numbers, names, ranges, lists and steps stands for."""
    found: set[int] = set()
    for item in field.lower().split(","):
        values, _, step = item.partition("/")
        first, _, last = values.partition("-")
        begin, end = (low, high) if first == "*" else [
            names.index(each) if each in names else int(each) for each in (first, last or first)
        ]  # fmt: skip
        found |= set(range(begin, (high if step and not last else end) + 1, int(step or 1)))
    return found


def is_day_of_month(item: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if item == "L":
        return day.day == last
    if item == "LW":
        weekdays = [each for each in range(1, last + 1) if day.replace(day=each).weekday() < 5]
        return day.day == weekdays[-1]
    return day.day in numbers(item, 1, 31, [])


def is_day_of_week(item: str, day: date) -> bool:
    weekday = day.isoweekday() % 7
    same = [each for each in range(1, calendar.monthrange(day.year, day.month)[1] + 1) if (each - day.day) % 7 == 0]
    if item.endswith("L"):
        return weekday in numbers(item[:-1], 0, 7, DAYS) and day.day == same[-1]
    if "#" in item:
        name, _, which = item.partition("#")
        return is_day_of_week(name, day) and same.index(day.day) + 1 == int(which)
    found = numbers(item, 0, 7, DAYS)
    return weekday in found or (weekday == 0 and 7 in found)


def is_day(fields: list[str], day: date) -> bool:
    """Return whether an expression means this day. Where one of the two begins with a star, it must be both."""
    of_month = any(is_day_of_month(item, day) for item in fields[2].upper().split(","))
    of_week = any(is_day_of_week(item, day) for item in fields[4].upper().split(","))
    both = fields[2].startswith("*") or fields[4].startswith("*")
    is_month = day.month in numbers(fields[3], 1, 12, MONTHS)
    return is_month and ((of_month and of_week) if both else (of_month or of_week))


def walk(expression: str, zone: str, after: datetime, until: datetime) -> Iterator[datetime]:
    """Return the due instants after one moment and until another, minute by minute of UTC."""
    fields, tz = expression.split(), ZoneInfo(zone)
    days: dict[date, bool] = {}
    of_hour, of_day = numbers(fields[0], 0, 59, []), numbers(fields[1], 0, 23, [])

    def matches(wall: datetime) -> bool:
        if wall.date() not in days:
            days[wall.date()] = is_day(fields, wall.date())
        return days[wall.date()] and wall.minute in of_hour and wall.hour in of_day

    by_star = fields[0].startswith("*") or fields[1].startswith("*")
    moment = after - timedelta(seconds=after.second, microseconds=after.microsecond) + MINUTE
    while moment <= until:
        local = moment.astimezone(tz)
        wall, before = local.replace(tzinfo=None, fold=0), (moment - MINUTE).astimezone(tz).replace(tzinfo=None, fold=0)
        if by_star:
            due = matches(wall)
        else:  # what was skipped since the last minute as well, but nothing that was shown before
            due = not local.fold and any(matches(before + MINUTE * n) for n in range(1, (wall - before) // MINUTE + 1))
        if due:
            yield moment.astimezone(UTC)
        moment += MINUTE
