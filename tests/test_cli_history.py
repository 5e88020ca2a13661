"""`conductor-jobs history`: what the runs of each runner came to."""

import contextlib
import io
import json
import os
import pty
import re
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs import cli
from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_format import encode_line
from conductor_jobs.run_history import RunHistory

from .journals import write_history

COMMAND = [sys.executable, "-m", "conductor_jobs", "history"]


def end(runner: str, ts: str, duration_ms: float | None, stage: str = "runner_completed", **fields: Any) -> bytes:
    values: dict[str, Any] = {"result": "ok", "error": None, **fields}
    return encode_line(JournalEntry("b-1", duration_ms, runner=runner, stage=stage, ts=ts, **values))


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A day of a runner that fails once, and of one that is cut short, in the files of two writers."""
    folder = tmp_path / "logs"
    folder.mkdir()
    mails = [end("mail", f"2026-04-01T{hour:02}:00:00.000Z", hour * 10) for hour in range(24)]
    mails[5] = end("mail", "2026-04-01T05:00:00.000Z", 60, "runner_failed", result="failed", error="bad")
    starts = [end("mail", "2026-04-01T23:59:59.999Z", None, "runner_started", result="running")]
    (folder / "2026-04-01.jsonl").write_bytes(b"".join(mails + starts))
    (folder / "2026-04-01.beta-0123456789abcdef.jsonl").write_bytes(
        end("report\n", "2026-04-01T12:00:00.500Z", 90_000)
        + end("report\n", "2026-04-01T12:00:00.400Z", 4000, "runner_cancelled", result="lease_expired")
    )
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    code = cli.main(["history", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_person_gets_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, folder)
    assert (code, err) == (0, "")
    head = "RUNNER    RUNS  FAILED  CUT SHORT     P50      P95      MAX  LAST                    "
    assert out.splitlines() == [
        "2026-04-01 00:00:00 to 2026-04-01 23:59:59, 27 lines",
        f"{head}MEAN DURATION, EACH 1 h",
        "mail        24       1          0  110 ms   220 ms   230 ms  2026-04-01 23:00:00 ok  ▁▁▁▂▂▃▃▃▃▄▄▄▅▅▅▆▆▆▇▇▇███",
        "report\\n     2       0          1  4.01 s  1.5 min  1.5 min  2026-04-01 12:00:00 ok              █",
    ]


def test_a_program_gets_one_object(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--json")
    report: dict[str, Any] = json.loads(out)
    mail, other = report.pop("runners")
    assert code == 0
    assert report == {
        "begins": "2026-04-01T00:00:00.000Z",
        "ends": "2026-04-01T23:59:59.999Z",
        "slot_seconds": 3599.999958,
        "line_count": 27,
        "skipped_line_count": 0,
    }
    slots = mail.pop("slots")
    assert mail == {
        "runner": "mail",
        "runs": 24,
        "failures": 1,
        "cut_short": 0,
        "p50_ms": 110,
        "p95_ms": 220,
        "max_ms": 230,
        "last": {"ts": "2026-04-01T23:00:00.000Z", "result": "ok"},
    }
    assert [(slot["runs"], slot["failures"]) for slot in slots] == [(1, int(hour == 5)) for hour in range(24)]
    assert slots[7]["mean_ms"] == 70
    assert slots[1]["ts"] == "2026-04-01T00:59:59.999Z"
    # The latest by time, in whichever order the lines are.
    assert other["last"] == {"ts": "2026-04-01T12:00:00.500Z", "result": "ok"}
    assert (other["cut_short"], other["max_ms"]) == (1, 90_000)
    assert [slot["runs"] for slot in other["slots"]] == [0] * 12 + [2] + [0] * 11


def test_only_what_is_asked_for_is_counted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = json.loads(run(capsys, folder, "--json", "--since=2026-04-01T20:00Z", "--runner=mail")[1])
    assert [(row["runner"], row["runs"]) for row in report["runners"]] == [("mail", 4)]
    assert report["begins"] == "2026-04-01T20:00:00.000Z"
    assert [slot["runs"] for slot in report["runners"][0]["slots"]] == ([1] + [0] * 5) * 4
    assert run(capsys, folder, "--since=1s") == (0, "no run of a runner has ended\n", "")


def test_what_a_runner_says_is_no_end_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    moment = "2026-04-01T00:00:00.000Z"
    details = {"inner": {"stage": "runner_failed"}, "text": '"stage":"runner_completed"'}
    (tmp_path / "j.jsonl").write_bytes(
        end("r", moment, 1, "scan", details=details)
        + end("r", moment, 2, "runner_started", details=details)
        + end("r", moment, 3, details={"inner": {"stage": "runner_started"}})
    )
    (row,) = json.loads(run(capsys, tmp_path, "--json")[1])["runners"]
    assert (row["runs"], row["failures"], row["max_ms"]) == (1, 0, 3)


TIMES = ["", "foo", "~~~", "2026-04-01", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "2026-04-01T00:00:00Z"]


@given(
    st.lists(
        st.tuples(
            st.text(max_size=3),
            st.sampled_from(TIMES),
            st.one_of(st.none(), st.integers(), st.floats(allow_nan=False)),
            st.sampled_from(["runner_completed", "runner_failed", "runner_cancelled", "other"]),
        ),
        max_size=5,
    )
)
def test_whatever_others_wrote_is_read(lines: list[tuple[str, str, float | None, str]]) -> None:
    with TemporaryDirectory() as name, contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())):
        (Path(name) / "j.jsonl").write_bytes(b"".join(end(*fields) for fields in lines))
        for command in ("history", "logs"):
            for options in ([], ["--json"]):
                assert cli.main([command, *options, name]) == 0


def test_durations_that_are_no_integers_are_rounded_and_none_is_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moment = "2026-04-01T00:00:00.000Z"
    (tmp_path / "j.jsonl").write_bytes(b"".join(end("r", moment, each) for each in (1.6, None, -5, 0.2)))
    (row,) = json.loads(run(capsys, tmp_path, "--json")[1])["runners"]
    assert (row["runs"], row["p50_ms"], row["max_ms"]) == (4, 0, 2)


def test_lines_that_are_no_entries_are_skipped_and_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = folder / "2026-04-01.jsonl"
    file.write_bytes(b'{"batch_id":"b-1","dura\n\nrubbish\n' + file.read_bytes() + b'{"batch_id":"b-1","dura')
    code, out, err = run(capsys, folder, "--json")
    assert (code, json.loads(out)["skipped_line_count"]) == (0, 3)
    assert [text.partition(", ")[0] for text in err.splitlines()] == [
        *(f"conductor-jobs: skipped {file}:{number}" for number in (1, 3, 29))
    ]
    assert err.splitlines()[2].endswith("cut off")
    assert json.loads(out)["runners"][0]["runs"] == 24


def test_it_agrees_with_what_conductors_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_history(tmp_path)
    entries = [json.loads(text) for file in tmp_path.glob("*.jsonl") for text in file.read_text().splitlines()]
    report = json.loads(run(capsys, tmp_path, "--json")[1])
    for row in report["runners"]:
        stages = [each["stage"] for each in entries if each["runner"] == row["runner"]]
        assert row["runs"] == sum(stages.count(f"runner_{how}") for how in ("completed", "failed", "cancelled"))
        assert row["failures"] == stages.count("runner_failed")
        assert row["cut_short"] == stages.count("runner_cancelled")
        assert sum(slot["runs"] for slot in row["slots"]) == row["runs"]
    assert [row["runner"] for row in report["runners"]] == ["failing", "quick", "slow"]
    assert report["line_count"] == len(entries)


def test_an_empty_journal_has_no_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "2026-04-01.jsonl").touch()
    assert run(capsys, tmp_path) == (0, "no run of a runner has ended\n", "")
    assert run(capsys, tmp_path / "no")[0] == 2


def test_memory_does_not_grow_with_the_lines(tmp_path: Path) -> None:
    peaks: list[int] = []
    for count in (20_000, 100_000):
        file = tmp_path / f"{count}.jsonl"
        file.write_bytes(b"".join(end("r", "2026-04-01T00:00:00.000Z", number % 5000) for number in range(count)))
        tracemalloc.start()
        history = RunHistory([file], "", frozenset())
        history.read(lambda skipped: pytest.fail(str(skipped)), lambda _: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert history.runners[0].runs == count
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.parametrize(
    ("is_terminal", "patience", "shown"), [(True, -1.0, True), (True, 60.0, False), (False, -1, False)]
)
def test_a_bar_is_shown_at_a_terminal_when_it_takes_long(
    folder: Path, is_terminal: bool, patience: float, shown: bool
) -> None:
    script = f"from conductor_jobs import cli, cli_history; cli_history.PATIENCE = {patience}; exit(cli.main())"
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-c", script, "history", str(folder)]
    stderr = theirs if is_terminal else subprocess.PIPE
    done = subprocess.run(arguments, stdout=subprocess.PIPE, stderr=stderr, env=os.environ | {"TERM": "xterm"})
    os.write(theirs, b".")
    os.close(theirs)
    told = os.read(ours, 10_000).decode()
    os.close(ours)
    assert done.returncode == 0
    assert ("100%" in told) == shown
    assert b"\x1b" not in done.stdout


def test_at_a_terminal_a_runner_that_failed_is_red(folder: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {name: text for name, text in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        subprocess.run([*COMMAND, folder], stdout=theirs, env=environment | variables, check=True)
        text = os.read(ours, 100_000).decode()
        assert ("\x1b[31mmail " in text) == coloured
        # The hour in which it failed.
        assert (len(re.findall(r"\x1b\[31m[▁-█]\x1b", text)) == 1) == coloured
        assert "mail " in click.unstyle(text)
    os.close(ours)
    os.close(theirs)


def test_a_reader_that_is_gone_is_no_failure(folder: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{' '.join(COMMAND)} {folder} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
