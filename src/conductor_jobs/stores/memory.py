"""A lease store in memory: for one Trio run, for tests and for programs that are their own only instance."""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Self, final

import trio
from trio_util import AsyncValue

from .. import records
from ..errors import StaleTerm
from ..lease import Holder, LeaseGrant, Node, NodeSeen, NodeState
from ..records import LeaseRecord
from ..runner_records import Claim, supersedes


@final
class MemoryLeaseStore:
    """Leases in this process, expiring by Trio's clock.

    Serves one Trio run at a time. A lease that outlived the run it was taken in gets its whole ttl again, since
    the clocks of two runs cannot be compared.
    """

    def __init__(self, *, wall_clock: Callable[[], float] = time.time) -> None:
        """Begin without leases. `wall_clock` returns unix seconds, for display."""
        self._wall_clock = wall_clock
        self._records: dict[str, AsyncValue[LeaseRecord | None]] = {}
        self._barred: set[tuple[str, Holder]] = set()
        self._nodes: dict[tuple[str, str], NodeSeen] = {}
        self._claims: dict[tuple[str, str], Claim] = {}
        self._paused: set[tuple[str, str]] = set()
        self._cursors: dict[tuple[str, str], str] = {}
        self._run: trio.lowlevel.TrioToken | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exception: object) -> None:
        pass

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        """See `LeaseStore.acquire`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        now = self._now()
        cell = self._cell(lease_name)
        changed = records.acquire(cell.value, holder, ttl, term, now, barred=(lease_name, holder) in self._barred)
        cell.value = changed or cell.value
        return records.answer(
            cell.value,
            is_leader=changed is not None,
            operation="acquire" if term is None else "renew",
            now=now,
            unix_now=self._wall_clock(),
        )

    async def release(self, lease_name: str, holder: Holder) -> bool:
        """See `LeaseStore.release`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        now = self._now()
        self._barred.add((lease_name, holder))
        cell = self._cell(lease_name)
        held = records.was_held(cell.value, holder, now)
        cell.value = records.release(cell.value, holder) or cell.value
        return held

    async def wait_released(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_released`. Cancelling stops the waiting only."""
        await self._cell(lease_name).wait_value(
            lambda record: record is not None and (record.released or record.term > term)
        )

    async def wait_begun(self, lease_name: str, term: int) -> None:
        """See `ReleaseWatcher.wait_begun`. Cancelling stops the waiting only."""
        await self._cell(lease_name).wait_value(lambda record: record is not None and record.term >= term)

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        """See `NodeRegistry.heartbeat`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        key, now = (lease_name, node.node_id), self._wall_clock()
        before = self._nodes.get(key)
        since = now if before is None or before.incarnation != incarnation else min(before.first_seen_at, now)
        self._nodes[key] = NodeSeen(node, incarnation, state, since, now, fingerprint)

    async def nodes(self, lease_name: str) -> Sequence[NodeSeen]:
        """See `NodeRegistry.nodes`."""
        await trio.lowlevel.checkpoint()
        return [seen for (name, _), seen in sorted(self._nodes.items()) if name == lease_name]

    async def claims(self, lease_name: str) -> Sequence[Claim]:
        """See `ClaimStore.claims`."""
        await trio.lowlevel.checkpoint()
        return [claim for (name, _), claim in sorted(self._claims.items()) if name == lease_name]

    async def claim(self, lease_name: str, claims: Sequence[Claim]) -> Sequence[Claim]:
        """See `ClaimStore.claim`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        for claim in claims:
            self._require_present(lease_name, claim.term)
        kept = [claim for claim in claims if supersedes(claim, self._claims.get((lease_name, claim.runner)))]
        self._claims.update({(lease_name, claim.runner): claim for claim in kept})
        return kept

    async def paused(self, lease_name: str) -> Collection[str]:
        """See `PauseStore.paused`."""
        await trio.lowlevel.checkpoint()
        return {runner for name, runner in self._paused if name == lease_name}

    async def set_paused(self, lease_name: str, runner: str, paused: bool) -> None:
        """See `PauseStore.set_paused`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        (self._paused.add if paused else self._paused.discard)((lease_name, runner))

    async def load_cursor(self, lease_name: str, runner: str) -> str | None:
        """See `CursorStore.load_cursor`."""
        await trio.lowlevel.checkpoint()
        return self._cursors.get((lease_name, runner))

    async def save_cursor(self, lease_name: str, runner: str, term: int, cursor: str) -> None:
        """See `CursorStore.save_cursor`. A cancelled call has changed nothing."""
        await trio.lowlevel.checkpoint()
        self._require_present(lease_name, term)
        self._cursors[lease_name, runner] = cursor

    def _require_present(self, lease_name: str, term: int) -> None:
        record = self._cell(lease_name).value
        if not records.is_present(record, term):
            raise StaleTerm(records.stale_text(record, lease_name, term))

    def _cell(self, lease_name: str) -> AsyncValue[LeaseRecord | None]:
        return self._records.setdefault(lease_name, AsyncValue[LeaseRecord | None](None))

    def _now(self) -> float:
        run, now = trio.lowlevel.current_trio_token(), trio.current_time()
        if run is not self._run:
            self._run = run
            for cell in self._records.values():
                if cell.value is not None:
                    cell.value = records.restamped(cell.value, now)
        return now
