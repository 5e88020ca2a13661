"""What it costs to be watched: metrics, traces, a further journal.

    python -m benchmarks.watching [--json] [--brief]
    python -m benchmarks.watching N a|b 0|1 SECONDS --by KIND     one case, one line of JSON

The case is that of `benchmarks.ticks`, variant a with the journal on: whole ticks of N no-op runners. Watched by

    nobody     as most conductors run: there are no metrics, and there is no tracer
    metrics    `ConductorMetrics`, which nobody scrapes meanwhile
    api        a tracer of opentelemetry-api alone, as when no SDK is set up: spans that are none
    sampled    a tracer of the SDK that samples one trace of a hundred
    traced     a tracer of the SDK that keeps every span, for an exporter that drops them
    journal    one more journal beside the files, which keeps nothing: files are written in the general way then

Each runs in an interpreter of its own, by turns. What is measured is the time for which the loop's thread is at work;
an exporter's thread takes its own. Needs the extras `metrics` and `traces`, and opentelemetry-sdk.
"""

import statistics
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import click

from conductor_jobs import Conductor, JournalEntry

from .flat_out import Case, case_command
from .measuring import Cell, Table, alternate, command, paired_ratio, run_module
from .our_ticks import measure_jobs, no_op_jobs

RUNNERS = (1, 10, 100, 1_000)
ROUNDS, SECONDS = 5, 0.4
KINDS = ("nobody", "metrics", "api", "sampled", "traced", "journal")


def tables(*, brief: bool) -> list[Table]:
    """Measure every kind."""
    rows: list[list[Cell]] = []
    for runners in RUNNERS[1:2] if brief else RUNNERS:
        contenders = {kind: partial(_case, runners, 0.02 if brief else SECONDS, kind) for kind in KINDS}
        taken = alternate(contenders, 1 if brief else ROUNDS)
        plain = statistics.median(taken["nobody"])
        added = [plain * (paired_ratio(taken, kind, "nobody") - 1) for kind in KINDS[1:]]
        rows.append([runners, plain, *added])
    columns = ["N", "nobody", *(f"+ {kind}" for kind in KINDS[1:])]
    return [Table("Microseconds per runner execution, and what is added by being watched", columns, rows)]


def _case(runners: int, seconds: float, kind: str) -> float:
    measured = run_module("benchmarks.watching", runners, "a", 1, seconds, "--by", kind)
    if not measured["ok"] or measured["bad"]:
        raise RuntimeError(f"lines or ticks were lost, watched by {kind}: {measured}")
    return float(measured["cpu_us_run"])


def measure(case: Case, *, by: str) -> dict[str, object]:
    """Run ticks for about the seconds of the case, watched."""
    settings: dict[str, Any] = {}
    watch: Callable[[Conductor], AbstractContextManager[object]] = nullcontext
    if by == "metrics":
        from conductor_jobs.metrics import ConductorMetrics

        watch = ConductorMetrics
    elif by == "journal":
        settings["journal"] = _Nothing()
    elif by != "nobody":
        settings["tracer"] = _tracer(by)
    return measure_jobs(case, no_op_jobs(case), watch, **settings)


class _Nothing:
    """A journal that keeps nothing."""

    def add(self, entry: JournalEntry) -> None:
        """Take an entry."""

    def flush(self) -> None:
        """Do nothing."""


def _tracer(kind: str) -> Any:
    from opentelemetry import trace

    if kind == "api":
        return trace.get_tracer("benchmarks")
    from opentelemetry.sdk.trace import TracerProvider, sampling
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Drops(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:  # noqa: ARG002 - dropped
            return SpanExportResult.SUCCESS

    sampler = sampling.TraceIdRatioBased(0.01) if kind == "sampled" else sampling.ALWAYS_ON
    provider = TracerProvider(sampler=sampling.ParentBased(sampler))
    provider.add_span_processor(BatchSpanProcessor(Drops()))
    return provider.get_tracer("benchmarks")


one_case = case_command(measure, click.Option(["--by"], type=click.Choice(KINDS), default="nobody"))
main = command(tables)

if __name__ == "__main__":
    one_case() if sys.argv[1:2] and sys.argv[1].isdigit() else main()
