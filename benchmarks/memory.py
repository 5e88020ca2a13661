"""What the package weighs: a registered runner, many ticks, an import, a start.

    python -m benchmarks.memory [--json] [--brief] [--ticks N]

Runner: the bytes that registering 10,000 no-op runners takes, per runner, the name's own included; by tracemalloc,
and by the growth of the process. Ticks: a conductor with one runner and a journal, ticks asked for one after the
other; wall time runs ahead, so that a day and its file end every 10,000 ticks. Twenty samples are taken on the way, and
the slope is that of a line through all but the first five: what a tick leaves behind. Tracemalloc slows everything
down and so sees a tenth of the ticks, in another process. Import: fresh interpreters, each of which imports trio and
then what the others add to it. Start: until a conductor leads, and until the command has printed that it leads.
Medians.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import click

from .measuring import Cell, Table, alternate, command, run_module
from .processes import started_command

RUNNERS, BRIEF_RUNNERS = 10_000, 200
TICKS, BRIEF_TICKS = 1_000_000, 100
ROUNDS, BRIEF_ROUNDS = 9, 1
IMPORTS = ("trio", "conductor_jobs", "conductor_jobs.cli")
IMPORT_CODE = """
import time
began = time.perf_counter()
for module in {modules}:
    __import__(module)
    print(time.perf_counter() - began)
"""
APP = "from conductor_jobs import TimedJobs\n\njobs = TimedJobs()\n"


def tables(*, brief: bool, ticks: int | None = None) -> list[Table]:
    """Measure all of it."""
    rounds = BRIEF_ROUNDS if brief else ROUNDS
    ticks = ticks or (BRIEF_TICKS if brief else TICKS)
    return [_runner(BRIEF_RUNNERS if brief else RUNNERS), _growth(ticks), _imports(rounds), _starts(rounds)]


def _runner(runners: int) -> Table:
    measured = run_module("benchmarks.memory_child", "runners", runners)
    row: list[Cell] = [runners, measured["traced"] / runners, measured["resident"] / runners]
    return Table("Bytes per registered runner", ["runners", "tracemalloc", "resident"], [row])


def _growth(ticks: int) -> Table:
    rows: list[list[Cell]] = []
    for what, count in (("resident", ticks), ("tracemalloc", max(20, ticks // 10))):
        samples = run_module("benchmarks.memory_child", what, count)["samples"]
        slope = statistics.linear_regression(*zip(*samples[5:], strict=True)).slope
        first, last = samples[5][1], samples[-1][1]
        rows.append([what, count, first / 1024, last / 1024, slope])
    columns = ["by", "ticks", "KiB after a quarter", "KiB at the end", "bytes a tick"]
    return Table("Memory over many ticks", columns, rows)


def _imports(rounds: int) -> Table:
    code = IMPORT_CODE.format(modules=IMPORTS)
    taken: list[list[float]] = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        taken.append([float(line) for line in done.stdout.split()])
    rows: list[list[Cell]] = []
    for module, seconds in zip(IMPORTS, zip(*taken, strict=True), strict=True):
        beside = [each / of_trio for each, (of_trio, *_) in zip(seconds, taken, strict=True)]
        rows.append([module, statistics.median(seconds) * 1000, statistics.median(beside)])
    return Table("Milliseconds to import, what it imports itself included", ["module", "ms", "÷ trio"], rows)


def _starts(rounds: int) -> Table:
    taken = alternate(
        {
            "an interpreter, nothing imported": partial(_process_seconds, "-c", "pass"),
            "a conductor, memory": partial(_start_seconds, "memory"),
            "a conductor, SQLite": partial(_start_seconds, "sqlite"),
            "the command, SQLite": _command_seconds,
        },
        rounds,
    )
    rows: list[list[Cell]] = [[what, statistics.median(each) * 1000] for what, each in taken.items()]
    return Table("Milliseconds until it leads", ["start of", "ms"], rows)


def _process_seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True)
    return time.perf_counter() - began


def _start_seconds(store: str) -> float:
    return float(run_module("benchmarks.memory_child", store, 1)["seconds"])


def _command_seconds() -> float:
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        Path(folder, "app.py").write_text(APP)
        began = time.perf_counter()
        started = stack.enter_context(started_command(Path(folder), "start", "app.py:jobs"))
        started.wait_for("leader_started")
        return time.perf_counter() - began


OPTION = click.Option(["--ticks"], type=click.IntRange(min=20), help=f"How many ticks, {TICKS:,} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
