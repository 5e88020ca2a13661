"""The story of `conductor-jobs history`: what the runs of each runner came to, over any number of lines."""

import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import final

import msgspec

from .durations import Durations
from .journal_folders import date_of, status_of, unreadable
from .journal_format import LineFacts, decode_facts
from .journal_reader import SkippedLine, first_content
from .moments import ts_of

#: Into so many parts the time is cut, one for each column of a sparkline.
COLUMNS = 24
# Read and told at once; also what is searched for a file's last line.
_PART = 1 << 20
# After every moment.
_NEVER = "~"


class _RunEnd(msgspec.Struct, gc=False):
    """All that is decoded of a line."""

    duration_ms: int | float | None
    result: str | None
    runner: str
    stage: str
    ts: str


_decode = msgspec.json.Decoder(_RunEnd).decode


@final
class Column(msgspec.Struct):
    """The runs that ended in one part of the time."""

    runs: int = 0
    failures: int = 0
    total_ms: int = 0


@final
class RunnerHistory:
    """The runs of one runner. `failures` failed; `cut_short` were cancelled, with their term or by a stop."""

    def __init__(self, runner: str) -> None:
        self.runner: str = runner
        self.failures: int = 0
        self.cut_short: int = 0
        self.durations: Durations = Durations()
        self.last_ts: str = ""
        self.last_result: str | None = None
        self.columns: tuple[Column, ...] = tuple(Column() for _ in range(COLUMNS))

    @property
    def runs(self) -> int:
        """How many runs ended, however they did."""
        return self.durations.count

    def add(self, end: _RunEnd, column: Column) -> None:
        """Count a run that ended in the column's time."""
        milliseconds = end.duration_ms
        if type(milliseconds) is not int or milliseconds < 0:
            milliseconds = max(0, round(milliseconds or 0))
        self.durations.add(milliseconds)
        column.runs += 1
        column.total_ms += milliseconds
        if end.stage == "runner_failed":
            self.failures += 1
            column.failures += 1
        elif end.stage == "runner_cancelled":
            self.cut_short += 1
        if end.ts >= self.last_ts:
            self.last_ts, self.last_result = end.ts, end.result


@final
class RunHistory:
    """The runs in several journal files from `since` on, of these runners or of all."""

    def __init__(self, files: Sequence[Path], since: str, runners: frozenset[str]) -> None:
        """Look where the files begin and end. Raises BadJournal for one that cannot be read."""
        self._files = [file for file in files if not "" < date_of(file) < since[:10]]
        self._since = since
        self._runners = runners
        self._of: dict[str, RunnerHistory] = {}
        self.line_count: int = 0
        begins, ends = self._span()
        #: The moments of the first and of the last line, or `since` if that is later.
        self.begins: str = begins
        self.ends: str = ends
        starts, seconds = _cut(begins, ends)
        #: When each column begins.
        self.column_starts: list[str] = starts
        self.column_seconds: float = seconds
        # Of the run that was counted last.
        self._column = 0
        self._column_span = _NEVER, _NEVER

    @property
    def size(self) -> int:
        """How many bytes there are to be read."""
        statuses = map(status_of, self._files)
        return sum(status.st_size for status in statuses if status is not None)

    @property
    def runners(self) -> list[RunnerHistory]:
        """The runners that were met, by name."""
        return [self._of[name] for name in sorted(self._of)]

    def read(self, skip: Callable[[SkippedLine], object], advance: Callable[[int], object]) -> None:
        """Read everything once; `advance` is told of the bytes. Raises BadJournal for a file that cannot be read."""
        # Of files without a line that has a time there is nothing to tell.
        for file in self._files if self.begins else ():
            try:
                self._read(file, skip, advance)
            except FileNotFoundError:  # deleted since the folder was listed, as by retention
                continue
            except OSError as error:
                raise unreadable(file, error) from error

    def _read(self, file: Path, skip: Callable[[SkippedLine], object], advance: Callable[[int], object]) -> None:
        before = self.line_count
        with file.open("rb") as text:
            while lines := text.readlines(_PART):
                for number, line in enumerate(lines, self.line_count - before + 1):
                    # To find out that a line does not matter costs a tenth of decoding it. What stands in a text of
                    # the line has its quotes escaped.
                    if b'"stage":"runner_c' in line or b'"stage":"runner_f' in line or not line.endswith(b"}\n"):
                        self._take(file, number, line, skip)
                self.line_count += len(lines)
                advance(sum(map(len, lines)))
                # Its writer may be in the middle of it: the rest, which may be there by now, is no line.
                if not lines[-1].endswith(b"\n"):
                    return

    def _take(self, file: Path, number: int, line: bytes, skip: Callable[[SkippedLine], object]) -> None:
        try:
            end = _decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if line != b"\n":
                skip(SkippedLine(file, number, str(error), torn=not line.endswith(b"\n")))
            return
        if end.stage not in ("runner_completed", "runner_failed", "runner_cancelled") or end.ts < self._since:
            return
        if self._runners and end.runner not in self._runners:
            return
        history = self._of.get(end.runner)
        if history is None:
            history = self._of[end.runner] = RunnerHistory(end.runner)
        history.add(end, history.columns[self._column_at(end.ts)])

    def _column_at(self, ts: str) -> int:
        # Lines come in the order of time, but for several writers and clocks that are set.
        begins, ends = self._column_span
        if not begins <= ts < ends:
            starts = ["", *self.column_starts[1:], _NEVER]
            self._column = min(bisect_right(starts, ts), len(self.column_starts)) - 1
            self._column_span = starts[self._column], starts[self._column + 1]
        return self._column

    def _span(self) -> tuple[str, str]:
        try:
            firsts = [first_content(file, _timed_facts) for file in self._files]
            lasts = [_last_content(file) for file in self._files]
        except OSError as error:
            raise unreadable(Path(error.filename or self._files[0]), error) from error
        begins = min((each.ts for each in firsts if each is not None), default=self._since)
        ends = max((each.ts for each in lasts if each is not None), default=begins)
        return max(self._since, begins), max(self._since, ends)


def _last_content(file: Path) -> LineFacts | None:
    try:
        text = file.open("rb")
    except FileNotFoundError:
        return None
    with text:
        text.seek(max(0, text.seek(0, os.SEEK_END) - _PART))
        return next(_contents(reversed(text.readlines())), None)


def _contents(lines: Iterator[bytes]) -> Iterator[LineFacts]:
    for line in lines:
        try:
            yield _timed_facts(line)
        except msgspec.DecodeError:
            continue


def _timed_facts(line: bytes) -> LineFacts:
    facts = decode_facts(line)
    try:
        datetime.fromisoformat(facts.ts).astimezone()
    except (ValueError, OverflowError) as error:
        raise msgspec.DecodeError(str(error)) from error
    return facts


def _cut(begins: str, ends: str) -> tuple[list[str], float]:
    """Return when each column begins, and its seconds."""
    if not begins:
        return [], 0.0
    start, end = (datetime.fromisoformat(ts).astimezone(UTC) for ts in (begins, ends))
    width: timedelta = (end - start) / COLUMNS
    return [ts_of(start + width * column) for column in range(COLUMNS)], width.total_seconds()
