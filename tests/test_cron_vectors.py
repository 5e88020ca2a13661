"""When cron expressions are due, worked out by hand.

How: a zone's offsets and the moments at which its clocks are set are written above its rows, as tzdata has them. A
wall time is turned into UTC by taking the offset off. A skipped wall time is due at the moment of the change. Weekdays
were counted from 2026-01-01, a Thursday, and leap years by their rule: 2100 is none.
"""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest

from conductor_jobs.schedules import Cron, due_instants

from .cron_walker import walk

BERLIN, APIA, SAO_PAULO = "Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo"
LORD_HOWE, ST_JOHNS, KWAJALEIN = "Australia/Lord_Howe", "America/St_Johns", "Pacific/Kwajalein"
TROLL, CHATHAM, KATHMANDU = "Antarctica/Troll", "Pacific/Chatham", "Asia/Kathmandu"

# Expression, zone, a moment in UTC, and what is due after it, in UTC.
VECTORS: list[tuple[str, str, str, list[str]]] = [
    # UTC: nothing is ever set.
    ("0 6 * * *", "UTC", "2026-11-23T06:00", ["2026-11-24T06:00", "2026-11-25T06:00"]),
    ("*/25 * * * *", "UTC", "2026-01-01T00:00", ["2026-01-01T00:25", "2026-01-01T00:50", "2026-01-01T01:00"]),
    ("5/20 * * * *", "UTC", "2026-01-01T00:05", ["2026-01-01T00:25", "2026-01-01T00:45", "2026-01-01T01:05"]),
    ("59 23 31 12 *", "UTC", "2026-01-01T00:00", ["2026-12-31T23:59", "2027-12-31T23:59"]),
    # The shorthands. 2026-11-22 is a Sunday.
    ("@hourly", "UTC", "2026-11-20T22:30", ["2026-11-20T23:00", "2026-11-21T00:00"]),
    ("@daily", "UTC", "2026-11-20T22:30", ["2026-11-21T00:00", "2026-11-22T00:00"]),
    ("@weekly", "UTC", "2026-11-20T22:30", ["2026-11-22T00:00", "2026-11-29T00:00"]),
    ("@monthly", "UTC", "2026-11-20T22:30", ["2026-12-01T00:00", "2027-01-01T00:00"]),
    ("@yearly", "UTC", "2026-11-20T22:30", ["2027-01-01T00:00", "2028-01-01T00:00"]),
    # Leap days. 2100 is no leap year; 2044-02-29 is the first that is a Monday, then every 28 years, but for 2100.
    ("0 0 29 2 *", "UTC", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
    ("0 0 29 2 *", "UTC", "2096-02-29T00:00", ["2104-02-29T00:00"]),
    ("0 0 * 2 MON#5", "UTC", "2026-01-01T00:00", ["2044-02-29T00:00", "2072-02-29T00:00", "2112-02-29T00:00"]),
    # Ends of months. February 2026 ends on a Saturday, May on a Sunday.
    ("0 0 31 * *", "UTC", "2026-01-31T00:00", ["2026-03-31T00:00", "2026-05-31T00:00", "2026-07-31T00:00"]),
    ("0 0 L * *", "UTC", "2027-12-31T00:00", ["2028-01-31T00:00", "2028-02-29T00:00", "2028-03-31T00:00"]),
    ("0 0 L 2 *", "UTC", "2026-01-01T00:00", ["2026-02-28T00:00", "2027-02-28T00:00", "2028-02-29T00:00"]),
    ("0 0 LW 2,5 *", "UTC", "2026-01-01T00:00", ["2026-02-27T00:00", "2026-05-29T00:00"]),
    # Weekdays. 2026-03-27 is a Friday, 2026-03-13 as well.
    ("0 6 * * MON-FRI", "UTC", "2026-03-27T06:00", ["2026-03-30T06:00", "2026-03-31T06:00"]),
    ("0 0 * * 7", "UTC", "2026-11-20T00:00", ["2026-11-22T00:00", "2026-11-29T00:00"]),
    ("0 0 * * 5L", "UTC", "2026-03-01T00:00", ["2026-03-27T00:00", "2026-04-24T00:00", "2026-05-29T00:00"]),
    ("0 0 * * MON#2", "UTC", "2026-03-01T00:00", ["2026-03-09T00:00", "2026-04-13T00:00"]),
    # A day of the month and one of the week: either is enough, but both are needed if one begins with a star.
    ("0 0 13 * FRI", "UTC", "2026-04-10T00:00", ["2026-04-13T00:00", "2026-04-17T00:00", "2026-04-24T00:00"]),
    ("0 0 */2 * MON", "UTC", "2026-03-01T00:00", ["2026-03-09T00:00", "2026-03-23T00:00", "2026-04-13T00:00"]),
    # Berlin, +01:00; +02:00 from 2026-03-29 01:00 UTC, when 02:00 becomes 03:00.
    ("0 6 * * *", BERLIN, "2026-03-28T00:00", ["2026-03-28T05:00", "2026-03-29T04:00", "2026-03-30T04:00"]),
    ("30 2 * * *", BERLIN, "2026-03-28T00:00", ["2026-03-28T01:30", "2026-03-29T01:00", "2026-03-30T00:30"]),
    ("0,30 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T00:30"]),
    ("0 2,3 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:00", "2026-03-30T01:00"]),
    ("30 2-3 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-29T01:30", "2026-03-30T00:30"]),
    ("30 2 29 3 *", BERLIN, "2026-01-01T00:00", ["2026-03-29T01:00", "2027-03-29T00:30"]),
    ("30 * * * *", BERLIN, "2026-03-29T00:00", ["2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T02:30"]),
    ("*/30 2 * * *", BERLIN, "2026-03-28T12:00", ["2026-03-30T00:00", "2026-03-30T00:30"]),
    ("0 */2 * * *", BERLIN, "2026-03-28T23:00", ["2026-03-29T02:00", "2026-03-29T04:00"]),
    # +01:00 again from 2026-10-25 01:00 UTC, when 03:00 becomes 02:00.
    ("30 2 * * *", BERLIN, "2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ("30 2 * * *", BERLIN, "2026-10-25T01:10", ["2026-10-26T01:30"]),
    ("*/30 2 * * *", BERLIN, "2026-10-24T12:00", [f"2026-10-25T0{h}" for h in ("0:00", "0:30", "1:00", "1:30")]),
    ("0 0-23 * * *", BERLIN, "2026-10-24T22:30", ["2026-10-24T23:00", "2026-10-25T00:00", "2026-10-25T02:00"]),
    ("0 * * * *", BERLIN, "2026-10-24T22:30", ["2026-10-24T23:00", "2026-10-25T00:00", "2026-10-25T01:00"]),
    # A century ahead, by the rule for the years that no table holds: the last Sunday of March 2126 is the 31st.
    ("0 6 * * *", BERLIN, "2126-03-30T00:00", ["2126-03-30T05:00", "2126-03-31T04:00"]),
    # Kathmandu, +05:45.
    ("0 6 * * *", KATHMANDU, "2026-01-01T00:15", ["2026-01-02T00:15"]),
    ("*/30 * * * *", KATHMANDU, "2026-01-01T00:00", ["2026-01-01T00:15", "2026-01-01T00:45"]),
    # Chatham, +12:45; +13:45 from 2026-09-26 14:00 UTC, when 02:45 becomes 03:45 on the 27th.
    ("0 3 * * *", CHATHAM, "2026-09-26T00:00", ["2026-09-26T14:00", "2026-09-27T13:15"]),
    # Troll, +00:00; +02:00 from 2026-03-29 01:00 UTC: the one zone that skips two hours.
    ("30 2 * * *", TROLL, "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T00:30"]),
    # Lord Howe, +10:30; +11:00 from 2026-10-03 15:30 UTC, when 02:00 becomes 02:30 on the 4th.
    ("15 2 * * *", LORD_HOWE, "2026-10-02T12:00", ["2026-10-02T15:45", "2026-10-03T15:30", "2026-10-04T15:15"]),
    ("35 * * * *", LORD_HOWE, "2026-10-03T15:00", ["2026-10-03T15:05", "2026-10-03T15:35", "2026-10-03T16:35"]),
    ("*/20 3 * * *", LORD_HOWE, "2026-10-03T12:00", ["2026-10-03T16:00", "2026-10-03T16:20", "2026-10-03T16:40"]),
    # +10:30 again from 2026-04-04 15:00 UTC, when 02:00 becomes 01:30 on the 5th.
    ("45 1 * * *", LORD_HOWE, "2026-04-04T12:00", ["2026-04-04T14:45", "2026-04-05T15:15"]),
    ("*/15 1 * * *", LORD_HOWE, "2026-04-04T14:15", [f"2026-04-04T1{h}" for h in ("4:30", "4:45", "5:00", "5:15")]),
    ("*/20 2 * * *", LORD_HOWE, "2026-04-04T12:00", ["2026-04-04T15:30", "2026-04-04T15:50", "2026-04-04T16:10"]),
    # Apia, -10:00; +14:00 from 2011-12-30 10:00 UTC: the 29th is followed by the 31st.
    ("0 12 * * *", APIA, "2011-12-29T00:00", ["2011-12-29T22:00", "2011-12-30T10:00", "2011-12-30T22:00"]),
    ("0 12 30 12 *", APIA, "2011-06-01T00:00", ["2011-12-30T10:00", "2012-12-29T22:00"]),
    ("*/30 * 30 12 *", APIA, "2011-12-29T00:00", ["2012-12-29T10:00", "2012-12-29T10:30"]),
    ("0 0 31 12 *", APIA, "2011-06-01T00:00", ["2011-12-30T10:00", "2012-12-30T10:00"]),
    # Kwajalein, -12:00; +12:00 from 1993-08-21 12:00 UTC: the 20th is followed by the 22nd.
    ("0 9 * * *", KWAJALEIN, "1993-08-20T12:00", ["1993-08-20T21:00", "1993-08-21T12:00", "1993-08-21T21:00"]),
    # Sao Paulo, -03:00; -02:00 from 2018-11-04 03:00 UTC, when 00:00 becomes 01:00. No summer time since 2019.
    ("0 0 * * *", SAO_PAULO, "2018-11-03T00:00", ["2018-11-03T03:00", "2018-11-04T03:00", "2018-11-05T02:00"]),
    ("* 0 4 11 *", SAO_PAULO, "2018-11-03T00:00", ["2019-11-04T03:00", "2019-11-04T03:01"]),
    ("* * 4 11 *", SAO_PAULO, "2018-11-03T00:00", ["2018-11-04T03:00", "2018-11-04T03:01"]),
    # -02:00; -03:00 from 2018-02-18 02:00 UTC, when Sunday's 00:00 becomes Saturday's 23:00.
    ("30 23 * * *", SAO_PAULO, "2018-02-17T12:00", ["2018-02-18T01:30", "2018-02-19T02:30"]),
    ("*/30 23 * * 6", SAO_PAULO, "2018-02-17T12:00", [f"2018-02-18T0{h}" for h in ("1:00", "1:30", "2:00", "2:30")]),
    # St. John's, -02:30; -03:30 from 2006-10-29 02:31 UTC, when Sunday's 00:01 becomes Saturday's 23:01.
    ("0 0 29 10 *", ST_JOHNS, "2006-10-01T00:00", ["2006-10-29T02:30", "2007-10-29T02:30"]),
    ("*/30 0 29 10 *", ST_JOHNS, "2006-10-01T00:00", ["2006-10-29T02:30", "2006-10-29T03:30", "2006-10-29T04:00"]),
    ("30 23 28 10 *", ST_JOHNS, "2006-10-01T00:00", ["2006-10-29T02:00", "2007-10-29T02:00"]),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "zone", "after", "expected"), VECTORS)
def test_an_expression_is_due_when_a_person_finds_it_is(
    expression: str, zone: str, after: str, expected: list[str]
) -> None:
    start = datetime.fromisoformat(f"{after}Z")
    found = list(islice(due_instants(Cron(expression, zone), start), len(expected)))
    assert [f"{due_at:%Y-%m-%dT%H:%M}" for due_at in found] == expected
    assert {due_at.tzinfo for due_at in found} == {UTC}


@pytest.mark.parametrize(("expression", "zone", "after", "expected"), [row for row in VECTORS if row[0][0] != "@"])
def test_the_person_agrees_with_whoever_looks_at_every_minute(
    expression: str, zone: str, after: str, expected: list[str]
) -> None:
    # From a little before each, rather than through years of nothing.
    starts = [datetime.fromisoformat(f"{after}Z"), *(datetime.fromisoformat(f"{due}Z") for due in expected)]
    for earlier, due in pairwise(starts):
        begin = max(earlier, due - timedelta(days=3))
        assert list(walk(expression, zone, begin, due)) == [due]


def test_in_a_zone_that_is_off_by_seconds_due_instants_are_too() -> None:
    # Monrovia was 44 minutes and 30 seconds behind until 1972-01-07 00:44:30 UTC, when 00:00 became 00:44:30.
    found = islice(due_instants(Cron("15 0 * * *", "Africa/Monrovia"), datetime(1972, 1, 6, tzinfo=UTC)), 3)
    assert [str(due_at)[:19] for due_at in found] == [
        "1972-01-06 00:59:30",
        "1972-01-07 00:44:30",
        "1972-01-08 00:15:00",
    ]
