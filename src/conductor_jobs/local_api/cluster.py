"""The lease and the nodes as the store tells them, asked for at most once a second, however many want to know."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, final

import trio

from ..conductor import Conductor
from ..control_api.asking import look
from ..lease import LeaseGrant, NodeSeen, keeps_nodes
from ..moments import ts_of
from ..store_calls import call_store, problem_text
from .answers import LeaseAnswer, NodesAnswer, NodeSeenAnswer

MOST_NODES: Final = 200
_FRESH_FOR: Final = 1.0
# Whoever asks is not kept waiting by a store that hangs, and hears what it said last.
_PATIENCE: Final = 1.0
_STORE_TIMEOUT: Final = 5.0


@final
class Cluster:
    """What the store said last."""

    def __init__(self, conductor: Conductor) -> None:
        self._conductor = conductor
        self._asking = trio.Lock()
        self._asked_at = 0.0
        self._tried_at: float | None = None
        self._grant: LeaseGrant | None = None
        self._seen: Sequence[NodeSeen] | None = None
        #: What the store failed with when it was last asked, in words.
        self.problem: str | None = None

    async def refresh(self) -> None:
        """Ask the store unless it was asked within a second; gives up waiting after one."""
        with trio.move_on_after(_PATIENCE):
            async with self._asking:
                now = trio.current_time()
                if self._tried_at is None or now - self._tried_at >= _FRESH_FOR:
                    self._tried_at = now
                    await self._ask()

    async def ask_patiently(self) -> None:
        """Ask the store, and wait as long as a slow one takes."""
        async with self._asking:
            self._tried_at = trio.current_time()
            await self._ask()

    async def _ask(self) -> None:
        conductor = self._conductor
        store, name = conductor.store, conductor.lease_name
        asked_at = trio.current_time()
        try:
            grant = await call_store(lambda: look(store, name), _STORE_TIMEOUT)
            seen = await call_store(lambda: store.nodes(name), _STORE_TIMEOUT) if keeps_nodes(store) else None
        except Exception as error:  # noqa: BLE001 - whatever a store raises
            self.problem = problem_text(error)
        else:
            self.problem, self._grant, self._seen, self._asked_at = None, grant, seen, asked_at

    def lease(self) -> LeaseAnswer | None:
        """Return how the lease stood."""
        grant = self._grant
        if grant is None:
            return None
        return LeaseAnswer(
            holder_id=grant.holder_id,
            term=grant.term,
            held=grant.expires_in > 0,
            expires_in=round(max(0.0, grant.expires_in), 3),
            asked_ago=round(trio.current_time() - self._asked_at, 3),
        )

    def nodes(self) -> NodesAnswer:
        """Return the nodes."""
        if self._seen is None or self._grant is None:
            return NodesAnswer(None, 0, self.problem)
        # Both times are the store's, whatever this machine's clock says.
        now = self._grant.lease_expires_at - self._grant.expires_in + trio.current_time() - self._asked_at
        latest = sorted(self._seen, key=lambda seen: seen.last_seen_at, reverse=True)[:MOST_NODES]
        return NodesAnswer([self._node(each, now) for each in latest], len(self._seen), self.problem)

    def _node(self, seen: NodeSeen, now: float) -> NodeSeenAnswer:
        node, ago = seen.node, max(0.0, now - seen.last_seen_at)
        return NodeSeenAnswer(
            node_id=node.node_id,
            host=node.host,
            role=node.role,
            priority=node.priority,
            version=node.version,
            state=seen.state,
            alive=seen.state != "stopped" and ago <= self._conductor.timing.ttl,
            same_runners=seen.fingerprint == self._conductor.jobs.fingerprint,
            first_seen_at=_ts_of(seen.first_seen_at),
            last_seen_at=_ts_of(seen.last_seen_at),
            seen_ago=round(ago, 3),
        )


def _ts_of(unix_seconds: float) -> str:
    return ts_of(datetime.fromtimestamp(unix_seconds, UTC))
