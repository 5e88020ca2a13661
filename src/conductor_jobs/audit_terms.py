"""What holds across all writers of a lease: a term has one holder, terms rise, and the work of older ones is over (I3).

Within one writer the order of its lines counts. Between two writers only the times in their lines can be compared,
which the clocks of two machines may tell differently: what lies closer together than they may differ is no evidence.
"""

from datetime import datetime
from typing import Final, final

import msgspec

from .audit_schedules import ScheduledRuns
from .lease import Holder

# A term's number is looked up long after its end by nothing but a fault; what is older is not remembered.
_TERMS_KEPT: Final = 1000
_HOLDERS_NAMED: Final = 50


@final
class Mark(msgspec.Struct, frozen=True):
    """A line as evidence: its time, its writer (None when that is not certain), and where it stands."""

    ts: str
    holder: Holder | None
    where: str


@final
class LeaseReport(msgspec.Struct, frozen=True):
    """The terms of one lease: how many, the first and the last with their times, and how many terms each node held.

    `late_act_count`: the acts of older terms that were let pass as what a frozen process may still do (I2).
    """

    lease_name: str
    term_count: int
    first_term: int
    last_term: int
    first_ts: str
    last_ts: str
    holders: dict[str, int]
    late_act_count: int


@final
class LeaseTerms:
    """The terms of one lease, as the lines of all its writers tell of them; take the lines in the order of time."""

    def __init__(self, lease_name: str, max_clock_skew_ms: int) -> None:
        self._lease_name = lease_name
        self._max_clock_skew_ms = max_clock_skew_ms
        self._holders: dict[int, Mark] = {}
        self._begun: dict[int, Mark] = {}
        self._first_acts: dict[int, Mark] = {}
        self._terms_of: dict[str, int] = {}
        self._term_count = 0
        self._first = self._last = (0, "")
        self._highest_begun = 0
        self.runs: ScheduledRuns = ScheduledRuns()
        #: The highest term of which an act is known.
        self.acting: int = 0
        self.late_act_count: int = 0
        self.unreadable_times: int = 0

    def begun(self, term: int, node_id: str, mark: Mark) -> tuple[str, Mark] | None:
        """Take a `leader_started`; return what it contradicts, in words with a gap for where that stands, or None."""
        contradicted = self.held(term, mark) or self._out_of_turn(term, mark)
        _keep(self._begun, term, mark)
        self._highest_begun = max(self._highest_begun, term)
        self._term_count += 1
        self._first = self._first if self._first[1] else (term, mark.ts)
        self._last = (term, mark.ts)
        named = node_id if node_id in self._terms_of or len(self._terms_of) < _HOLDERS_NAMED else "others"
        self._terms_of[named] = self._terms_of.get(named, 0) + 1
        return contradicted

    def held(self, term: int, mark: Mark) -> tuple[str, Mark] | None:
        """Take it that the line's writer holds the term; return what that contradicts, or None."""
        if mark.holder is None:
            return None
        known = self._holders.get(term)
        if known is None:
            _keep(self._holders, term, mark)
        elif known.holder != mark.holder:
            return f"term {term} belongs to {_name(known.holder)}", known
        return None

    def acted(self, term: int, mark: Mark) -> Mark | None:
        """Take an act of a term's work; return the first act of a newer term if that came before it."""
        if term >= self.acting:
            if term > self.acting:
                self.acting = term
                _keep(self._first_acts, term, mark)
            return None
        return self._earlier(self._first_acts, term, mark)

    def report(self) -> LeaseReport:
        """Return what is known by now."""
        first, last = self._first, self._last
        return LeaseReport(
            self._lease_name, self._term_count, first[0], last[0], first[1], last[1], self._terms_of,
            self.late_act_count,
        )  # fmt: skip

    def _out_of_turn(self, term: int, mark: Mark) -> tuple[str, Mark] | None:
        known = self._begun.get(term)
        if known is not None and known.holder == mark.holder:
            return f"term {term} began already", known
        if term > self._highest_begun:
            return None
        higher = self._earlier(self._begun, term, mark)
        return None if higher is None else ("a higher term began before it", higher)

    def _earlier(self, marks: dict[int, Mark], term: int, mark: Mark) -> Mark | None:
        for newer, other in marks.items():
            if newer > term and self._is_after(mark, other):
                return other
        return None

    def _is_after(self, mark: Mark, other: Mark) -> bool:
        if mark.holder is not None and mark.holder == other.holder:
            return True
        moments = milliseconds(mark.ts), milliseconds(other.ts)
        if moments[0] is None or moments[1] is None:
            self.unreadable_times += 1
            return False
        return moments[0] - moments[1] > self._max_clock_skew_ms


def milliseconds(ts: str) -> int | None:
    """Return the unix milliseconds of a time as entries have it, or None if it is none."""
    try:
        moment = datetime.fromisoformat(ts)
        return None if moment.tzinfo is None else round(moment.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def _keep(marks: dict[int, Mark], term: int, mark: Mark) -> None:
    marks[term] = mark
    if len(marks) > _TERMS_KEPT:
        del marks[min(marks)]


def _name(holder: Holder | None) -> str:
    return "somebody" if holder is None else f"{holder.node_id} ({holder.incarnation})"
