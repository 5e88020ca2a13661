"""`conductor-jobs logs`: which entries it prints, how, and how it goes on with what is written later."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import cli, cli_logs, read_journal
from conductor_jobs.journal import FRAMEWORK, LEASE, JournalEntry
from conductor_jobs.journal_format import encode_line
from conductor_jobs.journal_tails import JournalTails
from conductor_jobs.log_lines import Selection

from .journals import Site, on_virtual_time, write_history
from .processes import PATIENCE, Lines, started

APP = """
from conductor_jobs import TimedJobs
jobs = TimedJobs(interval=0.05)

@jobs.runner("fine")
async def fine(ctx):
    pass
"""
COMMAND = [sys.executable, "-m", "conductor_jobs", "logs"]


def line(runner: str, stage: str, second: float, *, day: str = "2026-04-01", **fields: Any) -> bytes:
    values: dict[str, Any] = {"duration_ms": None, "error": None, "result": None, **fields}
    return encode_line(JournalEntry("b-1", runner=runner, stage=stage, ts=f"{day}T12:00:{second:06.3f}Z", **values))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two nodes' journals of two days."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "2026-04-01.jsonl").write_bytes(
        line(FRAMEWORK, "started", 0, details={"node_id": "alpha"})
        + line("mail", "runner_started", 1, result="running", details={"trigger": "interval", "host": "mini"})
        + line("mail", "runner_failed", 3, result="failed", error="bad\ncustomer", duration_ms=2000)
    )
    (folder / "2026-04-01.beta-0123456789abcdef.jsonl").write_bytes(
        line(FRAMEWORK, "started", 2, details={"node_id": "beta"})
    )
    (folder / "2026-04-02.jsonl").write_bytes(
        line(LEASE, "leader_ended", 0, day="2026-04-02", result="lease_expired")
        + line("report", "runner_completed", 1, day="2026-04-02", result="ok", duration_ms=7)
    )
    return folder


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main(["logs", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def stages(out: str) -> list[str]:
    return [json.loads(text)["stage"] for text in out.splitlines()]


def test_a_person_gets_lines_by_day_in_the_order_of_time(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, folder)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "-- Wed 2026-04-01 --",
        "12:00:00.000 alpha            timed-jobs.framework     started node_id=alpha",
        "12:00:01.000 alpha            mail                     runner_started       running trigger=interval",
        "12:00:02.000 beta             timed-jobs.framework     started node_id=beta",
        "12:00:03.000 alpha            mail                     runner_failed        failed 2000 ms bad\\ncustomer",
        "-- Thu 2026-04-02 --",
        "12:00:00.000 ?                timed-jobs.lease         leader_ended         lease_expired",
        "12:00:01.000 ?                report                   runner_completed     ok 7 ms",
    ]


def test_of_one_writer_the_node_is_not_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = run(capsys, folder / "2026-04-01.jsonl")
    assert out.splitlines()[2] == "12:00:01.000 mail                     runner_started       running trigger=interval"


def test_a_program_gets_the_lines_as_they_are(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--json")
    written = b"".join(file.read_bytes() for file in folder.iterdir())
    assert code == 0
    assert sorted(out.splitlines()) == sorted(written.decode().splitlines())
    assert [json.loads(text) for text in out.splitlines()][3]["error"] == "bad\ncustomer"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--runner=mail"], ["runner_started", "runner_failed"]),
        (["--runner=mail", "--runner", "report"], ["runner_started", "runner_failed", "runner_completed"]),
        (["--runner=nobody"], []),
        (["--failed"], ["runner_failed", "leader_ended"]),
        (["--failed", "--runner=mail"], ["runner_failed"]),
        (["--since=2026-04-01T12:00:03Z"], ["runner_failed", "leader_ended", "runner_completed"]),
        (["--since=2026-04-02T00:00:00Z"], ["leader_ended", "runner_completed"]),
        (["--since=1s"], []),
    ],
)
def test_entries_are_chosen(
    folder: Path, capsys: pytest.CaptureFixture[str], options: list[str], expected: list[str]
) -> None:
    code, out, err = run(capsys, folder, "--json", *options)
    assert (code, stages(out), err) == (0, expected, "")


def test_an_error_is_a_failure_whatever_came_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "2026-04-01.jsonl").write_bytes(
        line("r", "retried", 1, error="no answer")
        + line("r", "runner_completed", 2, result="ok")
        + line(LEASE, "term_overrun", 3, result="running")
        + line(FRAMEWORK, "journal_lost", 4, result="lost")
    )
    assert stages(run(capsys, tmp_path, "--json", "--failed")[1]) == ["retried", "term_overrun", "journal_lost"]


def test_a_span_counts_back_from_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    now = datetime.now(UTC)
    for hours in (3, 1):
        moment = datetime.fromtimestamp(now.timestamp() - hours * 3600, UTC)
        entry = JournalEntry("b", None, None, None, "r", f"{hours} h ago", f"{moment:%Y-%m-%dT%H:%M:%S}.000Z")
        with (tmp_path / f"{moment:%Y-%m-%d}.jsonl").open("ab") as file:
            file.write(encode_line(entry))
    assert stages(run(capsys, tmp_path, "--json", "--since=2h")[1]) == ["1 h ago"]
    assert stages(run(capsys, tmp_path, "--json", "--since=1d")[1]) == ["3 h ago", "1 h ago"]


def test_without_a_folder_it_is_the_one_that_start_writes_to(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    base = folder.parent / "base"
    base.mkdir()
    folder.rename(base / "timed-jobs")
    assert len(stages(run(capsys, "--json", "--logs-dir", base)[1])) == 6
    monkeypatch.setenv("BAA_LOGS_DIR", str(base))
    monkeypatch.setenv("BAA_CONDUCTOR_LEASE_TTL_SEC", "soon")
    assert len(stages(run(capsys, "--json")[1])) == 6


def test_lines_that_are_no_entries_are_skipped_and_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "2026-04-01.jsonl"
    file.write_bytes(b"rubbish\n" * 12 + file.read_bytes() + b'{"batch_id":"b-1","dura')
    code, out, err = run(capsys, folder, "--json")
    assert (code, len(out.splitlines())) == (0, 6)
    told = err.splitlines()
    assert f"conductor-jobs: skipped {file}:1, no entry: " in told[0]
    assert len(told) == 11
    assert told[-1] == "conductor-jobs: skipped 3 more lines that are no entries"
    file.write_bytes(file.read_bytes().replace(b"rubbish\n", b""))
    _, out, err = run(capsys, folder, "--json")
    assert err == f"conductor-jobs: skipped {file}:4, cut off\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "no journal at 'nowhere': there is no such folder or file"),
        (["empty"], "no journal at 'empty': the folder has no *.jsonl"),
        (["empty", "--runner="], "Invalid value for '--runner': must be a non-empty line of text, not ''."),
        (["--logs-dir="], "--logs-dir: Conductor logs dir must be a path in one line"),
    ],
)
def test_bad_input_is_named_and_ends_with_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


async def follow(tails: JournalTails, seen: list[str]) -> None:
    def render(new: Any) -> Iterator[bytes]:
        seen.append(new.facts.ts)
        yield b""

    await cli_logs.follow(tails, Selection(), render, [])


def test_it_follows_nodes_over_midnight_a_failover_and_a_restart(tmp_path: Path) -> None:
    seen: list[str] = []
    tails = JournalTails([tmp_path / "logs"], lambda skipped: pytest.fail(str(skipped)))

    async def main() -> None:
        site = Site(tmp_path / "logs")
        alpha, alphas_store = site.node("alpha")
        beta, _ = site.node("beta")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, tails, seen)
            await trio.sleep(1)
            await nursery.start(alpha.run)
            await nursery.start(beta.run)
            await trio.sleep(80)
            alphas_store.hang()
            await beta.wait_leader()
            alphas_store.heal()
            await alpha.stop()
            await nursery.start(alpha.run)
            await trio.sleep(20)
            await alpha.stop()
            await beta.stop()
            await trio.sleep(2 * cli_logs.LOOK_INTERVAL)
            nursery.cancel_scope.cancel()

    on_virtual_time(main)
    written = [entry.ts for entry in read_journal(tmp_path / "logs")]
    assert len({file.name[:10] for file in (tmp_path / "logs").iterdir()}) == 2
    assert len(list((tmp_path / "logs").iterdir())) > 3
    assert sorted(seen) == written
    # What is late by one look is told late.
    late = [(now, latest) for now, latest in zip(seen[1:], seen, strict=False) if now < latest]
    assert all(_seconds(latest) - _seconds(now) <= cli_logs.LOOK_INTERVAL for now, latest in late)


def _seconds(ts: str) -> float:
    return datetime.fromisoformat(ts).timestamp()


async def test_a_new_line_is_told_with_the_next_look(tmp_path: Path, autojump_clock: MockClock) -> None:
    seen: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, JournalTails([tmp_path], lambda _: None), seen)
        await trio.sleep(10.1)
        (tmp_path / "2026-04-01.jsonl").write_bytes(line("r", "s", 1))
        await trio.sleep(0.14)
        assert seen == []
        await trio.sleep(0.02)
        assert seen == ["2026-04-01T12:00:01.000Z"]
        nursery.cancel_scope.cancel()


def test_a_real_conductor_is_followed_from_before_its_folder_exists_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(APP)
    logs = subprocess.Popen(
        [*COMMAND, "--follow", "--json"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert logs.stdout is not None
    assert logs.stderr is not None
    out, err = Lines(logs.stdout), Lines(logs.stderr)
    try:
        assert "waiting for .conductor/logs/timed-jobs, which does not exist yet" in err.next()
        with started(tmp_path, "app.py:jobs") as conductor:
            conductor.wait_for("started")
            assert json.loads(out.next())["stage"] == "started"
            out.wait_for('"stage":"runner_completed"')
            conductor.signal(signal.SIGTERM)
            assert conductor.wait() == 0
        out.wait_for('"stage":"stopped"')
        shutil.rmtree(tmp_path / ".conductor")
        with started(tmp_path, "app.py:jobs") as conductor:
            conductor.wait_for("started")
            assert json.loads(out.next())["stage"] == "started"
        logs.send_signal(signal.SIGINT)
        assert logs.wait(PATIENCE) == 130
        err.join()
        assert [line for line in err.all[1:] if line.strip()] == []
    finally:
        logs.kill()
        logs.wait()
        out.join()
        err.join()


def test_a_reader_that_goes_away_ends_it_silently(folder: Path) -> None:
    for options in ([], ["--follow"]):
        logs = subprocess.Popen([*COMMAND, *options, folder], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert logs.stdout is not None
        assert logs.stderr is not None
        logs.stdout.readline()
        logs.stdout.close()
        try:
            # Also where nothing more is written.
            assert logs.wait(PATIENCE) == 0
            assert logs.stderr.read() == b""
        finally:
            logs.kill()
            logs.wait()
            logs.stderr.close()


def test_a_reader_that_is_gone_from_the_start_is_no_failure(tmp_path: Path) -> None:
    write_history(tmp_path)
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {tmp_path} | true; exit ${{PIPESTATUS[0]}}"])
    assert done.returncode == 0


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_at_a_terminal_what_failed_is_red(folder: Path, variables: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {
        "TERM": "xterm",
        **{name: text for name, text in os.environ.items() if name != "NO_COLOR"},
        **variables,
    }
    done = subprocess.run([*COMMAND, folder, "--failed"], stdout=theirs, stderr=subprocess.PIPE, env=environment)
    os.close(theirs)
    text = os.read(ours, 100_000).decode()
    os.close(ours)
    assert (done.returncode, done.stderr) == (0, b"")
    assert ("\x1b[31m" in text) == coloured
    assert ("\x1b" in text) == coloured
    assert "mail                     runner_failed        failed" in click.unstyle(text)
    assert re.search(r"(?m)^12:00:03\.000 alpha", click.unstyle(text))


def test_without_an_output_there_is_nothing_to_do(folder: Path) -> None:
    done = subprocess.run(["bash", "-c", f"{' '.join(COMMAND)} {folder} >&-"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
