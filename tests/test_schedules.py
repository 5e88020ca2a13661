"""Schedules: what they take, on what grid they lie, and what holds for every expression, zone and moment."""

import subprocess
import sys
import zoneinfo
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from typing import Any

import pytest
from croniter import croniter
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs.cron_fields import check_expression, fields_of, in_words
from conductor_jobs.schedules import Cron, Every, Schedule, due_instants
from conductor_jobs.zones import first_change, first_moment, load_zone, wall_time

from .cron_walker import walk
from .strategies import fewer

DAY = timedelta(days=1)
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)

# Zones, and moments at which their clocks are set: by an hour, half of one, two; at midnight; by a day; for a week.
CHANGES = {
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Australia/Lord_Howe": ["2026-10-03T15:30", "2026-04-04T15:00"],
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Pacific/Chatham": ["2026-09-26T14:00", "2026-04-04T14:00"],
    "America/Sao_Paulo": ["2018-11-04T03:00", "2018-02-18T02:00"],
    "America/St_Johns": ["2006-04-02T03:31", "2006-10-29T02:31"],
    "Pacific/Apia": ["2011-12-30T10:00", "2012-03-31T14:00"],
    "Pacific/Kwajalein": ["1993-08-21T12:00"],
    "Asia/Kathmandu": ["1985-12-31T18:30"],
    "America/Noronha": ["2000-10-08T02:00", "2000-10-15T01:00"],
    "UTC": ["2028-02-29T00:00", "2100-02-28T12:00"],
}


def field(low: int, high: int, *others: str) -> st.SearchStrategy[str]:
    """Return texts of one field: numbers, ranges, steps, lists, and what only this field takes."""
    number = st.integers(low, high)
    # Of two numbers: libraries differ in what they make of `5-5`, and of `5-5/2`.
    span = st.lists(number, min_size=2, max_size=2, unique=True).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.integers(1, high + 2)
    item = st.one_of(number.map(str), span, st.sampled_from(others)) if others else st.one_of(number.map(str), span)
    stepped = st.one_of(
        st.builds("*/{}".format, step), st.builds("{}/{}".format, number, step), st.builds("{}/{}".format, span, step)
    )
    return st.one_of(st.just("*"), item, stepped, st.lists(item, min_size=2, max_size=4).map(",".join))


days_of_month = field(1, 31, "L", "LW", "28", "29", "30")
months = field(1, 12, "jan", "Mar", "OCT", "12")
days_of_week = field(0, 7, "sun", "SUN", "6", "5L", "0L", "SUN#1", "1#5")
# Most of the time any day will do, or nothing would ever be due about when clocks are set.
expressions = st.tuples(
    field(0, 59),
    st.one_of(field(0, 23), field(0, 4), st.just("23")),
    st.one_of(st.just("*"), st.just("*"), days_of_month),
    st.one_of(st.just("*"), st.just("*"), months),
    st.one_of(st.just("*"), st.just("*"), days_of_week),
).map(" ".join)
moments = st.builds(
    lambda change, minutes, microseconds: (
        change[0],
        datetime.fromisoformat(f"{change[1]}Z") + timedelta(minutes=minutes, microseconds=microseconds),
    ),
    st.sampled_from([(zone, change) for zone, changes in CHANGES.items() for change in changes]),
    st.integers(-1500, 600),
    st.one_of(st.just(0), st.integers(0, 59_999_999)),
)
anytime = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))


def is_ever_due(expression: str) -> bool:
    try:
        check_expression(expression)
    except ValueError as error:
        assert "is never due" in str(error)
        return False
    return True


expressions = expressions.filter(is_ever_due)
schedules: st.SearchStrategy[Schedule] = st.one_of(
    st.builds(Cron, expressions, st.sampled_from(list(CHANGES))),
    st.builds(Every, st.one_of(st.integers(1, 10**6), st.floats(0.001, 10**6))),
)


# What holds for all ------------------------------------------------------------------------------------------------


@given(schedules, anytime)
def test_due_instants_come_after_the_moment_and_rise(schedule: Schedule, moment: datetime) -> None:
    first, second, third = islice(due_instants(schedule, moment), 3)
    assert moment < first < second < third
    # Whoever asks at a later moment, and whoever asks for the first time, is told the same.
    assert schedule.due_after(first - timedelta(microseconds=1)) == first
    assert schedule.due_after(first) == second
    assert schedule.due_after(first + (second - first) / 2) == second


@fewer(2)
@given(expressions, moments)
def test_near_the_setting_of_clocks_the_due_instants_are_those_of_whoever_looks_at_every_minute(
    expression: str, where: tuple[str, datetime]
) -> None:
    zone, start = where
    found = takewhile(lambda due_at: due_at <= start + DAY, due_instants(Cron(expression, zone), start))
    assert list(found) == list(walk(expression, zone, start, start + DAY))


def is_read_alike(expression: str) -> bool:
    """Return whether croniter takes an expression as we do: it does not count weekdays to 7, and has other letters."""
    last = expression.split()[4]
    return "L" not in expression.upper().replace("JUL", "") and "#" not in last and "/" not in last


@fewer(2)
@given(expressions.filter(is_read_alike), anytime)
def test_where_no_clock_is_set_another_library_agrees(expression: str, moment: datetime) -> None:
    start = moment.replace(microsecond=0)
    theirs = croniter(expression, start, implement_cron_bug=True)
    ours = list(islice(due_instants(Cron(expression), start), 5))
    # What is many years away croniter gives up on.
    if ours[-1] < start + 8 * 365 * DAY:
        assert [theirs.get_next(datetime) for _ in ours] == ours


@given(expressions)
def test_every_expression_can_be_said_in_words(expression: str) -> None:
    assert in_words(fields_of(expression))


@pytest.mark.parametrize(
    ("expression", "same"),
    [
        ("5-5/20 * * * *", "5/20 * * * *"),
        ("7,3-3/9 2-2/5 * * *", "7,3/9 2/5 * * *"),
        ("0 0 1-1/10 JAN-jan/2 MON-MON/2", "0 0 1/10 JAN/2 MON/2"),
    ],
)
def test_a_range_of_one_number_with_a_step_is_said_as_it_is_read(expression: str, same: str) -> None:
    assert list(islice(due_instants(Cron(expression), NOON), 50)) == list(islice(due_instants(Cron(same), NOON), 50))
    assert in_words(fields_of(expression)) == in_words(fields_of(same))


def test_no_day_of_the_calendar_takes_more_than_fifty_years_to_come() -> None:
    # The rarest are the weekdays of 29 February about a year like 2100: 40 years.
    for weekday in range(7):
        first, *others = islice(due_instants(Cron(f"0 0 * 2 {weekday}#5"), NOON), 12)
        assert all(due_at.day == 29 and due_at.isoweekday() % 7 == weekday for due_at in (first, *others))
    (leap,) = islice(due_instants(Cron("0 0 * 2 0#5"), datetime(2088, 3, 1, tzinfo=UTC)), 1)
    assert leap == datetime(2128, 2, 29, tzinfo=UTC)


# Every -------------------------------------------------------------------------------------------------------------


def test_every_lies_on_a_grid_that_begins_with_1970_in_utc() -> None:
    assert list(islice(due_instants(Every(3600), NOON), 2)) == [NOON + timedelta(hours=1), NOON + timedelta(hours=2)]
    assert Every(7 * 86_400).due_after(NOON) == datetime(2026, 11, 26, tzinfo=UTC)  # 1970 began with a Thursday
    assert Every(45).due_after(datetime(1970, 1, 1, tzinfo=UTC)) == datetime(1970, 1, 1, 0, 0, 45, tzinfo=UTC)


def test_an_interval_that_no_float_holds_does_not_drift() -> None:
    after_a_century = datetime(2070, 1, 1, tzinfo=UTC)
    assert Every(0.1).due_after(after_a_century) == after_a_century + timedelta(milliseconds=100)
    in_a_row = list(islice(due_instants(Every(0.1), after_a_century), 10_000))
    assert in_a_row[-1] == after_a_century + timedelta(seconds=1000)


def test_every_takes_moments_of_any_zone_and_answers_in_utc() -> None:
    local = NOON.astimezone(load_zone("Asia/Kathmandu"))
    due_at = Every(3600).due_after(local)
    assert (due_at, due_at and due_at.tzinfo) == (NOON + timedelta(hours=1), UTC)


def test_jitter_delays_the_start_and_leaves_the_due_instant() -> None:
    assert Every(60, jitter=5).due_after(NOON) == Every(60).due_after(NOON)
    delays = [Every(60, jitter=5).start_delay(f"runner {n}", NOON) for n in range(1000)]
    assert 0 <= min(delays) < 0.1
    assert 4.9 < max(delays) < 5
    assert 2.3 < sum(delays) / 1000 < 2.7
    assert Every(60).start_delay("runner", NOON) == 0
    assert Cron("@daily").start_delay("runner", NOON) == 0


def test_jitter_is_the_same_on_every_node_and_another_for_every_instant() -> None:
    every = Every(60, jitter=5)
    here = every.start_delay("report", NOON)
    script = (
        "from datetime import *; from conductor_jobs.schedules import Every\n"
        "there = datetime(2026, 11, 23, 13, tzinfo=timezone(timedelta(hours=1)))\n"
        "print(Every(60.0, 5.0).start_delay('report', there))"
    )
    there = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert float(there) == here
    assert every.start_delay("report", NOON + timedelta(minutes=1)) != here


# What they take ----------------------------------------------------------------------------------------------------


def test_schedules_are_values() -> None:
    assert Cron("@daily") == Cron("@daily", tz="UTC") != Cron("@daily", "Europe/Berlin")
    assert {Every(60), Every(60.0), Every(60, 1)} == {Every(60), Every(60, jitter=1.0)}
    with pytest.raises(AttributeError):
        Every(60).seconds = 5  # type: ignore[misc] # what it shows is that it cannot be done


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("60 * * * *", "minute must be 0 to 59; * for any, a-b, a,b or */n; not '60'."),
        ("0 24 * * *", "hour must be 0 to 23; * for any, a-b, a,b or */n; not '24'."),
        ("0 0 0 * *", "day-of-month must be 1 to 31, L for the last day, LW for the last weekday; "),
        ("0 0 * 13 *", "month must be 1 to 12 or JAN to DEC; "),
        ("0 0 * * 8", "day-of-week must be 0 to 7 or SUN to SAT, 5#2 for the second Friday, 5L for the last; "),
        ("0 0 * * FRI-MON", "not 'FRI-MON'."),
        ("*/0 * * * *", "not '*/0'."),
        ("0 ² * * *", "not '²'."),
        ("0 0 * * ²L", "not '²L'."),
        ("1,,2 * * * *", "not '1,,2'."),
        ("- * * * *", "not '-'."),
        ("0 0 31 2,4 *", "is never due: no month has such a day (day-of-month '31', month '2,4', day-of-week '*')."),
        ("0 0 */20 * MON#5", "is never due: no month has such a day"),
        ("* * * *", "must have five fields, minute hour day-of-month month day-of-week, not 4."),
        ("0 0 6 * * *", "must have five fields, minute hour day-of-month month day-of-week, not 6."),
        ("@dayly", "must be one of @hourly, @daily, @weekly, @monthly, @yearly, or five fields, not '@dayly'."),
        ("@reboot", "not '@reboot'."),
        ("  ", "must be a text of five fields, such as '0 6 * * *', not '  '."),
        ("1" * 5000 + " * * * *", "must have at most 500 characters, not 5008."),
        ("1" * 490 + " * * * *", "minute must be 0 to 59;"),
        (None, "must be a text of five fields, such as '0 6 * * *', not None."),
        (b"0 6 * * *", "must be a text of five fields, such as '0 6 * * *', not b'0 6 * * *'."),
    ],
)
def test_a_bad_expression_is_refused_naming_field_value_and_rule(expression: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"^cron expression ") as caught:
        Cron(expression)
    assert message in str(caught.value)


@given(st.one_of(st.text(max_size=30), st.text("0123456789*/-,L#W JANMONSU@", max_size=30), st.integers(), st.none()))
def test_anything_is_an_expression_or_refused_in_words(expression: Any) -> None:
    try:
        check_expression(expression)
    except ValueError as error:
        assert str(error).startswith("cron expression ")


def test_spaces_and_case_make_no_difference() -> None:
    assert fields_of(" 0\t6  * jan-MAR Mon ") == "0 6 * jan-MAR Mon"
    assert fields_of(" @Daily ") == "0 0 * * *"
    expected = Cron("0 6 * JAN-MAR MON").due_after(NOON)
    assert Cron(" 0\t6  * jan-MAR Mon ").due_after(NOON) == expected


@pytest.mark.parametrize(
    "name",
    [
        *("Mars/Olympus", "", "Europe", "localtime", "right/UTC", "/etc/passwd", "../x", "zone.tab", "a\0b", "\ud800"),
        *("x" * 300, None, 5, zoneinfo.ZoneInfo("Europe/Berlin")),
    ],
)  # fmt: skip
def test_a_bad_zone_is_refused_naming_value_and_rule(name: Any) -> None:
    with pytest.raises(ValueError, match=r"^tz must be the name of a time zone, such as 'UTC' or 'Europe/Berlin', not"):
        Cron("@daily", name)


def test_a_zone_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(ValueError, match=r"not 'europe/berlin' \(did you mean 'Europe/Berlin'\?\)\.$"):
        Cron("@daily", "europe/berlin")


def test_a_machine_without_time_zone_data_is_told_what_to_install() -> None:
    # With the folders of the system's data taken away, and the package tzdata as well.
    script = (
        "import sys, zoneinfo; sys.modules['tzdata'] = None; zoneinfo.reset_tzpath(to=())\n"
        "from conductor_jobs.schedules import Cron\n"
        "Cron('@daily', 'UTC'); Cron('@daily', 'Europe/Berlin')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == (
        "ValueError: tz 'Europe/Berlin' cannot be looked up: this machine has no time zone data; install the system's, "
        "or the Python package tzdata."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "Every seconds must be a positive number of seconds, not 0."),
        ((-1,), "Every seconds must be a positive number of seconds, not -1."),
        (("60",), "Every seconds must be a positive number of seconds, not '60'."),
        ((True,), "Every seconds must be a positive number of seconds, not True."),
        ((float("nan"),), "Every seconds must be a positive number of seconds, not nan."),
        ((0.0001,), "Every seconds must be from 0.001 to 31622400, which is 366 days, not 0.0001."),
        ((86_400_000,), "Every seconds must be from 0.001 to 31622400, which is 366 days, not 86400000."),
        ((60, -1), "Every jitter must be a non-negative number of seconds, not -1."),
        ((60, 60), "Every jitter must be less than seconds, 60, not 60."),
    ],
)
def test_a_bad_interval_is_refused_naming_value_and_rule(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=r"^Every ") as caught:
        Every(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("schedule", [Every(60, 5), Cron("@daily", "Europe/Berlin")])
def test_a_moment_without_a_zone_or_before_1970_is_refused(schedule: Schedule) -> None:
    for moment, message in [
        (datetime(2026, 1, 1), "moment must be a datetime with a time zone, not datetime.datetime(2026, 1, 1, 0, 0)."),
        (1e9, "moment must be a datetime with a time zone, not 1000000000.0."),
        (datetime(1969, 12, 31, tzinfo=UTC), "moment must not be before 1970, as 1969-12-31T00:00:00+00:00 is."),
    ]:
        given_moment: Any = moment
        with pytest.raises(ValueError, match=r"^moment ") as caught:
            schedule.due_after(given_moment)
        assert str(caught.value) == message


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Apia", "America/New_York"])
def test_time_ends_with_the_year_9999(zone: str) -> None:
    end = datetime.max.replace(tzinfo=UTC)
    for schedule in (Cron("@daily", zone), Cron("0 * * * *", zone), Cron("*/5 * 29 2 *", zone), Every(3600)):
        assert schedule.due_after(end) is None
        assert schedule.due_after(datetime.max.replace(tzinfo=load_zone("America/New_York"))) is None
    # To the last day on which a zone's clocks still show that year.
    assert len(list(due_instants(Cron("0 * * * *", zone), end - 2 * DAY))) > 24


# Zones -------------------------------------------------------------------------------------------------------------


def test_no_zone_sets_its_clocks_twice_within_a_day() -> None:
    # Or a change could hide between two looks; the table of each zone is only had from the reader in pure Python.
    from zoneinfo import _zoneinfo  # type: ignore[attr-defined] # no part of what is public

    changes = 0
    for key in sorted(zoneinfo.available_timezones()):
        zone = _zoneinfo.ZoneInfo.no_cache(key)
        rows = [(at, info.utcoff) for at, info in zip(zone._trans_utc, zone._ttinfos, strict=True)]
        moments = [at for (at, new), (_, old) in zip(rows[1:], rows, strict=False) if new != old and at > 0]
        changes += len(moments)
        assert all(later - earlier > 86_400 for earlier, later in pairwise(moments)), key
    assert changes > 10_000


@pytest.mark.parametrize("zone", CHANGES)
def test_the_moment_of_a_change_is_found_to_the_second(zone: str) -> None:
    tz, found = load_zone(zone), []
    start, end = datetime(1985, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)
    while (change := first_change(start, end, tz)) is not None:
        before = wall_time(change - timedelta(seconds=1), tz)
        assert wall_time(change, tz) != before + timedelta(seconds=1)
        found.append(f"{change:%Y-%m-%dT%H:%M}")
        start = change
    assert zone == "UTC" or set(CHANGES[zone]) <= set(found)


def test_a_wall_time_is_first_shown_when_it_is_and_skipped_ones_at_the_change() -> None:
    berlin = load_zone("Europe/Berlin")
    assert first_moment(datetime(2026, 10, 25, 2, 30), berlin) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    for minute in (0, 1, 30, 59):
        assert first_moment(datetime(2026, 3, 29, 2, minute), berlin) == datetime(2026, 3, 29, 1, tzinfo=UTC)
    assert first_moment(datetime(2026, 3, 29, 3, 0), berlin) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_what_does_not_schedule_waits_for_no_library() -> None:
    script = (
        "import sys, conductor_jobs, conductor_jobs.schedules\n"
        "print({'cronsim', 'zoneinfo'} & {*sys.modules})\n"
        "conductor_jobs.schedules.Cron('0 6 * * *'); print('cronsim' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["set()", "True"]
