"""What an entry of the journal costs: to take, by the kind of its details; to hand to the kernel; to have on the disk.

    python -m benchmarks.journal [--json] [--brief] [--folder FOLDER]

`add` is the journal file taking one entry into its buffer, encoded. `ctx.log` is the whole of what a runner pays: the
checks, the time stamp, the line, and a write of its own, so that the line is in the kernel when it returns (I17). Each
figure is the median of several rounds, in which all kinds take turns. `sync` is one line written and
confirmed by the disk (fdatasync), in a thread, with the disk of the folder that is given, by default a temporary one.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import trio

from conductor_jobs import Conductor, JournalEntry, read_journal
from conductor_jobs.journal_files import JournalFiles
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import tick_context

from .flat_out import Case
from .measuring import Cell, Table, alternate, command, percentile
from .our_ticks import no_op_jobs

DETAILS: Mapping[str, Mapping[str, Any] | None] = {
    "none": None,
    "one text": {"cursor": "message:1"},
    "eight numbers": {f"count_{number}": number for number in range(8)},
    "nested, 50 items": {"items": [{"id": number, "name": f"item {number}"} for number in range(50)]},
    "a text of 4 KiB": {"text": "x" * 4096},
    "no JSON: its repr": {"what": object()},
    "a reserved key": {"stage": "mine"},
    "a lone surrogate": {"file": "name-\udcff"},
}
NOON = 43_200.0
ROUNDS, REPEATS, SYNCS = 9, 2_000, 200
BRIEF_ROUNDS, BRIEF_REPEATS, BRIEF_SYNCS = 1, 50, 5


def tables(*, brief: bool, folder: Path | None = None) -> list[Table]:
    """Measure entries, the sync, and the lines of a tick."""
    rounds, repeats, syncs = (BRIEF_ROUNDS, BRIEF_REPEATS, BRIEF_SYNCS) if brief else (ROUNDS, REPEATS, SYNCS)
    with ExitStack() as stack:
        where = folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        return [_entries(rounds, repeats), _syncs(where, syncs), _lines()]


def _entries(rounds: int, repeats: int) -> Table:
    with ExitStack() as stack:
        files = _open_files(stack)
        contenders: dict[str, Callable[[], float]] = {}
        for kind, details in DETAILS.items():
            entry = JournalEntry(
                "timed-jobs-1-1", 3, None, "ok", "renewal.runner-1", "scan_window", _now(), details or {}
            )
            context = tick_context(runner="renewal.runner-1", journal=files)
            contenders[f"add {kind}"] = _timed(repeats, files.add, entry)
            contenders[f"log {kind}"] = _timed(repeats, context.log, "scan_window", result="ok", details=details)
        taken = {name: statistics.median(values) for name, values in alternate(contenders, rounds).items()}
    rows: list[list[Cell]] = [[kind, taken[f"add {kind}"], taken[f"log {kind}"]] for kind in DETAILS]
    return Table("Microseconds per entry, by the kind of its details", ["details", "add", "ctx.log"], rows)


def _timed(repeats: int, call: Callable[..., None], *arguments: object, **named: object) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for _ in range(repeats):
            call(*arguments, **named)
        return (time.perf_counter() - began) / repeats * 1e6

    return run


def _syncs(folder: Path, times: int) -> Table:
    async def run() -> list[float]:
        taken: list[float] = []
        with ExitStack() as stack:
            files = _open_files(stack, folder)
            for _ in range(times):
                files.add(JournalEntry("timed-jobs-1-1", None, None, "ok", "renewal.runner-1", "scan_window", _now()))
                files.flush()
                began = time.perf_counter()
                await files.sync()
                taken.append((time.perf_counter() - began) * 1000)
        return taken

    taken = trio.run(run)
    row: list[Cell] = [percentile(taken, 0.5), percentile(taken, 0.99), max(taken)]
    return Table("Milliseconds of a sync after each line", ["p50", "p99", "max"], [row])


def _lines() -> Table:
    """Run one tick in which each of 100 runners logs, and weigh the lines by their stage."""

    async def run(folder: str) -> None:
        jobs = no_op_jobs(Case(100, "b", True, 0))
        # A day that does not end in the middle.
        conductor = Conductor(jobs, store=MemoryLeaseStore(), log_dir=folder, autostart=False, wall_clock=lambda: NOON)
        async with trio.open_nursery() as nursery:
            await nursery.start(conductor.run)
            await conductor.run_tick()
            conductor.request_stop()

    with tempfile.TemporaryDirectory() as folder:
        trio.run(run, folder)
        (file,) = Path(folder).iterdir()
        sizes: dict[str, list[int]] = {}
        for entry, line in zip(read_journal(file), file.read_bytes().splitlines(keepends=True), strict=True):
            sizes.setdefault(entry.stage, []).append(len(line))
    rows: list[list[Cell]] = [[stage, len(all_of), statistics.mean(all_of)] for stage, all_of in sizes.items()]
    return Table("Bytes per line, one tick of 100 runners that log", ["stage", "lines", "bytes each"], rows)


def _open_files(stack: ExitStack, folder: Path | None = None) -> JournalFiles:
    files = JournalFiles(folder or Path(stack.enter_context(tempfile.TemporaryDirectory())), "node", "benchmark")
    files.open(_now()[:10])
    stack.callback(files.close)
    return files


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


FOLDER = click.Option(["--folder"], type=click.Path(file_okay=False, path_type=Path), help="Where `sync` is measured.")
main = command(tables, FOLDER)

if __name__ == "__main__":
    main()
