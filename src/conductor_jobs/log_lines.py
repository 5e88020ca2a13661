"""The story of `conductor-jobs logs`: which entries are told, and as what."""

from collections.abc import Callable, Iterator
from typing import final

import click
import msgspec

from .journal_format import LineFacts, decode_line
from .journal_tails import NewLine
from .terminal import is_trouble, local_time, one_line, person_line

_NODE_WIDTH = 16


@final
class Selection(msgspec.Struct, frozen=True):
    """Which entries are wanted: from the moment `since` on, of these `runners` (of all, if there are none)."""

    since: str = ""
    runners: frozenset[str] = frozenset()
    failed: bool = False

    def takes(self, entry: LineFacts) -> bool:
        """Return whether an entry is wanted."""
        return (
            entry.ts >= self.since
            and (not self.runners or entry.runner in self.runners)
            and (not self.failed or is_trouble(entry))
        )


@final
class PersonLines:
    """Entries as lines for a person, under a line for each day; with the node, where several may be writing."""

    def __init__(self, several_writers: Callable[[], bool]) -> None:
        self._several_writers = several_writers
        self._day = ""

    def of(self, line: NewLine) -> Iterator[str]:
        """Yield the line of an entry, after that of its day if it is the first of it."""
        entry = decode_line(line.text)
        day = local_day(entry.ts)
        if day != self._day:
            self._day = day
            yield click.style(f"-- {day} --", dim=True)
        node = None
        if self._several_writers():
            node = f"{one_line(line.node_id or '?'):<{_NODE_WIDTH}}"
        yield person_line(entry, node)


def local_day(ts: str) -> str:
    """Return the day of an entry in local time, which its line is in."""
    moment = local_time(ts)
    return "at no time" if moment is None else f"{moment:%a %Y-%m-%d}"
