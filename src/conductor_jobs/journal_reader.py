"""Reading journals back: every entry that is whole, and an account of what was not."""

import heapq
from collections.abc import Iterator
from itertools import chain, groupby
from pathlib import Path
from typing import final

import msgspec

from .journal import JournalEntry
from .journal_format import decode_line

_OPEN_AT_ONCE = 100


@final
class SkippedLine(msgspec.Struct, frozen=True):
    """A line that is no entry: where it stands and why it was passed over. `torn`: it is its file's last, cut off."""

    file: Path
    line_number: int
    reason: str
    torn: bool


@final
class JournalReader:
    """Yields the entries of a journal; `skipped` tells what it passed over so far."""

    def __init__(self, path: Path) -> None:
        self._path = path
        #: What the latest reading passed over so far.
        self.skipped: list[SkippedLine] = []

    def __iter__(self) -> Iterator[JournalEntry]:
        """Read from the beginning. In a folder, the files of one day are merged by the time of their entries."""
        self.skipped = []
        if not self._path.is_dir():
            yield from self._read(self._path)
            return
        found = (file for file in self._path.glob("*.jsonl") if file.is_file())
        files = sorted(found, key=lambda file: file.name)
        for _, of_one_day in groupby(files, key=lambda file: file.name[:10]):
            yield from self._merged(list(of_one_day))

    def _merged(self, files: list[Path]) -> Iterator[JournalEntry]:
        entries = map(self._read, files)
        if len(files) > _OPEN_AT_ONCE:
            # A standby that is restarted again and again leaves a file for each start, of a few lines.
            return iter(sorted(chain.from_iterable(entries), key=_moment))
        return heapq.merge(*entries, key=_moment)

    def _read(self, file: Path) -> Iterator[JournalEntry]:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                # A writer that finds a torn line begins on a new one, so an empty line is no fault.
                if line == b"\n":
                    continue
                try:
                    yield decode_line(line)
                except msgspec.DecodeError as error:
                    torn = not line.endswith(b"\n")
                    self.skipped.append(SkippedLine(file, number, str(error), torn))


def read_journal(path: str | Path) -> JournalReader:
    """Read a journal file, or every `*.jsonl` of a folder, in the order of time.

    Returns an iterable of `JournalEntry`; after (or while) going through it, its `skipped` lists the lines that
    are no entries, such as a last line that a killed process did not finish. Raises FileNotFoundError when there
    is nothing at `path`; going through it raises OSError when a file cannot be read.
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"no journal at {str(where)!r}")
    return JournalReader(where)


def _moment(entry: JournalEntry) -> str:
    return entry.ts
