"""Traces: a span of each tick, and in it one of each runner. Needs opentelemetry-api; imported with a tracer only.

    term ──────────── begun and ended with the first tick of the term that is traced
      ^  ^ links
    tick  tick ────── each the root of a trace of its own
      └── run NAME ── current while the runner runs: what it traces itself hangs below

A term may last for weeks, and what ends a process exports nothing: a span as long as the term would be missing whenever
somebody looks for it. So it is a moment, to which its ticks link.
"""

import traceback
from contextvars import Token
from typing import final

from opentelemetry.context import Context, attach, detach
from opentelemetry.trace import Link, Span, SpanContext, Status, StatusCode, Tracer, set_span_in_context

from .failures import error_text, shown
from .moments import iso
from .observers import RunnerEnd, TickEnd, TickFacts, encodable
from .tick_results import TickDecision


def traces_by(tracer: object) -> "TickTraces":
    """Return the observer that gives spans to this tracer. Raises TypeError for what is no OpenTelemetry tracer."""
    if not isinstance(tracer, Tracer):
        raise TypeError(f"Conductor tracer must be an opentelemetry.trace.Tracer, not {shown(tracer)}.")
    return TickTraces(tracer)


@final
class TickTraces:
    """Makes the spans of one conductor's ticks; an `Observer`."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._term: int | None = None
        self._term_context: SpanContext | None = None

    def tick_refused(self, decision: TickDecision) -> None:
        """Trace nothing: nothing has run."""

    def tick_started(self, tick: TickFacts) -> "TracedTick | None":
        """Begin the span of a tick of leader's work; a standby traces nothing."""
        if tick.term is None:
            return None
        return TracedTick(self._tracer, tick, Link(self._context_of_term(tick)))

    def _context_of_term(self, tick: TickFacts) -> SpanContext:
        if self._term_context is None or self._term != tick.term:
            # Whoever started the conductor may have done so in a span: neither terms nor ticks are part of it.
            span = self._tracer.start_span("term", Context(), attributes=_attributes_of_term(tick))
            span.end()
            self._term, self._term_context = tick.term, span.get_span_context()
        return self._term_context


@final
class TracedTick:
    """The spans of one tick."""

    def __init__(self, tracer: Tracer, tick: TickFacts, term: Link) -> None:
        attributes: dict[str, str | int] = {
            **_attributes_of_term(tick),
            "conductor_jobs.batch_id": tick.batch_id,
            "conductor_jobs.trigger": tick.trigger,
            "conductor_jobs.runner_count": tick.runner_count,
        }
        if tick.due_at is not None:
            attributes["conductor_jobs.due_at"] = iso(tick.due_at)
        self._tracer = tracer
        self._term_number = tick.term or 0
        self._span = tracer.start_span("tick", Context(), attributes=attributes, links=[term])
        self._context = set_span_in_context(self._span)
        self._token = attach(self._context)
        # Of the runner at work; and which of its attempts it is.
        self._runner: tuple[Span, Token[Context]] | None = None
        self._attempt = 1

    def runner_started(self, runner: str) -> None:
        """Begin the runner's span, and make it the current one."""
        attributes: dict[str, str | int] = {
            "conductor_jobs.runner": runner,
            "conductor_jobs.term": self._term_number,
            "conductor_jobs.attempt": self._attempt,
        }
        span = self._tracer.start_span(f"run {runner}", self._context, attributes=attributes)
        self._runner = span, attach(set_span_in_context(span, self._context))

    def runner_ended(self, end: RunnerEnd) -> None:
        """End the runner's span."""
        if self._runner is None:
            return
        (span, token), self._runner = self._runner, None
        self._attempt = self._attempt + 1 if end.outcome == "retrying" else 1
        detach(token)
        try:
            span.set_attribute("conductor_jobs.result", encodable(end.result))
            if end.outcome != "completed":
                problem = end.result if end.error is None else error_text(end.error)
                span.set_status(Status(StatusCode.ERROR, encodable(problem)))
            if end.error is not None:
                span.record_exception(end.error, _attributes_of(end.error))
        finally:
            span.end()

    def ended(self, end: TickEnd) -> None:
        """End the tick's span."""
        detach(self._token)
        self._span.set_attribute("conductor_jobs.decision", end.decision)
        self._span.set_attribute("conductor_jobs.result", end.result)
        if end.decision != "scheduled":
            self._span.set_status(Status(StatusCode.ERROR, encodable(end.error or end.result)))
        self._span.end()


def _attributes_of_term(tick: TickFacts) -> dict[str, str | int]:
    return {
        "conductor_jobs.term": tick.term or 0,
        "conductor_jobs.lease_name": tick.lease_name or "",
        "conductor_jobs.node_id": tick.node_id,
    }


def _attributes_of(error: BaseException) -> dict[str, str]:
    # In the place of those that the tracer would find: they may not be encodable, and then a whole export is lost.
    stack = "".join(traceback.format_exception(error))
    return {"exception.message": encodable(error_text(error)), "exception.stacktrace": encodable(stack)}
