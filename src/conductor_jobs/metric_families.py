"""Every metric: its name, what it says, and how it is read from a conductor and from what metrics count by themselves.

Names follow Prometheus: base units, and `_total` for what only rises. Each series bears the lease that it is about.
"""

from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import TypeVar, final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from .conductor import Conductor
from .metric_tallies import Histogram, Tallies
from .status import ConductorStatus

_PREFIX = "conductor_jobs_"
# One series: the values of its labels beside the lease, and the value.
Series = tuple[tuple[str, ...], float]
F = TypeVar("F", bound=GaugeMetricFamily | CounterMetricFamily)


@final
class ConductorCollector(Collector):
    """Reads a conductor whenever its registry is asked."""

    def __init__(self, conductor: Conductor, tallies: Tallies, loop_lag: Histogram) -> None:
        self._conductor = conductor
        self._tallies = tallies
        self._loop_lag = loop_lag

    def collect(self) -> Iterator[Metric]:
        """Return the metrics of this moment."""
        return iter(Families(self._conductor, self._tallies, self._loop_lag))


@final
class Families:
    """The metrics of one moment."""

    def __init__(self, conductor: Conductor, tallies: Tallies, loop_lag: Histogram) -> None:
        self._conductor = conductor
        self._lease = conductor.lease_name
        self._status: ConductorStatus = conductor.status()
        self._paused = set(self._status.paused)
        self._tallies = tallies
        self._loop_lag = loop_lag
        for name in self._status.runners:
            # A series that begins with its first failure would hide that from `increase`.
            tallies.of_runner(name)

    def __iter__(self) -> Iterator[Metric]:
        """Return every metric, in the order of the table in docs/metrics.md."""
        yield from self._of_the_node()
        yield from self._of_the_lease()
        yield from self._of_ticks()
        yield from self._of_runners()
        yield from self._of_journal_and_loop()

    def _of_the_node(self) -> Iterator[Metric]:
        node = self._status.node
        about = {"node_id": node.node_id, "host": node.host, "role": node.role, "version": node.version or ""}
        yield self._gauge("node_info", "Which node this is; always 1.", [(tuple(about.values()), 1)], tuple(about))
        yield self._gauge("running", "1 while the conductor runs.", self._status.started)
        yield self._gauge("stopping", "1 from the request to stop until the end.", self._status.stopping)
        drain = self._status.drain_seconds
        yield self._gauge(
            "drain_duration_seconds", "For how long a stop has waited for the work, or did last.", drain or 0
        )

    def _of_the_lease(self) -> Iterator[Metric]:
        status = self._status
        yield self._gauge("leader", "1 while this node leads.", status.leadership == "leader")
        yield self._gauge("term", "The number of the latest term that the store named, whoever leads.", status.term)
        yield self._gauge(
            "lease_remaining_seconds",
            "For how long work may go on unless the lease is renewed; 0 unless this node leads.",
            status.lease_remaining or 0,
        )
        yield self._gauge(
            "degraded", "1 while as many store calls in a row have failed as the threshold allows.", status.degraded
        )
        renewals = SummaryMetricFamily(
            f"{_PREFIX}renew_duration_seconds", "How long confirmed renewals of the lease took.", labels=["lease"]
        )
        renewals.add_metric([self._lease], status.renewals, status.renew_seconds)
        yield renewals
        yield self._counter("renew_failures", "Renewals of the lease that failed.", status.renew_failures)
        yield self._gauge(
            "drifting_nodes",
            "How many nodes have other runners registered than this one, while it leads.",
            len(status.drift),
        )
        yield self._counter(
            "overruns", "Pieces of leader's work found at work after the lease had run out.", status.overrun_count
        )
        yield self._gauge("overrunning_work", "Those of them that are at work still.", len(status.overruns))

    def _of_ticks(self) -> Iterator[Metric]:
        status, ticks = self._status, self._tallies.ticks.items()
        decisions = [((decision,), count) for decision, count in list(ticks)]
        yield self._counter("ticks", "Ticks by what became of them.", decisions, ("decision",))
        histogram = self._tallies.tick_durations
        yield self._histogram("tick_duration_seconds", "How long ticks of the leader took.", [((), histogram)])
        in_flight = (status.batch_in_flight is not None) + len(status.runs_in_flight)
        yield self._gauge("ticks_in_flight", "How many ticks are at work.", in_flight)
        yield self._counter(
            "missed_intervals", "Instants of the interval's grid that went by unused.", status.missed_interval_count
        )

    def _of_runners(self) -> Iterator[Metric]:
        yield self._gauge("runners", "How many runners are registered.", len(self._status.runners))
        runners = list(self._tallies.runners.items())
        yield self._counter(
            "runner_runs",
            "Runs of a runner by how they ended.",
            [((name, outcome), count) for name, tally in runners for outcome, count in list(tally.outcomes.items())],
            ("runner", "outcome"),
        )
        yield self._histogram(
            "runner_duration_seconds",
            "How long the runs of a runner took.",
            [((name,), tally.durations) for name, tally in runners],
            ("runner",),
        )
        completed = [((name,), tally.last_completed) for name, tally in runners if tally.last_completed is not None]
        yield self._gauge(
            "runner_last_completed_timestamp_seconds", "When the runner last completed here.", completed, ("runner",)
        )
        paused = [((name,), name in self._paused) for name, _ in runners]
        yield self._gauge(
            "runner_paused", "1 while the runner is paused, as this node heard last.", paused, ("runner",)
        )
        yield self._gauge(
            "runner_next_due_timestamp_seconds", "When the runner is due next.", self._next_due(), ("runner",)
        )

    def _next_due(self) -> Iterator[Series]:
        for runner in self._conductor.runner_statuses():
            if runner.next_due_at and runner.name in self._tallies.runners:
                yield (runner.name,), runner.next_due_at[0].timestamp()

    def _of_journal_and_loop(self) -> Iterator[Metric]:
        yield self._counter("journal_written_bytes", "Bytes written to journal files.", self._status.journal_bytes)
        yield self._counter("journal_lost_entries", "Entries that the disk did not take.", self._status.entries_lost)
        yield self._histogram(
            "loop_lag_seconds", "How late the loop came to a task that slept.", [((), self._loop_lag)]
        )

    def _gauge(
        self, name: str, text: str, value: Iterable[Series] | float | None, by: tuple[str, ...] = ()
    ) -> GaugeMetricFamily:
        return self._filled(GaugeMetricFamily(_PREFIX + name, text, labels=["lease", *by]), value)

    def _counter(
        self, name: str, text: str, value: Iterable[Series] | float, by: tuple[str, ...] = ()
    ) -> CounterMetricFamily:
        return self._filled(CounterMetricFamily(_PREFIX + name, text, labels=["lease", *by]), value)

    def _filled(self, family: F, value: Iterable[Series] | float | None) -> F:
        if isinstance(value, int | float):
            family.add_metric([self._lease], float(value))
            return family
        for labels, number in value or ():
            family.add_metric([self._lease, *labels], float(number))
        return family

    def _histogram(
        self, name: str, text: str, histograms: Iterable[tuple[tuple[str, ...], Histogram]], by: tuple[str, ...] = ()
    ) -> HistogramMetricFamily:
        family = HistogramMetricFamily(_PREFIX + name, text, labels=["lease", *by])
        for labels, histogram in histograms:
            family.add_metric([self._lease, *labels], _cumulative(histogram), histogram.sum)
        return family


def _cumulative(histogram: Histogram) -> list[tuple[str, float]]:
    bounds: list[str] = [floatToGoString(bound) for bound in histogram.bounds]  # type: ignore[no-untyped-call] # theirs
    return list(zip([*bounds, "+Inf"], accumulate(list(histogram.counts)), strict=True))
