"""Real processes whose work outlives its lease: with --exit-on-overrun they end, and a thaw alone alarms nobody."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from conductor_jobs import JournalEntry, read_journal

from .processes import PATIENCE, Lines, started

THAWS = 5
OPTIONS = ("--lease-ttl-sec", "1", "--timed-jobs-interval-ms", "50")

APP = """
import sys, time
import trio
from conductor_jobs import TimedJobs
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

def only(run):
    jobs = TimedJobs()
    jobs.register_runner(run.__name__, run)
    return jobs

def lose_lease():
    async def gone(*given, **more):
        raise ConnectionError("gone")
    SQLiteLeaseStore.acquire = gone

async def blocks(ctx):
    time.sleep(60)

def works_on(ctx):
    lose_lease()
    time.sleep(60)

async def cleans_up(ctx):
    lose_lease()
    with trio.CancelScope(shield=True):
        await trio.sleep(60)

async def hangs_in_the_journal(ctx):
    JournalFiles.flush = lambda files: time.sleep(60)
    ctx.log("never_written")

async def hangs_in_stderr(ctx):
    sys.stderr.write("x" * 1_000_000)

async def blocks_for_a_while(ctx):
    if not blocked:
        blocked.append(ctx.term)
        time.sleep(2.5)

blocked = []

blocks, works_on, cleans_up = only(blocks), only(works_on), only(cleans_up)
hangs_in_the_journal, hangs_in_stderr = only(hangs_in_the_journal), only(hangs_in_stderr)
blocks_for_a_while = only(blocks_for_a_while)
"""

FREEZER = """
import sys
import trio
from conductor_jobs import Conductor, LeaseTiming, TimedJobs
from conductor_jobs.stores.memory import MemoryLeaseStore

jobs = TimedJobs(interval=0.01)

@jobs.runner("waits")
async def waits(ctx):
    print(ctx.term, flush=True)
    try:
        while True:
            await trio.sleep(0.001)
    finally:
        with trio.CancelScope(shield=True):
            await trio.sleep(0.02)

async def serves(term):
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)

async def main():
    conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=sys.argv[1], timing=LeaseTiming(ttl=1.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(conductor.run_until_signalled)
        await conductor.wait_leader()
        await conductor.run_while_leader(serves)

trio.run(main)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "freezer.py").write_text(FREEZER)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", *arguments]
    environment = os.environ | {"COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=PATIENCE)


def journal_of(folder: Path) -> list[JournalEntry]:
    return list(read_journal(folder / ".conductor/logs/timed-jobs"))


@pytest.mark.parametrize(("runner", "loop_blocked"), [("blocks", True), ("works_on", False), ("cleans_up", False)])
def test_with_exit_on_overrun_the_process_ends_with_70_and_says_why(
    folder: Path, runner: str, loop_blocked: bool
) -> None:
    done = run(folder, "start", f"app:{runner}", "--exit-on-overrun", "--quiet", *OPTIONS)
    assert done.returncode == 70
    assert f"conductor-jobs: runner '{runner}' is still at work" in done.stderr
    assert f" in {runner}: " in done.stderr
    assert done.stderr.splitlines()[-1] == "conductor-jobs: ending with exit code 70"
    last = journal_of(folder)[-1]
    assert (last.stage, last.result) == ("term_overrun", "running")
    assert (last.details["work"], last.details["loop_blocked"]) == (f"runner '{runner}'", loop_blocked)


def test_a_journal_that_hangs_holds_up_no_exit(folder: Path) -> None:
    done = run(folder, "start", "app:hangs_in_the_journal", "--exit-on-overrun", "--quiet", *OPTIONS)
    assert done.returncode == 70
    assert "conductor-jobs: runner 'hangs_in_the_journal' is still at work" in done.stderr
    assert done.stderr.splitlines()[-1] == "conductor-jobs: ending with exit code 70"
    assert journal_of(folder)[-1].stage == "runner_started"


def test_a_stderr_that_nobody_reads_holds_up_no_exit(folder: Path) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "start", "app:hangs_in_stderr", "--exit-on-overrun", *OPTIONS]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == 70


def test_without_the_flag_the_process_reports_and_goes_on(folder: Path) -> None:
    with started(folder, "app:blocks_for_a_while", *OPTIONS) as process:
        process.wait_for("term_overrun", result="running", work="runner 'blocks_for_a_while'")
        process.wait_for("term_overrun", result="ended")
        process.wait_for("leader_started")
        process.wait_for("tick_completed", result="scheduled")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert sum("is still at work" in line for line in process.stderr) == 1


def test_the_help_names_the_exit_code(folder: Path) -> None:
    told = " ".join(run(folder, "start", "--help").stdout.split())
    assert "--exit-on-overrun end at once, with exit code 70, when a job is still at work" in told


def test_a_process_that_thaws_reports_nothing_that_it_could_end_itself(folder: Path) -> None:
    random.seed(18)
    pipe = subprocess.PIPE
    command = [sys.executable, str(folder / "freezer.py")]
    processes = [
        subprocess.Popen([*command, f"logs-{number}"], cwd=folder, stdout=pipe, stderr=pipe, text=True)
        for number in range(3)
    ]
    printed = [Lines(process.stdout) for process in processes if process.stdout is not None]
    errors = [Lines(process.stderr) for process in processes if process.stderr is not None]
    try:
        for _ in range(THAWS):
            for lines in printed:
                assert lines.next("the term of a runner").strip().isdigit()  # it is at work, in the next term
            time.sleep(random.uniform(0, 0.05))  # any moment will do
            for process in processes:
                process.send_signal(signal.SIGSTOP)
            time.sleep(1.3)  # longer than the ttl of 1
            for process in processes:
                process.send_signal(signal.SIGCONT)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        codes = [process.wait(PATIENCE) for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for lines in (*printed, *errors):
            lines.join()
    assert ([lines.all for lines in errors], codes) == ([[]] * len(processes), [0] * len(processes))
    entries = [entry for number in range(3) for entry in read_journal(folder / f"logs-{number}")]
    assert [entry for entry in entries if (entry.stage, entry.result) == ("term_overrun", "running")] == []
    lost = [entry for entry in entries if entry.stage == "leader_ended" and entry.result == "lease_expired"]
    assert len(lost) >= 3 * (THAWS - 1), json.dumps([entry.stage for entry in entries])
