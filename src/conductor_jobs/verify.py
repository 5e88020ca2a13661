"""Reading the journals of one or several nodes, for the judge: which files, in which order, each line decoded once."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import final

import msgspec

from .audit import AuditReport, JournalAudit
from .failures import shown
from .journal_folders import BadJournal as BadJournal
from .journal_folders import journal_files, unreadable
from .journal_format import LineFacts, decode_facts
from .journal_merge import merged
from .journal_reader import SkippedLine, first_content, read_lines


@final
class _JournalFile(msgspec.Struct, frozen=True):
    path: Path
    # What the report calls it: as short as it can be told from the others.
    name: str
    first: LineFacts | None

    @property
    def begins(self) -> str:
        return "" if self.first is None else self.first.ts


def verify(paths: Sequence[str | Path], max_clock_skew_ms: int = 0) -> AuditReport:
    """Judge the journals at `paths`: files, and folders with their `*.jsonl`; a file that is met twice is read once.

    `max_clock_skew_ms`: by how many milliseconds the clocks of two writers may differ. Raises BadJournal, naming
    the path, when there is no journal at one, when two files are copies, or when no line says who wrote it; ValueError
    or TypeError, naming the argument, for what is none.
    """
    places = _checked_paths(paths)
    if type(max_clock_skew_ms) is not int or max_clock_skew_ms < 0:
        raise ValueError(f"verify max_clock_skew_ms must be a non-negative integer, not {shown(max_clock_skew_ms)}.")
    files = _named(journal_files(places))
    _refuse_copies(files)
    audit = JournalAudit(max_clock_skew_ms)
    history = merged(files, lambda file: _read(file, audit), lambda file: file.begins, lambda read: read[2].ts)
    try:
        for file, number, line in history:
            audit.take(file.name, line, f"{file.name}:{number}")
    except OSError as error:
        raise unreadable(Path(error.filename), error) from error
    report = audit.close()
    if not report.writer_count:
        raise BadJournal(_nothing_to_judge(report, places))
    return report


def _checked_paths(paths: Sequence[str | Path]) -> list[Path]:
    # A text would be taken for the paths that its letters are.
    several = isinstance(paths, Sequence) and not isinstance(paths, str)
    if not several or not paths or not all(isinstance(path, str | Path) for path in paths):
        raise TypeError(f"verify paths must be a list of one path or more, not {shown(paths)}.")
    return [Path(path) for path in paths]


def _named(paths: Sequence[Path]) -> list[_JournalFile]:
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    in_order = sorted(zip(names, paths, strict=True))
    return [_JournalFile(path, name, _first_entry(path)) for name, path in in_order]


def _first_entry(path: Path) -> LineFacts | None:
    try:
        return first_content(path, decode_facts)
    except OSError as error:
        raise unreadable(path, error) from error


def _refuse_copies(files: Iterable[_JournalFile]) -> None:
    # No two files begin alike: they begin with who writes, and when.
    known: dict[tuple[object, ...], _JournalFile] = {}
    for file in files:
        first = file.first
        if first is None or type(first.incarnation) is not str:
            continue
        if (other := known.setdefault((first.incarnation, first.stage, first.ts), file)) is not file:
            raise BadJournal(f"{str(file.path)!r} begins like {str(other.path)!r}: give each journal once")


def _read(file: _JournalFile, audit: JournalAudit) -> Iterator[tuple[_JournalFile, int, LineFacts]]:
    def skip(skipped: SkippedLine) -> None:
        audit.unreadable(file.name, f"{file.name}:{skipped.line_number}", torn=skipped.torn)

    for number, line in read_lines(file.path, decode_facts, skip):
        yield file, number, line
    audit.end(file.name)


def _nothing_to_judge(report: AuditReport, paths: Sequence[Path]) -> str:
    where = ", ".join(repr(str(path)) for path in paths)
    if not report.line_count:
        return f"no journal at {where}: no line is an entry ({report.unreadable_line_count} lines are unreadable)"
    return f"nothing to judge at {where}: no line says who wrote the {report.line_count} entries"
