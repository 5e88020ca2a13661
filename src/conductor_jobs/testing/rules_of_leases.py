"""What the lease may do, and how soon somebody leads again: I3 to I6 and I9, as rules of a history."""

from collections.abc import Iterator
from typing import NamedTuple

from ..violations import Violation
from .evidence import SAME, Evidence, LifeStory, violation
from .history import Committed

HANDOVER_WATCHING = 0.1
HANDOVER_POLLING = 1.0
FAILOVER = 1.0
LOW_PRIORITY_WAIT = 0.5


class _Held(NamedTuple):
    """The lease as the store must have it."""

    holder: tuple[str, int]
    term: int
    until: float


def the_store_keeps_the_lease(evidence: Evidence) -> Iterator[Violation]:
    """I3, I4: terms rise at each campaign that is granted; only the holder of an unexpired term renews it."""
    held: _Held | None = None
    highest = 0
    released: set[tuple[str, int]] = set()
    for event in evidence.committed:
        holder = event.life, event.incarnation
        if event.operation == "release":
            released.add(holder)
            if event.granted and held is not None and held.holder == holder:
                held = held._replace(until=event.at)
        elif event.granted:
            who = f"{event.life} was granted term {event.term}"
            if holder in released:
                yield violation(event.at, "I4", f"{who} after its release")
            if held is not None and held.holder != holder and event.at < held.until - SAME:
                yield violation(event.at, "I4", f"{who} while {held.holder[0]} held term {held.term}")
            if event.operation == "campaign" and event.term <= highest:
                yield violation(event.at, "I3", f"{who} after term {highest}")
            if event.operation == "renew" and not _may_renew(held, event):
                yield violation(event.at, "I4", f"{who} again, which was not its own any more")
            highest = max(highest, event.term)
            held = _Held(holder, event.term, event.at + event.ttl)


def _may_renew(held: _Held | None, event: Committed) -> bool:
    own = (
        held is not None
        and held[:2] == ((event.life, event.incarnation), event.asked_term)
        and event.term == event.asked_term
    )
    return own and held is not None and event.at < held.until + SAME


def each_term_is_led_once(evidence: Evidence) -> Iterator[Violation]:
    """I3: a term begins once, in one life: its number is a fencing token."""
    leaders: dict[int, str] = {}
    for life in evidence.lives.values():
        for entry in life.entries:
            if entry.entry.stage == "leader_started":
                term = entry.entry.details["term"]
                if term in leaders:
                    yield violation(entry.at, "I3", f"{life.name} began term {term}, as {leaders[term]} had before")
                leaders[term] = life.name


def calls_are_given_up(evidence: Evidence) -> Iterator[Violation]:
    """I6: no call of the store is waited for longer than the store timeout."""
    for life in evidence.lives.values():
        for call in life.calls:
            if life.crashed_at is not None and call.ended_at is None:
                continue
            ended_at = evidence.end_at if call.ended_at is None else call.ended_at
            waited = ended_at - call.asked.at - evidence.blocked_between(call.asked.at, ended_at)
            if waited > evidence.timing.store_timeout + SAME:
                what = f"{life.name} waited {waited:.3f} s for the store to answer a {call.asked.operation}"
                yield violation(call.asked.at, "I6", what)


def nobody_stays_out(evidence: Evidence) -> Iterator[Violation]:
    """I5: a node asks again and again, unless it waits for its own late work or is leaving."""
    timing = evidence.timing
    # One wait for the term that refused it, and one for the next, if it was told of that.
    longest = 2 * timing.renew_interval + timing.store_timeout + 1.0
    for life in evidence.lives.values():
        until = min(life.gone_at(evidence.end_at), evidence.end_at if life.stop_at is None else life.stop_at)
        asked = [call.asked.at for call in life.calls if call.asked.at <= until]
        work = [event.at for event in life.events if event.kind in ("acted", "runner began", "runner ended")]
        for begin, end in zip([life.started_at, *asked], [*asked, until], strict=True):
            since = max((at for at in work if begin <= at <= end), default=begin)
            if end - since > longest + evidence.blocked_between(since, end):
                what = f"{life.name} asked the store for nothing for {end - since:.3f} s"
                yield violation(since, "I5", what)


def somebody_leads_again(evidence: Evidence) -> Iterator[Violation]:
    """I9: when the lease comes free and a healthy standby is there, somebody has it within the bound."""
    watching = bool(evidence.scenario.watching)
    for free_at, released, taken_at in _vacancies(evidence):
        bound = FAILOVER if not released else HANDOVER_WATCHING if watching else HANDOVER_POLLING
        # While one node blocks the loop nobody gets anywhere: a standby may crash in the very moment that it goes on.
        held_up = evidence.blocked_between(free_at - bound, taken_at)
        until = free_at + bound + 1 + held_up
        healthy = [life for life in evidence.lives.values() if _healthy(evidence, life, free_at, until)]
        if not released and all(life.node == "n2" for life in healthy):
            bound += LOW_PRIORITY_WAIT
        vacant = taken_at - free_at - held_up
        if healthy and vacant > bound + SAME:
            how = "was released" if released else "expired"
            what = f"the lease {how}, and nobody took it for {vacant:.3f} s, though {healthy[0].name} could have"
            yield violation(free_at, "I9", what)


def _vacancies(evidence: Evidence) -> Iterator[tuple[float, bool, float]]:
    # When the lease came free, whether by a release, and when it was taken again.
    held: _Held | None = None
    free_at, by_release = 0.0, True
    for event in evidence.committed:
        if event.operation == "release":
            if event.granted and held is not None:
                held, free_at, by_release = None, event.at, True
        elif event.granted:
            if held is not None and event.at > held.until:
                free_at, by_release, held = held.until, False, None
            if held is None:
                yield free_at, by_release, event.at
            held = _Held((event.life, event.incarnation), event.term, event.at + event.ttl)
    yield (
        (free_at, by_release, evidence.end_at)
        if held is None
        else (held.until, False, max(evidence.end_at, held.until))
    )


def _healthy(evidence: Evidence, life: LifeStory, begin: float, end: float) -> bool:
    # A standby that was answered when it asked last, and whose way to the store has been good since.
    asked = [call for call in life.calls if call.asked.at <= begin]
    if not asked or asked[-1].answer is None or asked[-1].answer.granted or asked[-1].asked.operation != "campaign":
        return False
    leaves_at = evidence.scenario.duration if life.stop_at is None else life.stop_at
    stays = min(life.gone_at(evidence.end_at), leaves_at) > end
    return stays and not evidence.troubled(life.node, asked[-1].asked.at, end)


def all_is_well_in_the_end(evidence: Evidence) -> Iterator[Violation]:
    """I5: after a calm everybody takes part, one leads, and ticks are run."""
    scenario = evidence.scenario
    end = scenario.duration
    # Runners may still do what they were told to do before: work all the while, or block the loop.
    acts = [act.at for life in evidence.lives.values() for act in life.acts if act.runner != "service"]
    since = end - 4 * scenario.interval
    since -= evidence.blocked_between(since, end)
    if not any(since <= at <= end for at in acts):
        yield violation(end, "I5", f"no tick was at work in the last {4 * scenario.interval:g} s of the calm")
    for node in {life.node for life in evidence.lives.values()}:
        if not any(
            life.node == node and life.started_at < end <= life.gone_at(evidence.end_at)
            for life in evidence.lives.values()
        ):
            yield violation(end, "I5", f"{node} was not there in the end")
