"""The journal: one entry per step, and what takes the entries.

The format of a line is the one of the system that this library began as: seven keys that are always there, in
alphabetical order, and then the details beside them.
"""

from collections.abc import Mapping
from typing import Any, Protocol, final, runtime_checkable

import msgspec

from .stderr import tell

FRAMEWORK = "timed-jobs.framework"
LEASE = "timed-jobs.lease"


@final
class JournalEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step: who (`runner`, `batch_id`), what (`stage`), how it came out, and `details` beside these keys.

    `duration_ms` is in milliseconds; `ts` is ISO 8601, UTC, to the millisecond, with a `Z`.
    """

    batch_id: str
    duration_ms: int | float | None
    error: str | None
    result: str | None
    runner: str
    stage: str
    ts: str
    details: Mapping[str, Any] = {}


@runtime_checkable
class Journal(Protocol):
    """Takes the entries of one conductor. Called under a lock, from the loop's thread and from runners' threads.

    Neither call may raise: a journal that fails counts what it lost, and never disturbs a tick.
    """

    def add(self, entry: JournalEntry) -> None:
        """Take an entry; it may be kept back until `flush`."""
        ...

    def flush(self) -> None:
        """Pass on everything that was added; once this returns, a killed process has not lost it."""
        ...


def complain(problem: str) -> None:
    """Say on stderr that the journal cannot be written (seed 2.5)."""
    tell(f"[timed-jobs-log] write failed: {problem}")
