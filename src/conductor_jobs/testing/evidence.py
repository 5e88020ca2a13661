"""The history of a simulation, sorted by life and made ready for the rules of the checker."""

from bisect import bisect_right
from typing import final

from ..timing import LeaseTiming
from ..violations import Violation
from .history import (
    Acted,
    Answered,
    Asked,
    Began,
    Blocked,
    ClockSet,
    Committed,
    Ended,
    Event,
    Failed,
    FaultEvent,
    History,
    Journaled,
    LifeEvent,
)
from .scenario import Scenario

#: Two moments that are nearer to each other than this are one.
SAME = 1e-6


@final
class Call:
    """One question to the store, and what the engine learned of it; `answer` is None when it learned nothing."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.answer: Answered | None = None
        self.ended_at: float | None = None


@final
class TermHeld:
    """A term as its holder was entitled to see it: how its deadline moved (I1)."""

    def __init__(self, number: int, began_at: float, deadline: float) -> None:
        self.number = number
        self.refused_at: float | None = None
        self._known: list[tuple[float, float]] = [(began_at, deadline)]

    @property
    def deadline(self) -> float:
        """The last deadline there was."""
        return self._known[-1][1]

    def deadline_at(self, moment: float) -> float:
        """Return the deadline as it was known at a moment."""
        place = bisect_right(self._known, moment, key=lambda known: known[0])
        return self._known[max(0, place - 1)][1]

    def confirm(self, at: float, deadline: float) -> None:
        """Move the deadline, if the confirmation came in time."""
        if at < self.deadline:
            self._known.append((at, deadline))


@final
class LifeStory:
    """What one life did and what befell it."""

    def __init__(self, name: str, seen_at: float) -> None:
        self.name = name
        # One that crashed before it began to run has no start of its own.
        self.started_at = seen_at
        self.stop_at: float | None = None
        self.resigned_at: list[float] = []
        self.crashed_at: float | None = None
        self.ended_at: float | None = None
        self.failure: str | None = None
        self.calls: list[Call] = []
        self.terms: dict[int, TermHeld] = {}
        #: Runners' code, the entries of the journal and the questions to the store, in order.
        self.events: list[Event] = []
        self.acts: list[Acted] = []
        self.entries: list[Journaled] = []

    @property
    def node(self) -> str:
        """The node's name."""
        return self.name.partition(".")[0]

    def gone_at(self, end: float) -> float:
        """Return when it ended or crashed, or the end of the history."""
        return min(at for at in (self.crashed_at, self.ended_at, end) if at is not None)

    def last_work_at(self) -> float:
        """Return when its last work ended, as far as is known."""
        return max((event.at for event in self.events if isinstance(event, Began | Acted | Ended)), default=0.0)


@final
class Evidence:
    """A scenario and what happened in it."""

    def __init__(self, scenario: Scenario, history: History) -> None:
        self.scenario = scenario
        self.timing: LeaseTiming = scenario.timing
        self.history = history
        self.lives: dict[str, LifeStory] = {}
        self.committed: list[Committed] = history.of(Committed)
        self.blocked: list[Blocked] = history.of(Blocked)
        self.clock_set: list[ClockSet] = []
        self.troubles: dict[str, list[tuple[float, float]]] = {}
        self.end_at: float = max(scenario.duration, *(event.at for event in history.events[-1:]))
        self._open_calls: dict[tuple[str, int], Call] = {}
        for event in history:
            if isinstance(event, FaultEvent):
                self._take_fault(event)
            elif isinstance(event, ClockSet):
                self.clock_set.append(event)
            else:
                self._take(self.lives.setdefault(event.life, LifeStory(event.life, event.at)), event)

    def blocked_between(self, begin: float, end: float) -> float:
        """Return for how many seconds the loop was held up in a stretch of time."""
        held_up = (min(end, each.at) - max(begin, each.at - each.seconds) for each in self.blocked)
        return sum(seconds for seconds in held_up if seconds > 0)

    def troubled(self, node: str, begin: float, end: float) -> bool:
        """Return whether a node's way to the store was faulty at any moment of a stretch of time.

        Its ends belong to it: when a blocked loop goes on, a fault may pass in the moment of a call that was under it.
        """
        return any(begin <= until and since <= end for since, until in self.troubles.get(node, ()))

    def _take_fault(self, event: FaultEvent) -> None:
        stretches = self.troubles.setdefault(event.life, [])
        if event.on:
            stretches.append((event.at, float("inf")))
        else:
            # The oldest that is still open: which is which makes no difference to the union.
            place = next(n for n, (_, until) in enumerate(stretches) if until == float("inf"))
            stretches[place] = (stretches[place][0], event.at)

    def _take(self, life: LifeStory, event: Event) -> None:
        match event:
            case LifeEvent():
                self._take_life(life, event)
            case Asked():
                call = Call(event)
                life.calls.append(call)
                life.events.append(event)
                self._open_calls[life.name, event.call] = call
            case Answered():
                call = self._open_calls.pop((life.name, event.call))
                call.answer, call.ended_at = event, event.at
                self._take_answer(life, call.asked, event)
            case Failed():
                self._open_calls.pop((life.name, event.call)).ended_at = event.at
            case Acted():
                life.acts.append(event)
                life.events.append(event)
            case Began() | Ended():
                life.events.append(event)
            case Journaled():
                life.entries.append(event)

    def _take_life(self, life: LifeStory, event: LifeEvent) -> None:
        match event.what:
            case "started":
                life.started_at = event.at
            case "stop requested":
                life.stop_at = event.at if life.stop_at is None else life.stop_at
            case "resigns":
                life.resigned_at.append(event.at)
            case "crashed":
                life.crashed_at = event.at
            case _:
                life.ended_at = event.at
                life.failure = event.why or None

    def _take_answer(self, life: LifeStory, asked: Asked, answer: Answered) -> None:
        deadline = asked.at + min(self.timing.ttl, answer.expires_in) - self.timing.margin
        if answer.operation == "campaign" and answer.granted:
            life.terms[answer.term] = TermHeld(answer.term, answer.at, deadline)
        elif answer.operation == "renew" and asked.term is not None and (held := life.terms.get(asked.term)):
            if answer.granted and answer.term == asked.term:
                held.confirm(answer.at, deadline)
            elif answer.at < held.deadline and held.refused_at is None:
                held.refused_at = answer.at


def violation(at: float, rule: str, what: str) -> Violation:
    """Return a violation at a moment of the simulated clock."""
    return Violation(f"{at:.6f}", rule, what)
