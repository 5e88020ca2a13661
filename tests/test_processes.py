"""Several real processes on one SQLite file and one log folder: what a kill, a pause and a full disk leave behind."""

import random
import resource
import signal
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from conductor_jobs import JournalEntry, read_journal
from conductor_jobs.verify import verify

from .processes import PATIENCE, Started, elapsed_ms, started

TTL = 3

APP = """
import os, pathlib, time
import trio
from conductor_jobs import TimedJobs

jobs = TimedJobs(interval=0.1)

@jobs.runner("half a second")
async def half_a_second(ctx):
    await trio.sleep(0.5)

@jobs.runner("quick")
async def quick(ctx):
    ctx.log("worked", details={"term_seen": ctx.term})
"""

WRITER = """
import os, time
import trio
from conductor_jobs import TimedJobs

jobs = TimedJobs(interval=0.1)

@jobs.runner("writer")
async def write(ctx):
    with open(f"effects-{os.getpid()}", "a", buffering=1) as file:
        while True:
            deadline = time.clock_gettime(time.CLOCK_BOOTTIME) + ctx.lease_remaining()
            file.write(f"{ctx.term} {time.clock_gettime(time.CLOCK_BOOTTIME)} {deadline}\\n")
            await trio.sleep(0.01)
"""

BUSY = """
from conductor_jobs import RunnerResult, TimedJobs

jobs = TimedJobs(interval=0.01)

@jobs.runner("busy")
async def busy(ctx):
    for number in range(20):
        ctx.log("step", details={"number": number, "padding": "x" * 200})
"""


KILLS = 30
ENDS = ("runner_cancelled", "tick_interrupted", "leader_ended")


@pytest.fixture
def folder(tmp_path: Path) -> Generator[Path, None, None]:
    for name, text in (("app.py", APP), ("writer.py", WRITER), ("busy.py", BUSY)):
        (tmp_path / name).write_text(text)
    yield tmp_path
    # Whatever was done to the processes, the journal that they left shows no fault of theirs.
    assert verify([tmp_path / ".conductor/logs/timed-jobs"]).violations == []


@contextmanager
def leader_and_standby(folder: Path, app: str, ttl: int = TTL) -> Generator[tuple[Started, Started, int], None, None]:
    options = ("--lease-ttl-sec", str(ttl), "--timed-jobs-interval-ms", "100")
    with started(folder, f"{app}:jobs", *options) as leader:
        term = leader.wait_for("leader_started")["term"]
        with started(folder, f"{app}.py:jobs", *options) as standby:
            standby.wait_for("tick_completed", result="skipped_not_leader")
            yield leader, standby, term


def test_after_kill_9_of_the_leader_the_other_leads_with_the_next_term(
    folder: Path, record_property: Callable[[str, object], None]
) -> None:
    with leader_and_standby(folder, "app") as (leader, standby, term):
        leader.wait_for("worked")
        leader.signal(signal.SIGKILL)
        leader.wait()
        entry = standby.wait_for("leader_started")
        standby.wait_for("worked", term_seen=term + 1)
        assert entry["term"] == term + 1
        record_property("failover_ms", elapsed_ms(leader.entries[-1], entry))


def test_sigterm_in_a_tick_lets_it_end_and_hands_over(
    folder: Path, record_property: Callable[[str, object], None]
) -> None:
    with leader_and_standby(folder, "app", ttl=30) as (leader, standby, term):
        tick = leader.wait_for("runner_started", runner="half a second")
        leader.signal(signal.SIGTERM)
        assert leader.wait() == 0
        of_tick = [entry["stage"] for entry in leader.entries if entry["batch_id"] == tick["batch_id"]]
        assert of_tick == [
            *("tick_started", "runner_started", "runner_completed", "runner_started", "worked", "runner_completed"),
            "tick_completed",
        ]
        assert [entry["stage"] for entry in leader.entries[-3:]] == ["leader_ended", "lease_released", "stopped"]
        entry = standby.wait_for("leader_started")
        assert entry["term"] == term + 1
        record_property("handover_ms", elapsed_ms(leader.entries[-2], entry))


def test_a_frozen_leader_thaws_as_a_standby_and_acts_once_at_most(folder: Path) -> None:
    with leader_and_standby(folder, "writer") as (leader, standby, term):
        leader.wait_for("runner_started", runner="writer")
        leader.signal(signal.SIGSTOP)
        standby.wait_for("runner_started", runner="writer", term=term + 1)
        time.sleep(2 * TTL)  # the frozen process's ttl, counted by a real clock
        leader.signal(signal.SIGCONT)
        # Which of the two comes first is not determined, but there is a tick after each end.
        leader.wait_for("leader_ended")
        leader.wait_for("tick_completed", result="skipped_not_leader")
        ends = {entry["stage"]: entry["result"] for entry in leader.entries if entry["stage"] in ENDS}
        assert ends == dict.fromkeys(ENDS, "lease_expired")
        assert standby.popen.poll() is None
        effects = {process.pid: read_effects(folder, process) for process in (leader, standby)}
    of_leader, of_standby = effects[leader.pid], effects[standby.pid]
    # Until the next term begins the last deadline that was seen can only be a renewal short.
    assert sum(1 for _, at, _ in of_leader if at > of_standby[0][1]) <= 1
    assert {effect[0] for effect in of_leader} == {term}
    assert {effect[0] for effect in of_standby} == {term + 1}


def read_effects(folder: Path, process: Started) -> list[tuple[int, float, float]]:
    lines = (folder / f"effects-{process.pid}").read_text().splitlines()
    return [(int(term), float(at), float(deadline)) for term, at, deadline in map(str.split, lines)]


def test_ticks_go_on_while_the_disk_of_the_journal_is_full(folder: Path) -> None:
    with started(folder, "busy:jobs", "--lease-ttl-sec", "5") as process:
        process.wait_for("runner_completed")
        # A limit on the size of files stands in for a full disk; the database stays below it.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (256 * 1024, resource.RLIM_INFINITY))
        (file,) = (folder / ".conductor/logs/timed-jobs").glob("*.jsonl")
        deadline = time.monotonic() + PATIENCE
        while file.stat().st_size < 256 * 1024 and time.monotonic() < deadline:
            process.wait_for("tick_completed", result="scheduled")
        for _ in range(3):
            process.wait_for("tick_completed", result="scheduled")
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        for _ in range(3):
            process.wait_for("tick_completed", result="scheduled")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    complaints = [line for line in process.stderr if line.startswith("[timed-jobs-log] write failed")]
    assert len(complaints) == 1
    reader = read_journal(file)
    entries = list(reader)
    (lost,) = [entry for entry in entries if entry.stage == "journal_lost"]
    assert len(reader.skipped) <= 1
    assert lost.details["lost_entry_count"] == len(process.entries) - (len(entries) - 1)


def test_after_any_kill_every_line_is_whole_but_the_last_of_a_file(folder: Path) -> None:
    random.seed(KILLS)
    kills = 0
    processes = [Started(folder, "busy:jobs", "--lease-ttl-sec", "1") for _ in range(2)]
    try:
        while kills < KILLS:
            victim = random.randrange(2)
            processes[victim].wait_for("started")
            time.sleep(random.uniform(0, 0.15))  # a kill at any moment is what is tested
            processes[victim].signal(signal.SIGKILL)
            processes[victim].wait()
            kills += 1
            processes[victim] = Started(folder, "busy:jobs", "--lease-ttl-sec", "1")
        for process in processes:
            process.wait_for("started")
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
    finally:
        for process in processes:
            process.popen.kill()
            process.wait()
    entries: list[JournalEntry] = []
    for file in (folder / ".conductor/logs/timed-jobs").glob("*.jsonl"):
        reader = read_journal(file)
        entries += reader
        # A torn line is followed by the fresh line of the file's next writer, or is the file's last.
        assert all("JSON" in skipped.reason or "truncated" in skipped.reason for skipped in reader.skipped)
        assert len(reader.skipped) <= kills
    starts = [entry for entry in entries if entry.stage == "started"]
    assert len(starts) == kills + 2
    terms = [entry.details["term"] for entry in entries if entry.stage == "leader_started"]
    assert len(terms) == len(set(terms))
