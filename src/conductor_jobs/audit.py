"""The judge of journals: from the lines of all writers, whether what was promised was kept, and what cannot be told.

    JournalAudit      whose line is it: a `started` or `continued` opens a writer, in whichever file it goes on
      Writer          its own order: work within its term, all of it before the release (I2, I7, I14)
        OpenTicks     one end for each tick and each run of a runner, one tick at a time (I12)
      LeaseTerms      among the writers of a lease: one holder a term, terms rise, older ones are done (I2, I3)
        ScheduledRuns each due instant of a runner is run once, and in order (I19)

It sees each line once and keeps what is open, the latest terms, and the first findings: its memory does not grow with
the number of lines. Where lines are missing it passes over what would need them, and says so.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any, Final, final

import msgspec

from .audit_entries import Line, text
from .audit_tally import Tally, WriterReport
from .audit_terms import LeaseReport, LeaseTerms, milliseconds
from .audit_writer import Writer
from .journal import FRAMEWORK
from .violations import Violation

_VIOLATIONS_KEPT: Final = 100
_WRITERS_TOLD: Final = 200
_SENTENCES: Final = 50
# A node that is restarted for ever leaves writers that just end; one so long ago does not go on.
_WRITERS_KEPT: Final = 10_000
_OPENS: Final = frozenset({"started", "continued"})


@final
class AuditReport(msgspec.Struct, frozen=True):
    """What was judged. `violations` are the first hundred of `violation_count`, `writers` the latest of `writer_count`.

    `unjudged`: what could not be judged and why, a sentence each; `cautions`: what a finding, or none, may be due to.
    `unowned_line_count`: lines that no `started` or `continued` says the writer of. `torn_line_count`: those of the
    `unreadable_line_count` that are the last of a file, or of a writer in it.
    """

    violation_count: int
    violations: list[Violation]
    unjudged: list[str]
    cautions: list[str]
    line_count: int
    unowned_line_count: int
    unreadable_line_count: int
    torn_line_count: int
    lost_entry_count: int
    tick_count: int
    run_count: int
    writer_count: int
    leases: list[LeaseReport]
    writers: list[WriterReport]


@final
class _File:
    """A file: whose lines stand in it now, and the time of the latest."""

    __slots__ = ("last_ts", "writer")

    def __init__(self) -> None:
        self.writer: Writer | None = None
        self.last_ts = ""


@final
class JournalAudit:
    """Takes the lines of journals one by one, and tells in the end what was wrong.

    `max_clock_skew_ms`: by how many milliseconds the clocks of two writers may differ. The lines of one file are to be
    taken in its order, those of several files merged by their `ts`.
    """

    def __init__(self, max_clock_skew_ms: int = 0) -> None:
        self._max_clock_skew_ms = max_clock_skew_ms
        self._files: dict[str, _File] = {}
        self._leases: dict[str, LeaseTerms] = {}
        # By incarnation. Of those that have stopped, only where they did.
        self._writers: dict[str, Writer] = {}
        self._stopped: dict[str, str] = {}
        self._told: deque[Writer] = deque(maxlen=_WRITERS_TOLD)
        self._tally = Tally()
        self._violations: list[Violation] = []
        self._violation_count = self._writer_count = self._line_count = 0
        self._unreadable_count = self._torn_count = self._unowned_count = 0
        self._first_unowned = ""
        # The longest step back of the wall clock, in milliseconds, and where.
        self._step_back = (0, "")
        self._hosts: dict[str, None] = {}

    def take(self, source: str, entry: Line, where: str) -> None:
        """Judge the next line of a file; `source` names the file, `where` the line: `2026-11-23.jsonl:17`."""
        self._line_count += 1
        file = self._files.get(source)
        if file is None:
            file = self._files[source] = _File()
        if entry.ts < file.last_ts:
            self._note_step_back(file.last_ts, entry.ts, where)
        file.last_ts = entry.ts
        if entry.runner == FRAMEWORK and entry.stage in _OPENS:
            file.writer = self._opened(file, entry, where)
        elif file.writer is not None and file.writer.doubt is not None:
            file.writer = self._beyond_doubt(file.writer, entry)
        if file.writer is not None:
            file.writer.take(entry, where)
            if file.writer.stopped:
                self._retire(file.writer)
        else:
            self._unowned_count += 1
            self._first_unowned = self._first_unowned or where

    def unreadable(self, source: str, where: str, *, torn: bool) -> None:
        """Take it that a line of a file is no entry; `torn`: it is the last, and cut off."""
        self._unreadable_count += 1
        self._torn_count += torn
        file = self._files.get(source)
        if file is not None and file.writer is not None:
            file.writer.doubt, file.writer.doubt_at = "unreadable", where

    def end(self, source: str) -> None:
        """Take it that a file is read to its end."""
        self._files.pop(source, None)

    def close(self) -> AuditReport:
        """Return the verdict on all that was taken."""
        leases = [lease.report() for lease in self._leases.values()]
        return AuditReport(
            violation_count=self._violation_count,
            violations=self._violations,
            unjudged=list(self._unjudged()),
            cautions=list(self._cautions()),
            line_count=self._line_count,
            unowned_line_count=self._unowned_count,
            unreadable_line_count=self._unreadable_count,
            torn_line_count=self._torn_count,
            lost_entry_count=self._tally.lost,
            tick_count=self._tally.ticks,
            run_count=self._tally.runs,
            writer_count=self._writer_count,
            leases=[lease for lease in leases if lease.term_count],
            writers=[writer.told() for writer in self._told],
        )

    def _opened(self, file: _File, entry: Line, where: str) -> Writer | None:
        if file.writer is not None and file.writer.doubt == "unreadable":
            self._torn_count += 1
        incarnation, node_id = text(entry, "incarnation"), text(entry, "node_id")
        if incarnation is None or node_id is None:
            return None
        writer = self._writers.get(incarnation)
        if entry.stage == "started" and (writer is not None or incarnation in self._stopped):
            self._report(where, "copy", f"{node_id} ({incarnation}) begins for the second time, as no run does")
            return None
        if incarnation in self._stopped:
            self._report(where, "I14", f"{node_id} ({incarnation}) goes on, but stopped ({self._stopped[incarnation]})")
            return None
        if writer is None:
            writer = self._new_writer(entry)
            self._writers[incarnation] = writer
            if entry.stage == "continued":
                writer.forget(f"what it wrote before {where} is not here")
        elif writer is file.writer:
            # It wrote to another file meanwhile, or its first write to this one failed in part.
            writer.doubt, writer.doubt_at = "reopened", where
        elif writer.doubt is not None or writer.out_of_order:
            writer.forget(f"not all that it wrote before {where} is here in order")
            writer.doubt = None
        return writer

    def _beyond_doubt(self, writer: Writer, entry: Line) -> Writer:
        # Whoever begins in a file says so first: what follows a loss that is owned up to is the same writer's.
        lost = entry.runner == FRAMEWORK and entry.stage == "journal_lost" and writer.stopped is None
        if writer.doubt == "unreadable":
            self._torn_count += lost
            if not lost:
                unknown = self._new_writer(entry)
                unknown.forget(f"{writer.doubt_at} cannot be read and may have said whose the lines after it are")
                return unknown
        elif not lost:
            writer.keep_out_of_terms(
                f"the order of its lines is not known: at {writer.doubt_at} it was in another file"
            )
        writer.doubt = None
        return writer

    def _new_writer(self, first: Line) -> Writer:
        writer = Writer(first, self._tally, self._lease, self._report)
        self._writer_count += 1
        self._told.append(writer)
        if writer.host is not None and len(self._hosts) < _SENTENCES:
            self._hosts[writer.host] = None
        _drop_oldest(self._writers)
        return writer

    def _retire(self, writer: Writer) -> None:
        if writer.holder is not None and self._writers.pop(writer.holder.incarnation, None) is not None:
            self._stopped[writer.holder.incarnation] = str(writer.stopped)
            _drop_oldest(self._stopped)

    def _lease(self, lease_name: str) -> LeaseTerms:
        if lease_name not in self._leases:
            self._leases[lease_name] = LeaseTerms(lease_name, self._max_clock_skew_ms)
        return self._leases[lease_name]

    def _report(self, where: str, rule: str, what: str) -> None:
        self._violation_count += 1
        if len(self._violations) < _VIOLATIONS_KEPT:
            self._violations.append(Violation(where, rule, what))

    def _note_step_back(self, before: str, after: str, where: str) -> None:
        moments = milliseconds(before), milliseconds(after)
        if moments[0] is not None and moments[1] is not None and moments[0] - moments[1] > self._step_back[0]:
            self._step_back = (moments[0] - moments[1], where)

    def _unjudged(self) -> Iterator[str]:
        if self._unowned_count:
            yield (
                f"{self._unowned_count} lines stand before any line that says who writes (the first is "
                f"{self._first_unowned}): they are counted only"
            )
        for gap in self._tally.gaps:
            if gap.passed_over:
                yield f"{gap.passed_over} lines of {gap.writer}, since {gap.reason}"
        if self._tally.more_gaps:
            yield f"lines of {self._tally.more_gaps} more writers, since others are missing"
        if self._tally.stray:
            yield f"{self._tally.stray} entries of runners that were not at work: their term is not known"
        if self._tally.incomplete:
            yield f"{self._tally.incomplete} lines that lack their term or their lease's name"
        unreadable_times = sum(lease.unreadable_times for lease in self._leases.values())
        if unreadable_times:
            yield f"{unreadable_times} times that cannot be read were not compared"

    def _cautions(self) -> Iterator[str]:
        hosts = ", ".join(self._hosts)
        if len(self._hosts) > 1 and not self._max_clock_skew_ms:
            yield f"lines of several hosts ({hosts}) were compared as if their clocks agreed to the millisecond"
        if self._step_back[0]:
            step, where = self._step_back
            yield (
                f"the wall clock went back by up to {step} ms ({where}): between writers, what lies closer together "
                "than that may be told in the wrong order"
            )


def _drop_oldest(known: dict[str, Any]) -> None:
    if len(known) > _WRITERS_KEPT:
        del known[next(iter(known))]
