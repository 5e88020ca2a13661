"""Journal files on real disks: rotation, one writer a file, torn lines, full disks, what can never work (I16-I18)."""

import contextlib
import errno
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs.journal import FRAMEWORK, JournalEntry
from conductor_jobs.journal_files import WRITE_LIMIT, JournalFiles
from conductor_jobs.journal_format import encode_line
from conductor_jobs.journal_reader import read_journal

DAY, NEXT_DAY = "2026-04-01", "2026-04-02"
TORN = b'{"batch_id":"b-0","duration_ms":nu'
FAULT = "[timed-jobs-log] write failed: {}: {}; what is lost is counted and journaled once writing works\n"
# Root may write anywhere; what the process needs it has imported before it becomes nobody.
BECOME_NOBODY = "import os; os.geteuid() or (os.setgroups([]), os.setgid(65534), os.setuid(65534))\n"
# Every entry is a line of the same length; there is room for so many of them, and a few bytes of the next.
FULL_DISK = """
import resource, sys
from pathlib import Path
from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.journal_format import encode_line
def entry(number):
    return JournalEntry(f"{number:02}", None, None, "ok", "r", "s", "2026-04-01T00:00:00.000Z")
def room(lines, rest=7):
    size = len(encode_line(entry(0))) * lines + rest
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
def write(*numbers):
    for number in numbers:
        files.add(entry(number))
    files.flush()
files = JournalFiles(Path(sys.argv[1]), "alpha", "f00")
files.open("2026-04-01")
"""


def entry(stage: str, day: str = DAY, runner: str = "r", **details: object) -> JournalEntry:
    return JournalEntry("b-1", None, None, None, runner, stage, f"{day}T00:00:00.000Z", details)


def journal(folder: Path, node_id: str = "alpha", incarnation: str = "f00") -> JournalFiles:
    files = JournalFiles(folder, node_id, incarnation)
    files.open(DAY)
    return files


def write(files: JournalFiles, *entries: JournalEntry) -> None:
    for each in entries:
        files.add(each)
    files.flush()


def failing(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def content(folder: Path) -> dict[str, list[str]]:
    return {file.name: [each.stage for each in read_journal(file)] for file in folder.iterdir()}


def after_full_disk(folder: Path, steps: str) -> tuple[str, str]:
    script = "\n".join([FULL_DISK, steps, "print(files.entries_lost)", "files.close()"])
    told = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    found = [
        f"lost:{each.details['lost_entry_count']}" if each.stage == "journal_lost" else each.batch_id
        for each in read_journal(folder / f"{DAY}.jsonl")
    ]
    return " ".join([*found, f"counted:{told.stdout.strip()}"]), told.stderr


def test_what_was_flushed_is_in_the_file_of_the_day_and_what_was_added_is_not_yet(tmp_path: Path) -> None:
    files = journal(folder := tmp_path / "logs" / "timed-jobs")
    files.add(entry("kept back"))
    assert content(folder) == {f"{DAY}.jsonl": []}
    files.flush()
    assert (folder / f"{DAY}.jsonl").read_bytes() == encode_line(entry("kept back"))
    files.add(entry("more than is kept back", text="x" * WRITE_LIMIT))
    assert content(folder) == {f"{DAY}.jsonl": ["kept back", "more than is kept back"]}
    files.add(entry("last"))
    files.close()
    assert content(folder)[f"{DAY}.jsonl"][2:] == ["last"]


def test_a_new_day_begins_a_file_that_says_first_who_goes_on_in_it(tmp_path: Path) -> None:
    files = journal(tmp_path)
    started = entry("started", runner=FRAMEWORK, node_id="alpha", pid=7)
    write(files, started, entry("a"))
    write(files, entry("b"), entry("c", NEXT_DAY), entry("d", NEXT_DAY))
    files.close()
    assert content(tmp_path) == {
        f"{DAY}.jsonl": ["started", "a", "b"],
        f"{NEXT_DAY}.jsonl": ["continued", "c", "d"],
    }
    first = next(iter(read_journal(tmp_path / f"{NEXT_DAY}.jsonl")))
    assert first == entry("continued", NEXT_DAY, FRAMEWORK, node_id="alpha", pid=7)


def test_a_second_writer_takes_a_file_named_for_itself_until_it_finds_one_free(tmp_path: Path) -> None:
    first, second = journal(tmp_path), journal(tmp_path, "beta/ü", "b00")
    write(first, entry("a"))
    write(second, entry("b"))
    first.close()
    write(second, entry("c"), entry("d", NEXT_DAY))
    third = journal(tmp_path, "gamma", "c00")
    write(third, entry("e"), entry("f", NEXT_DAY))
    assert content(tmp_path) == {
        f"{DAY}.jsonl": ["a", "e"],
        f"{DAY}.beta__-b00.jsonl": ["b", "c"],
        f"{NEXT_DAY}.jsonl": ["d"],
        f"{NEXT_DAY}.gamma-c00.jsonl": ["f"],
    }
    second.close()
    third.close()


def test_after_a_torn_last_line_the_next_writer_begins_on_a_new_one_and_truncates_nothing(tmp_path: Path) -> None:
    file = tmp_path / f"{DAY}.jsonl"
    file.write_bytes(encode_line(entry("whole")) + TORN)
    files = journal(tmp_path)
    for stage in "ab":
        write(files, entry(stage))
    files.close()
    whole, a, b = (encode_line(entry(stage)) for stage in ("whole", "a", "b"))
    assert file.read_bytes() == whole + TORN + b"\n" + a + b


ROOM_FOR_TEN = "01 02 03 04 05 06 07 08 09 10 lost:20 31 counted:20"
TWICE = "room(1); write(1, 2, 3); room(99); write(4); room(5); write(5, 6); room(99); write(7)"


@pytest.mark.parametrize(
    ("steps", "expected", "faults"),
    [
        ("room(10); [write(number) for number in range(1, 31)]; room(99); write(31)", ROOM_FOR_TEN, 1),
        ("room(10); write(*range(1, 31)); room(99); write(31)", ROOM_FOR_TEN, 1),
        ("room(1); write(1, 2); room(1, 50); write(3); room(99); write(4)", "01 lost:2 04 counted:2", 1),
        ("room(1); write(1, 2); room(2, 70); write(3); room(99); write(4)", "01 lost:1 lost:1 04 counted:2", 1),
        (TWICE, "01 lost:2 04 05 lost:1 07 counted:3", 2),
    ],
    ids=["one by one", "at once", "no room to report it", "room for the report alone", "twice"],
)
def test_a_full_disk_costs_what_finds_no_room_is_reported_once_and_its_losses_are_journaled_when_there_is_room(
    tmp_path: Path, steps: str, expected: str, faults: int
) -> None:
    assert after_full_disk(tmp_path, steps) == (expected, FAULT.format(tmp_path, os.strerror(errno.EFBIG)) * faults)


def test_losses_that_nobody_could_write_down_are_told_on_stderr_at_the_end(tmp_path: Path) -> None:
    lines, stderr = after_full_disk(tmp_path, "room(1); write(1, 2, 3)")
    assert lines == "01 counted:2"
    assert stderr.splitlines()[1:] == [f"[timed-jobs-log] write failed: {tmp_path}: 2 entries were lost"]


def test_a_day_whose_file_cannot_be_made_is_lost_until_it_can_and_still_says_who_writes_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files, file = journal(tmp_path), tmp_path / f"{NEXT_DAY}.jsonl"
    write(files, entry("started", runner=FRAMEWORK))
    file.mkdir()
    write(files, entry("a", NEXT_DAY))
    file.rmdir()
    write(files, entry("c", NEXT_DAY))
    files.close()
    assert capfd.readouterr().err == FAULT.format(tmp_path, os.strerror(errno.EISDIR))
    assert sorted(content(tmp_path)[file.name]) == ["c", "continued", "journal_lost"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_disk_that_is_full_when_the_journal_is_opened_may_have_room_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as full:
        full.setattr(os, "open", failing(code))
        files = journal(tmp_path)
    write(files, entry("a"))
    files.close()
    assert content(tmp_path) == {f"{DAY}.jsonl": ["a"]}


async def test_sync_has_the_disk_confirm_the_file_of_the_day_even_if_that_ends_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, confirmed, fdatasync = journal(tmp_path), list[int](), os.fdatasync

    def slow_disk(file: int) -> None:
        trio.from_thread.run_sync(write, files, entry("b", NEXT_DAY))
        fdatasync(file)
        confirmed.append(os.fstat(file).st_ino)

    monkeypatch.setattr(os, "fdatasync", slow_disk)
    await files.sync()
    files.close()
    await files.sync()  # nothing is open
    assert confirmed == [(tmp_path / f"{DAY}.jsonl").stat().st_ino]


async def test_a_day_that_a_thread_ends_as_its_file_is_about_to_be_confirmed_is_no_fault_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    files, dup = journal(tmp_path), os.dup

    def dup_late(file: int) -> int:
        thread = threading.Thread(target=files.add, args=[entry("b", NEXT_DAY)])
        thread.start()
        thread.join()
        return dup(file)

    monkeypatch.setattr(os, "dup", dup_late)
    await files.sync()
    monkeypatch.undo()
    files.close()
    assert content(tmp_path)[f"{NEXT_DAY}.jsonl"] == ["b"]
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("patience", [0.0, 0.05], ids=["cancelled before", "cancelled meanwhile"])
async def test_a_sync_that_the_disk_holds_up_can_be_cancelled_and_leaves_no_descriptor_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, patience: float
) -> None:
    files, disk_is_back, before = journal(tmp_path), threading.Event(), os.listdir("/dev/fd")
    monkeypatch.setattr(os, "fdatasync", lambda _: disk_is_back.wait(120))
    with trio.fail_after(60):
        with trio.move_on_after(patience):
            await files.sync()
        await trio.lowlevel.checkpoint()
        disk_is_back.set()
        while os.listdir("/dev/fd") != before:
            await trio.sleep(0.001)


@pytest.mark.parametrize("call", ["fdatasync", "dup"])
async def test_a_disk_that_confirms_nothing_never_fails_a_sync_and_is_reported_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], call: str
) -> None:
    files = journal(tmp_path)
    for stage in "abc":
        write(files, entry(stage))
        with monkeypatch.context() as faulty:
            faulty.setattr(os, call, failing(errno.EIO))
            await files.sync()
    files.close()
    assert content(tmp_path) == {f"{DAY}.jsonl": ["a", "b", "c"]}
    assert files.entries_lost == 0
    assert capfd.readouterr().err.count("write failed") == 1


@pytest.mark.parametrize("name", ["", "logs", "file", "file/logs"])
def test_a_folder_that_cannot_be_made_or_written_is_named(name: str) -> None:
    with tempfile.TemporaryDirectory() as parent:
        (Path(parent) / "file").touch()
        Path(parent).chmod(0o555)
        folder = str(Path(parent) / name)
        script = FULL_DISK.replace("files =", BECOME_NOBODY + "files =")
        told = subprocess.run([sys.executable, "-c", script, folder], capture_output=True, text=True)
        assert f"Unusable: log_dir {folder!r} cannot be written: " in told.stderr
        assert [file.name for file in Path(parent).iterdir()] == ["file"]


@pytest.mark.parametrize("made_before", ["", "a", "a/logs"])
@pytest.mark.parametrize("is_before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(("function", "at"), [("mkdir", "a"), ("mkdir", "a/logs"), ("open", f"a/logs/{DAY}.jsonl")])
def test_a_folder_that_a_failed_start_takes_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, at: str, is_before: bool, made_before: str
) -> None:
    act = getattr(os, function)
    (tmp_path / made_before).mkdir(parents=True, exist_ok=True)
    chances = [1]

    def act_beside_one_that_cleans_up(path: Path, *arguments: Any) -> Any:
        now = Path(path) == tmp_path / at and bool(chances) and chances.pop()
        if now and is_before:
            clean_up()
        try:
            return act(path, *arguments)
        finally:
            if now and not is_before:
                clean_up()

    def clean_up() -> None:
        for folder in ("a/logs", "a"):
            with contextlib.suppress(OSError):
                (tmp_path / folder).rmdir()

    monkeypatch.setattr(os, function, act_beside_one_that_cleans_up)
    files = journal(tmp_path / "a" / "logs")
    write(files, entry("a"))
    files.close()
    assert content(tmp_path / "a" / "logs") == {f"{DAY}.jsonl": ["a"]}
