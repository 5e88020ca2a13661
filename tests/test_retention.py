"""Old journal files are deleted, and nothing else ever is."""

import fcntl
import json
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import retention
from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.journal_folders import is_journal_name
from conductor_jobs.retention import prune
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MockWallClock
from conductor_jobs.verify import verify

from .processes import PATIENCE, started
from .support import make_conductor, make_jobs, noop

START = datetime(2026, 4, 10, 23, 59, 30, tzinfo=UTC)
INCARNATION = "0123456789abcdef"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(folder: Path, *files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in files:
        (folder / name).write_text("{}\n")


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have threads' work done at once: virtual time runs past threads."""

    async def run_sync(work: Callable[..., Any], *arguments: Any, **_: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


def test_only_journal_files_of_days_before_are_deleted(tmp_path: Path) -> None:
    old = ["2026-04-01.jsonl", f"2026-04-02.mini_main-{INCARNATION}.jsonl", f"2025-12-31.a.b-{INCARNATION}.jsonl"]
    kept = [
        "2026-04-03.jsonl",
        f"2026-04-04.mini-{INCARNATION}.jsonl",
        "2026-04-01.jsonl.gz",
        "2026-04-01.notes.jsonl",
        "2026-04-01.json",
        "26-04-01.jsonl",
        "x2026-04-01.jsonl",
        f"2026-04-01.-{INCARNATION}.jsonl",
        f"2026-04-01.mini-{INCARNATION[:-1]}.jsonl",
        "٢٠٢٦-04-01.jsonl",
    ]
    fill(tmp_path, *old, *kept)
    assert prune(tmp_path, "2026-04-03") == retention.Pruned(sorted(old), [])
    assert names(tmp_path) == sorted(kept)


def test_the_names_that_writers_give_are_known(tmp_path: Path) -> None:
    writers = [JournalFiles(tmp_path, node_id, INCARNATION) for node_id in ("mini", "mini/é:\n", "x" * 300)]
    for writer in writers:
        writer.open("2026-04-01")
    assert len(names(tmp_path)) == 3
    assert all(is_journal_name(name) for name in names(tmp_path))
    for writer in writers:
        writer.close()


def test_what_a_living_writer_holds_is_left(tmp_path: Path) -> None:
    first, second = (JournalFiles(tmp_path, node_id, INCARNATION) for node_id in ("alpha", "beta"))
    for writer in (first, second):
        writer.open("2026-04-01")
    held = names(tmp_path)
    fill(tmp_path, "2026-04-02.jsonl")
    assert prune(tmp_path, "2026-04-09").names == ["2026-04-02.jsonl"]
    assert names(tmp_path) == held
    first.close()
    assert prune(tmp_path, "2026-04-09").names == ["2026-04-01.jsonl"]
    second.close()
    assert len(prune(tmp_path, "2026-04-09").names) == 1


def test_folders_links_and_pipes_of_such_names_are_left(tmp_path: Path) -> None:
    (tmp_path / "2026-04-01.jsonl").mkdir()
    (tmp_path / "precious").write_text("x")
    (tmp_path / "2026-04-02.jsonl").symlink_to(tmp_path / "precious")
    os.mkfifo(tmp_path / "2026-04-03.jsonl")
    before = names(tmp_path)
    pruned = prune(tmp_path, "2026-04-09")
    assert (pruned.names, names(tmp_path)) == ([], before)
    # A link is nothing that was ever written: it is told.
    assert pruned.problems == ["2026-04-02.jsonl: Too many levels of symbolic links"]


def test_what_cannot_be_deleted_is_told_and_the_rest_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "2026-04-01.jsonl", "2026-04-02.jsonl", "2026-04-03.jsonl")
    unlink = Path.unlink

    def refusing(path: Path) -> None:
        if path.name == "2026-04-01.jsonl":
            raise PermissionError(13, "Permission denied")
        if path.name == "2026-04-02.jsonl":
            unlink(path)  # another node was a moment faster
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refusing)
    pruned = prune(tmp_path, "2026-04-09")
    assert pruned == retention.Pruned(["2026-04-03.jsonl"], ["2026-04-01.jsonl: Permission denied"])


def test_a_writer_who_takes_a_name_that_another_node_has_just_freed_keeps_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock
    fill(tmp_path, "2026-04-01.jsonl")
    writer = JournalFiles(tmp_path, "mini", INCARNATION)

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / "2026-04-01.jsonl").unlink()
        writer.open("2026-04-01")
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    assert prune(tmp_path, "2026-04-09") == retention.Pruned([], [])
    assert names(tmp_path) == ["2026-04-01.jsonl"]
    writer.close()


def test_a_writer_whose_file_is_deleted_before_it_is_locked_takes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock = fcntl.flock

    def late(file: int, how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        (tmp_path / "2026-04-01.jsonl").unlink()
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", late)
    writer = JournalFiles(tmp_path, "mini", INCARNATION)
    writer.open("2026-04-01")
    writer.add(JournalEntry("b", None, None, None, "r", "s", "2026-04-01T00:00:00.000Z"))
    writer.close()
    assert names(tmp_path) == [f"2026-04-01.mini-{INCARNATION}.jsonl"]
    assert (tmp_path / names(tmp_path)[0]).read_bytes().count(b"\n") == 1


async def test_it_happens_at_the_start_and_after_each_midnight(
    tmp_path: Path, inline: None, autojump_clock: MockClock
) -> None:
    fill(tmp_path, *(f"2026-04-{day:02}.jsonl" for day in range(6, 12)))
    conductor, journal = make_conductor(
        make_jobs(noop, interval=3600.0), log_dir=tmp_path, retention_days=2, wall_clock=MockWallClock(START)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        entry = journal.one("journal_pruned")
        assert (entry.runner, entry.result, entry.error) == ("timed-jobs.framework", "ok", None)
        assert entry.details == {
            "file_count": 2,
            "files": ["2026-04-06.jsonl", "2026-04-07.jsonl"],
            "retention_days": 2,
        }
        # Today's, two days before it, and tomorrow's, of a node whose clock is ahead.
        assert names(tmp_path) == [f"2026-04-{day:02}.jsonl" for day in range(8, 12)]
        await trio.sleep(29.9)
        assert len(journal.all("journal_pruned")) == 1
        await trio.sleep(0.2)
        assert [each.details["files"] for each in journal.all("journal_pruned")[1:]] == [["2026-04-08.jsonl"]]
        await trio.sleep(3 * 86_400)
        assert [each.details["file_count"] for each in journal.all("journal_pruned")] == [2, 1, 1, 1, 1]
        assert names(tmp_path) == ["2026-04-12.jsonl", "2026-04-13.jsonl", "2026-04-14.jsonl"]
        await conductor.stop()
    # What is left can be judged: each file says who wrote it.
    assert verify([tmp_path]).violation_count == 0


async def test_without_it_all_files_are_kept_and_with_nothing_to_delete_nothing_is_said(
    tmp_path: Path, inline: None, autojump_clock: MockClock
) -> None:
    fill(tmp_path, "2020-01-01.jsonl")
    for days in (None, 10**11, 10_000):
        conductor, journal = make_conductor(
            make_jobs(), log_dir=tmp_path, retention_days=days, wall_clock=MockWallClock(START)
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await trio.sleep(100)
            await conductor.stop()
        assert journal.all("journal_pruned") == []
    assert "2020-01-01.jsonl" in names(tmp_path)


async def test_a_clock_that_is_set_ahead_is_noticed_within_the_hour(
    tmp_path: Path, inline: None, autojump_clock: MockClock
) -> None:
    fill(tmp_path, "2026-04-09.jsonl")
    ahead = timedelta(0)
    wall_clock = MockWallClock(START.replace(hour=3))
    conductor, journal = make_conductor(
        make_jobs(), log_dir=tmp_path, retention_days=1, wall_clock=lambda: wall_clock() + ahead.total_seconds()
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await trio.sleep(100)
        ahead = timedelta(days=1)
        assert journal.all("journal_pruned") == []
        await trio.sleep(3600)
        assert journal.one("journal_pruned").details["files"] == ["2026-04-09.jsonl"]
        await conductor.stop()


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), RuntimeError("can't start new thread")])
async def test_a_failure_is_journaled_and_disturbs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock, error: Exception
) -> None:
    async def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(trio.to_thread, "run_sync", failing)
    conductor, journal = make_conductor(
        make_jobs(noop, interval=10.0), log_dir=tmp_path, retention_days=1, wall_clock=MockWallClock(START)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        await trio.sleep(35)
        assert (await conductor.run_tick()).decision == "scheduled"
        assert [entry.result for entry in journal.all("journal_pruned")] == ["failed", "failed"]
        assert str(error) in str(journal.all("journal_pruned")[0].error)
        await conductor.stop()


async def test_a_disk_that_hangs_holds_up_no_tick_and_no_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = threading.Event()
    monkeypatch.setattr(retention, "prune", lambda *_: disk.wait(120))
    conductor, journal = make_conductor(make_jobs(noop), MemoryLeaseStore(), log_dir=tmp_path, retention_days=1)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.wait_leader()
            assert (await conductor.run_tick()).decision == "scheduled"
            with trio.fail_after(60):
                await conductor.stop()
        assert journal.stages()[-1] == "stopped"
    finally:
        disk.set()


def test_two_real_nodes_of_one_folder_delete_what_is_old_once(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("from conductor_jobs import TimedJobs\njobs = TimedJobs()\n")
    folder = tmp_path / ".conductor/logs/timed-jobs"
    folder.mkdir(parents=True)
    old = [f"2020-01-{day:02}.jsonl" for day in range(1, 31)]
    fill(folder, *old)
    variables = {"BAA_CONDUCTOR_RETENTION_DAYS": "7"}
    with started(tmp_path, "app.py:jobs", **variables) as one, started(tmp_path, "app.py:jobs", **variables) as other:
        for node in (one, other):
            node.wait_for("started")
        deleted: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while len(deleted) < len(old):
            assert time.monotonic() < deadline, (one.entries, one.stderr, other.entries, other.stderr)
            time.sleep(0.02)
            deleted = [
                name
                for node in (one, other)
                for entry in node.entries
                if entry["stage"] == "journal_pruned"
                for name in entry["files"]
            ]
        assert sorted(deleted) == old
        today = names(folder)
    assert len(today) == 2
    written = [json.loads(text) for name in today for text in (folder / name).read_text().splitlines()]
    assert {entry["stage"] for entry in written} >= {"started", "journal_pruned"}


@pytest.mark.parametrize("days", [0, -1, 1.5, True, "7"])
def test_anything_but_a_positive_integer_is_refused(days: Any) -> None:
    with pytest.raises(ValueError, match=r"^Conductor retention_days must be None or a positive integer, not "):
        make_conductor(make_jobs(), retention_days=days)
