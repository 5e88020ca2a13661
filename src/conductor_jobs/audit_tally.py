"""What is counted of journals while they are judged, and what is told of each writer in the end."""

from typing import Final, final

import msgspec

_GAPS_KEPT: Final = 50


@final
class WriterReport(msgspec.Struct, frozen=True):
    """One writer: who it was, how much it wrote and when, and how it ended.

    `node_id` and `incarnation` are None for lines of which it is not certain whose they are.
    """

    node_id: str | None
    incarnation: str | None
    host: str | None
    pid: int | None
    lease_name: str | None
    line_count: int
    tick_count: int
    run_count: int
    term_count: int
    lost_entry_count: int
    first_ts: str
    last_ts: str
    ended: str


@final
class Gap:
    """Why it is not known what a writer had begun at some line; how many later lines were not judged for it."""

    __slots__ = ("passed_over", "reason", "writer")

    def __init__(self, writer: str, reason: str) -> None:
        self.writer: str = writer
        self.reason: str = reason
        self.passed_over: int = 0


@final
class Tally:
    """Counts over all writers.

    `incomplete`: lines that say less than their stage always does. `stray`: entries of runners that were not at work.
    """

    def __init__(self) -> None:
        self.ticks: int = 0
        self.runs: int = 0
        self.lost: int = 0
        self.incomplete: int = 0
        self.stray: int = 0
        self.gaps: list[Gap] = []
        self.more_gaps: int = 0

    def gap(self, writer: str, reason: str) -> Gap:
        """Return a gap that is told of in the end, if it is not one of too many."""
        gap = Gap(writer, reason)
        if len(self.gaps) < _GAPS_KEPT:
            self.gaps.append(gap)
        else:
            self.more_gaps += 1
        return gap
