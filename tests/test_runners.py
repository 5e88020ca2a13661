"""Runners, and the registry that they are kept in (seed 1.1, 1.2)."""

import functools
import math
import sys
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from conductor_jobs import RunnerResult, TickContext, TimedJobs
from conductor_jobs.runners import Runner


async def on_loop(ctx: TickContext) -> None: ...


def in_thread(ctx: TickContext) -> None: ...


async def with_defaults(ctx: TickContext, /, *others: object, limit: int = 3) -> None: ...


async def with_more(limit: int, ctx: TickContext) -> None: ...


def generator(ctx: TickContext) -> Generator[None]:
    yield


async def async_generator(ctx: TickContext) -> AsyncGenerator[None]:
    yield


def no_argument() -> None: ...


def two_arguments(ctx: TickContext, more: int) -> None: ...


def keyword_only(*, ctx: TickContext) -> None: ...


class Callables:
    async def method(self, ctx: TickContext) -> None: ...

    @classmethod
    async def of_class(cls, ctx: TickContext) -> None: ...

    @staticmethod
    async def static(ctx: TickContext) -> None: ...

    def plain(self, ctx: TickContext) -> None: ...


class CalledAsync:
    async def __call__(self, ctx: TickContext) -> None: ...


class CalledPlain:
    def __call__(self, ctx: TickContext) -> None: ...


class CalledGenerator:
    def __call__(self, ctx: TickContext) -> Generator[None]:
        yield


def only_runner(run: Any) -> Any:
    jobs = TimedJobs()
    jobs.register_runner("r", run)
    (runner,) = jobs.runners
    return runner


def test_names_are_trimmed_and_kept_in_the_order_of_registration() -> None:
    jobs = TimedJobs()
    for name in ("b", "  a ", "c\n"):
        jobs.register_runner(name, on_loop)
    assert jobs.runner_names == ("b", "a", "c")
    assert [runner.name for runner in jobs.runners] == ["b", "a", "c"]


@pytest.mark.parametrize("name", ["", "  ", "\t\n", None])
def test_an_empty_name_is_rejected_in_the_seeds_words(name: Any) -> None:
    jobs = TimedJobs()
    with pytest.raises(ValueError, match="name") as caught:
        jobs.register_runner(name, on_loop)
    assert str(caught.value) == "Timed job runner name must be non-empty."
    assert jobs.runner_names == ()


@pytest.mark.parametrize("again", ["x", " x "])
def test_a_taken_name_is_rejected_in_the_seeds_words_and_keeps_its_runner(again: str) -> None:
    jobs = TimedJobs()
    jobs.register_runner("x", on_loop)
    with pytest.raises(ValueError, match="already") as caught:
        jobs.register_runner(again, in_thread)
    assert str(caught.value) == 'Timed job runner "x" is already registered.'
    assert [runner.run for runner in jobs.runners] == [on_loop]


@pytest.mark.parametrize("name", ["timed-jobs.framework", "timed-jobs.lease"])
def test_the_names_under_which_the_framework_writes_are_not_to_be_had(name: str) -> None:
    with pytest.raises(ValueError, match=f'"{name}" is what the journal calls the framework itself'):
        TimedJobs().register_runner(name, on_loop)


def test_the_decorator_registers_the_function_and_returns_it_unchanged() -> None:
    jobs = TimedJobs()
    assert jobs.runner("loop", description="does it", timeout=5)(on_loop) is on_loop
    assert jobs.runner("thread")(in_thread) is in_thread
    first, second = jobs.runners
    assert (first.name, first.run, first.description, first.timeout, first.in_thread) == (
        *("loop", on_loop, "does it", 5, False),
    )
    assert (second.run, second.description, second.timeout, second.in_thread) == (in_thread, None, None, True)


@pytest.fixture
def fast_switching() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


class CountedDict(dict[str, Runner]):
    """Counts how often somebody goes through it."""

    walks = 0

    def values(self) -> Any:
        self.walks += 1
        return super().values()


def test_the_runners_are_gone_through_once_however_many_were_registered() -> None:
    jobs = TimedJobs()
    jobs._runners = kept = CountedDict()
    for number in range(100):
        jobs.register_runner(f"runner-{number}", on_loop)
    assert kept.walks == 0
    assert [runner.name for runner in jobs.runners] == list(jobs.runner_names) == list(kept)
    assert jobs.runners is jobs.runners
    assert kept.walks == 1
    jobs.register_runner("one more", on_loop)
    assert jobs.runners[-1].name == "one more"
    assert kept.walks == 2


@pytest.mark.usefixtures("fast_switching")
def test_threads_may_register_runners_at_once_while_others_read_them() -> None:
    jobs = TimedJobs()
    seen: list[tuple[str, ...]] = []

    def register(thread: int) -> None:
        for number in range(200):
            jobs.register_runner(f"runner-{thread}-{number}", on_loop)
            seen.append(jobs.runner_names)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(register, range(4))) == [None] * 4
    assert len(jobs.runner_names) == len(jobs.runners) == 800
    assert all(names == jobs.runner_names[: len(names)] for names in seen)


@pytest.mark.usefixtures("fast_switching")
def test_of_threads_that_register_one_name_at_once_one_has_it() -> None:
    jobs = TimedJobs()
    together = threading.Barrier(4)

    def register(thread: int) -> int:
        had = 0
        for number in range(200):
            together.wait()
            with suppress(ValueError):
                jobs.register_runner(f"runner-{number}", on_loop)
                had += 1
        return had

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(register, range(4))) == len(jobs.runners) == 200


def test_a_tick_keeps_the_runners_it_began_with_when_more_are_registered() -> None:
    jobs = TimedJobs()
    jobs.register_runner("a", on_loop)
    begun_with = jobs.runners
    jobs.register_runner("b", on_loop)
    assert [runner.name for runner in begun_with] == ["a"]
    assert [runner.name for runner in jobs.runners] == ["a", "b"]


@pytest.mark.parametrize(
    ("run", "threaded"),
    [
        pytest.param(on_loop, False, id="async def"),
        pytest.param(with_defaults, False, id="async def with defaults"),
        pytest.param(functools.partial(with_more, 3), False, id="partial of async def"),
        pytest.param(functools.partial(functools.partial(with_more), 3), False, id="partial of partial"),
        pytest.param(Callables().method, False, id="async method"),
        pytest.param(Callables.of_class, False, id="async class method"),
        pytest.param(Callables.static, False, id="async static method"),
        pytest.param(CalledAsync(), False, id="object called async"),
        pytest.param(functools.partial(CalledAsync()), False, id="partial of object called async"),
        pytest.param(in_thread, True, id="def"),
        pytest.param(lambda ctx: None, True, id="lambda"),
        pytest.param(functools.partial(in_thread), True, id="partial of def"),
        pytest.param(Callables().plain, True, id="method"),
        pytest.param(CalledPlain(), True, id="object"),
        pytest.param(print, True, id="builtin"),
    ],
)
def test_what_is_async_runs_on_the_loop_and_what_is_plain_in_a_thread(run: Any, threaded: bool) -> None:
    assert only_runner(run).in_thread is threaded


@pytest.mark.parametrize("run", [generator, async_generator, functools.partial(generator), CalledGenerator()])
def test_a_generator_function_is_no_runner(run: Any) -> None:
    with pytest.raises(TypeError, match='Timed job runner "r": run must not be a generator function'):
        only_runner(run)


@pytest.mark.parametrize("run", [no_argument, two_arguments, keyword_only, Callables.method, with_more])
def test_a_function_that_does_not_take_one_context_is_no_runner(run: Any) -> None:
    with pytest.raises(TypeError, match='Timed job runner "r": run must take one TickContext: '):
        only_runner(run)


@pytest.mark.parametrize("run", [None, 5, "project"])
def test_what_cannot_be_called_is_no_runner(run: Any) -> None:
    with pytest.raises(TypeError, match=f'Timed job runner "r": run must be a function, not {run!r}'):
        only_runner(run)


@pytest.mark.parametrize("timeout", [0, -1.0, math.inf, math.nan, True, "5"], ids=repr)
def test_a_runners_timeout_must_be_positive_seconds(timeout: Any) -> None:
    jobs = TimedJobs()
    with pytest.raises(ValueError, match="timeout must be a positive number of seconds, not "):
        jobs.register_runner("r", on_loop, timeout=timeout)
    assert jobs.runner_names == ()


def test_the_defaults_are_those_of_the_seed_and_frozen() -> None:
    config = TimedJobs().config
    assert (config.interval, config.max_messages_per_tick, config.max_tasks_per_tick) == (10.0, 10, 10)
    assert config.settle_delay == 10.0
    with pytest.raises(AttributeError):
        config.interval = 1.0  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


POSITIVE_INTEGER = "a positive integer"
POSITIVE, NON_NEGATIVE = "a positive number of seconds", "a non-negative number of seconds"
BAD_CONFIG = [
    *(("interval", value, POSITIVE) for value in (0, -1, math.inf, math.nan, "10", None, True, 10**400)),
    *(("settle_delay", value, NON_NEGATIVE) for value in (-0.1, math.inf, math.nan, "10", None, False)),
    *(("max_messages_per_tick", value, POSITIVE_INTEGER) for value in (0, -1, 1.5, "10", None, True)),
    *(("max_tasks_per_tick", value, POSITIVE_INTEGER) for value in (0, -1, 10.0, "10", None, True)),
]


@pytest.mark.parametrize(("field", "value", "rule"), BAD_CONFIG, ids=lambda part: repr(part)[:12])
def test_a_bad_setting_is_rejected_naming_field_value_and_rule(field: str, value: Any, rule: str) -> None:
    jobs = TimedJobs(settle_delay=0)
    for configure in (TimedJobs, jobs.configure):
        with pytest.raises(ValueError, match=field) as caught:
            configure(**{field: value})
        assert str(caught.value) == f"Conductor {field} must be {rule}, not {value!r}."
    assert jobs.config == TimedJobs(settle_delay=0).config


def test_a_result_is_ok_and_without_details_by_default() -> None:
    assert RunnerResult() == RunnerResult(result="ok", details=None)
