"""What is new in journals: files that grow, files of new days and new writers, as one history in the order of time."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import final

import msgspec

from .journal_folders import date_of, files_at, status_of, unreadable
from .journal_format import LineFacts, decode_facts
from .journal_merge import merged
from .journal_reader import SkippedLine

# Beside today's file its writer may still be writing yesterday's last lines.
_LIVE_DATES = 2


@final
class NewLine(msgspec.Struct, frozen=True, gc=False):
    """A line that is an entry, with its newline, and who wrote it, as far as its file has said so."""

    text: bytes
    facts: LineFacts
    node_id: str | None


@final
class JournalTail:
    """One file, read from where the last reading has ended."""

    def __init__(self, file: Path, skip: Callable[[SkippedLine], object]) -> None:
        self.file: Path = file
        self.inode: int = -1
        self._skip = skip
        self._offset = 0
        self._line_number = 0
        self._node_id: str | None = None

    def has_grown(self, status: os.stat_result) -> bool:
        """Return whether there is more than was read; of another file under the name, or a shorter one, all is new."""
        if status.st_ino != self.inode or status.st_size < self._offset:
            self.inode, self._offset, self._line_number, self._node_id = status.st_ino, 0, 0, None
        return status.st_size > self._offset

    def begins(self) -> str:
        """Return the moment of the first new entry, an empty text when there is none."""
        for _, _, facts in self._new_lines():
            if facts is not None:
                return facts.ts
        return ""

    def read(self) -> Iterator[NewLine]:
        """Yield the new entries. A last line that lacks its end is left, for more of it may come."""
        for line, problem, facts in self._new_lines():
            if facts is None and not line.endswith(b"\n"):
                return
            self._offset += len(line)
            # One without a newline, yet whole, is the same line as the newline that may come after it.
            self._line_number += line.endswith(b"\n")
            if facts is not None:
                if facts.stage in ("started", "continued") and isinstance(facts.node_id, str):
                    self._node_id = facts.node_id
                yield NewLine(line if line.endswith(b"\n") else line + b"\n", facts, self._node_id)
            elif problem:
                self._skip(SkippedLine(self.file, self._line_number, problem, torn=False))

    def finish(self) -> None:
        """Tell of a last line that lacks its end."""
        for _, problem, facts in self._new_lines():
            if facts is None and problem:
                self._skip(SkippedLine(self.file, self._line_number + 1, problem, torn=True))
            return

    def _new_lines(self) -> Iterator[tuple[bytes, str, LineFacts | None]]:
        try:
            lines = self.file.open("rb")
        except FileNotFoundError:
            return
        with lines:
            lines.seek(self._offset)
            for line in lines:
                # A writer that finds a torn line begins on a new one, so an empty line is no fault.
                if line == b"\n":
                    yield line, "", None
                    continue
                try:
                    facts = decode_facts(line)
                except msgspec.DecodeError as error:
                    yield line, str(error), None
                else:
                    yield line, "", facts


@final
class JournalTails:
    """The files at several places, as far as they are there: folders with their `*.jsonl`, or files.

    `skip` is told of each line that is no entry. Files that are named for a day before `since_date` are passed over.
    """

    def __init__(self, places: Sequence[Path], skip: Callable[[SkippedLine], object], since_date: str = "") -> None:
        # One that is reached by two ways is read once.
        self._places = list(dict.fromkeys(Path(os.path.realpath(place)) for place in places))
        self._skip = skip
        self._since_date = since_date
        self._tails: dict[Path, JournalTail] = {}
        #: Whether several may have been writing at the same time.
        self.several_writers: bool = len(self._places) > 1

    def new_lines(self) -> Iterator[NewLine]:
        """Yield what was written since the last reading, in the order of time; what comes late is told late.

        Raises BadJournal, naming the path, for what may not be read.
        """
        try:
            grown = self._grown()
            yield from merged(grown, JournalTail.read, JournalTail.begins, lambda line: line.facts.ts)
        except OSError as error:
            raise unreadable(Path(error.filename or self._places[0]), error) from error

    def finish(self) -> None:
        """Tell of last lines that are cut off; nobody waits for more of them."""
        for tail in self._tails.values():
            tail.finish()

    def _grown(self) -> list[JournalTail]:
        known, self._tails = self._tails, {}
        return [tail for place in self._places for tail in self._grown_at(place, known)]

    def _grown_at(self, place: Path, known: Mapping[Path, JournalTail]) -> Iterator[JournalTail]:
        files = [file for file in files_at(place) if not "" < date_of(file) < self._since_date]
        oldest_live = min(sorted({date_of(file) for file in files})[-_LIVE_DATES:], default="")
        for file in files:
            if file in self._tails:
                continue
            self.several_writers |= file.name != f"{date_of(file)}.jsonl"
            tail = self._tails[file] = known.get(file) or JournalTail(file, self._skip)
            # Of days that are over, files that have been read once are not looked at again.
            if file in known and "" < date_of(file) < oldest_live:
                continue
            if (status := status_of(file)) is not None and tail.has_grown(status):
                yield tail
