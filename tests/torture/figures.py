"""How long failovers, handovers and stops took: reported, never asserted."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import final

import msgspec

from conductor_jobs.testing.effects import Effect

from .evidence import Deed, EffectsReader, Folder

# A leader is seen at work more often than that, in seconds.
_AT_WORK = 1.0


@final
class Figure(msgspec.Struct, frozen=True):
    """What was measured, and how many seconds it took each time."""

    name: str
    seconds: Sequence[float]

    def __str__(self) -> str:
        """Return a row of the table."""
        ordered = sorted(self.seconds)
        last = len(ordered) - 1
        shown = [ordered[0], ordered[last // 2], ordered[round(0.95 * last)], ordered[last]] if ordered else []
        return f"{self.name:<54}{len(ordered):>6}" + "".join(f"{value:>9.3f}" for value in shown)


HEADING = f"{'seconds':<54}{'times':>6}{'min':>9}{'median':>9}{'p95':>9}{'max':>9}"


@final
class _Blow(msgspec.Struct, frozen=True):
    """A leader that was hit, whether no other node was in that round, and whose term came after."""

    hit: Deed
    alone: bool
    last: Effect
    next: Effect


def figures(folder: Folder) -> list[Figure]:
    """Return the rows of the table."""
    deeds = folder.deeds()
    blows = list(_blows(sorted(EffectsReader(folder.effects).fresh(), key=_moment), deeds))

    def took(since: Callable[[_Blow], float], alone: bool, *kinds: str) -> list[float]:
        chosen = [blow for blow in blows if blow.hit.what in kinds and blow.alone == alone]
        return [blow.next.at - since(blow) for blow in chosen]

    def hit(blow: _Blow) -> float:
        return blow.hit.at

    return [
        Figure("kill -9 of the leader, until the next one acts", took(hit, True, "kill", "restart")),
        Figure("  the same, with a second node hit at once", took(hit, False, "kill", "restart")),
        Figure("SIGSTOP of the leader, until the next one acts", took(hit, True, "freeze")),
        Figure("  the same, with a second node hit at once", took(hit, False, "freeze")),
        Figure(
            "SIGTERM of the leader, from its last act to the next's", took(lambda blow: blow.last.at, True, "drain")
        ),
        Figure("SIGTERM of any node, until it has ended", list(_stops(deeds))),
    ]


def _blows(effects: Sequence[Effect], deeds: Sequence[Deed]) -> Iterator[_Blow]:
    moments = [effect.at for effect in effects]
    first: dict[int, Effect] = {}
    last: dict[int, Effect] = {}
    for effect in effects:
        first.setdefault(effect.term, effect)
        last[effect.term] = effect
    terms = sorted(first)
    hits = [deed for deed in deeds if deed.what in ("kill", "restart", "freeze", "drain", "hiccup")]
    for hit in hits:
        before = bisect_right(moments, hit.at) - 1
        if before < 0 or effects[before].life != hit.life or hit.at - effects[before].at > _AT_WORK:
            continue
        term = effects[before].term
        later = terms[bisect_right(terms, term) :]
        if later:
            alone = sum(other.round == hit.round for other in hits) == 1
            yield _Blow(hit, alone, last[term], first[later[0]])


def _stops(deeds: Sequence[Deed]) -> Iterator[float]:
    ended = {deed.life: deed.at for deed in deeds if deed.what == "ended"}
    for deed in deeds:
        if deed.what == "drain" and deed.life in ended:
            yield ended[deed.life] - deed.at


def _moment(effect: Effect) -> float:
    return effect.at
