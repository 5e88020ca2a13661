"""Signs of life beside the lease (seed 3.2): they never cost anything, least of all the leadership."""

import math

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs.heartbeats import Heartbeats
from conductor_jobs.journal import LEASE, JournalEntry
from conductor_jobs.lease import Node, NodeSeen, NodeState
from conductor_jobs.recorder import Recorder
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.timing import LeaseTiming

NODE = Node("alpha", "host-a")
TIMING = LeaseTiming(30.0, heartbeat_interval=10.0)


class Registry:
    """A node registry that can be slow and can fail."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.error: Exception | None = None
        self.calls: list[tuple[float, str, Node, str, NodeState, str]] = []

    async def heartbeat(
        self, lease_name: str, node: Node, incarnation: str, state: NodeState, fingerprint: str
    ) -> None:
        self.calls.append((trio.current_time(), lease_name, node, incarnation, state, fingerprint))
        await trio.sleep(self.delay)
        if self.error is not None:
            raise self.error

    async def nodes(self, lease_name: str) -> list[NodeSeen]:
        raise NotImplementedError


class ListJournal:
    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []

    def add(self, entry: JournalEntry) -> None:
        self.entries.append(entry)

    def flush(self) -> None:
        pass


@pytest.fixture
def registry() -> Registry:
    return Registry()


@pytest.fixture
def journal() -> ListJournal:
    return ListJournal()


@pytest.fixture
def heartbeats(registry: Registry, journal: ListJournal) -> Heartbeats:
    recorder = Recorder(lambda: 1000.0)
    recorder.attach([journal])
    return Heartbeats(registry, "jobs", NODE, "f00", TIMING, recorder, lambda: f"at {trio.current_time():g}")


async def test_the_first_sign_of_life_is_sent_at_once_and_then_one_every_interval(
    heartbeats: Heartbeats, registry: Registry, autojump_clock: MockClock
) -> None:
    with trio.move_on_after(25):
        await heartbeats.run(lambda: "leader" if trio.current_time() > 5 else "standby")
    assert registry.calls == [
        (0.0, "jobs", NODE, "f00", "standby", "at 0"),
        (10.0, "jobs", NODE, "f00", "leader", "at 10"),
        (20.0, "jobs", NODE, "f00", "leader", "at 20"),
    ]


async def test_only_the_first_failure_in_a_row_is_journaled(
    heartbeats: Heartbeats, registry: Registry, journal: ListJournal, autojump_clock: MockClock
) -> None:
    registry.error = OSError("no route")
    for _ in range(3):
        await heartbeats.send("leader")
    (entry,) = journal.entries
    assert (entry.runner, entry.stage, entry.result, entry.error) == (
        LEASE,
        "heartbeat_failed",
        "failed",
        "OSError: no route",
    )


async def test_a_failure_after_a_success_is_journaled_again(
    heartbeats: Heartbeats, registry: Registry, journal: ListJournal
) -> None:
    for registry.error in (OSError("a"), None, OSError("b")):
        await heartbeats.send("leader")
    assert [entry.error for entry in journal.entries] == ["OSError: a", "OSError: b"]


async def test_a_registry_that_hangs_delays_one_sign_of_life_by_the_store_timeout(
    heartbeats: Heartbeats, registry: Registry, journal: ListJournal, autojump_clock: MockClock
) -> None:
    registry.delay = math.inf
    with trio.move_on_after(16):
        await heartbeats.run(lambda: "leader")
    assert [call[0] for call in registry.calls] == [0.0, 15.0]
    assert [entry.error for entry in journal.entries] == ["the lease store gave no answer within 5 s"]


async def test_a_cancellation_ends_it_and_is_no_failure(
    heartbeats: Heartbeats, registry: Registry, journal: ListJournal, autojump_clock: MockClock
) -> None:
    registry.delay = 3.0
    with trio.move_on_after(1) as scope:
        await heartbeats.send("stopped")
    assert scope.cancelled_caught
    assert journal.entries == []


async def test_what_is_sent_is_what_the_store_tells_of_the_node(autojump_clock: MockClock) -> None:
    store = MemoryLeaseStore(wall_clock=lambda: 1234.5)
    recorder = Recorder(lambda: 0.0)
    await Heartbeats(store, "jobs", NODE, "f00", TIMING, recorder, lambda: "abc").send("standby")
    assert await store.nodes("jobs") == [NodeSeen(NODE, "f00", "standby", 1234.5, 1234.5, "abc")]
