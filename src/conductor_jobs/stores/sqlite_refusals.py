"""Refusing a campaign again without opening the SQLite file, while nobody has written to it.

A standby looks every 0.75 s, and opening the file is most of what that costs; somebody writes to it a few times in five
seconds. As long as the file is as it was, the record that refused the last campaign is the record in it, and refuses
the next one. A refusal is all that is ever decided here: a lease is granted in the file alone, under its write lock.
"""

import os
import time
from pathlib import Path
from typing import Final, NamedTuple, final

from .. import records
from ..clocks import boot_time
from ..lease import Holder, LeaseGrant
from ..records import LeaseRecord

Stamp = tuple[int, int, int, int]

# Changes of a file are timed by a clock that ticks every 1 to 10 ms.
_TICK_OF_FILES: Final = 0.1


class _Seen(NamedTuple):
    stamp: Stamp
    at: float
    record: LeaseRecord


@final
class Refusals:
    """The records that refused campaigns of this process, by the names of their leases. For any number of threads."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def remember(self, lease_name: str, record: LeaseRecord, stamp: Stamp | None, now: float) -> None:
        """Keep a record that was read at `now`, from a file that had that stamp before."""
        if stamp is not None:
            self._seen[lease_name] = _Seen(stamp, now, record)

    def again(self, lease_name: str, holder: Holder, ttl: float, stamp: Stamp | None) -> LeaseGrant | None:
        """Return the refusal of a campaign, if a record that is known to be in the file still refuses it."""
        seen = self._seen.get(lease_name)
        if stamp is None or seen is None or seen.stamp != stamp:
            return None
        now = boot_time()
        # The clock goes back when a process is restored in another boot.
        if now < seen.at or records.campaign(seen.record, holder, ttl, now) is not None:
            return None
        return records.answer(seen.record, is_leader=False, operation="acquire", now=now, unix_now=time.time())


def stamp_of(path: Path) -> Stamp | None:
    """Return what tells the content of a file from any that it will have later, or None while nothing does.

    That is while it is not there, while its write-ahead log is in use, or when it was written to so lately that the
    next write could be given the same time.
    """
    try:
        file = Path(os.path.realpath(path, strict=True))
        # The log before the file: it goes once all of it has been written there.
        if _is_in_use(file.with_name(f"{file.name}-wal")):
            return None
        found = file.stat()
    except OSError:
        return None
    keeps_whole_seconds = found.st_ctime_ns % 1_000_000_000 == 0
    if keeps_whole_seconds or time.time() - found.st_ctime <= _TICK_OF_FILES:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_ctime_ns


def _is_in_use(log: Path) -> bool:
    try:
        return log.stat().st_size > 0
    except FileNotFoundError:
        return False
