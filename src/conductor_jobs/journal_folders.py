"""Where journals are: their folder is made, and the files of it found, by names that begin with their day."""

import errno
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from .errors import Unusable

_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?=[.])")
# The date, and for all but the first writer of a folder its node id, with what has no place in names replaced, and its
# incarnation.
_OURS: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[.][A-Za-z0-9._-]{1,64}-[0-9a-f]{16})?[.]jsonl")
_DISK_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
# A start that fails takes away the folders that it has made, between any two steps of ours: so often we begin anew.
_ATTEMPTS: Final = 10


class BadJournal(ValueError):
    """What was given cannot be read or judged: there is no journal, or one is given twice."""


def in_folder(folder: Path, act: Callable[[], None]) -> None:
    """Make the folder of a journal, and act in it, again if it was taken away meanwhile.

    Raises Unusable if that cannot be; a full disk is no reason, it may have room later.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            act()
        except OSError as error:
            if error.errno in _DISK_FULL:
                return
            if not isinstance(error, FileNotFoundError | FileExistsError) or attempt == _ATTEMPTS:
                raise Unusable(f"log_dir {str(folder)!r} cannot be written: {error.strerror}.") from error
        else:
            return


def date_of(file: Path) -> str:
    """Return the day that a file is named for, `YYYY-MM-DD`, or an empty text for a name of another kind."""
    match = _DATE.match(file.name)
    return "" if match is None else match[0]


def is_journal_name(name: str) -> bool:
    """Return whether a conductor names its journal's files like this."""
    return _OURS.fullmatch(name) is not None


def files_at(path: Path) -> list[Path]:
    """Return the `*.jsonl` of a folder by name, or the file that `path` is; none when nothing is there.

    Raises OSError when it may not be looked at.
    """
    if not path.is_dir():
        return [path] if path.is_file() else []
    # By listing it, for `glob` tells nobody that it may not look; and without asking for the status of each.
    try:
        with os.scandir(path) as entries:
            return sorted(Path(entry.path) for entry in entries if entry.name.endswith(".jsonl") and entry.is_file())
    except FileNotFoundError:  # taken away just now, as by the start that made it and has failed
        return []


def journal_files(paths: Iterable[Path]) -> list[Path]:
    """Return the journal files at `paths`; one that is met twice is told once.

    Raises BadJournal, naming the path, when there is no journal at one.
    """
    found: dict[tuple[int, int], Path] = {}
    for path in paths:
        try:
            for file in _some_files_at(path):
                if (status := status_of(file)) is not None:
                    found.setdefault((status.st_dev, status.st_ino), file)
        except OSError as error:
            raise unreadable(path, error) from error
    return list(found.values())


def status_of(file: Path) -> os.stat_result | None:
    """Return the status of a file that was listed, or None when it is gone since, as by retention."""
    try:
        return file.stat()
    except FileNotFoundError:
        return None


def unreadable(path: Path, error: OSError) -> BadJournal:
    """Return the error of a journal that cannot be read."""
    return BadJournal(f"no journal at {str(path)!r}: {error.strerror}")


def _some_files_at(path: Path) -> Sequence[Path]:
    if files := files_at(path):
        return files
    if path.is_dir():
        raise BadJournal(f"no journal at {str(path)!r}: the folder has no *.jsonl")
    raise BadJournal(f"no journal at {str(path)!r}: there is no such folder or file")
