"""`conductor-jobs next`: what it takes, what it says, how it ends."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from conductor_jobs.next_report import instant_lines
from conductor_jobs.schedules import Cron, due_instants

from .processes import run_without_a_reader

BERLIN = ("--tz", "Europe/Berlin")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", "next", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_person_is_told_the_meaning_local_time_utc_and_how_long_it_takes() -> None:
    done = run("0 6 * * *", *BERLIN, "--after", "2026-03-27T12:00", "--count", "3")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "At 06:00 every day, Europe/Berlin",
        "Sat 2026-03-28 06:00+01:00   2026-03-28T05:00:00Z   in 18 h",
        "Sun 2026-03-29 06:00+02:00   2026-03-29T04:00:00Z   in 1 d 17 h",
        "Mon 2026-03-30 06:00+02:00   2026-03-30T04:00:00Z   in 2 d 17 h",
    ]


def test_machines_are_told_a_list_of_times_in_utc() -> None:
    done = run("@weekly", "--after", "2026-11-23T01:00+01:00", "--count", "2", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == ["2026-11-29T00:00:00Z", "2026-12-06T00:00:00Z"]


def test_it_begins_with_the_present_in_utc_and_tells_five() -> None:
    before = datetime.now(UTC)
    told = [datetime.fromisoformat(text) for text in json.loads(run("* * * * *", "--json").stdout)]
    assert timedelta(0) < told[0] - before < timedelta(seconds=60 + 30)
    assert [later - told[0] for later in told] == [timedelta(minutes=n) for n in range(5)]


@pytest.mark.parametrize(
    ("expression", "zone", "after", "line"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
         "Sun 2026-03-29 03:00+02:00   2026-03-29T01:00:00Z   in 13 h   "
         "(the clocks skip 2026-03-29 02:30: due at once when they are set)"),
        ("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
         "Mon 2026-03-30 02:00+02:00   2026-03-30T00:00:00Z   in 1 d 12 h   "
         "(the clocks skip 2026-03-29 02:00: passed over)"),
        ("*/30 2 29 3 *", "Europe/Berlin", "2025-09-29T00:00Z",
         "Mon 2027-03-29 02:00+02:00   2027-03-29T00:00:00Z   in 546 d   "
         "(the clocks skip 2026-03-29 02:00: passed over)"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00Z",
         "Sun 2026-10-25 02:30+02:00   2026-10-25T00:30:00Z   in 12 h 30 min   "
         "(the clocks show 02:30 twice: this is the first time)"),
        ("*/30 2 * * *", "Europe/Berlin", "2026-10-25T00:45Z",
         "Sun 2026-10-25 02:00+01:00   2026-10-25T01:00:00Z   in 15 min   "
         "(the clocks show 02:00 twice: this is the second time)"),
        ("0 12 * * *", "Pacific/Apia", "2011-12-30T00:00Z",
         "Sat 2011-12-31 00:00+14:00   2011-12-30T10:00:00Z   in 10 h   "
         "(the clocks skip 2011-12-30 12:00: due at once when they are set)"),
        ("0 6 * * *", "Europe/Berlin", "2026-03-28T12:00Z",
         "Sun 2026-03-29 06:00+02:00   2026-03-29T04:00:00Z   in 16 h"),
        ("* * * * *", "UTC", "2026-03-28T12:00:59.5Z", "Sat 2026-03-28 12:01+00:00   2026-03-28T12:01:00Z   in 0 s"),
        ("0 0 29 2 *", "UTC", "2026-03-28T12:00Z", "Tue 2028-02-29 00:00+00:00   2028-02-29T00:00:00Z   in 702 d 12 h"),
        ("0 0 6 1 *", "Africa/Monrovia", "1972-01-01T00:00Z",
         "Thu 1972-01-06 00:00-00:44:30   1972-01-06T00:44:30Z   in 5 d"),
    ],
)  # fmt: skip
def test_what_is_odd_where_clocks_are_set_is_told_beside_the_instant(
    expression: str, zone: str, after: str, line: str
) -> None:
    start = datetime.fromisoformat(after)
    cron = Cron(expression, zone)
    assert next(instant_lines(cron, due_instants(cron, start), start)) == line


def test_what_was_skipped_is_told_once() -> None:
    start, cron = datetime(2026, 3, 28, 12, tzinfo=UTC), Cron("*/30 2 * * *", "Europe/Berlin")
    told = [line.count("skip") for line in instant_lines(cron, islice(due_instants(cron, start), 4), start)]
    assert told == [1, 0, 0, 0]


def test_a_local_time_may_be_given_without_an_offset_and_a_day_alone() -> None:
    for after in ("2026-07-01", "2026-07-01T00:00", "2026-07-01T00:00+02:00", "2026-06-30T22:00Z"):
        done = run("1 0 * * *", *BERLIN, "--after", after, "--count", "1", "--json")
        assert json.loads(done.stdout) == ["2026-06-30T22:01:00Z"]


def test_after_the_last_instant_there_is_nothing() -> None:
    assert run("@yearly", "--after", "9999-06-01", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["0 24 * * *"], "cron expression '0 24 * * *': hour must be 0 to 23; * for any, a-b, a,b or */n; not '24'."),
        (["0 0 30 2 *"], "cron expression '0 0 30 2 *' is never due: no month has such a day"),
        (["0", "6", "*", "*", "*"], "Got unexpected extra arguments (6 * * *)"),
        (["@daily", "--tz", "Europe/Berlni"], "not 'Europe/Berlni' (did you mean 'Europe/Berlin'?)."),
        (["@daily", "--after", "soon"], "must be a time such as 2026-03-28 or 2026-03-28T06:00+01:00, not 'soon'."),
        (["@daily", "--after", "1950-01-01"], "--after must not be before 1970, as '1950-01-01' is."),
        (["@daily", "--after", "0001-01-01T00:00+14:00"], "--after must be a time such as"),
        (["@daily", "--count", "0"], "must be an integer from 1 to 10000, not '0'."),
        (["@daily", "--count", "10001"], "must be an integer from 1 to 10000, not '10001'."),
        ([], "Missing argument 'EXPRESSION'."),
    ],
)  # fmt: skip
def test_bad_input_is_named_and_ends_with_2(arguments: list[str], message: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]


def test_a_reader_that_goes_away_is_no_error() -> None:
    assert run_without_a_reader("next", "* * * * *", "--count", "2000") == (0, b"")


def test_help_tells_of_it() -> None:
    command = [sys.executable, "-m", "conductor_jobs", "help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Usage: conductor-jobs next [OPTIONS] EXPRESSION" in shown
