"""`TimedJobs`: the registry that an application keeps its runners in."""

import contextlib
import functools
import hashlib
import inspect
import threading
from collections.abc import Callable, Generator
from typing import Any, Final, TypeVar, final, get_args

import msgspec
import trio

from .failures import shown
from .journal import FRAMEWORK, LEASE
from .retry import Retry
from .runner_records import NAME_RULE, is_runner_name
from .runners import Misfire, OnCrash, Runner, RunnerFunction, TimedJobsConfig
from .schedules import Cron, Every
from .seconds import checked_seconds

F = TypeVar("F", bound=RunnerFunction)
_RESERVED: Final = (FRAMEWORK, LEASE)


@final
class TimedJobs:
    """The registry of an application's runners, in the order in which they were registered."""

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
        self._snapshot = _Snapshot(())
        # Threads may register runners while a tick takes those that there are.
        self._lock = threading.Lock()
        self._listeners: list[tuple[trio.lowlevel.TrioToken, Callable[[], object]]] = []

    @property
    def config(self) -> TimedJobsConfig:
        """The configuration, which is frozen."""
        return self._config

    @property
    def runner_names(self) -> tuple[str, ...]:
        """The registered names, in order."""
        return tuple(runner.name for runner in self._now().registered)

    @property
    def registered(self) -> tuple[Runner, ...]:
        """All runners, in order."""
        return self._now().registered

    @property
    def runners(self) -> tuple[Runner, ...]:
        """The runners without a schedule, in order: what a tick of their group that begins now will run."""
        return self._now().plain

    @property
    def scheduled(self) -> tuple[Runner, ...]:
        """The runners that have a schedule, in order."""
        return self._now().scheduled

    @property
    def fingerprint(self) -> str:
        """The same text for registries of the same runners with the same schedules, whatever their order."""
        return self._now().fingerprint

    def named(self, name: str) -> Runner:
        """Return the runner of this name. Raises ValueError, naming it, if there is none."""
        try:
            return self._runners[name]
        except (KeyError, TypeError):
            known = ", ".join(map(repr, self.runner_names)) or "none"
            raise ValueError(f"No timed job runner is registered as {shown(name)}; there are: {known}.") from None

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
        retry: Retry | None = None,
        schedule: Every | Cron | None = None,
        misfire: Misfire | None = None,
        on_crash: OnCrash | None = None,
    ) -> None:
        """Add a runner; allowed at any time and from any thread, a tick takes those registered when it begins.

        `name`: a text that UTF-8 can hold, without NUL; blanks around it are taken off. `run` takes a `TickContext` and
        returns a `RunnerResult` or None. `async def` functions run on the loop, plain ones in a worker thread.
        `description` is for people who list the runners. After `timeout` seconds the runner is cancelled and has failed
        (a thread cannot be cancelled: it has failed once it returns). `retry`: how often it is tried again within its
        tick, `timeout` being each attempt's.

        Without a `schedule` the runner runs in every tick. With one, `Every(…)` or `Cron(…)`, it has ticks of its own.
        `misfire`: what becomes of due instants at which it could not run: "run_once" (the default) runs it once for
        the last of them, "skip" for none, "run_all" for each. `on_crash`: what becomes of a run that an earlier
        term began and did not end: "report" (the default) journals it, "rerun" runs it again.

        The store keeps claims, cursors and pauses by the `name`: it has 255 characters at the most.

        Raises ValueError or TypeError naming what is wrong.
        """
        name = _checked_name(name)
        if description is not None and not isinstance(description, str):
            raise TypeError(f'Timed job runner "{name}": description must be a text, not {shown(description)}.')
        if timeout is not None:
            checked_seconds(f'Timed job runner "{name}": timeout', timeout)
        if retry is not None and not isinstance(retry, Retry):
            raise TypeError(f'Timed job runner "{name}": retry must be a Retry, not {shown(retry)}.')
        _check_schedule(name, schedule, misfire, on_crash)
        runner = Runner(
            name,
            run,
            description,
            timeout,
            _runs_in_thread(name, run),
            schedule,
            misfire or "run_once",
            on_crash or "report",
            retry,
        )
        with self._lock:
            if name in self._runners:
                raise ValueError(f'Timed job runner "{name}" is already registered.')
            self._runners[name] = runner
            listeners = list(self._listeners)
        for token, listener in listeners:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(listener, idempotent=True)

    @contextlib.contextmanager
    def telling(self, token: trio.lowlevel.TrioToken, listener: Callable[[], object]) -> Generator[None, None, None]:
        """Call `listener` soon after each registration, on the loop of `token`, while inside."""
        with self._lock:
            self._listeners.append((token, listener))
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove((token, listener))

    def runner(
        self,
        name: str,
        *,
        description: str | None = None,
        timeout: float | None = None,
        retry: Retry | None = None,
        schedule: Every | Cron | None = None,
        misfire: Misfire | None = None,
        on_crash: OnCrash | None = None,
    ) -> Callable[[F], F]:
        """Register the decorated function under `name`, and leave the function as it is; see `register_runner`."""
        if callable(name):
            raise TypeError(f'A timed job runner needs a name: write `@jobs.runner("…")`, not {name!r}.')

        def register(run: F) -> F:
            self.register_runner(
                name,
                run,
                description=description,
                timeout=timeout,
                retry=retry,
                schedule=schedule,
                misfire=misfire,
                on_crash=on_crash,
            )
            return run

        return register

    def _now(self) -> "_Snapshot":
        # Made anew once for many registrations: at each it would cost as much as there are runners.
        if len(self._snapshot.registered) != len(self._runners):
            with self._lock:
                self._snapshot = _Snapshot(tuple(self._runners.values()))
        return self._snapshot


@final
class _Snapshot:
    """The runners that were registered at one moment."""

    def __init__(self, registered: tuple[Runner, ...]) -> None:
        self.registered = registered
        self.plain = tuple(runner for runner in registered if runner.schedule is None)
        self.scheduled = tuple(runner for runner in registered if runner.schedule is not None)

    @functools.cached_property
    def fingerprint(self) -> str:
        described = sorted(f"{runner.name!r} {runner.schedule!r}" for runner in self.registered)
        return hashlib.blake2b("\n".join(described).encode(), digest_size=8).hexdigest()


def _checked_name(name: object) -> str:
    if name is None or (isinstance(name, str) and not name.strip()):
        raise ValueError("Timed job runner name must be non-empty.")
    if not is_runner_name(name):
        raise ValueError(f"Timed job runner name must be {NAME_RULE}, not {shown(name)}.")
    if name.strip() in _RESERVED:
        raise ValueError(f'Timed job runner name "{name.strip()}" is what the journal calls the framework itself.')
    return name.strip()


def _check_schedule(name: str, schedule: object, misfire: object, on_crash: object) -> None:
    if schedule is not None and not isinstance(schedule, Every | Cron):
        raise TypeError(f'Timed job runner "{name}": schedule must be Every(…) or Cron(…), not {shown(schedule)}.')
    for field, value, allowed in (
        ("misfire", misfire, get_args(Misfire)),
        ("on_crash", on_crash, get_args(OnCrash)),
    ):
        if value is None:
            continue
        if value not in allowed:
            one_of = ", ".join(map(repr, allowed))
            raise ValueError(f'Timed job runner "{name}": {field} must be one of {one_of}, not {shown(value)}.')
        if schedule is None:
            raise ValueError(f'Timed job runner "{name}": {field} is for a runner with a schedule, and it has none.')


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
