"""One writer of a journal: what one run of a conductor must have written, in the order of its lines.

Its work lies within a term of its own, and all of it before the release of its lease. A writer that was killed just
ends. After lines of it were lost it is not known whether it leads: only what begins anew is judged from there on.
"""

from collections.abc import Callable
from typing import Final, Literal, final

from .audit_entries import Line, Report, number, text
from .audit_schedules import AnnouncedRuns
from .audit_tally import Tally, WriterReport
from .audit_terms import LeaseTerms, Mark
from .audit_ticks import OpenTick, OpenTicks
from .journal import FRAMEWORK, LEASE
from .lease import Holder

_NOT_LEADING: Final = 0
_UNKNOWN: Final = -1
_BEFORE_THE_RELEASE: Final = frozenset(
    {"tick_started", "tick_completed", "tick_interrupted", "tick_failed"}
    | {"leader_started", "leader_ended", "lease_released"}
)


Doubt = Literal["unreadable", "reopened"]


@final
class Writer:
    """Judges the lines of one run of a conductor, through all its files."""

    def __init__(self, first: Line, tally: Tally, lease_of: Callable[[str], LeaseTerms], report: Report) -> None:
        """Begin with its `started` or `continued`, or with any line when it is not certain whose they are."""
        node_id, incarnation = text(first, "node_id"), text(first, "incarnation")
        named = first.runner == FRAMEWORK and node_id is not None and incarnation is not None
        self.holder: Holder | None = Holder(str(node_id), str(incarnation)) if named else None
        self.host: str | None = text(first, "host") if named else None
        self.ticks: OpenTicks = OpenTicks(report)
        #: Where it stopped, or None.
        self.stopped: str | None = None
        #: What stands before the next line in its file that leaves in doubt whether that is its own, and where.
        self.doubt: Doubt | None = None
        self.doubt_at: str = ""
        self._tally = tally
        self._line_count = self._tick_count = self._run_count = self._lost_entry_count = 0
        self._pid = number(first, "pid") if named else None
        self._lease_name = text(first, "lease_name") if named else None
        self._lease_of: Callable[[str], LeaseTerms] | None = lease_of
        self._lease = None if self._lease_name is None else lease_of(self._lease_name)
        self._report = report
        self._first_ts = self._last_ts = first.ts
        self._term = _NOT_LEADING
        self._term_count = 0
        self._released: str | None = None
        self._resigning = False
        self._announced = AnnouncedRuns()

    @property
    def name(self) -> str:
        """Who it is, for a sentence."""
        return "a writer" if self.holder is None else f"{self.holder.node_id} ({self.holder.incarnation})"

    def take(self, entry: Line, where: str) -> None:
        """Judge its next line."""
        self._line_count += 1
        self._last_ts = entry.ts
        if (self._released or self.stopped) and not self._may_follow_the_end(entry, where):
            return
        if entry.runner == FRAMEWORK:
            self._take_of_framework(entry, where)
        elif entry.runner == LEASE:
            self._take_of_lease(entry, where)
        else:
            self._take_of_runner(entry, where)

    def forget(self, reason: str) -> None:
        """Take it that lines are missing here."""
        self.ticks.gap = self.ticks.gap or self._tally.gap(self.name, reason)
        self.ticks.forget()
        self._term = _UNKNOWN

    @property
    def out_of_order(self) -> bool:
        """Whether the order of its lines is not known."""
        return self._lease_of is None

    def keep_out_of_terms(self, reason: str) -> None:
        """Compare it with other writers no longer: the order of its lines is not known."""
        self.forget(reason)
        self._lease = self._lease_of = None

    def told(self) -> WriterReport:
        """Return what is known of it by now."""
        holder = self.holder
        return WriterReport(
            node_id=None if holder is None else holder.node_id,
            incarnation=None if holder is None else holder.incarnation,
            host=self.host,
            pid=self._pid,
            lease_name=self._lease_name,
            line_count=self._line_count,
            tick_count=self._tick_count,
            run_count=self._run_count,
            term_count=self._term_count,
            lost_entry_count=self._lost_entry_count,
            first_ts=self._first_ts,
            last_ts=self._last_ts,
            ended="stopped" if self.stopped else f"not stopped, {self.ticks.doing()}",
        )

    def _take_of_framework(self, entry: Line, where: str) -> None:
        match entry.stage:
            case "tick_started":
                self._tick_count += 1
                self._tally.ticks += 1
                self.ticks.begin(entry, where)
            case "tick_completed" | "tick_interrupted" | "tick_failed":
                self.ticks.end(entry, where)
            case "journal_lost":
                self._lost_lines(entry, where)
            case "stopped":
                self.ticks.must_be_over(where, "I14", f"{self.name} stopped")
                self.stopped = where

    def _take_of_lease(self, entry: Line, where: str) -> None:
        match entry.stage:
            case "leader_started":
                self._leader_started(entry, where)
            case "leader_ended":
                self._leader_ended(entry, where)
            case "resigning":
                self._resigning = True
            case "lease_released":
                self._lease_released(where)

    def _take_of_runner(self, entry: Line, where: str) -> None:
        match entry.stage:
            case "runner_started":
                self._runner_started(entry, where)
            case "runner_completed" | "runner_failed" | "runner_cancelled" | "runner_retrying":
                self.ticks.end_run(entry, where)
            case "run_unknown":
                self._announced.take(entry)
            case "runner_skipped" | "runner_misfired" | "schedule_ahead":
                pass
            case _:
                self._own_entry(entry, where)

    def _may_follow_the_end(self, entry: Line, where: str) -> bool:
        what = f"{entry.stage} of {entry.runner} after {self.name}"
        if self.stopped:
            self._report(where, "I14", f"{what} stopped ({self.stopped})")
            return False
        if entry.runner in (FRAMEWORK, LEASE) and entry.stage not in _BEFORE_THE_RELEASE:
            return True
        self._report(where, "I7", f"{what} released its lease ({self._released})")
        return False

    def _runner_started(self, entry: Line, where: str) -> None:
        self._run_count += 1
        self._tally.runs += 1
        term = number(entry, "term") or 0
        self.ticks.begin_run(entry, where, term)
        if not term:
            self._tally.incomplete += 1
            return
        does = f"{self.name} starts {entry.runner} under term {term}"
        if self._term not in (_UNKNOWN, term):
            self._report(where, "I2", f"{does}, but it {self._leads()}")
        if self._lease is None:
            self._not_compared()
            return
        mark = Mark(entry.ts, self.holder, where)
        if self._term == _UNKNOWN:
            self._term = term
            self._contradicted(self._lease.held(term, mark), where, does)
        if (newer := self._lease.acted(term, mark)) is not None:
            self._report(where, "I3", f"{does}, though a newer one was at work ({newer.where})")
        self._run_by_schedule(self._lease, entry, where, term)

    def _run_by_schedule(self, lease: LeaseTerms, entry: Line, where: str, term: int) -> None:
        if text(entry, "due_at") is None:
            return
        run = self._announced.run_of(entry, where, term, lines_missing=self.ticks.gap is not None)
        if run is None:
            self._tally.incomplete += 1
        elif (problem := lease.runs.started(entry.runner, run)) is not None:
            self._report(where, "I19", problem)

    def _own_entry(self, entry: Line, where: str) -> None:
        tick = self.ticks.of_run(entry)
        if tick is None:
            self._tally.stray += 1
        elif self._lease is None or not tick.term:
            self._not_compared()
        # After the second late one, which is reported, the others say nothing new.
        elif tick.term != self._lease.acting and tick.late < 2:
            newer = self._lease.acted(tick.term, Mark(entry.ts, self.holder, where))
            if newer is not None:
                self._was_late(self._lease, tick, newer, entry, where)

    def _was_late(self, lease: LeaseTerms, tick: OpenTick, newer: Mark, entry: Line, where: str) -> None:
        tick.late += 1
        # What a process was about to do when it was frozen, it does when it thaws. Then comes a checkpoint.
        if tick.late == 1:
            lease.late_act_count += 1
        else:
            what = f"{entry.runner} of {self.name} goes on in term {tick.term} after a newer one was at work"
            self._report(where, "I2", f"{what} ({newer.where}): {entry.stage} is its second act since")

    def _leader_started(self, entry: Line, where: str) -> None:
        term, lease_name = number(entry, "term"), text(entry, "lease_name")
        if term is None or lease_name is None:
            self._tally.incomplete += 1
            self._term = _UNKNOWN
            return
        does = f"{self.name} begins term {term}"
        if self._term > 0:
            self._report(where, "I3", f"{does} while its term {self._term} goes on")
        holder_id = text(entry, "holder_id")
        if self.holder is not None and holder_id != self.holder.node_id:
            self._report(where, "I3", f"{does}, which is said to belong to {holder_id}")
        if self._lease is None and self._lease_of is not None:
            self._lease = self._lease_of(lease_name)
        if self._lease is not None:
            mark = Mark(entry.ts, self.holder, where)
            self._contradicted(self._lease.begun(term, holder_id or "?", mark), where, does)
        self._term = term
        self._term_count += 1

    def _leader_ended(self, entry: Line, where: str) -> None:
        term = number(entry, "term")
        if self._term not in (_UNKNOWN, term):
            self._report(where, "I3", f"{self.name} ends term {term}, but it {self._leads()}")
        self._term = _NOT_LEADING

    def _lease_released(self, where: str) -> None:
        self.ticks.must_be_over(where, "I7", f"{self.name} releases its lease")
        self.ticks.forget()
        if self._term > 0:
            self._report(where, "I7", f"{self.name} releases its lease while its term {self._term} goes on")
        # Whoever resigns runs on, and may lead again.
        self._released = None if self._resigning else where
        self._resigning = False

    def _lost_lines(self, entry: Line, where: str) -> None:
        count = number(entry, "lost_entry_count")
        self._lost_entry_count += count or 0
        self._tally.lost += count or 0
        self.forget(f"{'some' if count is None else count} of its entries were lost before {where}")

    def _not_compared(self) -> None:
        if self.ticks.gap is None:
            self._tally.incomplete += 1
        else:
            self.ticks.gap.passed_over += 1

    def _leads(self) -> str:
        return f"leads term {self._term}" if self._term else "does not lead"

    def _contradicted(self, by: tuple[str, Mark] | None, where: str, does: str) -> None:
        if by is not None:
            self._report(where, "I3", f"{does}, but {by[0]} ({by[1].where})")
