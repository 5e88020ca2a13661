"""The agenda: what is due is taken once, what was missed comes as one, and what is not due costs nothing."""

from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs.agenda import Agenda, Due
from conductor_jobs.schedules import Cron, Every, Schedule, due_instants

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def agenda_of(**schedules: Schedule) -> Agenda:
    agenda = Agenda()
    for name, schedule in schedules.items():
        agenda.put(name, schedule, NOON)
    return agenda


def names(taken: list[Due]) -> list[str]:
    return [due.name for due in taken]


def test_what_is_due_is_taken_once_at_its_time() -> None:
    agenda = agenda_of(minutely=Every(60), hourly=Every(3600))
    assert agenda.next_start == at(60)
    assert agenda.take_due(at(59.999)) == []
    assert agenda.take_due(at(60)) == [Due("minutely", Every(60), at(60), at(60))]
    assert agenda.take_due(at(60)) == []
    assert agenda.next_start == at(120)


def test_what_is_due_together_comes_in_the_order_in_which_it_was_put_in() -> None:
    agenda = agenda_of(b=Every(60), a=Every(30), c=Every(20))
    assert names(agenda.take_due(at(20))) == ["c"]
    assert names(agenda.take_due(at(30))) == ["a"]
    agenda.put("b", Every(15), at(30))
    assert names(agenda.take_due(at(60))) == ["b", "a", "c"]


def test_what_was_missed_comes_as_one_from_the_first_to_the_last() -> None:
    agenda = agenda_of(minutely=Every(60))
    (due,) = agenda.take_due(at(310))
    assert (due.first, due.last) == (at(60), at(300))
    assert list(due.instants()) == [at(60), at(120), at(180), at(240), at(300)]
    assert agenda.next_start == at(360)


def test_a_wall_clock_that_is_set_back_repeats_nothing_and_one_set_forward_skips_nothing() -> None:
    agenda = agenda_of(minutely=Every(60))
    assert names(agenda.take_due(at(60))) == ["minutely"]
    for earlier in (at(59), at(0), at(-3600)):
        assert agenda.take_due(earlier) == []
    (due,) = agenda.take_due(at(3600))
    assert [due.first, due.last] == [at(120), at(3600)]


def test_the_last_that_was_missed_is_found_without_counting_all_of_them() -> None:
    calls = Counted(Every(0.001))
    agenda = agenda_of(busy=calls)
    (due,) = agenda.take_due(at(30 * 86_400))
    assert (due.first, due.last) == (at(0.001), at(30 * 86_400))  # 2,592,000,000 of them
    assert calls.asked < 60


def test_jitter_moves_the_start_and_not_the_due_instant() -> None:
    every = Every(60, jitter=59)
    delay = every.start_delay("late", at(60))
    agenda = agenda_of(late=every)
    assert agenda.next_start == at(60) + timedelta(seconds=delay)
    assert agenda.take_due(at(60)) == []
    assert [due.last for due in agenda.take_due(at(60 + delay))] == [at(60)]


def test_a_schedule_can_be_changed_and_removed() -> None:
    agenda = agenda_of(a=Every(60), b=Every(60))
    agenda.put("a", Every(600), NOON)
    agenda.remove("b")
    assert len(agenda) == 1
    assert agenda.next_start == at(600)
    assert agenda.take_due(at(599)) == []
    agenda.put("a", Every(10), at(595))
    assert agenda.take_due(at(600)) == [Due("a", Every(10), at(600), at(600))]
    agenda.remove("a")
    assert agenda.next_start is None
    assert agenda.take_due(at(1e6)) == []
    with pytest.raises(KeyError, match="b"):
        agenda.remove("b")


def test_what_is_put_in_again_after_a_failover_begins_where_the_last_claim_was() -> None:
    agenda = Agenda()
    agenda.put("daily", Cron("0 6 * * *", "Europe/Berlin"), after=datetime(2026, 11, 20, 5, tzinfo=UTC))
    (due,) = agenda.take_due(NOON)
    assert [f"{due_at:%d %H:%M}" for due_at in due.instants()] == ["21 05:00", "22 05:00", "23 05:00"]


def test_what_is_never_due_is_known_and_never_taken() -> None:
    agenda = Agenda()
    agenda.put("last", Cron("@yearly"), datetime(9999, 12, 31, tzinfo=UTC))
    assert (len(agenda), agenda.next_start) == (1, None)
    agenda.remove("last")
    assert len(agenda) == 0


# Any order of calls against a list that is searched through --------------------------------------------------------

steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abcd"), st.integers(1, 9), st.sampled_from([0.0, 0.5, 0.9])),
        st.tuples(st.just("remove"), st.sampled_from("abcd")),
        st.tuples(st.just("wait"), st.floats(-5, 30)),
    ),
    max_size=60,
)


@given(steps)
def test_in_any_order_of_calls_each_instant_is_taken_once_when_it_has_started(steps: list[tuple[Any, ...]]) -> None:
    agenda, now = Agenda(), NOON
    model: dict[str, tuple[Every, datetime]] = {}
    for what, *arguments in steps:
        if what == "put":
            name, seconds, jitter = arguments
            model[name] = Every(seconds, jitter * seconds), now
            agenda.put(name, *model[name])
        elif what == "remove" and arguments[0] in model:
            agenda.remove(arguments[0])
            del model[arguments[0]]
        elif what == "wait":
            now += timedelta(seconds=arguments[0])
            taken = {due.name: list(due.instants()) for due in agenda.take_due(now)}
            for name, (every, after) in model.items():
                started = started_by(now, every, name, after)
                model[name] = every, (started or [after])[-1]
                assert taken.pop(name, []) == started
            assert taken == {}
        upcoming = [starts(every, name, every.due_after(after)) for name, (every, after) in model.items()]
        assert agenda.next_start == min(upcoming, default=None)


def started_by(now: datetime, every: Every, name: str, after: datetime) -> list[datetime]:
    return list(takewhile(lambda due_at: starts(every, name, due_at) <= now, due_instants(every, after)))


def starts(every: Every, name: str, due_at: datetime | None) -> datetime:
    assert due_at is not None
    return due_at + timedelta(seconds=every.start_delay(name, due_at))


# What it costs, counted ----------------------------------------------------------------------------------------------


class Counted:
    """A schedule that counts how often it is asked, and how often its instants are compared."""

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.asked = 0

    def due_after(self, moment: datetime) -> datetime | None:
        self.asked += 1
        due_at = self.schedule.due_after(moment)
        return due_at and Compared.combine(due_at.date(), due_at.timetz())

    def start_delay(self, name: str, due_at: datetime) -> float:
        return 0.0


class Compared(datetime):
    count = 0

    def __lt__(self, other: date) -> bool:
        Compared.count += 1
        return datetime.__lt__(self, other)  # type: ignore[operator] # only datetimes are compared here

    def __le__(self, other: date) -> bool:
        Compared.count += 1
        return datetime.__le__(self, other)  # type: ignore[operator] # as above

    def __eq__(self, other: object) -> bool:
        Compared.count += 1
        return datetime.__eq__(self, other)

    __hash__ = datetime.__hash__


def cost_of_one_that_is_due(others: int) -> tuple[int, int]:
    """Return how many instants are compared, and how many worked out, to take one among others that are not due."""
    idle, busy = Counted(Cron("0 6 * * *")), Counted(Every(60))
    agenda = Agenda()
    for number in range(others):
        agenda.put(f"idle {number}", idle, NOON)
    agenda.put("busy", busy, NOON)
    Compared.count = idle.asked = busy.asked = 0
    assert names(agenda.take_due(at(60))) == ["busy"]
    return Compared.count, idle.asked + busy.asked


def test_what_is_due_is_found_without_looking_at_what_is_not() -> None:
    few, many = cost_of_one_that_is_due(100), cost_of_one_that_is_due(10_000)
    assert few[1] == many[1] == 1
    # To sift one down a heap takes two comparisons a level, each of which Python may make of `==` and `<`.
    assert few[0] <= 4 * 7 + 8
    assert many[0] <= 4 * 14 + 8


def test_when_nothing_is_due_it_takes_one_look() -> None:
    for others in (10, 10_000):
        agenda, idle = Agenda(), Counted(Cron("0 6 * * *"))
        for number in range(others):
            agenda.put(f"idle {number}", idle, NOON)
        Compared.count = idle.asked = 0
        assert agenda.take_due(at(60)) == []
        assert (Compared.count, idle.asked) == (1, 0)


def test_what_is_changed_for_ever_takes_no_more_room() -> None:
    agenda = agenda_of(**{f"idle{number}": Every(3600) for number in range(100)})
    for turn in range(10_000):
        agenda.put(f"idle{turn % 100}", Every(3600 + turn), NOON)
        assert len(agenda._heap) <= 2 * 100 + 64
    for number in range(100):
        agenda.remove(f"idle{number}")
    assert (len(agenda), agenda.next_start, agenda._heap) == (0, None, [])
