"""The outbox example: what its runners do to the database and the sink, then whole processes, one of them killed."""

import importlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Conductor, Holder, JournalEntry, LeaseLost, StaleTerm, TickContext, read_journal
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import FaultyLeaseStore, MemoryJournal, StoreFault, tick_context

EXAMPLE = Path(__file__).parent.parent / "examples" / "outbox"
ALL = list(range(1, 301))

# As `python examples/outbox` does: the folder of a script is where its imports are looked for first.
sys.path.insert(0, str(EXAMPLE))
outbox: Any = importlib.import_module("outbox")
storage: Any = importlib.import_module("storage")
sys.path.remove(str(EXAMPLE))


@pytest.fixture
def files(tmp_path: Path) -> Any:
    files = storage.Outbox.in_folder(tmp_path)
    assert storage.prepare(files) == 300
    return files


@pytest.fixture
def database(files: Any) -> Iterator[sqlite3.Connection]:
    with storage.connect(files) as database:
        yield database


def deliveries(files: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in files.sink.read_text().splitlines()] if files.sink.exists() else []


def task_messages(database: sqlite3.Connection) -> list[int]:
    return [message for (message,) in database.execute("SELECT message_id FROM tasks ORDER BY id")]


def contents(database: sqlite3.Connection) -> list[str]:
    return list(database.iterdump())


def deliver_pending(database: sqlite3.Connection, files: Any, *, term: int, limit: int) -> None:
    outbox.deliver(database, files.sink, outbox.claim_pending(database, term, limit), term, lambda: None)


# The projector


def test_prepare_writes_messages_once(files: Any) -> None:
    assert storage.prepare(files) == 0
    assert storage.count(files) == (300, 0, 0)


def test_messages_wait_for_the_settle_delay(database: sqlite3.Connection) -> None:
    database.execute("UPDATE messages SET created_at = id")
    assert outbox.project_settled(database, 0, 1, 7.0, 40) == (7, 7)
    assert outbox.project_settled(database, 7, 1, 7.5, 40) == (7, 0)
    assert outbox.project_settled(database, 7, 1, 8.0, 40) == (8, 1)
    assert task_messages(database) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_projector_does_not_pass_a_message_that_has_not_settled(database: sqlite3.Connection) -> None:
    database.execute("UPDATE messages SET created_at = CASE id WHEN 3 THEN 100 ELSE id END")
    assert outbox.project_settled(database, 0, 1, 50.0, 5) == (2, 2)
    assert outbox.project_settled(database, 2, 1, 100.0, 5) == (7, 5)


def test_projector_takes_no_more_than_its_limit_and_goes_on_after_the_message_it_is_told(files: Any) -> None:
    now = time.time()
    for after, latest in ((0, 120), (120, 240)):
        with storage.connect(files) as database:
            assert outbox.project_settled(database, after, 1, now, 120) == (latest, 120)
    with storage.connect(files) as database:
        assert outbox.project_settled(database, 240, 2, now, 120) == (300, 60)
        assert outbox.project_settled(database, 300, 2, now, 120) == (300, 0)
        assert task_messages(database) == ALL


def test_message_that_was_taken_back_is_passed_over(database: sqlite3.Connection) -> None:
    database.execute("DELETE FROM messages WHERE id IN (2, 300)")
    assert outbox.project_settled(database, 0, 1, time.time(), 300) == (299, 298)
    database.execute("INSERT INTO messages (created_at, body) VALUES (0, 'new')")
    assert outbox.project_settled(database, 299, 1, time.time(), 300) == (301, 1)


@pytest.mark.parametrize("delivered", [0, 5, 40])
def test_projection_that_is_repeated_makes_no_task_twice(
    files: Any, database: sqlite3.Connection, delivered: int
) -> None:
    assert outbox.project_settled(database, 0, 1, time.time(), 40) == (40, 40)
    deliver_pending(database, files, term=1, limit=delivered)
    # Whoever did that was killed before its cursor was kept.
    assert outbox.project_settled(database, 0, 2, time.time(), 50) == (50, 10)
    assert outbox.project_settled(database, 0, 2, time.time(), 50) == (50, 0)
    assert task_messages(database) == ALL[:50]
    deliver_pending(database, files, term=2, limit=300)
    assert [delivery["message"] for delivery in deliveries(files)] == ALL[:50]


def test_projector_of_an_older_term_changes_nothing(database: sqlite3.Connection) -> None:
    outbox.project_settled(database, 0, 3, time.time(), 40)
    before = contents(database)
    with pytest.raises(StaleTerm, match="term 2 may not write to the outbox any more: term 3 has"):
        outbox.project_settled(database, 0, 2, time.time(), 40)
    assert contents(database) == before


def test_projection_that_fails_changes_nothing(database: sqlite3.Connection) -> None:
    database.execute(
        "CREATE TRIGGER full BEFORE INSERT ON tasks WHEN NEW.message_id = 40 BEGIN SELECT RAISE(FAIL, 'full'); END"
    )
    before = contents(database)
    with pytest.raises(sqlite3.IntegrityError, match="full"):
        outbox.project_settled(database, 0, 1, time.time(), 40)
    assert contents(database) == before


# The projector's cursor


def project(files: Any, **given: Any) -> TickContext:
    """Run the projector with a context of its own, and return that."""
    ctx = tick_context(resources=files, max_messages_per_tick=40, settle_delay=0.0, **given)
    outbox.project(ctx)
    return ctx


def test_projector_goes_on_at_its_cursor_and_saves_how_far_it_has_come(
    files: Any, database: sqlite3.Connection
) -> None:
    assert project(files).load_cursor_sync() == "message:40"
    assert project(files, cursor="message:40").load_cursor_sync() == "message:80"
    assert task_messages(database) == ALL[:80]
    assert project(files, cursor="message:290").load_cursor_sync() == "message:300"
    assert project(files, cursor="message:300").load_cursor_sync() == "message:300"


async def test_projector_asks_the_store_for_nothing_more_when_there_is_nothing_new(files: Any) -> None:
    with storage.connect(files) as database:
        database.execute("DELETE FROM messages")
    store, journal = FaultyLeaseStore(MemoryLeaseStore()), MemoryJournal()
    conductor = Conductor(outbox.jobs, store=store, resources=files, journal=journal, autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        assert (await conductor.run_tick()).failed_runner_count == 0
        conductor.request_stop()
    asked = [call for _, call in store.calls if call in ("load_cursor", "save_cursor")]
    assert asked == ["load_cursor"]
    assert journal.one("scan_window").details == {"cursor": "message:0"}


async def test_projector_whose_cursor_was_not_kept_takes_up_the_same_messages_and_each_is_delivered_once(
    files: Any, tmp_path: Path
) -> None:
    async def tick(fault: StoreFault | None) -> int:
        store.fault = lambda call: fault if call == "save_cursor" else None
        return (await conductor.run_tick()).failed_runner_count

    store = FaultyLeaseStore(MemoryLeaseStore())
    conductor = Conductor(outbox.jobs, store=store, resources=files, log_dir=tmp_path / "journal", autostart=False)
    unavailable, lost = ConnectionError("no route"), ConnectionError("no answer")
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        assert await tick(StoreFault(error=unavailable)) == 1
        assert storage.count(files) == (300, 40, 40)
        # Carried out, and not known to be: no message is missed, and none is projected twice.
        assert await tick(StoreFault(broken=lost)) == 1
        assert storage.count(files) == (300, 40, 40)
        assert await tick(None) == 0
        assert storage.count(files) == (300, 80, 80)
        conductor.request_stop()
    assert [delivery["message"] for delivery in deliveries(files)] == ALL[:80]
    cursors = [entry.details["cursor"] for entry in read_journal(tmp_path / "journal") if entry.stage == "scan_window"]
    assert cursors == ["message:80"]


async def test_projector_that_was_replaced_before_it_saves_its_cursor_moves_none(files: Any) -> None:
    class Replaced(MemoryLeaseStore):  # type: ignore[misc] # it is final; here somebody else leads when a cursor comes
        async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
            for holder in holders:
                await self.release(lease_name, holder)
            await self.acquire(lease_name, Holder("other", "1"), 30.0)
            await super().save_cursor(lease_name, runner, term, cursor)

        async def acquire(self, lease_name: str, holder: Holder, *args: Any, **more: Any) -> Any:
            holders.add(holder)
            return await super().acquire(lease_name, holder, *args, **more)

    holders: set[Holder] = set()
    store, journal = Replaced(), MemoryJournal()
    conductor = Conductor(outbox.jobs, store=store, resources=files, journal=journal, autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        await conductor.run_tick()
        conductor.request_stop()
    failed = journal.one("runner_failed")
    assert (failed.runner, failed.error) == (
        "outbox.projector",
        "a write under term 1 of lease 'conductor' was refused: its term is 2",
    )
    assert await store.load_cursor("conductor", "outbox.projector") is None


# The dispatcher


@pytest.fixture
def projected(database: sqlite3.Connection) -> sqlite3.Connection:
    outbox.project_settled(database, 0, 1, time.time(), 10)
    return database


def test_dispatcher_takes_no_more_than_its_limit_in_order(files: Any, projected: sqlite3.Connection) -> None:
    deliver_pending(projected, files, term=1, limit=4)
    assert [delivery["task"] for delivery in deliveries(files)] == [1, 2, 3, 4]
    deliver_pending(projected, files, term=2, limit=40)
    deliver_pending(projected, files, term=2, limit=40)
    assert [(delivery["task"], delivery["term"]) for delivery in deliveries(files)] == [
        *((task, 1) for task in (1, 2, 3, 4)),
        *((task, 2) for task in (5, 6, 7, 8, 9, 10)),
    ]
    assert deliveries(files)[0] == {"task": 1, "message": 1, "term": 1, "body": "invoice 1 is due"}
    assert storage.count(files) == (300, 10, 10)


def test_dispatcher_of_an_older_term_sends_nothing(files: Any, projected: sqlite3.Connection) -> None:
    deliver_pending(projected, files, term=3, limit=4)
    before, sent = contents(projected), deliveries(files)
    with pytest.raises(StaleTerm, match="term 2 may not write to the outbox any more: term 3 has"):
        deliver_pending(projected, files, term=2, limit=4)
    assert (contents(projected), deliveries(files)) == (before, sent)


def test_dispatcher_that_was_replaced_after_sending_marks_nothing(files: Any, projected: sqlite3.Connection) -> None:
    tasks = outbox.claim_pending(projected, 1, 4)
    assert outbox.claim_pending(projected, 2, 4) == tasks
    with pytest.raises(StaleTerm):
        outbox.deliver(projected, files.sink, tasks, 1, lambda: None)
    assert storage.count(files).delivered == 0
    deliver_pending(projected, files, term=2, limit=4)
    # The one effect of the old leader: the task that it had in hand is there twice, and the terms tell which is which.
    sent = [(delivery["task"], delivery["term"]) for delivery in deliveries(files)]
    assert sent == [(1, 1), (1, 2), (2, 2), (3, 2), (4, 2)]


def test_dispatcher_sends_nothing_after_the_term(files: Any, projected: sqlite3.Connection) -> None:
    checks = iter([None, None, LeaseLost("over")])

    def check_lease() -> None:
        if (lost := next(checks)) is not None:
            raise lost

    with pytest.raises(LeaseLost):
        outbox.deliver(projected, files.sink, outbox.claim_pending(projected, 1, 4), 1, check_lease)
    assert [delivery["task"] for delivery in deliveries(files)] == [1, 2]
    assert storage.count(files).delivered == 2


# The runners, in a conductor


async def test_runners_keep_to_the_limits_of_their_tick_and_log(files: Any, tmp_path: Path) -> None:
    logs = tmp_path / "journal"
    conductor = Conductor(
        outbox.jobs, store=MemoryLeaseStore(), resources=files, log_dir=logs, autostart=False, lease_name="outbox"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        for count in (40, 80):
            assert (await conductor.run_tick()).failed_runner_count == 0
            assert storage.count(files) == (300, count, count)
        conductor.request_stop()
    entries = list(read_journal(logs))
    assert [entry.details for entry in entries if entry.stage == "scan_window"] == [
        {"cursor": "message:40"},
        {"cursor": "message:80"},
    ]
    claims = [entry.details["task_ids"] for entry in entries if entry.stage == "claim_tasks"]
    assert claims == [ALL[:40], ALL[40:80]]


async def test_runner_of_an_older_term_fails_and_says_so(files: Any, tmp_path: Path) -> None:
    with storage.connect(files) as database:
        outbox.project_settled(database, 0, 7, time.time(), 40)
    logs = tmp_path / "journal"
    conductor = Conductor(outbox.jobs, store=MemoryLeaseStore(), resources=files, log_dir=logs, autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        assert (await conductor.run_tick()).failed_runner_count == 2
        conductor.request_stop()
    assert storage.count(files) == (300, 40, 0)
    assert deliveries(files) == []
    failures = [entry for entry in read_journal(logs) if entry.stage == "runner_failed"]
    assert [(entry.runner, entry.error) for entry in failures] == [
        ("outbox.projector", "term 1 may not write to the outbox any more: term 7 has"),
        ("outbox.dispatcher", "term 1 may not write to the outbox any more: term 7 has"),
    ]


async def test_without_resources_an_outbox_is_made_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outbox.default_outbox.cache_clear()
    conductor = Conductor(outbox.jobs, store=MemoryLeaseStore(), autostart=False)
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await conductor.wait_leader()
        assert (await conductor.run_tick()).failed_runner_count == 0
        conductor.request_stop()
    assert storage.count(storage.Outbox.in_folder(tmp_path / ".conductor" / "outbox-jobs")) == (300, 40, 40)


# Whole processes


def command(folder: Path) -> list[str]:
    return [sys.executable, "-W", "error", str(EXAMPLE), str(folder)]


def of_stage(entries: list[JournalEntry], stage: str) -> list[JournalEntry]:
    return [entry for entry in entries if entry.stage == stage]


@pytest.mark.parametrize(("argument", "code"), [("--help", 0), ("--nope", 2)])
def test_an_option_is_no_folder(tmp_path: Path, argument: str, code: int) -> None:
    line = [sys.executable, str(EXAMPLE), argument]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == code
    assert list(tmp_path.iterdir()) == []


def test_example_delivers_everything_and_ends(tmp_path: Path) -> None:
    files = storage.Outbox.in_folder(tmp_path)
    done = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"300 messages written to {tmp_path}"
    assert lines[-1] == f"300 messages, 300 tasks, 300 delivered, each once; journal: {tmp_path / 'journal'}"

    assert [delivery["task"] for delivery in deliveries(files)] == ALL
    assert [delivery["message"] for delivery in deliveries(files)] == ALL
    journal = read_journal(tmp_path / "journal")
    entries = list(journal)
    assert journal.skipped == []
    assert of_stage(entries, "runner_failed") == []
    assert [task for entry in of_stage(entries, "claim_tasks") for task in entry.details["task_ids"]] == ALL
    assert entries[-1].stage == "stopped"

    again = subprocess.run(command(tmp_path), capture_output=True, text=True, timeout=60)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.splitlines()[0] == f"going on with the messages in {tmp_path}"
    assert again.stdout.splitlines()[-1] == lines[-1]
    assert len(deliveries(files)) == 300


@pytest.fixture
def two_processes(tmp_path: Path) -> Iterator[dict[int, subprocess.Popen[str]]]:
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command(tmp_path), stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    yield {process.pid: process for process in both}
    for process in both:
        process.kill()
        process.communicate()


def wait_for_deliveries(files: Any, count: int) -> None:
    patience = time.monotonic() + 60
    while not files.sink.exists() or files.sink.read_bytes().count(b"\n") < count:
        assert time.monotonic() < patience
        time.sleep(0.01)


def pid_of_holder(entry: JournalEntry) -> int:
    return int(entry.details["holder_id"].rpartition("-")[2])


def pid_of_leader(folder: Path) -> int:
    return pid_of_holder(of_stage(list(read_journal(folder / "journal")), "leader_started")[-1])


def test_one_of_two_processes_is_killed_and_the_other_finishes(
    tmp_path: Path, two_processes: dict[int, subprocess.Popen[str]]
) -> None:
    files = storage.Outbox.in_folder(tmp_path)
    wait_for_deliveries(files, 60)
    killed = two_processes.pop(pid_of_leader(tmp_path))
    (survivor,) = two_processes.values()
    os.kill(killed.pid, signal.SIGKILL)
    assert killed.wait(60) == -signal.SIGKILL
    sent_before = len(deliveries(files))
    assert sent_before < 300

    out, err = survivor.communicate(timeout=60)
    assert (survivor.returncode, err) == (0, "")
    times = Counter(delivery["task"] for delivery in deliveries(files))
    assert sorted(times) == ALL
    # Once each, but for the task that the killed process may have sent and not marked.
    repeated = [task for task, count in times.items() if count > 1]
    assert repeated in ([], [sent_before])
    how = "1 of them again by a later term (see outbox.deliver)" if repeated else "each once"
    journal_dir = tmp_path / "journal"
    assert out.splitlines()[-1] == f"300 messages, 300 tasks, 300 delivered, {how}; journal: {journal_dir}"

    terms = [delivery["term"] for delivery in deliveries(files)]
    assert terms == sorted(terms)
    assert set(terms[sent_before:]).isdisjoint(terms[:sent_before])
    leaders = {pid_of_holder(entry) for entry in of_stage(list(read_journal(journal_dir)), "leader_started")}
    assert leaders == {killed.pid, survivor.pid}
