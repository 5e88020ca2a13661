"""`conductor-jobs runners`: what an APP registers, when it is due, and what the store keeps of it."""

import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Cron, Every, Holder, Retry, TimedJobs, cli
from conductor_jobs.runner_records import Claim, ClaimResult
from conductor_jobs.runners_report import Kept, listed, report_lines
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

from .processes import run_without_a_reader
from .scheduled import NOON, at
from .support import noop

SECRET = "hunter2"
APP = """
from contextlib import asynccontextmanager
from pathlib import Path

from conductor_jobs import Cron, Every, TimedJobs

jobs = TimedJobs(interval=2.5)
told = Path("told")


async def run(ctx):
    told.write_text("it ran")


jobs.register_runner("report", run, schedule=Cron("0 6 * * MON-FRI", tz="Europe/Berlin"))
jobs.register_runner("poll", run, schedule=Every(90))
jobs.register_runner("mails", run)


@asynccontextmanager
async def app():
    told.write_text("opened")
    yield jobs, None
    told.write_text(told.read_text() + ", closed")


@asynccontextmanager
async def broken():
    yield "no jobs"


empty = TimedJobs
number = 42
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an APP, and no store."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.py").write_text(APP)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> SQLiteLeaseStore:
    """One that a term has used."""
    store = SQLiteLeaseStore(".conductor/state/conductor.db")
    trio.run(store.acquire, "conductor", Holder("alpha", "a1"), 30.0)
    trio.run(store.claim, "conductor", [Claim("report", datetime(2026, 11, 20, 5, tzinfo=UTC), 1, "completed")])
    trio.run(store.set_paused, "conductor", "mails", True)
    return store


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = cli.main(["runners", *arguments])
    out, err = capsys.readouterr()
    return code, out, err


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, Any]]:
    code, out, err = run(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return {row["name"]: row for row in json.loads(out)}


def report(kept: Kept, *names: str, **options: Any) -> list[str]:
    jobs = TimedJobs()
    for name in names:
        jobs.register_runner(name, noop, **options)
    return list(report_lines(listed(runner, 10.0, kept, NOON) for runner in jobs.registered))


def test_a_person_is_told_schedule_next_instants_last_claim_limits_and_pause() -> None:
    claim = Claim("report", datetime(2026, 11, 23, 5, tzinfo=UTC), 12, "completed")
    lines = report(
        Kept({"report": claim}, frozenset()),
        "report",
        description="what the day has brought",
        schedule=Cron("0 6 * * MON-FRI", tz="Europe/Berlin"),
        on_crash="rerun",
        timeout=20.0,
        retry=Retry(attempts=5, backoff=2.0, jitter=0.5),
    )
    assert lines == [
        "\x1b[1mreport\x1b[0m  what the day has brought",
        "  schedule    0 6 * * MON-FRI, Europe/Berlin",
        "  policies    misfire run_once, on_crash rerun",
        "  next due    Tue 2026-11-24 06:00+01:00   2026-11-24T05:00:00Z",
        "              Wed 2026-11-25 06:00+01:00   2026-11-25T05:00:00Z",
        "              Thu 2026-11-26 06:00+01:00   2026-11-26T05:00:00Z",
        "  last claim  Mon 2026-11-23 06:00+01:00   2026-11-23T05:00:00Z   completed, term 12",
        "  limits      timeout 20 s, 5 attempts, 2 s and up to 0.5 s apart at first",
        "  paused      no",
    ]


def test_a_runner_without_a_schedule_runs_every_tick_and_has_no_claims() -> None:
    lines = report(Kept({}, frozenset({"b"})), "a", "b")
    assert lines == [
        "\x1b[1ma\x1b[0m",
        "  schedule    every tick (10 s)",
        "  paused      no",
        "",
        "\x1b[1mb\x1b[0m",
        "  schedule    every tick (10 s)",
        "  paused      yes",
    ]


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (Kept(), "-"),
        (Kept({}, frozenset()), "none"),
        (Kept({"report": Claim("report", at(-30), 3)}), "11:59:30Z   not ended, term 3"),
        (Kept({"report": Claim("report", at(-0.5), 1, "registered")}), "11:59:59.500000Z   registered, term 1"),
    ],
)  # fmt: skip
def test_what_is_not_known_is_told_apart_from_what_is_not_there(kept: Kept, told: str) -> None:
    (line,) = [line for line in report(kept, "report", schedule=Every(60)) if "last claim" in line]
    assert line.endswith(told)
    assert line.startswith("  last claim  Mon ") or line == f"  last claim  {told}"


def test_seconds_of_local_time_are_told_where_there_are_any() -> None:
    lines = report(Kept(), "report", schedule=Every(45))
    assert [line[14:] for line in lines if "+00:00" in line] == [
        "Mon 2026-11-23 12:00:45+00:00   2026-11-23T12:00:45Z",
        "Mon 2026-11-23 12:01:30+00:00   2026-11-23T12:01:30Z",
        "Mon 2026-11-23 12:02:15+00:00   2026-11-23T12:02:15Z",
    ]


def test_what_was_taken_ahead_of_the_clock_is_not_told_to_be_due_again() -> None:
    claim = Claim("report", at(120), 1, "completed")
    lines = report(Kept({"report": claim}, frozenset()), "report", schedule=Every(60))
    assert next(line[-20:] for line in lines if "+00:00" in line) == "2026-11-23T12:03:00Z"


def test_names_of_any_text_stay_on_their_line_and_move_no_cursor() -> None:
    wide = "каталог 目録 " * 20
    lines = report(Kept(), "two\nlines\x1b[31m", wide, description="\ta tab")
    assert lines[0] == "\x1b[1mtwo\\nlines\\x1b[31m\x1b[0m  \\ta tab"
    assert lines[4] == f"\x1b[1m{wide.strip()}\x1b[0m  \\ta tab"


def test_a_program_gets_a_list_of_objects(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    before = datetime.now(UTC)
    found = rows(capsys, "jobs.py:jobs")
    assert list(found) == ["report", "poll", "mails"]
    report = found["report"]
    due = [datetime.fromisoformat(text) for text in report.pop("next_due_at")]
    local = [datetime.fromisoformat(text) for text in report.pop("next_due_local")]
    assert local == due
    assert before < due[0] < due[1] < due[2] < before + timedelta(days=6)
    assert {(moment.hour, moment.minute) for moment in local} == {(6, 0)}
    assert report == {
        "name": "report",
        "description": None,
        "schedule": "0 6 * * MON-FRI",
        "tz": "Europe/Berlin",
        "tick_interval": None,
        "misfire": "run_once",
        "on_crash": "report",
        "timeout": None,
        "retry": None,
        "last_claim": {"runner": "report", "due_at": "2026-11-20T05:00:00Z", "term": 1, "result": "completed"},
        "claims_known": True,
        "paused": False,
    }
    assert (found["poll"]["last_claim"], found["poll"]["tz"]) == (None, None)
    assert (found["mails"]["tick_interval"], found["mails"]["next_due_at"], found["mails"]["paused"]) == (2.5, [], True)


def test_any_name_is_json_and_one_line_for_a_person(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "odd.py").write_text(
        "from conductor_jobs import TimedJobs\njobs = TimedJobs()\n"
        "jobs.register_runner('Läufer of\\n two \\x1b lines', print)\n"
    )
    _, out, _ = run(capsys, "odd.py:jobs", "--json")
    assert json.loads(out)[0]["name"] == "Läufer of\n two \x1b lines"
    assert "Läufer of\\n two \\x1b lines" in run(capsys, "odd.py:jobs")[1]


def test_a_context_manager_is_opened_and_closed_and_nothing_runs(
    store: SQLiteLeaseStore, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(rows(capsys, "jobs.py:app")) == ["report", "poll", "mails"]
    assert (folder / "told").read_text() == "opened, closed"


def test_looking_changes_nothing(store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str]) -> None:
    def content() -> list[Any]:
        with sqlite3.connect(store.path) as database:
            tables = ("lease", "released", "node", "claim", "paused", "cursor")
            found = [list(database.execute(f"SELECT * FROM {table}")) for table in tables]
        database.close()
        return found

    before = content()
    run(capsys, "jobs.py:jobs")
    assert content() == before


def test_flags_and_variables_count_as_in_a_start(
    store: SQLiteLeaseStore, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BAA_TIMED_JOBS_INTERVAL_MS", "7000")
    assert rows(capsys, "jobs.py:jobs")["mails"]["tick_interval"] == 7
    assert rows(capsys, "jobs.py:jobs", "--timed-jobs-interval-ms", "500")["mails"]["tick_interval"] == 0.5
    elsewhere = rows(capsys, "jobs.py:jobs", "--store", f"sqlite:///{store.path}", "--state-dir", "elsewhere")
    assert elsewhere["report"]["last_claim"] is not None
    assert rows(capsys, "jobs.py:jobs", "--lease-name", "reports")["report"]["last_claim"] is None


@pytest.mark.parametrize("empty_file", [False, True])
def test_a_store_that_nobody_has_used_is_not_made(
    folder: Path, empty_file: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "state").mkdir()
    if empty_file:
        (folder / "state/conductor.db").touch()
    before = sorted((folder / "state").iterdir())
    code, out, err = run(capsys, "jobs.py:jobs", "--state-dir", "state")
    assert code == 0
    assert err.startswith("conductor-jobs: claims and pauses are not known: store sqlite:///state/conductor.db: ")
    assert err.endswith("conductor.db' does not exist: no node has used this store.\n")
    assert "  last claim  -\n" in out
    assert out.count("  paused      -\n") == 3
    assert sorted((folder / "state").iterdir()) == before
    assert sum(path.stat().st_size for path in before) == 0


def test_of_a_store_that_cannot_be_reached_or_read_the_schedules_are_told_all_the_same(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "notes.db").write_text("not a database " * 100)
    stores = {
        f"redis://:{SECRET}@127.0.0.1:1": "store redis://***@127.0.0.1:1: ",
        f"http://:{SECRET}@127.0.0.1:1": "store http://***@127.0.0.1:1: ",
        "sqlite:///notes.db": "is no SQLite database",
    }
    for url, why in stores.items():
        code, out, err = run(capsys, "jobs.py:jobs", "--json", "--store", url)
        assert code == 0
        assert why in err
        assert SECRET not in err
        assert len(err.splitlines()) == 1
        assert [(row["claims_known"], row["paused"]) for row in json.loads(out)] == [(False, None)] * 3


def test_of_a_store_without_claims_the_columns_stay_empty(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("conductor_jobs.stores.memory.MemoryLeaseStore.claims", None)
    code, out, err = run(capsys, "jobs.py:jobs", "--store", "memory:")
    assert (code, err) == (0, "conductor-jobs: claims and pauses are not known: store memory:: it keeps no claims.\n")
    assert "  last claim  -\n" in out


def test_an_app_without_runners_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "jobs.py:empty", "--store", "memory:") == (0, "no runners are registered\n", "")
    assert run(capsys, "jobs.py:empty", "--store", "memory:", "--json") == (0, "[]\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing argument 'APP'."),
        (["jobs.py:nobody"], "APP 'jobs.py:nobody' must name a TimedJobs, but there is no 'nobody'."),
        (["jobs.py:number"], "but it is 42."),
        (["jobs.py:broken"], "APP must yield (jobs, resources) with a TimedJobs, not 'no jobs'."),
        (["nowhere.py:jobs"], "APP file 'nowhere.py' does not exist."),
        (["jobs.py:jobs", "--lease-name", "two\nlines"], "must be a non-empty line of text, not 'two\\nlines'."),
        (["jobs.py:jobs", "--lease-ttl-sec", "x"], "lease ttl must be a positive integer, not 'x'."),
        (["jobs.py:jobs", "--store", f"mysql://:{SECRET}@db"], "in one line."),
        (["jobs.py:jobs", "--role", "primary"], "No such option '--role'."),
    ],
)
def test_bad_input_is_named_and_ends_with_2(
    folder: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert SECRET not in err
    assert not (folder / ".conductor").exists()


def test_an_app_whose_code_is_missing_a_zone_names_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "astray.py").write_text("from conductor_jobs import Cron\nCron('@daily', tz='Europe/Berlni')\n")
    code, _, err = run(capsys, "astray.py:jobs")
    assert code == 2
    assert "did you mean 'Europe/Berlin'?" in err


def test_a_reader_that_goes_away_is_no_error(folder: Path) -> None:
    assert run_without_a_reader("runners", "jobs.py:jobs", "--store", "memory:") == (0, b"")


def test_help_tells_of_it() -> None:
    command = [sys.executable, "-m", "conductor_jobs", "help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Usage: conductor-jobs runners [OPTIONS] APP" in shown


def test_every_result_of_a_claim_can_be_told() -> None:
    results: tuple[ClaimResult, ...] = ("completed", "failed", "skipped", "paused", "registered", "unknown")
    for result in results:
        kept = Kept({"report": Claim("report", NOON, 1, result)}, frozenset())
        assert any(line.endswith(f"{result}, term 1") for line in report(kept, "report", schedule=Every(60)))
