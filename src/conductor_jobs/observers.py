"""Who is told of ticks and runners as they go, beside the journal: metrics and traces.

Nobody is, by default: then a tick asks once, and a runner costs nothing more. An observer is told on the loop, in the
task that the runners run in, so that they see the context variables that it sets, in worker threads too.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, Protocol, TypeVar, final

import msgspec

from .failures import error_text
from .stderr import tell
from .tick_entries import TickEntries

RunnerOutcome = Literal["completed", "failed", "cancelled"]
T = TypeVar("T")


@final
class TickFacts(msgspec.Struct, frozen=True):
    """What is known of a tick when it begins; `term` and `lease_name` are None when this node does not lead.

    `due_at`: the due instant of a runner with a schedule, in UTC, for which the tick is.
    """

    batch_id: str
    trigger: str
    runner_count: int
    node_id: str
    term: int | None
    lease_name: str | None
    due_at: datetime | None = None


@final
class RunnerEnd(msgspec.Struct, frozen=True):
    """How a runner has ended: in a word, by the `result` of its journal entry, and with which error, if any."""

    runner: str
    outcome: RunnerOutcome
    result: str
    error: Exception | None = None


@final
class TickEnd(msgspec.Struct, frozen=True):
    """How a tick has ended: its `TickDecision`, and the result and error of its last journal entry."""

    decision: str
    result: str
    error: str | None


class TickObserver(Protocol):
    """Told of one tick. A runner's end follows its start before the next one's."""

    def runner_started(self, runner: str) -> None:
        """Note that this runner is about to be called."""
        ...

    def runner_ended(self, end: RunnerEnd) -> None:
        """Note that the runner that was started last has ended."""
        ...

    def ended(self, end: TickEnd) -> None:
        """Note that the tick has ended."""
        ...


class Observer(Protocol):
    """Told of the ticks of a conductor. It is to be quick, since the loop waits for it.

    What it raises is told on stderr, once, and disturbs nothing.
    """

    def tick_refused(self, decision: str) -> None:
        """Note that a tick was asked for and refused, and why: its `TickDecision`."""
        ...

    def tick_started(self, tick: TickFacts) -> TickObserver | None:
        """Return who is to be told of this tick; None for nobody."""
        ...


class Tracer(Protocol):
    """What is needed of an `opentelemetry.trace.Tracer`, which the engine does not import."""

    def start_span(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Begin a span."""
        ...


@final
class Observers:
    """The observers of one conductor."""

    def __init__(self, *observers: Observer) -> None:
        # Replaced and never changed: another thread may attach one while a tick is told of.
        self._attached: tuple[Observer, ...] = observers
        self._reported: set[str] = set()

    @contextmanager
    def attached(self, observer: Observer) -> Generator[None, None, None]:
        """Tell this one too, of ticks that begin while it is entered."""
        self._attached = (*self._attached, observer)
        try:
            yield
        finally:
            self._attached = tuple(each for each in self._attached if each is not observer)

    def tick_refused(self, decision: str) -> None:
        """Tell all."""
        self.tell_each(self._attached, lambda observer: observer.tick_refused(decision))

    def tick_started(self, facts: Callable[[], TickFacts]) -> "ObservedTick | None":
        """Tell all, and return what tells them more of this tick; None when nobody wants to hear."""
        if not self._attached:
            return None
        tick = facts()
        answers = self.tell_each(self._attached, lambda observer: observer.tick_started(tick))
        wanting = [answer for answer in answers if answer is not None]
        return ObservedTick(self, wanting) if wanting else None

    def tell_each(self, observers: Sequence[T], news: Callable[[T], Any]) -> list[Any]:
        """Return the answers of those that raised nothing; what the others raised is told on stderr."""
        answers: list[Any] = []
        for observer in observers:
            try:
                answers.append(news(observer))
            except Exception as error:  # noqa: BLE001 - an observer of the user's never disturbs a tick
                self._report(type(observer).__qualname__, error)
        return answers

    def _report(self, who: str, error: Exception) -> None:
        # Once of a kind: it may well raise with every runner.
        if who not in self._reported:
            self._reported.add(who)
            tell(f"conductor-jobs: {who} raised {type(error).__name__}: {error_text(error)}")


@final
class ObservedTick:
    """Those who are told of one tick."""

    def __init__(self, all_observers: Observers, observers: Sequence[TickObserver]) -> None:
        self._tell_each = all_observers.tell_each
        self._observers = observers

    def runner_started(self, runner: str) -> None:
        """Tell all."""
        self._tell_each(self._observers, lambda observer: observer.runner_started(runner))

    def runner_ended(self, end: RunnerEnd) -> None:
        """Tell all."""
        self._tell_each(self._observers, lambda observer: observer.runner_ended(end))

    def ended(self, end: TickEnd) -> None:
        """Tell all."""
        self._tell_each(self._observers, lambda observer: observer.ended(end))


@final
class ObservedEntries:
    """Entries of a tick that is observed: whoever hears of a runner's start does so once that is journaled."""

    def __init__(self, entries: TickEntries, tick: ObservedTick) -> None:
        self._entries = entries
        self._tick = tick
        self._runner = ""
        self.settle = entries.settle

    def started(self, runner: str) -> None:
        """See `TickEntries`."""
        self._entries.started(runner)
        self._runner = runner
        self._tick.runner_started(runner)

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""
        self._tick.runner_ended(RunnerEnd(self._runner, "completed", result))
        self._entries.completed(result, duration_ms, details)


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: a runner may be called anything, and one bad text spoils a whole export."""
    return text.encode(errors="backslashreplace").decode()
