"""What leader's work may do: I1 to I3, I5, I7, I8, I12 to I15, as rules that a history keeps or breaks."""

from collections.abc import Iterator

from ..violations import Violation
from .effects import judge_effects
from .evidence import SAME, Evidence, LifeStory, violation
from .history import Acted, Asked, Began, Ended
from .scheduled_work import SCHEDULED


def nothing_past_the_deadline(evidence: Evidence) -> Iterator[Violation]:
    """I1, I2: nothing starts after the deadline, and nothing goes on once the loop has turned after it."""
    for life in evidence.lives.values():
        for event in life.events:
            if not isinstance(event, Began | Acted):
                continue
            held = life.terms.get(event.term)
            if held is None:
                yield violation(event.at, "I1", f"{life.name} worked in term {event.term}, which it never was granted")
            elif isinstance(event, Began) and event.at > held.deadline_at(event.at) + SAME:
                late = event.at - held.deadline_at(event.at)
                yield violation(event.at, "I2", f"{life.name} started {event.runner!r} {late:.3f} s after the deadline")
            elif isinstance(event, Acted) and not event.cleanup:
                deadline = held.deadline_at(event.turned_at)
                if event.turned_at > deadline + SAME:
                    what = f"{life.name} acted in term {event.term}, {event.at - deadline:.3f} s after its deadline"
                    yield violation(event.at, "I2", what)


def terms_do_not_overlap(evidence: Evidence) -> Iterator[Violation]:
    """I3: no effect of a term once a later one has acted."""
    acts = evidence.history.of(Acted)
    yield from judge_effects(act.effect() for act in acts if not act.cleanup)
    latest: Acted | None = None
    for act in acts:
        if latest is None or act.term > latest.term:
            latest = act
        elif act.cleanup and act.term < latest.term and not _overstayed(evidence, act):
            what = (
                f"{act.life} still cleaned up in term {act.term}, when term {latest.term} had acted at {latest.at:.6f}"
            )
            yield violation(act.at, "I3", what)


def _overstayed(evidence: Evidence, act: Acted) -> bool:
    # Cleanup is given the margin, clocks that drift their part of it; what takes longer is the runner's doing.
    held = evidence.lives[act.life].terms[act.term]
    return act.at > held.deadline + evidence.scenario.cleanup


def overrunning_is_reported(evidence: Evidence) -> Iterator[Violation]:
    """I2: cleanup that overruns the lease is journaled."""
    for life in evidence.lives.values():
        reported = {entry.entry.details["term"] for entry in life.entries if entry.entry.stage == "term_overrun"}
        for held in life.terms.values():
            ends = [event.at for event in life.events if isinstance(event, Ended) and event.term == held.number]
            overrun = max(ends, default=0.0) - (held.deadline + evidence.timing.margin)
            if overrun > SAME and held.number not in reported and life.crashed_at is None:
                what = f"{life.name} overran the lease of term {held.number} by {overrun:.3f} s and did not say so"
                yield violation(max(ends), "I2", what)


def a_refusal_ends_the_term(evidence: Evidence) -> Iterator[Violation]:
    """I5: after a refused renewal nothing of that term starts, and what is at work ends at its next checkpoint."""
    for life in evidence.lives.values():
        for held in life.terms.values():
            refused = held.refused_at
            for event in life.events if refused is not None else ():
                if (
                    not isinstance(event, Began | Acted)
                    or event.term != held.number
                    or getattr(event, "cleanup", False)
                ):
                    continue
                seen_at = event.turned_at if isinstance(event, Acted) else event.at
                if refused is not None and seen_at > refused + SAME:
                    what = f"{life.name} worked on in term {held.number}, whose renewal was refused at {refused:.6f}"
                    yield violation(event.at, "I5", what)


def released_after_the_work(evidence: Evidence) -> Iterator[Violation]:
    """I7: a release comes after all work has ended and the last renewal was asked for.

    Nothing comes after it but the campaign of whoever was told to resign.
    """
    for life in evidence.lives.values():
        released_at: float | None = None
        resignations = len(life.resigned_at)
        at_work: set[str] = set()
        for event in life.events:
            if isinstance(event, Began):
                at_work.add(event.runner)
            elif isinstance(event, Ended):
                at_work.discard(event.runner)
            elif isinstance(event, Asked) and event.operation == "release":
                released_at = event.at
                if at_work:
                    yield violation(event.at, "I7", f"{life.name} released with {', '.join(sorted(at_work))} at work")
            elif (
                isinstance(event, Asked) and event.operation == "campaign" and released_at is not None and resignations
            ):
                released_at, resignations = None, resignations - 1
            if released_at is not None and not (isinstance(event, Asked) and event.operation == "release"):
                what = f"after its release at {released_at:.6f}, {life.name} {event.kind}"
                yield violation(event.at, "I7", what)


def renewed_while_at_work(evidence: Evidence) -> Iterator[Violation]:
    """I8: as long as anything of the leader's is at work, it goes on asking for renewals, in a drain too."""
    timing = evidence.timing
    longest = timing.renew_interval + timing.store_timeout + SAME
    for life in evidence.lives.values():
        asked_at: float | None = None
        at_work = 0
        for event in life.events:
            if asked_at is not None and at_work and isinstance(event, Acted | Ended):
                held = life.terms.get(event.term)
                waited = event.at - asked_at
                lost = held is None or held.refused_at is not None or event.at > held.deadline
                if not lost and waited > longest + evidence.blocked_between(asked_at, event.at):
                    what = (
                        f"{life.name} was at work in term {event.term}, and had asked for no renewal for {waited:.3f} s"
                    )
                    yield violation(event.at, "I8", what)
            at_work += isinstance(event, Began) - isinstance(event, Ended)
            if isinstance(event, Asked):
                asked_at = event.at


def one_tick_at_a_time(evidence: Evidence) -> Iterator[Violation]:
    """I12: one runner of a group at a time; no tick begins once a stop was requested.

    A runner that has a schedule is a group. What was claimed for it by then is run: see `rules_of_schedules`.
    """
    for life in evidence.lives.values():
        at_work: dict[str, Began] = {}
        for event in life.events:
            if isinstance(event, Began):
                group = event.runner if event.runner in SCHEDULED else ""
                if group in at_work:
                    what = f"{life.name} started {event.runner!r} beside {at_work[group].runner!r}"
                    yield violation(event.at, "I12", what)
                at_work[group] = event
            elif isinstance(event, Ended):
                at_work.pop(event.runner if event.runner in SCHEDULED else "", None)
        for entry in life.entries:
            stage, trigger = entry.entry.stage, entry.entry.details.get("trigger")
            if stage == "tick_started" and trigger != "schedule" and _after_stop(evidence, life, entry.at):
                yield violation(entry.at, "I12", f"{life.name} began a tick after a stop had been requested")


def ticks_lie_on_a_grid(evidence: Evidence) -> Iterator[Violation]:
    """I13: interval ticks come at start + n × interval, or as soon as a loop that was held up gets to it."""
    interval = evidence.scenario.interval
    for life in evidence.lives.values():
        starts = _possible_starts(evidence, life)
        for entry in life.entries:
            if entry.entry.stage == "tick_started" and entry.entry.details["trigger"] == "interval":
                past = min((entry.at - start + SAME) % interval for start in starts)
                if past > 2 * SAME and not evidence.blocked_between(entry.at - past - SAME, entry.at):
                    yield violation(entry.at, "I13", f"{life.name} had an interval tick {past:.3f} s off the grid")


def _possible_starts(evidence: Evidence, life: LifeStory) -> list[float]:
    # It takes a run some turns of the loop to get to its interval, and in each of them others may block the loop.
    starts = [life.started_at]
    for blocked in evidence.blocked:
        if abs(blocked.at - blocked.seconds - starts[-1]) <= SAME:
            starts.append(blocked.at)
    return starts


def stops_end(evidence: Evidence) -> Iterator[Violation]:
    """I6, I14, I15: a stop drains, cuts what takes longer, and ends; and nothing but a stop or a crash ends a life."""
    timing = evidence.timing
    for life in evidence.lives.values():
        if life.failure is not None:
            yield violation(life.ended_at or 0.0, "I15", f"out of the run of {life.name} rose {life.failure}")
        if life.stop_at is None or life.crashed_at is not None:
            continue
        cut_at = life.stop_at + evidence.scenario.drain_timeout
        for act in life.acts:
            last = life.stop_at if act.runner == "service" else cut_at
            # A loop that was blocked when the stop was due cancels in the turn in which the work goes on as well.
            blocked = evidence.blocked_between(life.stop_at, act.at)
            if not act.cleanup and act.turned_at > last + blocked + SAME:
                what = (
                    f"{life.name}: {act.runner!r} worked on {act.at - life.stop_at:.3f} s after the stop was requested"
                )
                yield violation(act.at, "I14", what)
        bound = max(cut_at, life.last_work_at()) + 2 * timing.store_timeout
        ended_at = evidence.end_at if life.ended_at is None else life.ended_at
        bound += evidence.blocked_between(life.stop_at, ended_at)
        if ended_at > bound + SAME:
            took = f"{ended_at - life.stop_at:.3f} s after the stop, {ended_at - bound:.3f} s over its bound"
            yield violation(bound, "I6", f"{life.name} ended {took}")


def _after_stop(evidence: Evidence, life: LifeStory, at: float) -> bool:
    stop_at = life.stop_at
    return stop_at is not None and at > stop_at + SAME + evidence.blocked_between(stop_at, at)


def a_standby_stops_as_a_standby(evidence: Evidence) -> Iterator[Violation]:
    """I14: whoever is leaving does not come to lead."""
    for life in evidence.lives.values():
        for entry in life.entries:
            if entry.entry.stage == "leader_started" and _after_stop(evidence, life, entry.at):
                yield violation(entry.at, "I14", f"{life.name} came to lead after a stop had been requested")


def a_runners_error_is_its_own(evidence: Evidence) -> Iterator[Violation]:
    """I15: no tick fails, whatever its runners raise."""
    for life in evidence.lives.values():
        for entry in life.entries:
            if entry.entry.stage == "tick_failed":
                yield violation(entry.at, "I15", f"a tick of {life.name} failed: {entry.entry.error}")
