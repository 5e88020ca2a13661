"""Runners, and the registry that an application keeps them in."""

import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, TypeVar, final

import msgspec

from .failures import error_text, shown
from .journal import FRAMEWORK, LEASE, Recorder
from .seconds import checked_seconds
from .term import Term

TickTrigger = Literal["interval", "manual", "schedule"]


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
    term: the fencing token for the runner's own writes. `settle_delay` is in seconds.
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
        _require_type("stage", stage, str)
        _require_type("result", result, str, type(None))
        _require_type("details", details, Mapping, type(None))
        _require_type("duration_ms", duration_ms, int, float, type(None))
        _require_type("error", error, BaseException, str, type(None))
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


RunnerFunction = Callable[[TickContext], Awaitable[RunnerResult | None]] | Callable[[TickContext], RunnerResult | None]
F = TypeVar("F", bound=RunnerFunction)


@final
class Runner(msgspec.Struct, frozen=True):
    """A named function to run in ticks. `timeout` is in seconds; a plain function runs in a worker thread."""

    name: str
    run: Callable[[TickContext], Any]
    description: str | None
    timeout: float | None
    in_thread: bool


@final
class TimedJobs:
    """The registry of an application's runners, in the order in which a tick runs them."""

    def __init__(
        self,
        *,
        interval: float = 10.0,
        max_messages_per_tick: int = 10,
        max_tasks_per_tick: int = 10,
        settle_delay: float = 10.0,
    ) -> None:
        """Begin an empty registry; `interval` and `settle_delay` in seconds.

        Raises ValueError, naming the field, the value and the rule.
        """
        self._config = TimedJobsConfig(interval, max_messages_per_tick, max_tasks_per_tick, settle_delay)
        self._runners: dict[str, Runner] = {}
        self._snapshot: tuple[Runner, ...] = ()
        # Threads may register runners while a tick takes those that there are.
        self._lock = threading.Lock()

    @property
    def config(self) -> TimedJobsConfig:
        """The configuration, which is frozen."""
        return self._config

    @property
    def runner_names(self) -> tuple[str, ...]:
        """The registered names, in order."""
        return tuple(runner.name for runner in self.runners)

    @property
    def runners(self) -> tuple[Runner, ...]:
        """The registered runners, in order: what a tick that begins now will run."""
        # Made anew once for many registrations: at each it would cost as much as there are runners.
        if len(self._snapshot) != len(self._runners):
            with self._lock:
                self._snapshot = tuple(self._runners.values())
        return self._snapshot

    def configure(self, **changes: Any) -> None:
        """Replace fields of `TimedJobsConfig`, by name: `configure(interval=5.0)`.

        A conductor that runs takes up new limits with its next tick, and a new interval with its next run.
        Raises ValueError for a bad value and TypeError for an unknown field.
        """
        self._config = msgspec.structs.replace(self._config, **changes)

    def register_runner(
        self,
        name: str,
        run: RunnerFunction,
        *,
        description: str | None = None,
        timeout: float | None = None,
    ) -> None:
        """Add a runner; allowed at any time and from any thread, a tick takes those registered when it begins.

        `run` takes a `TickContext` and returns a `RunnerResult` or None. `async def` functions run on the loop,
        plain ones in a worker thread. `description` is for people who list the runners. After `timeout` seconds the
        runner is cancelled and has failed (a thread cannot be cancelled: it has failed once it returns).
        Raises ValueError or TypeError naming what is wrong.
        """
        name = str(name or "").strip()
        if not name:
            raise ValueError("Timed job runner name must be non-empty.")
        if name in (FRAMEWORK, LEASE):
            raise ValueError(f'Timed job runner name "{name}" is what the journal calls the framework itself.')
        if timeout is not None:
            checked_seconds(f'Timed job runner "{name}": timeout', timeout)
        runner = Runner(name, run, description, timeout, _runs_in_thread(name, run))
        with self._lock:
            if name in self._runners:
                raise ValueError(f'Timed job runner "{name}" is already registered.')
            self._runners[name] = runner

    def runner(self, name: str, *, description: str | None = None, timeout: float | None = None) -> Callable[[F], F]:
        """Register the decorated function under `name`, and leave the function as it is; see `register_runner`."""
        if callable(name):
            raise TypeError(f'A timed job runner needs a name: write `@jobs.runner("…")`, not {name!r}.')

        def register(run: F) -> F:
            self.register_runner(name, run, description=description, timeout=timeout)
            return run

        return register


def _runs_in_thread(name: str, run: object) -> bool:
    if not callable(run):
        raise TypeError(f'Timed job runner "{name}": run must be a function, not {shown(run)}.')
    try:
        inspect.signature(run).bind(object())
    except TypeError as error:
        raise TypeError(f'Timed job runner "{name}": run must take one TickContext: {error}.') from None
    except ValueError:
        pass  # a builtin that tells no signature
    while isinstance(run, functools.partial):
        run = run.func
    functions = (run, getattr(run, "__call__", None))  # noqa: B004 - an object may be called through an async method
    if any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in functions):
        raise TypeError(f'Timed job runner "{name}": run must not be a generator function.')
    return not any(map(inspect.iscoroutinefunction, functions))


def _require_positive_integer(field: str, value: object) -> None:
    if type(value) is not int or value <= 0:
        raise ValueError(f"Conductor {field} must be a positive integer, not {shown(value)}.")


def _require_type(field: str, value: object, *allowed: type) -> None:
    # By its type: an object can pass itself off as a text by its `__class__`, and is none when it is written.
    if not issubclass(type(value), allowed) or isinstance(value, bool):
        names = " or ".join("None" if each is type(None) else each.__name__ for each in allowed)
        raise TypeError(f"ctx.log: {field} must be {names}, not {shown(value)}.")
