# pyright: reportUnnecessaryTypeIgnoreComment=true
"""Lease stores of third parties: a class with the two methods is one, without inheriting anything."""

from collections.abc import Sequence
from typing import Literal, assert_type

from conductor_jobs import Conductor, Holder, LeaseGrant, LeaseStore, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import Node, NodeRegistry, NodeSeen, ReleaseWatcher
from conductor_jobs.stores import open_store
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

NodeState = Literal["leader", "standby", "stopped"]


class RemoteStore:
    """Everything that a store may do."""

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        if not ttl:
            raise Unusable("the server refuses our password")
        operation: Literal["acquire", "renew"] = "acquire" if term is None else "renew"
        return LeaseGrant(holder.node_id, 1, True, operation, 0.0, ttl, expires_in=ttl)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return True

    async def wait_released(self, lease_name: str, term: int) -> None: ...

    async def wait_begun(self, lease_name: str, term: int) -> None: ...

    async def heartbeat(self, lease_name: str, node: Node, incarnation: str, state: NodeState) -> None: ...

    async def nodes(self, lease_name: str) -> list[NodeSeen]:
        return [NodeSeen(Node(), "incarnation", "leader", 0.0, 0.0)]


class WithoutRelease:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)


class Blocking:
    def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)

    def release(self, lease_name: str, holder: Holder) -> bool:
        return False


class WithoutTerm:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float) -> LeaseGrant:
        return LeaseGrant(None, 0, False, "acquire", 0.0, 0.0, 0.0)

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return False


class AnswersYesOrNo:
    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> bool:
        return True

    async def release(self, lease_name: str, holder: Holder) -> bool:
        return False


jobs = TimedJobs()
Conductor(jobs, store=RemoteStore())
Conductor(jobs, store=WithoutRelease())  # type: ignore[arg-type]  # both methods
Conductor(jobs, store=Blocking())  # type: ignore[arg-type]  # its calls are awaited
Conductor(jobs, store=WithoutTerm())  # type: ignore[arg-type]  # renewing needs the term
Conductor(jobs, store=AnswersYesOrNo())  # type: ignore[arg-type]  # a LeaseGrant

stores: list[LeaseStore] = [RemoteStore(), MemoryLeaseStore(), SQLiteLeaseStore("conductor.db")]
watchers: list[ReleaseWatcher] = [RemoteStore(), MemoryLeaseStore()]
registries: list[NodeRegistry] = [RemoteStore(), MemoryLeaseStore(), SQLiteLeaseStore("conductor.db")]
watcher: ReleaseWatcher = SQLiteLeaseStore("conductor.db")  # type: ignore[assignment]  # SQLite tells nobody
by_url: LeaseStore = open_store("https://control.example", token="token")
LeaseGrant("node-1", 1, True, "release", 0.0, 0.0, 0.0)  # type: ignore[arg-type]  # acquire or renew


async def asks(store: LeaseStore, registry: NodeRegistry) -> None:
    holder = Holder("node-1", "incarnation")
    grant = await store.acquire("conductor", holder, 30, term=None)
    assert_type(grant, LeaseGrant)
    assert_type(grant.holder_id, str | None)
    assert_type(grant.operation, Literal["acquire", "renew"])
    assert_type(await store.release("conductor", holder), bool)
    assert_type(await registry.nodes("conductor"), Sequence[NodeSeen])
    await store.acquire("conductor", holder, 30, 7)  # type: ignore[call-arg]  # the term has a name
    await store.acquire("conductor", "node-1", 30)  # type: ignore[arg-type]  # a Holder
    grant.term = 2  # type: ignore[misc]  # frozen
    async with MemoryLeaseStore() as memory, SQLiteLeaseStore("conductor.db") as sqlite:
        assert_type(memory, MemoryLeaseStore)
        assert_type(sqlite, SQLiteLeaseStore)
    async with open_store("memory:") as opened:
        assert_type(await opened.release("conductor", holder), bool)
