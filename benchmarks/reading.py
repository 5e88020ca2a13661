"""What it costs to read journals: `conductor-jobs history` and `logs --failed` over many lines, in time and memory.

    python -m benchmarks.reading [--json] [--brief] [--lines LINES]

The lines are what fifty runners leave in twenty days, a file a day: of each run a start and an end, one run of a
thousand having failed. The commands are processes of their own, whose output is thrown away; the memory is the largest
resident set that the system has seen of them, the interpreter included.
"""

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_format import encode_line

from .measuring import Cell, Table, command

LINES, BRIEF_LINES = 5_000_000, 2000
DAYS, RUNNERS = 20, 50
COMMANDS = (("history",), ("logs", "--failed"))
STARTED = {
    "controller_id": "mini-main",
    "host": "mini",
    "max_messages_per_tick": 10,
    "max_tasks_per_tick": 10,
    "settle_delay_ms": 10_000,
    "term": 4,
    "trigger": "interval",
}


def tables(*, brief: bool, lines: int | None = None) -> list[Table]:
    """Measure each command over a hundredth of the lines, and over all."""
    lines = lines or (BRIEF_LINES if brief else LINES)
    rows: list[list[Cell]] = []
    for count in (lines // 100, lines):
        with tempfile.TemporaryDirectory() as name:
            write(Path(name), count)
            megabytes = sum(file.stat().st_size for file in Path(name).iterdir()) / 1e6
            rows += [[" ".join(arguments), count, megabytes, *measured(*arguments, name)] for arguments in COMMANDS]
    columns = ["command", "lines", "MB read", "seconds", "of them at work", "peak MB of memory"]
    return [Table("Reading journals", columns, rows)]


def measured(*arguments: str) -> tuple[float, float, float]:
    """Run the command, and return its seconds, those of the processor, and its megabytes resident at the most."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "conductor_jobs", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    # In KiB; macOS has bytes.
    megabytes = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, megabytes


def write(folder: Path, count: int) -> None:
    """Write about so many lines, a file a day."""
    begins = datetime(2026, 4, 1, tzinfo=UTC)
    for day in range(DAYS):
        date = begins + timedelta(days=day)
        with (folder / f"{date:%Y-%m-%d}.jsonl").open("wb") as file:
            file.writelines(_lines_of_day(date, count // DAYS // 2))


def _lines_of_day(date: datetime, runs: int) -> Iterator[bytes]:
    draw = random.Random(date.toordinal())
    for number in range(runs):
        ts = (date + timedelta(days=1) * (number / runs)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        batch_id, runner = f"timed-jobs-{number // RUNNERS}", f"runner.{number % RUNNERS:02}"
        yield encode_line(JournalEntry(batch_id, None, None, "running", runner, "runner_started", ts, STARTED))
        duration_ms = int(draw.lognormvariate(5, 1))
        if draw.random() < 0.001:
            yield encode_line(JournalEntry(batch_id, duration_ms, "no answer", "failed", runner, "runner_failed", ts))
        else:
            details = {"projected_messages": number % 9}
            yield encode_line(JournalEntry(batch_id, duration_ms, None, "ok", runner, "runner_completed", ts, details))


OPTION = click.Option(["--lines"], type=int, help=f"How many, {LINES:,} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
