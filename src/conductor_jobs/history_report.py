"""The report of `conductor-jobs history`: a table for a person, an object for a program."""

from collections.abc import Iterator, Sequence
from typing import Final, final

import click
import msgspec

from .run_history import Column, RunHistory, RunnerHistory
from .terminal import local_time, one_line

_HEAD: Final = ("RUNNER", "RUNS", "FAILED", "CUT SHORT", "P50", "P95", "MAX", "LAST")
_BARS: Final = "▁▂▃▄▅▆▇█"
_UNITS: Final = (("h", 3_600_000), ("min", 60_000), ("s", 1000))


@final
class LastRun(msgspec.Struct, frozen=True):
    """When a runner's latest run ended, and its result."""

    ts: str
    result: str | None


@final
class Slot(msgspec.Struct, frozen=True):
    """The runs that ended from `ts` until the next slot."""

    ts: str
    runs: int
    failures: int
    mean_ms: int | None


@final
class RunnerRow(msgspec.Struct, frozen=True):
    """A runner as `history --json` prints it. A quantile is exact below 256 ms, and within 0.4 % above."""

    runner: str
    runs: int
    failures: int
    cut_short: int
    p50_ms: int | None
    p95_ms: int | None
    max_ms: int
    last: LastRun
    slots: list[Slot]


@final
class HistoryReport(msgspec.Struct, frozen=True):
    """What `history --json` prints."""

    begins: str
    ends: str
    slot_seconds: float
    line_count: int
    skipped_line_count: int
    runners: list[RunnerRow]


def history_report(history: RunHistory, skipped_line_count: int) -> HistoryReport:
    """Return what was read, for a program."""
    rows = [_row(each, history.column_starts) for each in history.runners]
    return HistoryReport(
        history.begins, history.ends, history.column_seconds, history.line_count, skipped_line_count, rows
    )


def report_lines(report: HistoryReport) -> Iterator[str]:
    """Yield the lines of the table, with colours; click takes them out where they are not wanted."""
    if not report.runners:
        yield "no run of a runner has ended"
        return
    cells = [_cells(row) for row in report.runners]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    yield click.style(f"{_moment(report.begins)} to {_moment(report.ends)}, {report.line_count} lines", dim=True)
    yield f"{_aligned(_HEAD, widths)}  MEAN DURATION, EACH {_duration(round(report.slot_seconds * 1000))}"
    for row, texts in zip(report.runners, cells, strict=True):
        line = _aligned(texts, widths)
        yield f"{click.style(line, fg='red') if row.failures else line}  {_sparkline(row.slots)}"


def _row(history: RunnerHistory, starts: Sequence[str]) -> RunnerRow:
    durations = history.durations
    return RunnerRow(
        runner=history.runner,
        runs=history.runs,
        failures=history.failures,
        cut_short=history.cut_short,
        p50_ms=durations.quantile(0.5),
        p95_ms=durations.quantile(0.95),
        max_ms=durations.largest,
        last=LastRun(history.last_ts, history.last_result),
        slots=[_slot(start, column) for start, column in zip(starts, history.columns, strict=True)],
    )


def _slot(start: str, column: Column) -> Slot:
    return Slot(start, column.runs, column.failures, round(column.total_ms / column.runs) if column.runs else None)


def _cells(row: RunnerRow) -> tuple[str, ...]:
    counts = (str(row.runs), str(row.failures), str(row.cut_short))
    durations = (_duration(row.p50_ms or 0), _duration(row.p95_ms or 0), _duration(row.max_ms))
    return (one_line(row.runner), *counts, *durations, f"{_moment(row.last.ts)} {one_line(row.last.result or '')}")


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    # Texts to the left, numbers to the right.
    first, *numbers, last = (
        cell.ljust(width) if place in (0, len(cells) - 1) else cell.rjust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return "  ".join((first, *numbers, last))


def _sparkline(slots: Sequence[Slot]) -> str:
    highest = max((slot.mean_ms for slot in slots if slot.mean_ms is not None), default=0)
    return "".join(_bar(slot, highest) for slot in slots).rstrip()


def _bar(slot: Slot, highest: int) -> str:
    if slot.mean_ms is None:
        return " "
    bar = _BARS[min(len(_BARS) - 1, slot.mean_ms * len(_BARS) // max(1, highest))]
    return click.style(bar, fg="red") if slot.failures else bar


def _duration(milliseconds: int) -> str:
    for unit, size in _UNITS:
        if milliseconds >= size:
            return f"{milliseconds / size:.3g} {unit}"
    return f"{milliseconds} ms"


def _moment(ts: str) -> str:
    moment = local_time(ts)
    return one_line(ts) if moment is None else f"{moment:%Y-%m-%d %H:%M:%S}"
