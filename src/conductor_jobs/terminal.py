"""A journal line for a person: aligned, in local time, coloured where it matters."""

from datetime import datetime

import click

from .failures import shown
from .journal import LEASE, JournalEntry
from .journal_format import LineFacts

_RUNNER_WIDTH = 24
_STAGE_WIDTH = 20
_BAD_RESULTS = frozenset({"failed", "completed_with_failures", "lost", "misfire", "missed"})
_BAD_STAGES = frozenset({"runner_misfired", "run_unknown", "schedule_ahead", "term_overrun"})
# What every runner's start repeats, and a person knows.
_SAME = frozenset({"controller_id", "host", "max_messages_per_tick", "max_tasks_per_tick", "settle_delay_ms"})
_CUT_SHORT = frozenset({"lease_expired", "lease_superseded", "drain_timeout", "cancelled"})


def person_line(entry: JournalEntry, node: str | None = None) -> str:
    """Return the entry as one line with colours; click takes them out where they are not wanted.

    `node` stands behind the time: who wrote it, where that is of interest.
    """
    runner, stage, result = (one_line(text or "") for text in (entry.runner, entry.stage, entry.result))
    words = f"{runner:<{_RUNNER_WIDTH}} {stage:<{_STAGE_WIDTH}} {result:<12}".rstrip()
    moment = local_time(entry.ts)
    clock = one_line(entry.ts) if moment is None else f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}"
    when = clock + (f" {node}" if node else "")
    line = f"{click.style(when, dim=True)} {_coloured(words, entry)}"
    if entry.duration_ms:
        line += f" {entry.duration_ms:g} ms"
    if entry.error is not None:
        line += click.style(f" {one_line(entry.error)}", fg="red")
    details = "".join(
        f" {one_line(name)}={one_line(_shown(value))}" for name, value in entry.details.items() if name not in _SAME
    )
    return line + (click.style(details, dim=True) if details else "")


def local_time(ts: str) -> datetime | None:
    """Return the moment of an entry in local time, or None for a text of another's that is no time."""
    try:
        return datetime.fromisoformat(ts).astimezone()
    except (ValueError, OverflowError):
        return None


def is_trouble(entry: JournalEntry | LineFacts) -> bool:
    """Return whether a person should look at this entry: what failed, was lost, missed or cut short."""
    trouble = _BAD_RESULTS | _CUT_SHORT
    return entry.error is not None or entry.result in trouble or entry.stage in _BAD_STAGES


def _coloured(words: str, entry: JournalEntry) -> str:
    if entry.result in _BAD_RESULTS or entry.stage in _BAD_STAGES:
        return click.style(words, fg="red", bold=True)
    if entry.result in _CUT_SHORT:
        return click.style(words, fg="yellow")
    if entry.runner == LEASE:
        return click.style(words, fg="magenta", bold=True)
    return click.style(words, fg="green") if entry.stage.endswith("_completed") else words


def _shown(value: object) -> str:
    return value if isinstance(value, str) else shown(value)


def one_line(text: str) -> str:
    """Return the text with escapes for what is not printable: a runner's must not move the cursor or colour more."""
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)
