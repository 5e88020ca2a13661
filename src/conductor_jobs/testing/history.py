"""What happened in a simulated cluster, in the order in which it happened: the evidence that the checker judges.

A *life* is one incarnation of a node, `n1.2` being the second one of node `n1`. All times are seconds of the simulated
clock. What a crashed life still does reaches nobody and is no part of the history.
"""

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, ClassVar, Literal, TypeVar, final

import msgspec

from ..journal import JournalEntry
from ..moments import iso
from ..runner_records import Claim
from .effects import Effect
from .faulty_store import StoreCall

E = TypeVar("E")


class Event(msgspec.Struct, frozen=True):
    """Something that happened at a moment to a life, or to a node as a whole."""

    kind: ClassVar[str] = ""
    at: float
    life: str


@final
class Asked(Event, frozen=True):
    """The engine called the store. `call` tells its calls apart; `term` is the number to be renewed."""

    kind = "asked"
    call: int
    operation: StoreCall
    term: int | None = None


@final
class Answered(Event, frozen=True):
    """The engine got an answer to a call: `granted` is `is_leader`, or whether something was freed."""

    kind = "answered"
    call: int
    operation: StoreCall
    granted: bool
    term: int
    expires_in: float


@final
class Failed(Event, frozen=True):
    """A call came to nothing that the engine could know: an error, or given up."""

    kind = "no answer"
    call: int
    operation: StoreCall
    why: str


@final
class Committed(Event, frozen=True):
    """The store carried a call out, whoever still waited for it.

    `term` is the latest now, `asked_term` the one that was to be renewed; `ttl` is in seconds of the simulated clock.
    `incarnation` counts those of a life: whoever resigns goes on as another one.
    """

    kind = "committed"
    operation: StoreCall
    granted: bool
    term: int
    asked_term: int | None = None
    ttl: float = 0.0
    incarnation: int = 1


@final
class ClaimAsked(Event, frozen=True):
    """The engine asked the store to keep claims."""

    kind = "claim asked"
    claims: Sequence[Claim]


@final
class Claimed(Event, frozen=True):
    """The store kept claims, whoever still waited for it."""

    kind = "claimed"
    claims: Sequence[Claim]


@final
class PauseSet(Event, frozen=True):
    """The store took it that a runner is paused, or is not any more."""

    kind = "pause set"
    runner: str
    paused: bool


@final
class Began(Event, frozen=True):
    """A runner's code began to run; by its schedule, it was told the instant that it was due at."""

    kind = "runner began"
    runner: str
    term: int
    due_at: datetime | None = None


@final
class Acted(Event, frozen=True):
    """Leader's work had an effect; `cleanup`: after it was cancelled. See `Effect` for `turned_at`."""

    kind = "acted"
    runner: str
    term: int
    turned_at: float
    cleanup: bool = False

    def effect(self) -> Effect:
        """Return the same as what `judge_effects` judges."""
        return Effect(self.at, self.term, self.life, self.turned_at)


@final
class Ended(Event, frozen=True):
    """A runner's code ended."""

    kind = "runner ended"
    runner: str
    term: int


@final
class Blocked(Event, frozen=True):
    """A runner held up the loop, and with it everybody's, for so many seconds until `at`."""

    kind = "blocked"
    seconds: float


@final
class Journaled(Event, frozen=True):
    """An entry reached the journal."""

    kind = "journal"
    entry: JournalEntry


@final
class LifeEvent(Event, frozen=True):
    """A life started, was asked to stop, crashed, ended by itself, or failed with an exception."""

    what: Literal["started", "stop requested", "resigns", "crashed", "ended", "failed"]
    why: str = ""
    kind = "life"


@final
class FaultEvent(Event, frozen=True):
    """A fault of the scenario set in (`on`) or passed. `life` names the node."""

    fault: str
    on: bool
    kind = "fault"


@final
class ClockSet(Event, frozen=True):
    """The wall clock of all nodes was set ahead by so many seconds, or back by a negative number."""

    kind = "clock set"
    seconds: float


class History:
    """The events of one simulation."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one type, in order."""
        return [event for event in self.events if isinstance(event, kind)]

    def lines(self) -> Iterator[str]:
        """Tell it, a line an event."""
        return (told(event) for event in self.events)

    def digest(self) -> str:
        """Return what two histories have in common only if they are the same."""
        digest = hashlib.sha256()
        for line in self.lines():
            digest.update(line.encode() + b"\n")
        return digest.hexdigest()


def told(event: Event) -> str:
    """Tell an event in a line."""
    facts: dict[str, Any] = {}
    for name, value in msgspec.structs.asdict(event).items():
        if isinstance(value, JournalEntry):
            facts |= {"stage": value.stage, "runner": value.runner, "result": value.result, "error": value.error}
            facts |= {"batch_id": value.batch_id, **dict(value.details)}
        elif name == "claims":
            facts |= {claim.runner: f"{iso(claim.due_at)}:{claim.term}:{claim.result}" for claim in value}
        elif name not in ("at", "life", "call"):
            facts[name] = value
    words = " ".join(f"{name}={value}" for name, value in facts.items() if value not in (None, ""))
    return f"{event.at:12.6f}  {event.life:<6} {event.kind:<12} {words}"
