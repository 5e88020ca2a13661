"""What the local API remembers, and the events that it keeps: pure, and within bounds whatever happens."""

import gc
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs import JournalEntry
from conductor_jobs.journal import FRAMEWORK, LEASE
from conductor_jobs.local_api.events import MOST_BYTES, MOST_EVENTS, Events
from conductor_jobs.local_api.recent import MOST_CHANGES, MOST_ERRORS, MOST_RUNNERS, MOST_TICKS, Recent
from conductor_jobs.local_api.runs import MOST_RUNS

TS = "2026-11-23T17:00:00.000Z"


def entry(
    runner: str,
    stage: str,
    batch_id: str = "b",
    *,
    error: str | None = None,
    result: str | None = "ok",
    **details: object,
) -> JournalEntry:
    return JournalEntry(batch_id, 1, error, result, runner, stage, TS, details)


def add_tick(recent: Recent, batch_id: str, *runners: str, error: str | None = None) -> None:
    recent.add(entry(FRAMEWORK, "tick_started", batch_id, runner_count=len(runners), trigger="interval"))
    for runner in runners:
        recent.add(entry(runner, "runner_started", batch_id))
        recent.add(entry(runner, "runner_failed" if error else "runner_completed", batch_id, error=error))
    recent.add(entry(FRAMEWORK, "tick_completed", batch_id, runner_count=len(runners), trigger="interval"))


def test_however_much_happens_little_is_remembered() -> None:
    recent = Recent()
    assert recent.forgotten_until is None
    for number in range(MOST_TICKS + 10):
        add_tick(recent, f"b{number}", f"r{number % 3}", error="x" * 10_000)
    assert recent.forgotten_until == TS
    assert len(recent.ticks(10**6)) == MOST_TICKS
    assert recent.ticks(1)[0].batch_id == f"b{MOST_TICKS + 9}"
    assert len(recent.errors(10**6)) == MOST_ERRORS
    assert all(len(each.error) <= 2001 for each in recent.errors(10**6))
    assert len(recent.runs("r0").durations_ms) == MOST_RUNS
    assert recent.runs("r0").run_count == (MOST_TICKS + 10 + 2) // 3


def test_of_too_many_runners_those_are_forgotten_that_have_not_run_for_longest() -> None:
    recent = Recent()
    names = [f"r{number}" for number in range(MOST_RUNNERS + 1)]
    add_tick(recent, "first", *names[:-1])
    add_tick(recent, "second", names[0], names[-1])
    assert recent.runs(names[0]).run_count == 2
    assert recent.runs(names[1]).run_count == 0
    assert recent.runs(names[2]).run_count == 1
    assert recent.runs(names[-1]).run_count == 1


def test_its_memory_does_not_grow() -> None:
    recent = Recent()

    def live(ticks: range) -> None:
        for number in ticks:
            add_tick(recent, f"b{number:09}", "a", "b", error="no luck" if number % 7 == 0 else None)
            recent.add(entry("a", "progress", f"b{number:09}", step=number))
            recent.take_changes()

    tracemalloc.start()
    try:
        live(range(MOST_TICKS * 3))
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        live(range(MOST_TICKS * 3, MOST_TICKS * 6))
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after < before * 1.01


def test_what_has_changed_is_told_once_however_often_it_did() -> None:
    recent = Recent()
    for number in range(5):
        add_tick(recent, f"b{number}", "a")
    changes = recent.take_changes()
    assert [tick.batch_id for tick in changes.ticks] == ["b0", "b1", "b2", "b3", "b4"]
    assert [runner.run_count for runner in changes.runners] == [5]
    assert recent.take_changes() == ([], [], [], False)


def test_when_too_much_has_changed_that_is_told_in_place_of_it() -> None:
    recent = Recent()
    add_tick(recent, "b", *[f"r{number}" for number in range(MOST_CHANGES + 1)])
    assert recent.take_changes().too_many
    assert not recent.take_changes().too_many


@pytest.mark.parametrize(
    ("stage", "result", "decision"),
    [
        ("tick_completed", "scheduled", "scheduled"),
        ("tick_completed", "completed_with_failures", "scheduled"),
        ("tick_completed", "skipped_not_leader", "skipped_not_leader"),
        ("tick_failed", "failed", "failed"),
        ("tick_interrupted", "lease_expired", "interrupted"),
        ("tick_skipped_busy", "skipped_busy", "skipped_busy"),
        ("tick_skipped_stopping", "skipped_stopping", "skipped_stopping"),
        ("tick_skipped_no_runners", "skipped_no_runners", "skipped_no_runners"),
        ("tick_of_a_later_version", "x", None),
    ],
)
def test_a_ticks_decision_is_read_off_its_last_entry(stage: str, result: str, decision: str | None) -> None:
    recent = Recent()
    recent.add(entry(FRAMEWORK, stage, result=result, trigger="manual"))
    (tick,) = recent.ticks(9)
    assert (tick.decision, tick.result, tick.trigger, tick.started_at) == (decision, result, "manual", None)


def test_what_a_runner_logs_is_no_run_and_an_error_of_the_lease_is_an_error() -> None:
    recent = Recent()
    recent.add(entry("a", "scan_window", error="looked wrong"))
    recent.add(entry(LEASE, "renew_failed", error="gone"))
    assert recent.runs("a").run_count == 0
    assert [(each.runner, each.error) for each in recent.errors(9)] == [(LEASE, "gone"), ("a", "looked wrong")]


def test_what_was_at_work_in_a_run_before_is_at_work_no_more() -> None:
    recent = Recent()
    recent.add(entry("a", "runner_started"))
    assert recent.runs("a").at_work_since == TS
    recent.add(entry(FRAMEWORK, "started"))
    assert recent.runs("a").at_work_since is None


# Events


def read(events: Events, place: int) -> list[int] | None:
    """Return the numbers of all events after a place, read a batch at a time."""
    numbers: list[int] = []
    while (batch := events.after(place)) is not None:
        if not batch[0]:
            return numbers
        lines = batch[0].decode().splitlines()
        numbers += [int(line.rpartition(".")[2]) for line in lines if line.startswith("id: ")]
        place = batch[1]
    return None


@given(st.integers(0, MOST_EVENTS * 2), st.integers(0, MOST_EVENTS * 2))
def test_after_a_place_come_all_later_events_or_it_is_said_that_some_are_gone(published: int, place: int) -> None:
    events = Events()
    for number in range(published):
        events.publish("tick", b"%d" % number)
    place = min(place, published)
    expected = None if published - place > MOST_EVENTS else list(range(place + 1, published + 1))
    assert read(events, place) == expected


def test_large_events_push_out_more() -> None:
    events = Events()
    for _ in range(100):
        events.publish("tick", b"x" * (MOST_BYTES // 10))
    assert sum(map(len, events._kept)) <= MOST_BYTES
    assert read(events, 95) == [96, 97, 98, 99, 100]
    assert read(events, 50) is None


@given(st.text(max_size=30))
def test_any_text_that_is_no_id_of_ours_is_no_place(text: str) -> None:
    events = Events()
    events.publish("tick", b"1")
    assert events.place(text) is None


def test_a_place_is_an_id_that_was_given_and_not_one_of_another_life() -> None:
    events, others = Events(), Events()
    for each in (events, others):
        each.publish("tick", b"1")
    written = events.written("hello", b"{}").decode().splitlines()[0].removeprefix("id: ")
    assert events.place(written) == 1
    assert others.place(written) is None
    life = written.rpartition(".")[0]
    assert events.place(f"{life}.0") == 0
    for wrong in (f"{life}.2", f"{life}.-1", f"{life}.", f"{life}.٣", f"{life}.{'9' * 30}", f"{life}.1.1"):
        assert events.place(wrong) is None
