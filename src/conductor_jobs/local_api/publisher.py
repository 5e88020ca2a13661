"""What becomes an event: what has changed in what is remembered, in the status, and among the nodes."""

from collections.abc import Sequence
from typing import Final, final

import msgspec
import trio

from ..conductor import Conductor
from .answers import NodesAnswer, StatusAnswer
from .cluster import Cluster
from .events import Events
from .recent import Recent
from .refusals import encoded
from .views import Views

#: Seconds between two looks. What changes twice in between is told once, so that ticks by the thousand cost little.
LOOK_EVERY: Final = 0.2
# With so many listeners it is twice as long, for it is their number that costs; with 200, a second.
_MANY: Final = 50
#: Seconds between two questions to the store, while somebody listens.
ASK_EVERY: Final = 2.0
# Deadlines are computed from two clocks' readings: less is no renewal.
_RENEWED_BY: Final = 0.05


@final
class Publisher:
    """Two tasks: one that looks, and one that asks the store, which may hang."""

    def __init__(self, conductor: Conductor, recent: Recent, cluster: Cluster, views: Views, events: Events) -> None:
        self._conductor = conductor
        self._recent = recent
        self._cluster = cluster
        self._views = views
        self._events = events
        self._told_status: StatusAnswer | None = None
        self._told_until = 0.0
        self._told_nodes: NodesAnswer | None = None
        self._told_registered: tuple[str, tuple[str, ...]] | None = None

    async def look_around(self) -> None:
        """Publish what has changed, for ever."""
        while True:
            self.look()
            await self._events.wake()
            await trio.sleep(LOOK_EVERY * (1 + self._events.listeners / _MANY))

    async def ask_around(self) -> None:
        """Keep what the store says fresh while somebody listens, for ever."""
        while True:
            if self._events.listeners:
                await self._cluster.ask_patiently()
            await trio.sleep(ASK_EVERY)

    def look(self) -> None:
        """Publish what has changed since the last look."""
        changes = self._recent.take_changes()
        if changes.too_many:
            self._events.publish("reset", b'{"reason":"too much has changed at once"}')
        else:
            self._publish_all("tick", changes.ticks)
            self._publish_all("runner", changes.runners)
            self._publish_all("error", changes.errors)
        if self._events.listeners:
            self._look_at_registration()
            self._look_at_status()
            self._look_at_nodes()

    def runners_changed(self) -> None:
        """Publish that runners were registered, paused or resumed."""
        self._events.publish("runners", b"{}")

    def _publish_all(self, kind: str, changed: Sequence[msgspec.Struct]) -> None:
        for each in changed:
            self._events.publish(kind, encoded(each))

    def _look_at_registration(self) -> None:
        registered = self._conductor.jobs.fingerprint, self._conductor.status().paused
        if registered != self._told_registered:
            if self._told_registered is not None:
                self.runners_changed()
            self._told_registered = registered

    def _look_at_status(self) -> None:
        status = self._views.status()
        until = _lease_until(status)
        if _apart_from_time(status) == self._told_status and until < self._told_until + _RENEWED_BY:
            return
        self._told_status, self._told_until = _apart_from_time(status), until
        self._events.publish("status", encoded(status))

    def _look_at_nodes(self) -> None:
        nodes = self._cluster.nodes()
        if _apart_from_ages(nodes) != self._told_nodes:
            self._told_nodes = _apart_from_ages(nodes)
            self._events.publish("nodes", encoded(nodes))


def _lease_until(status: StatusAnswer) -> float:
    """Return when the lease runs out by Trio's clock, as this node knows it: of its own, or of another's."""
    if status.lease_remaining is not None:
        return trio.current_time() + status.lease_remaining
    lease = status.lease
    return 0.0 if lease is None or not lease.held else trio.current_time() + lease.expires_in - lease.asked_ago


def _apart_from_time(status: StatusAnswer) -> StatusAnswer:
    lease = status.lease
    still = None if lease is None else msgspec.structs.replace(lease, expires_in=0.0, asked_ago=0.0)
    # Of ticks and runs there are events of their own.
    without_ticks = msgspec.structs.replace(status, last_tick=None, batch_in_flight=None, runs_in_flight=())
    return msgspec.structs.replace(without_ticks, now="", lease_remaining=None, lease=still, event_clients=0)


def _apart_from_ages(nodes: NodesAnswer) -> NodesAnswer:
    if nodes.nodes is None:
        return nodes
    return msgspec.structs.replace(nodes, nodes=[msgspec.structs.replace(each, seen_ago=0.0) for each in nodes.nodes])
