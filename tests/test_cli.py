"""The command: what it takes, what it says, how it ends."""

import contextlib
import json
import os
import pty
import re
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from conductor_jobs import Holder, __version__
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .processes import PATIENCE, started

APP = """
import contextlib, pathlib, time
import trio
import beside
from conductor_jobs import Every, TimedJobs

jobs = TimedJobs(interval=0.05)
failing = TimedJobs()
stuck = TimedJobs(interval=0.05)
empty = TimedJobs()
scheduled = TimedJobs()
scheduled.register_runner("hourly", print, schedule=Every(3600))
nothing = 5
class Speechless:
    def __repr__(self):
        raise ValueError
speechless = Speechless()

@jobs.runner("fine")
async def fine(ctx):
    ctx.log("limits", details={"interval": ctx.config.interval, "resources": ctx.resources})

@failing.runner("fails")
async def fails(ctx):
    raise ValueError("bad customer")

@stuck.runner("slow")
async def slow(ctx):
    try:
        await trio.sleep_forever()
    finally:
        ctx.log("cleaned_up")

def makes_jobs():
    return jobs

def makes_nothing():
    return 5

def makes_trouble():
    raise SystemExit(3)

@contextlib.asynccontextmanager
async def yields():
    pathlib.Path("pool").write_text("open")
    yield jobs, "resources"
    pathlib.Path("pool").unlink()

@contextlib.asynccontextmanager
async def yields_nothing():
    yield None

@contextlib.asynccontextmanager
async def pool():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        yield jobs, None
        nursery.cancel_scope.cancel()

@contextlib.asynccontextmanager
async def broken_pool():
    async def breaks():
        await trio.sleep(0.2)
        raise ValueError("pool broke")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(breaks)
        yield jobs, None
        nursery.cancel_scope.cancel()

@contextlib.asynccontextmanager
async def closes_slowly():
    yield jobs, None
    print('{"stage": "closing"}', flush=True)
    await trio.sleep(600)

exiting = TimedJobs(interval=0.05)

@exiting.runner("exits")
async def exits(ctx):
    raise SystemExit(0)

thread = TimedJobs(interval=0.05)

@thread.runner("thread")
def never_ends(ctx):
    while True:
        time.sleep(1)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP)
    (tmp_path / "beside.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0")
    return tmp_path


def run(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "conductor_jobs", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=PATIENCE)


def test_run_once_has_one_tick_prints_the_journal_and_says_who_it_is(folder: Path) -> None:
    done = run(
        folder, "start", "app:jobs", "--run-once", "--timed-jobs-interval-ms", "7000",
        BAA_NODE_ID="mini-main", BAA_CONDUCTOR_HOST="mini",
    )  # fmt: skip
    assert done.returncode == 0
    entries = [json.loads(line) for line in done.stdout.splitlines()]
    assert [entry["stage"] for entry in entries] == [
        *("started", "leader_started", "tick_started", "runner_started", "limits", "runner_completed"),
        *("tick_completed", "stopping", "leader_ended", "lease_released", "stopped"),
    ]
    assert entries[4]["interval"] == 7.0
    (file,) = (folder / ".conductor/logs/timed-jobs").iterdir()
    assert file.read_text() == done.stdout
    database = folder / ".conductor/state/conductor.db"
    assert database.is_file()
    assert done.stderr == (
        "conductor-jobs: node mini-main on mini (primary); "
        "lease conductor in store sqlite:///.conductor/state/conductor.db: "
        f"one leader among the processes that open {database}; journal in .conductor/logs/timed-jobs\n"
    )


def test_folders_and_store_are_where_they_are_told_to_be(folder: Path) -> None:
    options = ("--logs-dir", "a/logs", "--state-dir", "b/state")
    assert run(folder, "start", "app.py:jobs", "--run-once", *options).returncode == 0
    assert run(folder, "start", "app.py:jobs", "--run-once", *options, "--store", "sqlite:///c/d.db").returncode == 0
    assert run(folder, "start", "app.py:jobs", "--run-once", *options, "--store", "memory:").returncode == 0
    assert {path.name for path in folder.iterdir()} >= {"a", "b", "c"}
    assert not (folder / ".conductor").exists()


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        (["--store", "memory:"], {}, "store memory:: this process alone; "),
        ([], {"BAA_CONDUCTOR_PUBLIC_API_BASE": "http://control"}, "API base is not used without a shared token"),
        (
            ["--store", "memory:"],
            {"BAA_CONDUCTOR_PUBLIC_API_BASE": "http://control", "BAA_SHARED_TOKEN": "hunter2"},
            "API base is not used beside --store",
        ),
    ],
)
def test_it_says_among_whom_it_leads_and_what_is_not_used(
    folder: Path, arguments: list[str], variables: dict[str, str], said: str
) -> None:
    done = run(folder, "start", "app:jobs", "--run-once", *arguments, **variables)
    assert done.returncode == 0
    assert said in done.stderr
    assert "hunter2" not in done.stderr


def test_a_store_that_does_not_answer_is_named_without_its_password(folder: Path) -> None:
    url = "redis://:hunter2@127.0.0.1:1"
    done = run(folder, "start", "app:jobs", "--run-once", "--store", url)
    assert done.returncode == 1
    assert "store redis://***@127.0.0.1:1: one leader among the processes that use it;" in done.stderr
    assert "nobody knows who leads, and nothing was run: ConnectionError: redis" in done.stderr
    assert "cannot be reached: Connection refused" in done.stderr
    logs = "".join(file.read_text() for file in (folder / ".conductor/logs/timed-jobs").iterdir())
    assert '"acquire_failed"' in logs
    assert "hunter2" not in done.stdout + done.stderr + logs


@pytest.mark.parametrize(("app", "code"), [("app:jobs", 0), ("app:empty", 0), ("app:failing", 1)])
def test_run_once_succeeds_only_if_the_runners_do(folder: Path, app: str, code: int) -> None:
    assert run(folder, "start", app, "--run-once").returncode == code


async def test_each_lease_of_a_store_has_a_leader_of_its_own(folder: Path) -> None:
    await SQLiteLeaseStore(folder / "c.db").acquire("conductor", Holder("other", "1"), 60)
    done = run(folder, "start", "app:jobs", "--run-once", "--store", "sqlite:///c.db", "--lease-name", "billing")
    assert done.returncode == 0
    assert '"stage":"leader_started"' in done.stdout
    assert '"lease_name":"billing"' in done.stdout
    assert "; lease billing in store sqlite:///c.db: " in done.stderr
    assert run(folder, "config", BAA_CONDUCTOR_LEASE_NAME="billing").stdout.count("lease_name: billing\n") == 1


def test_run_once_says_that_it_keeps_no_schedules(folder: Path) -> None:
    done = run(folder, "start", "app:scheduled", "--run-once")
    assert done.returncode == 0
    said = "conductor-jobs: nothing was run: each runner has a schedule, and --run-once keeps none"
    assert said in done.stderr.splitlines()
    assert said not in run(folder, "start", "app:empty", "--run-once").stderr


async def test_run_once_of_a_standby_succeeds(folder: Path) -> None:
    await SQLiteLeaseStore(folder / "c.db").acquire("conductor", Holder("other", "1"), 60)
    done = run(folder, "start", "app:failing", "--run-once", "--store", "sqlite:///c.db")
    assert done.returncode == 0
    assert '"skipped_not_leader"' in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["app"], "APP must be `package.module:name` or `file.py:name`, not 'app'."),
        (["nowhere:jobs"], "APP 'nowhere:jobs' cannot be imported: No module named 'nowhere'."),
        (["nowhere.py:jobs"], "APP file 'nowhere.py' does not exist."),
        (["app:missing"], "APP 'app:missing' must name a TimedJobs, but there is no 'missing'."),
        (["app:speechless"], "an async context manager that yields (jobs, resources), but it is <Speechless>."),
        (["app:nothing"], "an async context manager that yields (jobs, resources), but it is 5."),
        (["app:makes_nothing"], "an async context manager that yields (jobs, resources), but it is 5."),
        (["app:fine"], "APP 'app:fine' is a function that takes arguments: name the TimedJobs, or what returns one."),
        (["app:makes_trouble"], "APP 'app:makes_trouble' failed while it was loaded: SystemExit: 3"),
        (["app:yields_nothing"], "APP must yield (jobs, resources) with a TimedJobs, not None."),
        (["broken:jobs"], "APP 'broken:jobs' failed while it was loaded: ZeroDivisionError: division by zero"),
        (["app:jobs", "--store", "mysql://x"], "`http://…` or `memory:`, in one line, not 'mysql://x'."),
        (["app:jobs", "--lease-renew-interval-ms", "20000"], "20 + 2 * 5 + 3 >= 30 seconds."),
        (["app:jobs", "--store", "sqlite:///app.py"], "is no SQLite database (file is not a database)."),
        (["app:jobs", "--logs-dir", "app.py"], "log_dir 'app.py/timed-jobs' cannot be written: Not a directory."),
        (["--run-onc"], "No such option '--run-onc'. (Did you mean one of: '--run-once', '--runs-dir'?)"),
        (["--lease-ttl"], "No such option '--lease-ttl'. (Did you mean one of: '--lease-name', '--lease-ttl-sec'?)"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(folder: Path, arguments: list[str], message: str) -> None:
    done = run(folder, "start", *arguments)
    assert done.returncode == 2
    assert message in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("app", ["makes_jobs", "yields"])
def test_app_may_be_a_function_or_a_context_manager_around_the_conductor(folder: Path, app: str) -> None:
    done = run(folder, "start", f"app:{app}", "--run-once")
    assert done.returncode == 0
    (limits,) = [entry for entry in map(json.loads, done.stdout.splitlines()) if entry["stage"] == "limits"]
    assert limits["resources"] == (None if app == "makes_jobs" else "resources")
    assert not (folder / "pool").exists()


def test_without_app_there_are_no_runners(folder: Path) -> None:
    done = run(folder, "start", "--run-once")
    assert done.returncode == 0
    assert '"tick_skipped_no_runners"' in done.stdout


def test_quiet_prints_nothing_of_the_journal(folder: Path) -> None:
    done = run(folder, "start", "app:jobs", "--run-once", "--quiet")
    assert (done.returncode, done.stdout) == (0, "")


def test_on_a_terminal_an_entry_is_a_line_for_a_person(folder: Path) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "start", "app:failing", "--run-once"]
    terminal, end = pty.openpty()
    with subprocess.Popen(command, cwd=folder, env={"TZ": "Asia/Kolkata"}, stdout=end, stderr=end) as process:
        os.close(end)
        shown = b""
        with contextlib.suppress(OSError):  # the terminal's other end was closed
            while read := os.read(terminal, 4096):
                shown += read
    os.close(terminal)
    assert process.returncode == 1
    (failed,) = [line for line in shown.decode().splitlines() if "runner_failed" in line]
    now = datetime.now(ZoneInfo("Asia/Kolkata"))
    assert re.search(rf"({now:%H}|{now - timedelta(hours=1):%H}):\d\d:\d\d\.\d\d\d", failed)
    assert "\x1b[31m\x1b[1mfails                    runner_failed        failed" in failed
    assert "bad customer" in failed
    assert '"stage"' not in shown.decode()


def test_the_version_is_told(folder: Path) -> None:
    assert run(folder, "--version").stdout == f"conductor-jobs {__version__}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_drains_and_a_second_cancels(folder: Path, number: signal.Signals) -> None:
    with started(folder, "app:stuck") as process:
        process.wait_for("runner_started")
        process.signal(number)
        process.wait_for("stopping", result="draining")
        process.signal(number)
        assert process.wait() == 130
        assert [entry["stage"] for entry in process.entries][-6:] == [
            *("cleaned_up", "runner_cancelled", "tick_interrupted"),
            *("leader_ended", "lease_released", "stopped"),
        ]


def test_a_drain_lasts_for_as_long_as_it_is_told_to(folder: Path) -> None:
    with started(folder, "app:stuck", "--drain-timeout-sec", "0") as process:
        process.wait_for("runner_started")
        process.signal(signal.SIGTERM)
        began = datetime.fromisoformat(process.wait_for("stopping")["ts"])
        cut = process.wait_for("tick_interrupted", result="drain_timeout")
        # Twenty seconds are the default.
        assert datetime.fromisoformat(cut["ts"]) < began + timedelta(seconds=15)
        assert process.wait() == 0


def test_a_second_signal_ends_a_process_whose_thread_cannot_be_cancelled(folder: Path) -> None:
    with started(folder, "app:thread", "--lease-ttl-sec", "2") as process:
        process.wait_for("runner_started")
        process.signal(signal.SIGINT)
        process.signal(signal.SIGTERM)
        assert process.wait() == 130
        assert process.stderr[-1] == "conductor-jobs: ending with work left that cannot be cancelled\n"


def test_nobody_reading_the_pipe_costs_nothing(folder: Path) -> None:
    command = f"{sys.executable} -m conductor_jobs start app:jobs --run-once | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert len(done.stderr.splitlines()) == 1


def test_a_third_signal_changes_nothing_and_no_stderr_is_needed_to_end(folder: Path) -> None:
    command = [sys.executable, "-m", "conductor_jobs", "start", "app:thread", "--lease-ttl-sec", "2"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "runner_started" in line:
                break
        process.stderr.close()
        for _ in range(3):
            process.send_signal(signal.SIGTERM)
            for line in process.stdout:
                if "stopping" in line:
                    break
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 130


@pytest.mark.parametrize(("redirection", "said"), [("2>/dev/full", ""), (">/dev/full", "No space left on device")])
def test_a_full_output_keeps_no_job_from_running(folder: Path, redirection: str, said: str) -> None:
    command = f"{sys.executable} -m conductor_jobs start app:jobs --run-once {redirection}"
    done = subprocess.run(["bash", "-c", command], cwd=folder, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0
    assert said in done.stderr


def test_a_shell_completes_actions_and_flags(folder: Path) -> None:
    script = run(folder, _CONDUCTOR_JOBS_COMPLETE="bash_source", PATH=os.environ["PATH"]).stdout
    assert "complete -o nosort -F _conductor_jobs_completion conductor-jobs" in script
    words = {
        "_CONDUCTOR_JOBS_COMPLETE": "bash_complete",
        "COMP_WORDS": "conductor-jobs start --lease",
        "COMP_CWORD": "2",
    }
    completed = run(folder, **words)
    assert completed.returncode == 0
    assert completed.stdout.splitlines() == [
        "plain,--lease-name",
        "plain,--lease-renew-interval-ms",
        "plain,--lease-ttl-sec",
    ]
    roles = run(folder, **{**words, "COMP_WORDS": "conductor-jobs start --role ", "COMP_CWORD": "3"})
    assert roles.stdout.splitlines() == ["plain,primary", "plain,standby"]
    apps = run(folder, **{**words, "COMP_WORDS": "conductor-jobs start ap", "COMP_CWORD": "2"})
    assert apps.stdout.splitlines() == ["file,ap"]


def test_an_app_whose_context_manager_opens_a_nursery_runs_and_stops(folder: Path) -> None:
    assert run(folder, "start", "app:pool", "--run-once").returncode == 0
    with started(folder, "app:pool") as process:
        process.wait_for("runner_completed")
        process.signal(signal.SIGTERM)
        assert process.wait() == 0
    assert run(folder, "start", "app:broken_pool").returncode == 1


def test_a_second_signal_cancels_an_app_that_does_not_close(folder: Path) -> None:
    with started(folder, "app:closes_slowly") as process:
        process.wait_for("runner_completed")
        process.signal(signal.SIGINT)
        process.wait_for("closing")
        process.signal(signal.SIGINT)
        assert process.wait() == 130


def test_a_failed_run_once_says_why_and_an_exiting_job_is_a_failure(folder: Path) -> None:
    failed = run(folder, "start", "app:failing", "--run-once", "--quiet")
    assert failed.stderr.splitlines()[-1] == "conductor-jobs: 1 of 1 runners failed, see the journal"
    exited = run(folder, "start", "app:exiting")
    assert exited.returncode == 1
    assert exited.stderr.splitlines()[-1] == "conductor-jobs: ended by a SystemExit, see the journal"
