"""Metrics for Prometheus: what a conductor does, read when somebody asks, and counted as it goes where that is needed.

Most is read from `Conductor.status()` at the moment of a scrape. Ticks and runners are counted by an observer, which
knows their durations exactly: the journal rounds them to milliseconds, and a further journal would take from the files
their fast way of writing.
"""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from types import TracebackType
from typing import Final, final

import trio
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .conductor import Conductor
from .failures import shown
from .metric_families import ConductorCollector
from .metric_tallies import Histogram, Tallies
from .seconds import checked_seconds

# In seconds: no-op runners take some microseconds, reports minutes.
DURATION_BUCKETS: Final = (0.0001, 0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_LAG_BUCKETS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
# A wake of an idle process costs some hundred microseconds, most of them in the kernel.
_LAG_PERIOD: Final = 0.5


@final
class ConductorMetrics:
    """The metrics of one conductor, in a registry of their own; ticks are counted while it is entered."""

    def __init__(
        self,
        conductor: Conductor,
        *,
        duration_buckets: Sequence[float] = DURATION_BUCKETS,
        runner_limit: int = 100,
    ) -> None:
        """Make the metrics of a conductor, which need not run yet.

        `duration_buckets`: the upper bounds of the histograms of durations, in seconds, rising. `runner_limit`: how
        many runners have series of their own; those that are registered later share the label `(others)`.

        Raises ValueError or TypeError, naming the argument.
        """
        if not isinstance(conductor, Conductor):
            raise TypeError(f"ConductorMetrics conductor must be a Conductor, not {shown(conductor)}.")
        self._conductor = conductor
        self._tallies = Tallies(_checked_buckets(duration_buckets), _checked_limit(runner_limit))
        self._loop_lag = Histogram(_LAG_BUCKETS)
        self._observing: AbstractContextManager[None] | None = None
        #: Metrics of one's own may be registered beside these.
        self.registry: CollectorRegistry = CollectorRegistry()
        self.registry.register(ConductorCollector(conductor, self._tallies, self._loop_lag))

    def __enter__(self) -> "ConductorMetrics":
        """Begin to count ticks; from any thread. Raises RuntimeError when it is entered already."""
        if self._observing is not None:
            raise RuntimeError("these ConductorMetrics are entered already: they would count every tick twice")
        self._observing = self._conductor.observed_by(self._tallies)
        self._observing.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop counting; what was counted stays."""
        if self._observing is not None:
            self._observing.__exit__(kind, error, trace)
            self._observing = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Measure how late the loop is, twice a second, until cancelled; in a nursery on the conductor's loop.

        A loop that was held up for a shorter time than half a second may go unnoticed.
        """
        task_status.started()
        while True:
            due = trio.current_time() + _LAG_PERIOD
            await trio.sleep_until(due)
            self._loop_lag.add(trio.current_time() - due)

    @property
    def content_type(self) -> str:
        """What to send `exposition()` as."""
        return CONTENT_TYPE_LATEST

    def exposition(self) -> bytes:
        """Return the metrics of this moment in Prometheus' text format; from any thread, running or not.

        It takes some ten milliseconds where a hundred runners have series: in a server, call it in a worker thread.
        """
        return generate_latest(self.registry)


def _checked_buckets(buckets: Sequence[float]) -> tuple[float, ...]:
    if not isinstance(buckets, Iterable) or isinstance(buckets, str | bytes):
        raise TypeError(f"ConductorMetrics duration_buckets must be several numbers, not {shown(buckets)}.")
    bounds = tuple(buckets)
    for bound in bounds:
        checked_seconds("ConductorMetrics duration_buckets", bound)
    if not bounds or any(bound >= after for bound, after in pairwise(bounds)):
        raise ValueError(f"ConductorMetrics duration_buckets must rise, and there must be one, not {shown(buckets)}.")
    return bounds


def _checked_limit(limit: int) -> int:
    if type(limit) is not int or limit < 0:
        raise ValueError(f"ConductorMetrics runner_limit must be an integer from 0 on, not {shown(limit)}.")
    return limit
