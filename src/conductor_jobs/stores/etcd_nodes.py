"""Which nodes there are, by the keys that their heartbeats leave in etcd.

Only a node itself writes its key. What an incarnation's first heartbeat was is read from there once by each store
object, and remembered: a heartbeat is one write.
"""

import time
from collections.abc import Sequence
from typing import final

import msgspec

from ..errors import Unusable
from ..lease import Node, NodeSeen, NodeState
from .etcd_gateway import EtcdGateway
from .etcd_keys import StoredNode, decoded_node, node_key, node_range


@final
class EtcdNodes:
    """The nodes below one prefix."""

    def __init__(self, gateway: EtcdGateway, prefix: str) -> None:
        self._gateway = gateway
        self._prefix = prefix
        # By a node's key: the incarnation that was last written here, and when its first heartbeat was.
        self._first: dict[bytes, tuple[str, float]] = {}

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """Write a node's key anew."""
        key = node_key(self._prefix, lease_name, node.node_id)
        known = await self._first_seen_at(key, incarnation)
        now = time.time()
        since = now if known is None else min(known, now)
        described = (node.node_id, node.host, node.role, node.priority, node.version)
        stored = StoredNode(*described, incarnation, state, since, now, fingerprint)
        await self._gateway.write(key, msgspec.json.encode(stored))
        self._first[key] = incarnation, since

    async def listed(self, lease_name: str) -> Sequence[NodeSeen]:
        """Return the nodes of a lease by their ids. Raises Unusable for what we would not have written."""
        found = await self._gateway.read(*node_range(self._prefix, lease_name))
        return sorted(map(decoded_node, found.kvs), key=lambda seen: seen.node.node_id)

    async def _first_seen_at(self, key: bytes, incarnation: str) -> float | None:
        written, since = self._first.get(key, (None, None))
        if written == incarnation:
            return since
        try:
            before = [decoded_node(each) for each in (await self._gateway.read(key)).kvs]
        except Unusable:  # it is about to be overwritten
            return None
        return next((seen.first_seen_at for seen in before if seen.incarnation == incarnation), None)
