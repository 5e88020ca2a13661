"""The command `conductor-jobs history`: what it takes, prints and returns."""

import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import final

import click
import msgspec

from .cli_journals import SkippedLines, journal_arguments, places_of
from .history_report import history_report, report_lines
from .journal_folders import journal_files
from .printing import printed, reader_may_leave, wants_colour
from .run_history import RunHistory

# Seconds after which somebody at a terminal wonders whether anything happens.
PATIENCE = 1.0


@click.command("history")
@journal_arguments
@click.option("--json", "as_json", is_flag=True, help="print one JSON object")
def history_command(
    paths: tuple[Path, ...], since: str, runners: frozenset[str], as_json: bool, **flags: str | None
) -> int:
    """Print what the runs of each runner came to: how many, how many failed, how long they took, the last one.

    DIR is a folder with *.jsonl files, or one such file; without DIR it is the folder that `start` would write to.
    A duration is exact below 256 ms, and within 0.4 % above. Exit code 0; 2: bad input.
    """
    history = RunHistory(journal_files(places_of(paths, flags)), since, runners)
    skipped = SkippedLines()
    with _Progress(history.size) as progress:
        history.read(skipped.add, progress.advance)
    skipped.close()
    report = history_report(history, skipped.count)
    with reader_may_leave():
        if as_json:
            click.echo(msgspec.json.encode(report))
        else:
            coloured = wants_colour(sys.stdout)
            sys.stdout.buffer.writelines(printed(line, coloured=coloured) for line in report_lines(report))
    return 0


@final
class _Progress:
    """A bar on stderr, for somebody at a terminal, once it has taken a second."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._done = 0
        self._begun = time.monotonic()
        self._shown = ExitStack()
        self._update: Callable[[int], object] | None = None

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.close()

    def advance(self, count: int) -> None:
        self._done += count
        if self._update is not None:
            self._update(count)
        elif time.monotonic() - self._begun > PATIENCE and sys.stderr is not None and sys.stderr.isatty():
            bar = self._shown.enter_context(click.progressbar(length=self._size, label="reading", file=sys.stderr))
            self._update = bar.update
            bar.update(self._done)
