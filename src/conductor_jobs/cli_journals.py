"""What the commands that read journals have in common: which folders, since when, which runners."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from .cli_settings import Command, settings_as_flags
from .config import read_config
from .journal_reader import SkippedLine
from .rules import LINE
from .since import WORDS, since_ts
from .stderr import tell

# So many unreadable lines are named; of rubbish by the gigabyte nobody wants to hear more.
_NAMED = 10


def journal_arguments(function: Command) -> Command:
    """Give a command DIR..., --since, --runner and the settings that say where the journal is otherwise."""
    for decorate in reversed(_ARGUMENTS):
        function = decorate(function)
    return function


def places_of(paths: tuple[Path, ...], flags: dict[str, str | None]) -> tuple[Path, ...]:
    """Return the folders that were named, or the one that the settings give."""
    # Of all settings only this one matters: a store that lacks its package keeps nobody from reading.
    variables = {name: text for name, text in os.environ.items() if name == "BAA_LOGS_DIR"}
    return paths or (read_config(flags, variables).log_dir,)


class SkippedLines:
    """Tells stderr of lines that are no entries: of the first ones by name, of all by their number."""

    def __init__(self) -> None:
        self.count: int = 0

    def add(self, line: SkippedLine) -> None:
        """Take a line that was passed over."""
        self.count += 1
        if self.count <= _NAMED:
            why = "cut off" if line.torn else f"no entry: {line.reason}"
            tell(f"conductor-jobs: skipped {line.file}:{line.line_number}, {why}")

    def close(self) -> None:
        """Tell of those that were not named."""
        if self.count > _NAMED:
            tell(f"conductor-jobs: skipped {self.count - _NAMED} more lines that are no entries")


def _since(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str:
    if text is None:
        return ""
    since = since_ts(text, datetime.now(UTC))
    if since is None:
        raise click.BadParameter(f"must be {WORDS}, not {text!r}.")
    return since


def _runners(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> frozenset[str]:
    for name in names:
        if LINE.parse(name) is None:
            raise click.BadParameter(f"must be {LINE.words}, not {name!r}.")
    return frozenset(LINE.parse(name) for name in names)


_ARGUMENTS: tuple[Callable[[Command], Command], ...] = (
    click.argument("paths", nargs=-1, metavar="[DIR]...", type=click.Path(path_type=Path)),
    click.option("--since", metavar="<time>", callback=_since, help=f"only from then on: {WORDS}"),
    click.option(
        "--runner", "runners", multiple=True, metavar=LINE.metavar, callback=_runners, help="only of this; repeatable"
    ),
    settings_as_flags(("logs_dir",)),
)
