"""The recorder: what it stamps on entries, what runners say through it, and journals that fail it (I18, seed 1.15)."""

import io
import threading
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import Conductor, Holder, Term, TickContext, TimedJobs, read_journal
from conductor_jobs.clocks import Clocks
from conductor_jobs.journal import JournalEntry
from conductor_jobs.recorder import Recorder
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing.memory_cursor import MemoryCursor

from .support import make_conductor, make_jobs, noop


class ListJournal:
    def __init__(self) -> None:
        self.added: list[JournalEntry] = []
        self.flushed = 0

    def add(self, entry: JournalEntry) -> None:
        self.added.append(entry)

    def flush(self) -> None:
        self.flushed = len(self.added)


class FailingJournal:
    def __init__(self, *, add: Exception | None = None, flush: Exception | None = None) -> None:
        self._add, self._flush = add, flush
        self.calls = 0

    def add(self, entry: JournalEntry) -> None:
        self.calls += 1
        if self._add is not None:
            raise self._add

    def flush(self) -> None:
        self.calls += 1
        if self._flush is not None:
            raise self._flush


class WallClock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def wall_clock() -> WallClock:
    return WallClock(1775001599.25)


@pytest.fixture
def recorder(wall_clock: WallClock) -> Recorder:
    return Recorder(wall_clock)


@pytest.fixture
def journal(recorder: Recorder) -> ListJournal:
    journal = ListJournal()
    recorder.attach([journal])
    return journal


def test_batch_ids_carry_the_milliseconds_and_count_from_1(recorder: Recorder, wall_clock: WallClock) -> None:
    assert recorder.next_batch_id() == "timed-jobs-1775001599250-1"
    wall_clock.now += 0.5
    assert recorder.next_batch_id() == "timed-jobs-1775001599750-2"
    assert Recorder(wall_clock).next_batch_id().endswith("-1")


@pytest.mark.parametrize(
    ("now", "ts"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1775001599.25, "2026-03-31T23:59:59.250Z"),
        (1775001599.9999, "2026-03-31T23:59:59.999Z"),
        (1775001600.0, "2026-04-01T00:00:00.000Z"),
    ],
)
def test_entries_are_stamped_with_the_wall_clock_in_utc_to_the_millisecond(now: float, ts: str) -> None:
    recorder, journal = Recorder(lambda: now), ListJournal()
    recorder.attach([journal])
    recorder.add("r", "s", "b")
    assert (journal.added[0].ts, recorder.today()) == (ts, ts[:10])


def test_the_stamp_follows_a_clock_that_goes_on_or_back(
    recorder: Recorder, journal: ListJournal, wall_clock: WallClock
) -> None:
    for wall_clock.now in (10.0, 10.001, 10.001, 9.0):
        recorder.write("r", "s", "b")
    assert [entry.ts[17:] for entry in journal.added] == ["10.000Z", "10.001Z", "10.001Z", "09.000Z"]


def test_an_entry_carries_what_was_said_and_null_for_the_rest(recorder: Recorder, journal: ListJournal) -> None:
    recorder.add("r", "bare", "b-1")
    recorder.add("r", "full", "b-1", result="ok", details={"n": 1}, duration_ms=12, error="bad")
    ts = "2026-03-31T23:59:59.250Z"
    assert journal.added == [
        JournalEntry("b-1", None, None, None, "r", "bare", ts, {}),
        JournalEntry("b-1", 12, "bad", "ok", "r", "full", ts, {"n": 1}),
    ]


def test_add_keeps_entries_back_until_the_flush_and_write_does_not(recorder: Recorder, journal: ListJournal) -> None:
    recorder.add("r", "kept back", "b-1")
    assert journal.flushed == 0
    recorder.flush()
    assert journal.flushed == 1
    recorder.write("r", "at once", "b-1")
    assert journal.flushed == 2


def test_an_entry_without_a_batch_takes_a_number_of_its_own(recorder: Recorder, journal: ListJournal) -> None:
    for batch_id in (None, "b-7", None):
        recorder.write("r", "s", batch_id)
    assert [entry.batch_id for entry in journal.added] == [
        "timed-jobs-1775001599250-1",
        "b-7",
        "timed-jobs-1775001599250-2",
    ]


def test_every_journal_gets_every_entry_until_others_are_attached(recorder: Recorder) -> None:
    first, second = ListJournal(), ListJournal()
    recorder.write("r", "before", "b")
    recorder.attach([first, second])
    recorder.write("r", "both", "b")
    recorder.attach([second])
    recorder.write("r", "second", "b")
    recorder.attach([])
    recorder.write("r", "after", "b")
    assert [entry.stage for entry in first.added] == ["both"]
    assert [entry.stage for entry in second.added] == ["both", "second"]


@pytest.mark.parametrize(
    "broken",
    [
        FailingJournal(add=OSError("disk gone")),
        FailingJournal(flush=OSError("disk gone")),
        FailingJournal(add=OSError("disk gone"), flush=OSError("disk gone")),
    ],
    ids=["add", "flush", "both"],
)
def test_a_journal_that_raises_is_reported_once_and_disturbs_neither_the_caller_nor_other_journals(
    recorder: Recorder, broken: FailingJournal, capfd: pytest.CaptureFixture[str]
) -> None:
    sound = ListJournal()
    recorder.attach([broken, sound])
    for _ in range(3):
        recorder.write("r", "s", "b")
    assert capfd.readouterr().err == "[timed-jobs-log] write failed: FailingJournal raised OSError: disk gone\n"
    assert (len(sound.added), sound.flushed) == (3, 3)
    assert broken.calls == 6


def test_each_broken_journal_is_reported_and_again_when_attached_anew(
    recorder: Recorder, capfd: pytest.CaptureFixture[str]
) -> None:
    journals = [FailingJournal(add=ValueError("a")), FailingJournal(flush=KeyError("b"))]
    for _ in range(2):
        recorder.attach(journals)
        recorder.write("r", "s", "b")
        told = capfd.readouterr().err.splitlines()
        assert [line.partition("raised ")[2] for line in told] == ["ValueError: a", "KeyError: 'b'"]


@pytest.mark.parametrize("closed", [False, True], ids=["started with 2>&-", "closed later"])
def test_without_a_stderr_there_is_nobody_to_tell(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], closed: bool
) -> None:
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr("sys.stderr", stream if closed else None)
    recorder.attach([FailingJournal(add=OSError("disk gone"))])
    recorder.write("r", "s", "b")
    assert capsys.readouterr().out == ""


def test_entries_written_from_many_threads_are_all_kept_whole(recorder: Recorder, journal: ListJournal) -> None:

    def write(number: int) -> None:
        for index in range(200):
            recorder.write(f"r{number}", str(index), "b")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert journal.flushed == 1600
    for number in range(8):
        own = [entry.stage for entry in journal.added if entry.runner == f"r{number}"]
        assert own == [str(index) for index in range(200)]


def context(recorder: Recorder, resources: object = None) -> TickContext:
    clocks = Clocks(MockClock(), lambda: 0.0)
    term = Term(7, "jobs", Holder("alpha", "1"), clocks, clocks.now())
    config = TimedJobs(max_messages_per_tick=3, max_tasks_per_tick=4, settle_delay=5.0).config
    return TickContext(
        "r", "alpha", "host-a", 7, "b-1", "manual", config, resources, term, recorder, MemoryCursor(None)
    )


def test_a_runner_is_given_its_limits_and_what_the_application_passed_in(recorder: Recorder) -> None:
    resources = object()
    ctx = context(recorder, resources)
    assert (ctx.max_messages_per_tick, ctx.max_tasks_per_tick, ctx.settle_delay) == (3, 4, 5.0)
    assert ctx.resources is resources


def test_what_a_runner_logs_goes_under_its_name_and_batch_at_once(recorder: Recorder, journal: ListJournal) -> None:
    ctx = context(recorder)
    ctx.log("bare")
    ctx.log("full", result="ok", details=MappingProxyType({"n": 1}), duration_ms=0.5, error=ValueError("bad"))
    ctx.log("text", error="in words")
    ts = "2026-03-31T23:59:59.250Z"
    assert journal.flushed == 3
    assert journal.added == [
        JournalEntry("b-1", None, None, None, "r", "bare", ts),
        JournalEntry("b-1", 0.5, "bad", "ok", "r", "full", ts, {"n": 1}),
        JournalEntry("b-1", None, "in words", None, "r", "text", ts),
    ]


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"stage": None}, "stage must be str, not None."),
        ({"result": 5}, "result must be str or None, not 5."),
        ({"details": [1]}, "details must be Mapping or None, not [1]."),
        ({"duration_ms": "5"}, "duration_ms must be int or float or None, not '5'."),
        ({"duration_ms": True}, "duration_ms must be int or float or None, not True."),
        ({"error": 5}, "error must be BaseException or str or None, not 5."),
    ],
    ids=str,
)
def test_log_rejects_what_no_line_could_say_and_writes_nothing(
    recorder: Recorder, journal: ListJournal, fields: dict[str, Any], problem: str
) -> None:
    said: dict[str, Any] = {"stage": "s"} | fields
    with pytest.raises(TypeError) as caught:
        context(recorder).log(**said)
    assert str(caught.value) == f"ctx.log: {problem}"
    assert journal.added == []


# One more journal


def test_a_journal_that_listens_stays_from_run_to_run_and_leaves_nothing_behind(recorder: Recorder) -> None:
    listening, of_run = ListJournal(), ListJournal()
    with recorder.writing_to(listening):
        recorder.write("a", "before")
        recorder.attach([of_run])
        recorder.write("a", "during")
        recorder.attach(())
        recorder.write("a", "after")
    recorder.write("a", "gone")
    assert [entry.stage for entry in listening.added] == ["before", "during", "after"]
    assert [entry.stage for entry in of_run.added] == ["during"]
    assert recorder.journals == ()


def test_of_journals_that_are_equal_the_one_that_left_is_the_one_that_is_gone(recorder: Recorder) -> None:
    class Equal(ListJournal):
        def __eq__(self, other: object) -> bool:
            return isinstance(other, Equal)

        __hash__ = None  # type: ignore[assignment] # as of a list

    one, other = Equal(), Equal()
    first, second = recorder.writing_to(one), recorder.writing_to(other)
    first.__enter__()
    second.__enter__()
    second.__exit__(None, None, None)
    recorder.write("a", "heard")
    assert ([len(one.added), len(other.added)]) == [1, 0]
    first.__exit__(None, None, None)


def test_a_journal_given_twice_is_written_to_twice_and_left_once_at_a_time(recorder: Recorder) -> None:
    journal = ListJournal()
    with recorder.writing_to(journal):
        with recorder.writing_to(journal):
            recorder.write("a", "twice")
        recorder.write("a", "once")
    assert [entry.stage for entry in journal.added] == ["twice", "twice", "once"]


async def test_a_conductor_tells_one_more_journal_of_its_runs(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def logs(ctx: TickContext) -> None:
        ctx.log("seen")

    conductor, journal = make_conductor(make_jobs(logs), log_dir=tmp_path, autostart=False)
    listening = ListJournal()
    for _ in range(2):
        with conductor.journaling_to(listening):
            async with trio.open_nursery() as nursery:
                await nursery.start(conductor.run)
                await conductor.run_tick()
                conductor.request_stop()
    assert [entry.stage for entry in listening.added] == journal.stages()
    assert [entry.stage for entry in listening.added].count("seen") == 2
    with pytest.raises(TypeError, match="Conductor journaling_to journal must have add and flush, not 3"):
        conductor.journaling_to(3)  # type: ignore[arg-type] # what is tested


async def test_a_journal_may_be_added_while_the_conductor_runs(tmp_path: Path, autojump_clock: MockClock) -> None:
    conductor = Conductor(
        make_jobs(noop), store=MemoryLeaseStore(), log_dir=tmp_path, autostart=False, boot_clock=lambda: 0.0
    )
    listening = ListJournal()
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.run_tick()
        with conductor.journaling_to(listening):
            await conductor.run_tick()
        await conductor.run_tick()
        conductor.request_stop()
    stages = ["tick_started", "runner_started", "runner_completed", "tick_completed"]
    assert [entry.stage for entry in listening.added] == stages
    # Whoever listens takes nothing from the files.
    assert [entry.stage for entry in read_journal(tmp_path)].count("runner_completed") == 3
