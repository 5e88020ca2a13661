# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Runners: what may be registered, what the decorator returns, and what a runner is given."""

import functools
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Literal, assert_type

from conductor_jobs import RunnerResult, TickContext, TickTrigger, TimedJobs, TimedJobsConfig

jobs = TimedJobs(interval=1.0, max_messages_per_tick=5, max_tasks_per_tick=5, settle_delay=0)
assert_type(jobs.config, TimedJobsConfig)
assert_type(jobs.runner_names, tuple[str, ...])


# The decorator leaves a function as it is, so that a test can call it.
@jobs.runner("async")
async def asynchronous(ctx: TickContext) -> RunnerResult:
    return RunnerResult(details={"sent": 1})


@jobs.runner("plain", description="in a worker thread", timeout=5)
def plain(ctx: TickContext) -> None:
    ctx.check_lease()


@jobs.runner("more parameters")
async def with_a_default(ctx: TickContext, *, dry_run: bool = False) -> RunnerResult | None:
    return None if dry_run else RunnerResult("none_due")


async def calls_them(ctx: TickContext) -> None:
    assert_type(await asynchronous(ctx), RunnerResult)
    assert_type(plain(ctx), None)
    assert_type(await with_a_default(ctx, dry_run=True), RunnerResult | None)


# Whatever can be called with a context is a runner.
class Projector:
    async def project(self, ctx: TickContext) -> RunnerResult:
        return RunnerResult()

    def __call__(self, ctx: TickContext) -> RunnerResult:
        return RunnerResult()


async def with_a_database(database: str, ctx: TickContext) -> None: ...


jobs.register_runner("async", asynchronous, description="a description", timeout=1.5)
jobs.register_runner("plain", plain)
jobs.register_runner("method", Projector().project)
jobs.register_runner("object", Projector())
jobs.register_runner("partial", functools.partial(with_a_database, "postgresql://"))
jobs.register_runner("lambda", lambda ctx: RunnerResult(details={"term": ctx.term}))


# Refused: a wrong parameter, a wrong result, too few and too many parameters, names and settings of wrong types.
async def takes_a_number(ctx: int) -> None: ...
async def returns_a_number(ctx: TickContext) -> int:
    return 1


def returns_text(ctx: TickContext) -> str:
    return ""


async def takes_nothing() -> None: ...
async def takes_two(ctx: TickContext, database: str) -> None: ...
async def generates(ctx: TickContext) -> AsyncIterator[RunnerResult]:
    yield RunnerResult()


jobs.register_runner("a", takes_a_number)  # type: ignore[arg-type]  # is given a context
jobs.register_runner("b", returns_a_number)  # type: ignore[arg-type]  # a RunnerResult or None
jobs.register_runner("c", returns_text)  # type: ignore[arg-type]  # in a thread too
jobs.register_runner("d", takes_nothing)  # type: ignore[arg-type]  # is given one argument
jobs.register_runner("e", takes_two)  # type: ignore[arg-type]  # and only one
jobs.register_runner("f", generates)  # type: ignore[arg-type]  # would never run
jobs.register_runner("g", plain, "text")  # type: ignore[call-arg]  # options have names
jobs.register_runner("h", plain, timeout="5s")  # type: ignore[arg-type]  # seconds
jobs.runner("i")(takes_a_number)  # type: ignore[type-var]  # the same by decorator
jobs.runner("j")(returns_text)  # type: ignore[type-var]  # the same by decorator
jobs.runner(plain)  # type: ignore[arg-type]  # @jobs.runner without a name
TimedJobs(10.0)  # type: ignore[call-arg]  # limits have names
TimedJobs(interval="1s")  # type: ignore[arg-type]  # seconds
TimedJobs(intervall=1.0)  # type: ignore[call-arg]  # a slip of the pen
RunnerResult(details=[1])  # type: ignore[arg-type]  # details have names


# What a runner is given.
def reads(ctx: TickContext) -> None:
    assert_type(ctx.term, int)
    assert_type(ctx.controller_id, str)
    assert_type(ctx.host, str)
    assert_type(ctx.batch_id, str)
    assert_type(ctx.runner, str)
    assert_type(ctx.trigger, Literal["interval", "manual", "schedule"])
    trigger: TickTrigger = ctx.trigger
    assert_type(ctx.config, TimedJobsConfig)
    assert_type(ctx.config.interval, float)
    assert_type(ctx.max_messages_per_tick, int)
    assert_type(ctx.settle_delay, float)
    assert_type(ctx.lease_remaining(), float)
    assert_type(ctx.load_cursor_sync(), str | None)
    ctx.save_cursor_sync("message:1")
    ctx.save_cursor_sync(1)  # type: ignore[arg-type]  # a text
    assert_type(RunnerResult().details, Mapping[str, Any] | None)
    log: Callable[..., None] = ctx.log
    ctx.log("done", result="ok", details={"trigger": trigger}, duration_ms=1, error=ValueError("why"))
    ctx.log("done", "ok")  # type: ignore[call-arg]  # fields have names
    ctx.log("done", details="text")  # type: ignore[arg-type]  # details have names
    ctx.term = 2  # type: ignore[misc]  # a runner does not choose its term
    ctx.settle_delay = 2.0  # type: ignore[misc]  # nor its limits
    log("done")


async def keeps_its_cursor(ctx: TickContext) -> None:
    assert_type(await ctx.load_cursor(), str | None)
    await ctx.save_cursor("message:1")
    await ctx.save_cursor(None)  # type: ignore[arg-type]  # a text
