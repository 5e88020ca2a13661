"""A span of each tick and runner, linked to the term, and current for what the runner traces itself."""

from collections.abc import Sequence

import pytest
import trio
import trio.lowlevel
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from trio.testing import MockClock

from conductor_jobs import Conductor, Every, Retry, RunnerResult, TickContext, TimedJobs
from conductor_jobs.observers import RunnerEnd, TickEnd, TickFacts
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.testing import MockWallClock, threads_inline
from conductor_jobs.tracing import traces_by

from .support import NodeStore, make_conductor, make_jobs, noop


class Traced:
    """A tracer, and the spans that it has ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer: trace.Tracer = provider.get_tracer("tests")

    @property
    def spans(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span


@pytest.fixture
def traced() -> Traced:
    return Traced()


def parent_of(span: ReadableSpan) -> int | None:
    return None if span.parent is None else span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    return int(span.context.span_id)


async def fails(ctx: TickContext) -> None:
    raise ValueError("bad customer")


async def test_a_tick_is_a_trace_of_its_own_with_a_span_for_each_runner(
    mock_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    async def counts(ctx: TickContext) -> RunnerResult:
        return RunnerResult("counted")

    conductor, _ = make_conductor(make_jobs(counts, noop), autostart=False, tracer=traced.tracer)
    with traced.tracer.start_as_current_span("whoever starts it"):
        await nursery.start(conductor.run)
        result = await conductor.run_tick()
    tick = traced.one("tick")
    assert tick.parent is None
    assert tick.attributes == {
        "conductor_jobs.batch_id": result.batch_id,
        "conductor_jobs.decision": "scheduled",
        "conductor_jobs.lease_name": "conductor",
        "conductor_jobs.node_id": "mini-main",
        "conductor_jobs.result": "scheduled",
        "conductor_jobs.runner_count": 2,
        "conductor_jobs.term": 1,
        "conductor_jobs.trigger": "manual",
    }
    first, second = traced.one("run counts"), traced.one("run noop")
    assert [parent_of(first), parent_of(second)] == [id_of(tick)] * 2
    assert first.attributes == {
        "conductor_jobs.attempt": 1,
        "conductor_jobs.runner": "counts",
        "conductor_jobs.term": 1,
        "conductor_jobs.result": "counted",
    }
    assert {span.status.status_code for span in (tick, first, second)} == {StatusCode.UNSET}
    assert first.end_time is not None
    assert second.start_time is not None
    assert first.end_time <= second.start_time
    nursery.cancel_scope.cancel()


async def test_ticks_link_to_a_span_of_their_term(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(noop), store, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.run_tick()
    store.hang()
    await conductor.wait_standby()
    # What a standby does not do is no work, and no span.
    assert (await conductor.run_tick()).decision == "skipped_not_leader"
    store.heal()
    await conductor.wait_leader()
    await conductor.run_tick()
    first, second = traced.named("term")
    links = [[link.context.span_id for link in tick.links] for tick in traced.named("tick")]
    assert links == [[id_of(first)], [id_of(first)], [id_of(second)]]
    assert first.attributes == {
        "conductor_jobs.lease_name": "conductor",
        "conductor_jobs.node_id": "mini-main",
        "conductor_jobs.term": 1,
    }
    assert second.attributes is not None
    assert second.attributes["conductor_jobs.term"] == 2
    nursery.cancel_scope.cancel()


async def test_what_fails_or_is_timed_out_is_an_exception_of_its_span(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    async def too_slow(ctx: TickContext) -> None:
        await trio.sleep_forever()

    jobs = make_jobs(fails)
    jobs.register_runner("too slow", too_slow, timeout=2.0)
    conductor, _ = make_conductor(jobs, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    told = []
    for span in (traced.one("run fails"), traced.one("run too slow")):
        (event,) = span.events
        assert event.attributes is not None
        told.append((span.status.status_code, span.status.description, event.name, event.attributes["exception.type"]))
    assert told == [
        (StatusCode.ERROR, "bad customer", "exception", "ValueError"),
        (StatusCode.ERROR, "timed out after 2 s", "exception", "TimeoutError"),
    ]
    (failure,) = traced.one("run fails").events
    assert failure.attributes is not None
    assert 'raise ValueError("bad customer")' in str(failure.attributes["exception.stacktrace"])
    assert traced.one("tick").status.status_code is StatusCode.UNSET
    nursery.cancel_scope.cancel()


async def test_what_the_end_of_the_term_cancels_is_an_error_without_an_exception(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    async def lasts(ctx: TickContext) -> None:
        await trio.sleep_forever()

    store = NodeStore(MemoryLeaseStore())
    conductor, _ = make_conductor(make_jobs(lasts), store, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    store.hang()
    assert (await conductor.run_tick()).decision == "interrupted"
    for span in (traced.one("run lasts"), traced.one("tick")):
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "lease_expired")
        assert span.events == ()
    nursery.cancel_scope.cancel()


async def inner(ctx: TickContext) -> None:
    with ctx.resources.tracer.start_as_current_span("inner"):
        await trio.lowlevel.checkpoint()


def inner_of_thread(ctx: TickContext) -> None:
    with ctx.resources.tracer.start_as_current_span("inner of thread"):
        trio.from_thread.run(trio.sleep, 0)


async def inner_of_child(ctx: TickContext) -> None:
    async def child() -> None:
        with ctx.resources.tracer.start_as_current_span("inner of child"):
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(child)


async def test_what_runners_trace_lies_in_their_spans_on_the_loop_in_threads_and_in_tasks(
    nursery: trio.Nursery, traced: Traced
) -> None:
    jobs = make_jobs(inner, inner_of_thread, fails, inner_of_child)
    jobs.register_runner("inner again", inner, timeout=30.0)
    conductor = Conductor(jobs, store=MemoryLeaseStore(), autostart=False, tracer=traced.tracer, resources=traced)
    await nursery.start(conductor.run)
    with traced.tracer.start_as_current_span("whoever asks"):
        asking = trace.get_current_span()
        assert (await conductor.run_tick()).failed_runner_count == 1
        assert trace.get_current_span() is asking
    assert parent_of(traced.one("inner of thread")) == id_of(traced.one("run inner_of_thread"))
    assert parent_of(traced.one("inner of child")) == id_of(traced.one("run inner_of_child"))
    parents = [parent_of(span) for span in traced.named("inner")]
    assert parents == [id_of(traced.one("run inner")), id_of(traced.one("run inner again"))]
    nursery.cancel_scope.cancel()


def traces_by_hand(ctx: TickContext) -> None:
    ctx.resources.tracer.start_span("by hand").end()


async def test_threads_that_are_inlined_trace_alike(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    conductor, _ = make_conductor(make_jobs(traces_by_hand), autostart=False, tracer=traced.tracer, resources=traced)
    await nursery.start(conductor.run)
    with threads_inline():
        await conductor.run_tick()
    assert parent_of(traced.one("by hand")) == id_of(traced.one("run traces_by_hand"))
    nursery.cancel_scope.cancel()


async def test_after_a_tick_no_span_is_current_for_the_next(
    mock_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    seen: list[trace.Span] = []

    async def looks(ctx: TickContext) -> None:
        seen.append(trace.get_current_span())

    jobs = make_jobs(fails, looks)
    conductor, _ = make_conductor(jobs, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    await conductor.run_tick()
    ids = [span.get_span_context().span_id for span in seen]
    assert ids == [id_of(span) for span in traced.named("run looks")]
    first, second = traced.named("tick")
    assert first.context is not None
    assert second.context is not None
    assert first.context.trace_id != second.context.trace_id
    nursery.cancel_scope.cancel()


async def test_texts_that_utf8_cannot_hold_spoil_no_export(
    mock_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    async def says(ctx: TickContext) -> None:
        raise ValueError("no \ud800")

    jobs = TimedJobs()
    jobs.register_runner("says", says)
    conductor, _ = make_conductor(jobs, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    attributes = [span.attributes or {} for span in traced.spans]
    attributes += [event.attributes or {} for span in traced.spans for event in span.events]
    texts = [str(value) for each in attributes for value in each.values()]
    texts += [text for span in traced.spans for text in (span.name, span.status.description or "")]
    assert len(texts) > 20
    # As an exporter does: one that cannot be encoded would cost it all the others.
    "".join(texts).encode()
    assert traced.one("run says").status.description == "no \\ud800"
    nursery.cancel_scope.cancel()


def test_what_is_no_tracer_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Conductor tracer must be an opentelemetry\.trace\.Tracer, not 'jaeger'"):
        Conductor(TimedJobs(), store=MemoryLeaseStore(), tracer="jaeger")  # type: ignore[arg-type] # that is the test


async def test_each_attempt_of_a_runner_that_is_tried_again_has_a_span(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    jobs = TimedJobs()
    jobs.register_runner("fails", fails, retry=Retry(attempts=3))
    jobs.register_runner("noop", noop)
    conductor, _ = make_conductor(jobs, autostart=False, tracer=traced.tracer)
    await nursery.start(conductor.run)
    await conductor.run_tick()
    attempts = [span.attributes["conductor_jobs.attempt"] for span in traced.named("run fails") if span.attributes]
    assert attempts == [1, 2, 3]
    assert {parent_of(span) for span in traced.named("run fails")} == {id_of(traced.one("tick"))}
    attributes = traced.one("run noop").attributes
    assert attributes is not None
    assert attributes["conductor_jobs.attempt"] == 1
    nursery.cancel_scope.cancel()


async def test_a_runner_with_a_schedule_has_ticks_of_its_own_that_say_for_which_instant(
    autojump_clock: MockClock, nursery: trio.Nursery, traced: Traced
) -> None:
    jobs = TimedJobs()
    for name in ("first", "second"):
        jobs.register_runner(name, inner, schedule=Every(3600.0))
    conductor, _ = make_conductor(
        jobs, tracer=traced.tracer, resources=traced, wall_clock=MockWallClock(7200.0 * 1000 + 60)
    )
    await nursery.start(conductor.run)
    await conductor.wait_leader()
    await trio.sleep(3600)
    ticks = traced.named("tick")
    due = [tick.attributes["conductor_jobs.due_at"] for tick in ticks if tick.attributes]
    assert due == ["1970-03-25T09:00:00Z"] * 2
    # Two ticks at once, each with its own spans.
    assert {parent_of(traced.one("run first")), parent_of(traced.one("run second"))} == {id_of(tick) for tick in ticks}
    assert {parent_of(span) for span in traced.named("inner")} == {
        id_of(traced.one("run first")),
        id_of(traced.one("run second")),
    }
    nursery.cancel_scope.cancel()


def test_each_span_is_current_from_its_start_to_its_end_only(traced: Traced) -> None:
    traces = traces_by(traced.tracer)
    with traced.tracer.start_as_current_span("whoever is about") as about:
        tick = traces.tick_started(TickFacts("batch", "manual", 1, "node", 1, "conductor"))
        assert tick is not None
        of_tick = trace.get_current_span()
        tick.runner_started("a")
        of_runner = trace.get_current_span()
        tick.runner_ended(RunnerEnd("a", "completed", "ok"))
        assert trace.get_current_span() is of_tick
        tick.ended(TickEnd("scheduled", "scheduled", None))
        assert trace.get_current_span() is about
    ids = {span.get_span_context().span_id for span in (about, of_tick, of_runner)}
    assert len(ids) == 3
    assert traced.one("term").parent is None
    assert traced.one("tick").parent is None
