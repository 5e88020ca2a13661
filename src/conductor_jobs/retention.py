"""Retention: old files of a journal's folder are deleted when a run begins, and whenever a day has begun.

Beside the work, in a thread: a disk that hangs holds up no tick and no stop, and whatever fails is journaled.
"""

import contextlib
import fcntl
import os
import stat
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, final

import msgspec
import trio

from .failures import error_text
from .journal import FRAMEWORK
from .journal_folders import date_of, is_journal_name
from .recorder import Recorder

# A wall clock may be set: so often, in seconds, it is asked at least whether a day has begun.
_LONGEST_SLEEP: Final = 3600.0
_NAMED: Final = 100


@final
class Pruned(msgspec.Struct, frozen=True):
    """What became of the old files: the names of the deleted ones, and what kept others from being deleted."""

    names: Sequence[str]
    problems: Sequence[str]


@final
class Retention:
    """Deletes the journal files of a folder that are of more than `days` days before today."""

    def __init__(self, folder: Path, days: int, recorder: Recorder) -> None:
        self._folder = folder
        self._days = days
        self._recorder = recorder
        self._limiter = trio.CapacityLimiter(1)

    async def run(self) -> None:
        """Delete now and after each midnight, UTC. Cancelling ends it; a thread that hangs is left behind."""
        while True:
            today = self._recorder.today()
            if (oldest := _oldest_kept(today, self._days)) is not None:
                await self._prune(oldest)
            # No event tells of a day that has begun.
            while self._recorder.today() == today:  # noqa: ASYNC110
                await trio.sleep(min(_LONGEST_SLEEP, _until_midnight(self._recorder.timestamp())))

    async def _prune(self, oldest: str) -> None:
        try:
            pruned = await trio.to_thread.run_sync(
                prune, self._folder, oldest, abandon_on_cancel=True, limiter=self._limiter
            )
        except Exception as error:  # noqa: BLE001 - a disk or a lack of threads never disturbs the work
            pruned = Pruned((), (error_text(error),))
        if pruned.names or pruned.problems:
            self._journal(pruned)

    def _journal(self, pruned: Pruned) -> None:
        details = {
            "file_count": len(pruned.names),
            "files": list(pruned.names[:_NAMED]),
            "retention_days": self._days,
        }
        result = "failed" if pruned.problems else "ok"
        error = "; ".join(pruned.problems[:_NAMED]) or None
        self._recorder.write(FRAMEWORK, "journal_pruned", result=result, error=error, details=details)


def prune(folder: Path, oldest: str) -> Pruned:
    """Delete a folder's journal files of days before `oldest`, `YYYY-MM-DD`. Raises OSError if it cannot be listed.

    Never one that a living writer holds, and none whose name is not of a journal of ours.
    """
    names, problems = list[str](), list[str]()
    for file in sorted(folder.iterdir()):
        if is_journal_name(file.name) and date_of(file) < oldest:
            try:
                if _deleted(file):
                    names.append(file.name)
            except OSError as error:
                problems.append(f"{file.name}: {error.strerror}")
    return Pruned(names, problems)


def _deleted(file: Path) -> bool:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return False  # another node of this folder was first
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        # Held until the name is gone: whoever wants to write meanwhile takes another file.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with contextlib.suppress(FileNotFoundError):
            # Another node may have deleted it before it was locked here, and a writer have taken the name.
            if os.path.samestat(os.fstat(descriptor), file.lstat()):
                file.unlink()
                return True
    except BlockingIOError:
        pass
    finally:
        os.close(descriptor)
    return False


def _oldest_kept(today: str, days: int) -> str | None:
    try:
        return (date.fromisoformat(today) - timedelta(days)).isoformat()
    except OverflowError:  # before there were years
        return None


def _until_midnight(ts: str) -> float:
    moment = datetime.fromisoformat(ts)
    midnight = (moment + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
    return (midnight - moment).total_seconds()
