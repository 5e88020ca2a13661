"""What GET answers: made of the conductor, of what is remembered of its journal, and of what the store said last."""

from datetime import UTC, datetime
from typing import Final, final

import trio

from ..conductor import Conductor
from ..moments import ts_of
from .answers import NodeAnswer, StatusAnswer, TicksAnswer
from .cluster import Cluster
from .events import Events
from .recent import Recent
from .refusals import Refused

_SHOWN_ERRORS: Final = 50
# To make an answer of more ticks takes milliseconds: it is given again for a while, in seconds.
_FEW_TICKS: Final = 500
_FRESH_FOR: Final = 0.5


@final
class Views:
    """Each method is one answer, of this moment."""

    def __init__(self, conductor: Conductor, recent: Recent, cluster: Cluster, events: Events, writable: bool) -> None:
        self._conductor = conductor
        self._recent = recent
        self._cluster = cluster
        self._events = events
        self._writable = writable
        self._began_at = ts_of(datetime.now(UTC))
        self._many_ticks: tuple[int, float, TicksAnswer] | None = None

    def status(self) -> StatusAnswer:
        """Return how this node stands."""
        status, cluster = self._conductor.status(), self._cluster
        node = status.node
        return StatusAnswer(
            now=ts_of(datetime.now(UTC)),
            node=NodeAnswer(node.node_id, node.host, node.role, node.priority, node.version),
            lease_name=self._conductor.lease_name,
            ttl=self._conductor.timing.ttl,
            leadership=status.leadership,
            term=status.term,
            holder_id=status.holder_id,
            lease_remaining=None if status.lease_remaining is None else round(status.lease_remaining, 3),
            lease=cluster.lease(),
            lease_problem=cluster.problem,
            started=status.started,
            settled=status.settled,
            stopping=status.stopping,
            degraded=status.degraded,
            problem=status.problem,
            consecutive_renew_failures=status.consecutive_renew_failures,
            batch_in_flight=status.batch_in_flight,
            runs_in_flight=status.runs_in_flight,
            last_tick=status.last_tick,
            interval=self._conductor.jobs.config.interval,
            missed_interval_count=status.missed_interval_count,
            runner_count=len(status.runners),
            entries_lost=status.entries_lost,
            overruns=status.overruns,
            drift=status.drift,
            writable=self._writable,
            event_clients=self._events.listeners,
        )

    def ticks(self, limit: int) -> TicksAnswer:
        """Return the latest ticks, and the latest errors; of more than 500 as they were half a second ago."""
        now = trio.current_time()
        if limit <= _FEW_TICKS:
            return self._ticks_now(limit)
        if self._many_ticks is None or self._many_ticks[0] != limit or now - self._many_ticks[1] >= _FRESH_FOR:
            self._many_ticks = limit, now, self._ticks_now(limit)
        return self._many_ticks[2]

    def _ticks_now(self, limit: int) -> TicksAnswer:
        since = self._recent.forgotten_until or self._began_at
        return TicksAnswer(self._recent.ticks(limit), self._recent.errors(_SHOWN_ERRORS), since)

    def why_unhealthy(self) -> Refused | None:
        """Return why the process had better be started anew, or None."""
        status, ttl = self._conductor.status(), self._conductor.timing.ttl
        if not status.started:
            return Refused(503, "not_running", "the conductor does not run.")
        if status.lease_task_quiet_for > ttl:
            quiet = f"{status.lease_task_quiet_for:.0f} s"
            return Refused(503, "lease_task_stuck", f"the lease task has not asked the store for {quiet}.")
        return None

    def why_unready(self) -> Refused | None:
        """Return why this node does not take part, or None."""
        status = self._conductor.status()
        if not status.started:
            return Refused(503, "not_running", "the conductor does not run.")
        if status.stopping:
            return Refused(503, "stopping", "the conductor is stopping.")
        if not status.settled:
            return Refused(503, "starting", "the store has not answered yet.")
        return None
