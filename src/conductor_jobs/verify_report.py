"""A verdict on journals as a person reads it: who led and who wrote, what was wrong, what could not be judged."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import click

from .audit import AuditReport
from .audit_tally import WriterReport
from .audit_terms import LeaseReport
from .terminal import one_line

_LEASE_HEAD: Final = ("lease", "terms", "numbers", "first led", "last led", "held by")
_WRITER_HEAD: Final = ("node", "run", "host", "pid", "lines", "ticks", "runs", "terms", "lost", "from", "to", "ended")
# What is said of work that leaves no lines holds for every journal.
_NEVER: Final = "work of run_as_leader and run_while_leader, which leaves no lines"


def report_lines(report: AuditReport) -> Iterator[str]:
    """Yield the verdict line by line, with colours; click takes them out where they are not wanted."""
    yield _counts(report)
    yield ""
    yield from _table(_LEASE_HEAD, [_lease_row(lease) for lease in report.leases], numbers={"terms"})
    yield ""
    yield from _table(
        _WRITER_HEAD,
        [_writer_row(writer) for writer in report.writers],
        numbers={"lines", "ticks", "runs", "terms", "lost"},
    )
    if report.writer_count > len(report.writers):
        yield f"(the latest {len(report.writers)} of {report.writer_count} writers)"
    yield ""
    late = sum(lease.late_act_count for lease in report.leases)
    if late:
        yield f"Let pass: {late} acts of runners that a frozen process finished when it thawed, one a run (I2)."
    for caution in report.cautions:
        yield click.style("Caution: ", fg="yellow") + _sentence(caution)
    yield "Not judged:"
    yield from (f"  {one_line(sentence)}" for sentence in (*report.unjudged, _NEVER))
    yield from _findings(report)


def _counts(report: AuditReport) -> str:
    counts = [
        _count(report.line_count, "line"),
        _count(report.writer_count, "writer"),
        _count(report.tick_count, "tick"),
        _count(report.run_count, "run") + " of runners",
        _count(report.unreadable_line_count, "unreadable line") + f", {report.torn_line_count} of them cut off",
        _count(report.lost_entry_count, "entry", "entries") + " lost",
    ]
    return "; ".join(counts) + "."


def _findings(report: AuditReport) -> Iterator[str]:
    if not report.violation_count:
        yield click.style("No violation.", fg="green")
        return
    yield click.style(_count(report.violation_count, "violation") + ":", fg="red", bold=True)
    yield from (f"  {one_line(str(violation))}" for violation in report.violations)
    if report.violation_count > len(report.violations):
        yield f"  and {report.violation_count - len(report.violations)} more"


def _lease_row(lease: LeaseReport) -> Sequence[str]:
    held_by = ", ".join(f"{node} {count}" for node, count in lease.holders.items())
    numbers = f"{lease.first_term} to {lease.last_term}"
    return (lease.lease_name, str(lease.term_count), numbers, lease.first_ts, lease.last_ts, held_by)


def _writer_row(writer: WriterReport) -> Sequence[str]:
    counts = (writer.line_count, writer.tick_count, writer.run_count, writer.term_count, writer.lost_entry_count)
    who = (writer.node_id or "?", (writer.incarnation or "?")[:8], writer.host or "?", str(writer.pid or "?"))
    return (*who, *map(str, counts), writer.first_ts, writer.last_ts, writer.ended)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: set[str]) -> Iterator[str]:
    shown = [head, *([one_line(cell) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    aligned: list[Callable[[str, int], str]] = [str.rjust if name in numbers else str.ljust for name in head]
    for number, row in enumerate(shown):
        line = "  ".join(align(cell, width) for align, cell, width in zip(aligned, row, widths, strict=True)).rstrip()
        yield line if number else click.style(line, dim=True)


def _sentence(words: str) -> str:
    return one_line(words[:1].upper() + words[1:]) + "."


def _count(count: int, one: str, many: str | None = None) -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"
