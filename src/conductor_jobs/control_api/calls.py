"""What each route of leases and nodes does with the store, free of HTTP."""

from typing import Final, final

import msgspec
import trio

from ..lease import LeaseStore, NodeRegistry, keeps_nodes
from ..stores import http_wire as wire
from .asking import Refused, ask_store, look
from .watches import Awaited, Watches

# Each is a connection and a task; a store that waits natively asks for little more.
MOST_WAITING: Final = 128


@final
class Calls:
    """Six calls over one store. Each raises Refused when the store fails; cancelling gives the call up."""

    def __init__(self, store: LeaseStore, nursery: trio.Nursery) -> None:
        """`nursery` owns the tasks that watch the store for those who wait."""
        self._store = store
        self._watches = Watches(store, nursery)
        self._waiting = 0

    def stop(self) -> None:
        """Answer everybody who waits."""
        self._watches.stop()

    async def acquire(self, asked: wire.AcquireRequest) -> wire.Grant:
        """Renew, or campaign."""
        name, holder = asked.lease_name, asked.holder
        grant = await ask_store(lambda: self._store.acquire(name, holder, asked.ttl, term=asked.term))
        if grant.is_leader and asked.term is None:
            self._watches.hint(name)
        return wire.Grant(**msgspec.structs.asdict(grant))

    async def release(self, asked: wire.ReleaseRequest) -> wire.Released:
        """Free a lease, and tell those who wait for it."""
        released = await ask_store(lambda: self._store.release(asked.lease_name, asked.holder))
        self._watches.hint(asked.lease_name)
        return wire.Released(released)

    async def leader(self, asked: wire.LeaseQuery) -> wire.Leader:
        """Tell how a lease stands."""
        grant = await ask_store(lambda: look(self._store, asked.lease_name))
        return wire.Leader(
            lease_name=asked.lease_name,
            holder_id=grant.holder_id,
            term=grant.term,
            held=grant.expires_in > 0,
            renewed_at=grant.renewed_at,
            lease_expires_at=grant.lease_expires_at,
            expires_in=grant.expires_in,
        )

    async def wait(self, asked: wire.WaitQuery) -> wire.Waited:
        """Wait for a release or for a term to begin, for a time."""
        if self._waiting >= MOST_WAITING:
            raise Refused(503, "busy", f"{MOST_WAITING} others are waiting already.")
        self._waiting += 1
        happened = False
        try:
            with trio.move_on_after(asked.timeout):
                happened = await self._watches.wait(Awaited(asked.event, asked.lease_name, asked.term))
        finally:
            self._waiting -= 1
        return wire.Waited(happened)

    async def heartbeat(self, asked: wire.Heartbeat) -> wire.Nothing:
        """Remember a node."""
        registry = self._registry()
        life = (asked.incarnation, asked.state, asked.fingerprint)
        await ask_store(lambda: registry.heartbeat(asked.lease_name, asked.node, *life))
        return wire.Nothing()

    async def controllers(self, asked: wire.LeaseQuery) -> wire.Controllers:
        """Tell which nodes there are."""
        registry = self._registry()
        seen = await ask_store(lambda: registry.nodes(asked.lease_name))
        return wire.Controllers([wire.Controller.of(each) for each in seen])

    def _registry(self) -> NodeRegistry:
        if not keeps_nodes(self._store):
            raise Refused(501, "not_supported", "the lease store of this server remembers no nodes.")
        return self._store
