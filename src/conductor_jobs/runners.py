"""Runners: what they are given and return, and what is registered of each."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Literal, final

import msgspec

from .cursors import Cursors, checked_cursor
from .failures import error_text, shown
from .recorder import Recorder
from .retry import Retry
from .schedules import Cron, Every
from .seconds import checked_seconds
from .term import Term

TickTrigger = Literal["interval", "manual", "schedule"]

# What `TickContext.log` takes, by its type: an object can pass itself off as a text by its `__class__`, and is none
# when it is written. A dict is a Mapping, but told to be one four times as fast.
_TEXT = (str, type(None))
_DETAILS = (dict, type(None), Mapping)
_NUMBER = (type(None), int, float)
_ERROR = (type(None), str, BaseException)


@final
class TimedJobsConfig(msgspec.Struct, frozen=True):
    """When ticks come and what a runner should limit itself to in one; `interval` and `settle_delay` in seconds.

    `max_messages_per_tick` and `max_tasks_per_tick` are positive integers. Raises ValueError naming the field.
    """

    interval: float
    max_messages_per_tick: int
    max_tasks_per_tick: int
    settle_delay: float

    def __post_init__(self) -> None:
        checked_seconds("Conductor interval", self.interval)
        _require_positive_integer("max_messages_per_tick", self.max_messages_per_tick)
        _require_positive_integer("max_tasks_per_tick", self.max_tasks_per_tick)
        checked_seconds("Conductor settle_delay", self.settle_delay, zero_allowed=True)


@final
class RunnerResult(msgspec.Struct, frozen=True):
    """What a runner may return for its `runner_completed` entry: a word for the journal, and details beside it."""

    result: str = "ok"
    details: Mapping[str, Any] | None = None


@final
class TickContext(msgspec.Struct, frozen=True):
    """What a runner is given: who leads, in which term and batch, its limits, and what the application passed in.

    `controller_id` is the node id of the leader and `host` its host; `runner` the name this runner was registered
    under; `trigger` what asked for the tick; `resources` what `Conductor` was given. `term` is the number of the
    term: the fencing token for the runner's own writes. `settle_delay` is in seconds. `due_at` is the due instant that
    the run is for, aware and in UTC: the same when it is run again after a crash; None if no schedule asked for it.
    """

    runner: str
    controller_id: str
    host: str
    term: int
    batch_id: str
    trigger: TickTrigger
    config: TimedJobsConfig
    resources: Any
    _term: Term
    _recorder: Recorder
    _cursors: Cursors
    due_at: datetime | None = None

    @property
    def max_messages_per_tick(self) -> int:
        """How many messages the runner should take in one tick at the most."""
        return self.config.max_messages_per_tick

    @property
    def max_tasks_per_tick(self) -> int:
        """How many tasks the runner should take in one tick at the most."""
        return self.config.max_tasks_per_tick

    @property
    def settle_delay(self) -> float:
        """How many seconds old something should be before the runner takes it up."""
        return self.config.settle_delay

    def log(
        self,
        stage: str,
        *,
        result: str | None = None,
        details: Mapping[str, Any] | None = None,
        duration_ms: float | None = None,
        error: BaseException | str | None = None,
    ) -> None:
        """Write a journal entry under the runner's name and the tick's batch id, at once; from any thread.

        `details` stand beside the entry's own keys; `duration_ms` is in milliseconds; of an exception given as
        `error` its text is written. A detail that cannot be encoded as JSON is written as its
        repr. Raises TypeError for an argument of the wrong type.
        """
        if not issubclass(type(stage), str):
            raise _wrong_type("stage", stage, "str")
        if not issubclass(type(result), _TEXT):
            raise _wrong_type("result", result, "str or None")
        if not issubclass(type(details), _DETAILS):
            raise _wrong_type("details", details, "Mapping or None")
        if not issubclass(type(duration_ms), _NUMBER) or type(duration_ms) is bool:
            raise _wrong_type("duration_ms", duration_ms, "int or float or None")
        if not issubclass(type(error), _ERROR):
            raise _wrong_type("error", error, "BaseException or str or None")
        self._recorder.write(
            self.runner,
            stage,
            self.batch_id,
            result=result,
            details=dict(details) if details else None,
            duration_ms=duration_ms,
            error=error_text(error) if isinstance(error, BaseException) else error,
        )

    def lease_remaining(self) -> float:
        """Return the seconds for which the runner may go on unless the lease is renewed. From any thread."""
        return self._term.lease_remaining()

    def check_lease(self) -> None:
        """Return while the term lasts; raise LeaseLost once it is over. Synchronous, from any thread."""
        self._term.check_lease()

    def load_cursor(self) -> Awaitable[str | None]:
        """Await how far this runner has come: the text that it saved last, in whichever term, or None.

        Raises LeaseLost once the term is over, TimeoutError when the store gives no answer within the timing's
        `store_timeout`, RuntimeError for a store that keeps no cursors and in a thread, and what the store raises.
        Cancelling changes nothing.
        """
        self._term.check_lease()
        return self._cursors.load(self.runner)

    def save_cursor(self, cursor: str) -> Awaitable[None]:
        """Await that the store has kept a text as this runner's cursor, in the place of the last.

        Any text without NUL that UTF-8 can hold; a JSON document for instance. Raises StaleTerm when the lease has
        reached another term than the context's: nothing is kept then. Raises LeaseLost once the term is over,
        TypeError or ValueError for what is no such text, and else what `load_cursor` does. After a TimeoutError,
        an error of the store's, or a cancellation, nobody knows whether it was kept, or will be.
        """
        self._term.check_lease()
        return self._cursors.save(self.runner, self.term, checked_cursor(cursor))

    def load_cursor_sync(self) -> str | None:
        """Return what `load_cursor` does, in the thread of a plain `def` runner, or in any other.

        Raises RuntimeError on the loop. In the runner's own thread the call is cancelled when the term ends, or the
        runner's timeout has come: it raises trio.Cancelled then, which is not to be caught.
        """
        self._term.check_lease()
        return self._cursors.load_sync(self.runner)

    def save_cursor_sync(self, cursor: str) -> None:
        """Do what `save_cursor` does, where and as `load_cursor_sync` works."""
        self._term.check_lease()
        self._cursors.save_sync(self.runner, self.term, checked_cursor(cursor))


RunnerFunction = Callable[[TickContext], Awaitable[RunnerResult | None]] | Callable[[TickContext], RunnerResult | None]
Misfire = Literal["run_once", "skip", "run_all"]
OnCrash = Literal["report", "rerun"]


@final
class Runner(msgspec.Struct, frozen=True):
    """A named function to run in ticks. `timeout` is in seconds; a plain function runs in a worker thread.

    Without a `schedule` it runs in every tick of its group; `misfire` and `on_crash` are for runners with one.
    """

    name: str
    run: Callable[[TickContext], Any]
    description: str | None
    timeout: float | None
    in_thread: bool
    schedule: Every | Cron | None = None
    misfire: Misfire = "run_once"
    on_crash: OnCrash = "report"
    retry: Retry | None = None


def _require_positive_integer(field: str, value: object) -> None:
    if type(value) is not int or value <= 0:
        raise ValueError(f"Conductor {field} must be a positive integer, not {shown(value)}.")


def _wrong_type(field: str, value: object, allowed: str) -> TypeError:
    return TypeError(f"ctx.log: {field} must be {allowed}, not {shown(value)}.")
