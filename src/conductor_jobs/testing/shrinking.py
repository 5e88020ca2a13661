"""The shortest history that shows a violation: fewer faults, and only what happened around it."""

from collections.abc import Callable, Sequence

from ..violations import Violation
from .history import Event, History, told
from .scenario import Fault

Replay = Callable[[Sequence[Fault]], Sequence[Violation]]
_MOST_REPLAYS = 60


def fewest_faults(plan: Sequence[Fault], replay: Replay, rule: str) -> list[Fault]:
    """Return a part of the plan under which the rule is still broken, and from which nothing more can be left out.

    By halves first, then smaller parts; after sixty replays what is left by then.
    """
    kept, size, replays = list(plan), max(1, len(plan) // 2), 0
    while kept and replays < _MOST_REPLAYS:
        before = len(kept)
        place = 0
        while place < len(kept) and replays < _MOST_REPLAYS:
            fewer = kept[:place] + kept[place + size :]
            replays += 1
            if any(each.rule == rule for each in replay(fewer)):
                kept = fewer
            else:
                place += size
        if size == 1 and len(kept) == before:
            break
        size = max(1, size // 2)
    return kept


def told_around(history: History, violation: Violation, seconds: float) -> list[str]:
    """Tell what happened in so many seconds up to a violation, without the renewals and ticks of nobody's concern."""
    at = float(violation.at)
    lives = {event.life for event in history if event.life in violation.what}
    return [told(event) for event in history if at - seconds <= event.at <= at and _concerns(event, lives)]


def _concerns(event: Event, lives: set[str]) -> bool:
    return not lives or event.life in lives or event.kind in ("committed", "life", "fault", "blocked")
