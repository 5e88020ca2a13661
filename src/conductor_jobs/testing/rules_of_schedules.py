"""What becomes of due instants: I19, as rules of a history.

The claims that the store kept are the thread: a run has one behind it, a due instant that has none before or after it
was lost. What the journal tells is taken at its word only where the runner's policy allows it.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, final

from ..runner_records import Claim
from ..schedules import due_instants
from ..violations import Violation
from .evidence import SAME, Evidence, violation
from .history import Began, ClaimAsked, Claimed, Committed, Journaled, PauseSet
from .scenario import START
from .scheduled_work import LONGEST, SCHEDULED, ScheduledWork

Instant = tuple[str, datetime]
# Of what comes due in the end some is still waiting for the run before it, some for the next second.
_LATE: Final = LONGEST + 10.0


def runs_are_claimed_first(evidence: Evidence) -> Iterator[Violation]:
    """I19: a run by schedule begins after the store has kept its claim, for the same life and the same term."""
    claimed: set[tuple[str, Claim]] = set()
    for event in evidence.history:
        if isinstance(event, Claimed):
            claimed |= {(event.life, claim) for claim in event.claims}
        elif isinstance(event, Began) and event.due_at is not None:
            claim = Claim(event.runner, event.due_at, event.term)
            if (event.life, claim) not in claimed:
                yield violation(event.at, "I19", f"{event.life} ran {_told(claim)} without a claim")


def nothing_is_claimed_to_run_after_a_stop(evidence: Evidence) -> Iterator[Violation]:
    """I12, I19: once a stop was requested no instant is claimed to be run; what was being claimed by then may be."""
    asked: set[tuple[str, Claim]] = set()
    for event in evidence.history:
        for claim in event.claims if isinstance(event, ClaimAsked) else ():
            stop_at = evidence.lives[event.life].stop_at
            new = (event.life, claim) not in asked
            asked.add((event.life, claim))
            if new and claim.result is None and stop_at is not None and event.at > stop_at + SAME:
                yield violation(event.at, "I12", f"{event.life} claimed {_told(claim)} after its stop at {stop_at:.6f}")


def claims_are_fenced(evidence: Evidence) -> Iterator[Violation]:
    """I19: the store keeps no claim of a term that is not the latest, or was released."""
    term = 0
    for event in evidence.history:
        if isinstance(event, Committed) and event.granted:
            term = event.term if event.operation != "release" else 0
        elif isinstance(event, Claimed):
            for claim in event.claims:
                if claim.term != term:
                    what = f"the claim of {event.life} for {_told(claim)} was kept in term {term}"
                    yield violation(event.at, "I19", f"{what}, of term {claim.term}")


def instants_are_run_once(evidence: Evidence) -> Iterator[Violation]:
    """I19: no instant is run twice, unless it was journaled as unknown in between and is to be run again."""
    begun: set[Instant] = set()
    for event in evidence.history:
        if isinstance(event, Began) and event.due_at is not None:
            instant = event.runner, event.due_at
            if instant in begun:
                yield violation(event.at, "I19", f"{event.life} ran {_name(instant)} for the second time")
            begun.add(instant)
        elif isinstance(event, Journaled) and event.entry.details.get("on_crash") == "rerun":
            begun.discard((event.entry.runner, _moment(event.entry.details["due_at"])))


def what_was_left_is_told(evidence: Evidence) -> Iterator[Violation]:
    """I19: a claim that its term never ended is journaled as unknown before the next term takes anything."""
    kept: dict[str, Claim] = {}
    told: set[Instant] = set()
    for event in evidence.history:
        if isinstance(event, Journaled) and event.entry.stage == "run_unknown":
            told.add((event.entry.runner, _moment(event.entry.details["due_at"])))
        for claim in event.claims if isinstance(event, Claimed) else ():
            left = kept.get(claim.runner)
            was_left = left is not None and left.result is None and left.term < claim.term
            if left is not None and was_left and (left.runner, left.due_at) not in told:
                what = f"{event.life} went on after {_told(left)}, which term {left.term} never ended"
                yield violation(event.at, "I19", f"{what}, and did not say so")
            kept[claim.runner] = claim


def paused_runners_are_not_claimed(evidence: Evidence) -> Iterator[Violation]:
    """I19: whoever claims an instant to run it has asked before whether the runner is paused.

    What the store said then may have changed while its answers are slow: such claims are passed over.
    """
    paused_at: dict[str, float] = {}
    asked: set[tuple[str, Claim]] = set()
    patience = evidence.timing.store_timeout
    for event in evidence.history:
        if isinstance(event, PauseSet) and event.paused:
            paused_at.setdefault(event.runner, event.at)
        elif isinstance(event, PauseSet):
            paused_at.pop(event.runner, None)
        for claim in event.claims if isinstance(event, ClaimAsked) else ():
            since = paused_at.get(claim.runner)
            asked_before = (event.life, claim) in asked
            asked.add((event.life, claim))
            if since is None or asked_before or claim.result is not None or event.at - since <= SAME:
                continue
            node = evidence.lives[event.life].node
            if not evidence.troubled(node, event.at - patience, event.at):
                yield violation(event.at, "I19", f"{event.life} claimed {_told(claim)}, paused since {since:.6f}")


def every_instant_is_accounted_for(evidence: Evidence) -> Iterator[Violation]:
    """I19: from its registration on, each due instant is run, or told of as its policy allows."""
    end = evidence.scenario.duration
    wall = START + end + sum(event.seconds for event in evidence.clock_set)
    held_up = evidence.blocked_between(end - evidence.scenario.calm, end)
    accounts = {name: _Account(work) for name, work in SCHEDULED.items()}
    for event in evidence.history:
        if event.at > end:
            break
        if isinstance(event, Began) and event.due_at is not None:
            accounts[event.runner].run.add(event.due_at)
        elif isinstance(event, Journaled) and event.entry.runner in SCHEDULED:
            accounts[event.entry.runner].take_entry(event)
        elif isinstance(event, Claimed):
            for claim in event.claims:
                accounts[claim.runner].take_claim(claim)
    until = datetime.fromtimestamp(wall - _LATE - held_up, UTC)
    for account in accounts.values():
        for due_at in account.lost(until):
            what = f"{account.work.name!r} due at {due_at.isoformat()} was neither run nor told of"
            yield violation(end, "I19", what)


@final
class _Account:
    """One runner's due instants: what was claimed, what was run, what the journal tells of the others."""

    def __init__(self, work: ScheduledWork) -> None:
        self.work = work
        self.run: set[datetime] = set()
        self._registered: datetime | None = None
        self._unknown: set[datetime] = set()
        # The instant whose run has not ended, if there is one: what is due after it has to wait.
        self._waited_for: datetime | None = None
        self._told: list[tuple[datetime, datetime, datetime | None]] = []

    def take_claim(self, claim: Claim) -> None:
        """Take a claim that the store kept."""
        self._registered = self._registered or claim.due_at
        self._waited_for = claim.due_at if claim.result is None else None

    def take_entry(self, event: Journaled) -> None:
        """Take an entry of the journal, if it tells of instants that are not run."""
        entry, details = event.entry, event.entry.details
        if entry.stage == "run_unknown":
            self._unknown.add(_moment(details["due_at"]))
        elif "first_due_at" in details and self._allows(entry.stage, entry.result):
            run = details.get("run_due_at")
            first, last = _moment(details["first_due_at"]), _moment(details["last_due_at"])
            self._told.append((first, last, None if run is None else _moment(run)))

    def _allows(self, stage: str, result: str | None) -> bool:
        return stage == "runner_misfired" or result == "paused" or (result, self.work.misfire) == ("misfire", "skip")

    def lost(self, until: datetime) -> Iterator[datetime]:
        """Yield the instants up to a moment that nothing accounts for."""
        if self._registered is None:
            return
        for due_at in due_instants(self.work.schedule, self._registered):
            if due_at > until or (self._waited_for is not None and due_at > self._waited_for):
                return
            if due_at not in self.run and due_at not in self._unknown and not self._is_told(due_at):
                yield due_at

    def _is_told(self, due_at: datetime) -> bool:
        return any(
            # Where each is to be run, a line speaks for those alone that are too many.
            first <= due_at <= last and (run is None or (due_at < run if self._each else due_at != run))
            for first, last, run in self._told
        )

    @property
    def _each(self) -> bool:
        return self.work.misfire == "run_all"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _name(instant: Instant) -> str:
    return f"{instant[0]!r} due at {instant[1].isoformat()}"


def _told(claim: Claim) -> str:
    return _name((claim.runner, claim.due_at))
