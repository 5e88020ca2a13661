"""Reading journals back: every entry that is whole, and an account of what was not."""

from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import TypeVar, final

import msgspec

from .journal import JournalEntry
from .journal_format import decode_line
from .journal_merge import merged

T = TypeVar("T")


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
            yield from merged(list(of_one_day), self._read, _begins, _moment)

    def _read(self, file: Path) -> Iterator[JournalEntry]:
        for _, entry in read_lines(file, decode_line, self.skipped.append):
            yield entry


def read_lines(
    file: Path, decode: Callable[[bytes], T], skip: Callable[[SkippedLine], object]
) -> Iterator[tuple[int, T]]:
    """Yield number and content of each line that `decode` takes; `skip` is told of each that it refuses.

    Of a file that is gone, as by retention since its folder was listed, there are none.
    """
    try:
        text = file.open("rb")
    except FileNotFoundError:
        return
    with text as lines:
        for number, line in enumerate(lines, start=1):
            # A writer that finds a torn line begins on a new one, so an empty line is no fault.
            if line == b"\n":
                continue
            try:
                content = decode(line)
            except msgspec.DecodeError as error:
                skip(SkippedLine(file, number, str(error), torn=not line.endswith(b"\n")))
            else:
                yield number, content
            # Its writer may be in the middle of it: the rest, which may be there by now, is no line.
            if not line.endswith(b"\n"):
                return


def read_journal(path: str | Path) -> JournalReader:
    """Read a journal file, or every `*.jsonl` of a folder, in the order of time.

    Returns an iterable of `JournalEntry`; after (or while) going through it, its `skipped` lists the lines that
    are no entries, such as a last line that a killed process did not finish. Raises FileNotFoundError when there
    is nothing at `path`; going through it raises OSError when a file cannot be read. One that retention deletes
    meanwhile has no entries, and a line that is being written just then counts as unfinished.
    """
    where = Path(path)
    if not where.exists():
        raise FileNotFoundError(f"no journal at {str(where)!r}")
    return JournalReader(where)


def first_content(file: Path, decode: Callable[[bytes], T]) -> T | None:
    """Return what `decode` makes of the first line that it takes, or None."""
    return next((content for _, content in read_lines(file, decode, lambda _: None)), None)


def _begins(file: Path) -> str:
    first = first_content(file, decode_line)
    return "" if first is None else first.ts


def _moment(entry: JournalEntry) -> str:
    return entry.ts
