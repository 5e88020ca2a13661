"""What a long absence left: the same instants as a walk over all of them finds, for far fewer questions."""

from collections import deque
from datetime import UTC, datetime, timedelta
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs.agenda import Agenda, Due
from conductor_jobs.misfires import RUN_ALL_LIMIT, latest
from conductor_jobs.schedules import Cron, Every, Schedule, due_instants

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
#: Even ones, and such as come in bursts, in zones that are set by an hour and by half of one; and for how many days
#: of absence they can all be walked over.
SCHEDULES: tuple[tuple[Schedule, float], ...] = (
    *((Every(0.001), 1e-5), (Every(0.7, jitter=0.6), 0.02), (Every(60, jitter=30), 1), (Every(86_400), 1000)),
    *((Cron("* * * * *"), 0.5), (Cron("0 6 * * *", "Europe/Berlin"), 1000), (Cron("0 0 29 2 *"), 20_000)),
    *((Cron("*/5 9-17 * * MON-FRI", "America/New_York"), 10), (Cron("*/10 1,2 * * *", "Europe/Berlin"), 60)),
    *((Cron("30 1-3 * * *", "Australia/Lord_Howe"), 200), (Cron("* * 23 * *", "Europe/Berlin"), 40)),
)
absences = st.sampled_from(SCHEDULES).flatmap(
    lambda each: st.tuples(st.just(each[0]), st.floats(0, each[1]).map(lambda days: timedelta(days=days)))
)


def missed(schedule: Schedule, absence: timedelta) -> Due | None:
    agenda = Agenda()
    agenda.put("runner", schedule, NOON - absence)
    return next(iter(agenda.take_due(NOON)), None)


def walked(schedule: Schedule, absence: timedelta) -> list[datetime]:
    due = Due("runner", schedule, NOON, NOON)
    return list(takewhile(lambda due_at: due.start_of(due_at) <= NOON, due_instants(schedule, NOON - absence)))


@given(absences, st.integers(1, 150))
def test_an_absence_left_what_a_walk_over_all_of_it_finds(absence: tuple[Schedule, timedelta], count: int) -> None:
    due, instants = missed(*absence), walked(*absence)
    assert (due is None) == (instants == [])
    if due is not None:
        assert (due.first, due.last) == (instants[0], instants[-1])
        assert latest(due, count) == deque(instants, count)[0]


class Asked:
    """A schedule that counts how often it is asked."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.times = 0

    def due_after(self, moment: datetime) -> datetime | None:
        self.times += 1
        return self.schedule.due_after(moment)

    def start_delay(self, name: str, due_at: datetime) -> float:
        return self.schedule.start_delay(name, due_at)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in SCHEDULES], ids=repr)
def test_what_ten_years_left_is_found_by_few_questions(schedule: Schedule) -> None:
    asked = Asked(schedule)
    due = missed(asked, timedelta(days=3653))
    # By halves alone it were fifty, and two thousand.
    assert asked.times <= 35
    asked.times = 0
    assert due is not None
    assert latest(due, RUN_ALL_LIMIT) >= due.first
    assert asked.times <= 7 * RUN_ALL_LIMIT
