"""Who is told of ticks and runners as they go, beside the journal: metrics and traces.

Nobody is, by default: then a tick asks once, and a runner costs nothing more. An observer is told on the loop, in the
task that the runners run in, so that they see the context variables that it sets, in worker threads too.
"""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Literal, Protocol, final

import msgspec

from .failures import error_text
from .runners import TickTrigger
from .stderr import tell
from .tick_entries import TickEntries
from .tick_results import TickDecision

# The last is an attempt that failed, with another one to follow.
RunnerOutcome = Literal["completed", "failed", "cancelled", "retrying"]


@final
class TickFacts(msgspec.Struct, frozen=True):
    """What is known of a tick when it begins; `term` and `lease_name` are None when this node does not lead.

    `due_at`: the due instant of a runner with a schedule, in UTC, for which the tick is.
    """

    batch_id: str
    trigger: TickTrigger
    runner_count: int
    node_id: str
    term: int | None
    lease_name: str | None
    due_at: datetime | None = None


@final
class RunnerEnd(msgspec.Struct, frozen=True):
    """How a runner, or an attempt of it, has ended: in a word, by its entry's `result`, and by its error, if any."""

    runner: str
    outcome: RunnerOutcome
    result: str
    error: Exception | None = None


@final
class TickEnd(msgspec.Struct, frozen=True):
    """How a tick has ended: its `TickDecision`, and the result and error of its last journal entry."""

    decision: TickDecision
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

    def tick_refused(self, decision: TickDecision) -> None:
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
        # Replaced and never changed: another thread may attach one while a tick is told of. Two may do so at once.
        self._attached: tuple[Observer, ...] = observers
        self._lock = threading.Lock()
        self._reported: set[str] = set()

    @contextmanager
    def attached(self, observer: Observer) -> Generator[None, None, None]:
        """Tell this one too, of ticks that begin while it is entered."""
        with self._lock:
            self._attached = (*self._attached, observer)
        try:
            yield
        finally:
            with self._lock:
                # One of it, by identity: it may be attached twice, or compare equal to another.
                place = next(place for place, each in enumerate(self._attached) if each is observer)
                self._attached = self._attached[:place] + self._attached[place + 1 :]

    def tick_refused(self, decision: TickDecision) -> None:
        """Tell all."""
        for observer in self._attached:
            try:
                observer.tick_refused(decision)
            except Exception as error:  # noqa: BLE001 - an observer of the user's never disturbs a tick
                self.report(observer, error)

    def tick_started(self, facts: Callable[[], TickFacts]) -> "ObservedTick | None":
        """Tell all, and return what tells them more of this tick; None when nobody wants to hear."""
        if not self._attached:
            return None
        tick, wanting = facts(), []
        for observer in self._attached:
            try:
                if (answer := observer.tick_started(tick)) is not None:
                    wanting.append(answer)
            except Exception as error:  # noqa: BLE001 - as above
                self.report(observer, error)
        return ObservedTick(wanting, self.report) if wanting else None

    def report(self, observer: object, error: Exception) -> None:
        """Say on stderr what an observer raised; once of a kind, for it may well raise with every runner."""
        who = type(observer).__qualname__
        if who not in self._reported:
            self._reported.add(who)
            tell(f"conductor-jobs: {who} raised {type(error).__name__}: {error_text(error)}")


@final
class ObservedTick:
    """Tells those who want to hear of one tick."""

    def __init__(self, observers: Sequence[TickObserver], report: Callable[[object, Exception], None]) -> None:
        self._observers = observers
        self._report = report

    def runner_started(self, runner: str) -> None:
        """Tell all."""
        for observer in self._observers:
            try:
                observer.runner_started(runner)
            except Exception as error:  # noqa: BLE001 - as above
                self._report(observer, error)

    def runner_ended(self, end: RunnerEnd) -> None:
        """Tell all."""
        for observer in self._observers:
            try:
                observer.runner_ended(end)
            except Exception as error:  # noqa: BLE001 - as above
                self._report(observer, error)

    def ended(self, end: TickEnd) -> None:
        """Tell all."""
        for observer in self._observers:
            try:
                observer.ended(end)
            except Exception as error:  # noqa: BLE001 - as above
                self._report(observer, error)


@final
class ObservedEntries:
    """Entries of a tick that is observed: whoever hears of a runner's start does so once that is journaled."""

    def __init__(self, entries: TickEntries, tick: ObservedTick) -> None:
        self._entries = entries
        self._tick = tick
        self._runner = ""

    def started(self, runner: str) -> None:
        """See `TickEntries`."""
        self._entries.started(runner)
        self._runner = runner
        self._tick.runner_started(runner)

    def completed(self, result: str, duration_ms: int, details: Mapping[str, Any] | None) -> None:
        """See `TickEntries`."""
        self._tick.runner_ended(RunnerEnd(self._runner, "completed", result))
        self._entries.completed(result, duration_ms, details)

    def settle(self) -> None:
        """See `TickEntries`."""
        self._entries.settle()


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: an error may say anything, and one bad text spoils a whole export."""
    return text.encode(errors="backslashreplace").decode()
