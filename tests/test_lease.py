"""What every lease store must do, over the stores that need no server (I3, I4); and what a node is."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from conductor_jobs import __version__
from conductor_jobs.lease import Holder, LeaseGrant, LeaseStore, Node, NodeRegistry, ReleaseWatcher
from conductor_jobs.runner_records import ClaimStore, CursorStore, PauseStore
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

ALPHA = Holder("alpha", "1")
ALPHA_AGAIN = Holder("alpha", "2")
BETA = Holder("beta", "1")
LONG, SHORT = 30.0, 0.2
Store = MemoryLeaseStore | SQLiteLeaseStore


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryLeaseStore() if request.param == "memory" else SQLiteLeaseStore(tmp_path / "lease.db")


@pytest.fixture
def clock(store: Store) -> MockClock | None:
    """Let Trio's clock jump for the memory store; SQLite counts on a clock that does not."""
    return MockClock(autojump_threshold=0) if isinstance(store, MemoryLeaseStore) else None


async def expire(ttl: float) -> None:
    await trio.sleep(ttl + 0.02)


def standing(grant: LeaseGrant) -> tuple[bool, str | None, int]:
    return grant.is_leader, grant.holder_id, grant.term


async def test_the_first_to_ask_leads_in_term_1(store: Store, clock: MockClock | None) -> None:
    grant = await store.acquire("jobs", ALPHA, LONG)
    assert (*standing(grant), grant.operation) == (True, "alpha", 1, "acquire")
    assert grant.expires_in == pytest.approx(LONG)
    assert grant.lease_expires_at - grant.renewed_at == pytest.approx(LONG)


@pytest.mark.parametrize("rival", [BETA, ALPHA_AGAIN])
async def test_a_standby_is_told_who_leads_in_which_term_and_for_how_long(
    store: Store, clock: MockClock | None, rival: Holder
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    refusal = await store.acquire("jobs", rival, 5.0)
    assert (*standing(refusal), refusal.operation) == (False, "alpha", 1, "acquire")
    assert LONG - 5 < refusal.expires_in <= LONG


async def test_of_many_who_campaign_at_once_one_leads_in_term_1(store: Store, clock: MockClock | None) -> None:
    grants: list[LeaseGrant] = []

    async def campaign(number: int) -> None:
        grants.append(await store.acquire("jobs", Holder(f"node-{number}", "1"), LONG))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(campaign, number)
    assert [grant.is_leader for grant in grants].count(True) == 1
    assert {grant.term for grant in grants} == {1}
    assert len({grant.holder_id for grant in grants}) == 1


async def test_a_campaign_over_its_own_unexpired_lease_begins_a_new_term_and_ends_the_old_one(
    store: Store, clock: MockClock | None
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    assert standing(await store.acquire("jobs", ALPHA, LONG)) == (True, "alpha", 2)
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=1)) == (False, "alpha", 2)
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=2)) == (True, "alpha", 2)


async def test_a_renewal_keeps_the_term_and_counts_its_own_ttl_from_now(store: Store, clock: MockClock | None) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    grant = await store.acquire("jobs", ALPHA, 90.0, term=1)
    assert (*standing(grant), grant.operation) == (True, "alpha", 1, "renew")
    assert grant.expires_in == pytest.approx(90.0)


@pytest.mark.parametrize(
    ("holder", "term"),
    [(BETA, 2), (ALPHA_AGAIN, 2), (ALPHA, 1), (ALPHA, 3), (ALPHA, 0)],
    ids=["another node", "another incarnation", "an older term", "a later term", "no term"],
)
async def test_a_refused_renewal_tells_how_things_stand_and_changes_nothing(
    store: Store, clock: MockClock | None, holder: Holder, term: int
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    await store.acquire("jobs", ALPHA, LONG)
    refusal = await store.acquire("jobs", holder, 500.0, term=term)
    assert (*standing(refusal), refusal.operation) == (False, "alpha", 2, "renew")
    assert refusal.expires_in <= LONG
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=2)) == (True, "alpha", 2)


async def test_a_renewal_of_a_lease_that_nobody_ever_held_is_refused_and_takes_nothing(
    store: Store, clock: MockClock | None
) -> None:
    refusal = await store.acquire("jobs", ALPHA, LONG, term=1)
    assert (*standing(refusal), refusal.expires_in) == (False, None, 0, 0.0)
    assert standing(await store.acquire("jobs", BETA, LONG)) == (True, "beta", 1)


async def test_an_expired_lease_is_not_renewed_although_nobody_took_it(store: Store, clock: MockClock | None) -> None:
    await store.acquire("jobs", ALPHA, SHORT)
    await expire(SHORT)
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=1)) == (False, "alpha", 1)
    assert standing(await store.acquire("jobs", ALPHA, LONG)) == (True, "alpha", 2)


async def test_late_calls_of_a_holder_that_was_superseded_change_nothing(store: Store, clock: MockClock | None) -> None:
    await store.acquire("jobs", ALPHA, SHORT)
    await expire(SHORT)
    assert standing(await store.acquire("jobs", BETA, LONG)) == (True, "beta", 2)
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=1)) == (False, "beta", 2)
    assert await store.release("jobs", ALPHA) is False
    assert standing(await store.acquire("jobs", ALPHA_AGAIN, LONG)) == (False, "beta", 2)
    assert standing(await store.acquire("jobs", BETA, LONG, term=2)) == (True, "beta", 2)


async def test_a_release_frees_the_lease_at_once_and_the_next_term_is_one_higher(
    store: Store, clock: MockClock | None
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    assert await store.release("jobs", ALPHA) is True
    assert standing(await store.acquire("jobs", BETA, LONG)) == (True, "beta", 2)


@pytest.mark.parametrize("stranger", [BETA, ALPHA_AGAIN])
async def test_a_release_by_whoever_does_not_hold_the_lease_frees_nothing(
    store: Store, clock: MockClock | None, stranger: Holder
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    assert await store.release("jobs", stranger) is False
    assert standing(await store.acquire("jobs", ALPHA, LONG, term=1)) == (True, "alpha", 1)


async def test_only_the_release_of_an_unexpired_lease_says_so(store: Store, clock: MockClock | None) -> None:
    assert await store.release("never held", ALPHA) is False
    await store.acquire("jobs", ALPHA, SHORT)
    await expire(SHORT)
    assert await store.release("jobs", ALPHA) is False
    await store.acquire("jobs", BETA, LONG)
    assert [await store.release("jobs", BETA), await store.release("jobs", BETA)] == [True, False]


@pytest.mark.parametrize("term", [None, 1, 2])
async def test_a_released_incarnation_is_barred_from_the_free_lease(
    store: Store, clock: MockClock | None, term: int | None
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    await store.release("jobs", ALPHA)
    refusal = await store.acquire("jobs", ALPHA, LONG, term=term)
    assert (*standing(refusal), refusal.expires_in) == (False, "alpha", 1, 0.0)
    assert standing(await store.acquire("jobs", ALPHA_AGAIN, LONG)) == (True, "alpha", 2)


async def test_a_released_incarnation_stays_barred_after_others_have_held_the_lease(
    store: Store, clock: MockClock | None
) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    await store.release("jobs", ALPHA)
    await store.acquire("jobs", BETA, LONG)
    await store.release("jobs", BETA)
    await store.acquire("jobs", ALPHA_AGAIN, SHORT)
    await expire(SHORT)
    assert standing(await store.acquire("jobs", ALPHA, LONG)) == (False, "alpha", 3)
    assert standing(await store.acquire("jobs", BETA, LONG)) == (False, "alpha", 3)


async def test_a_release_bars_even_an_incarnation_that_never_held_the_lease(
    store: Store, clock: MockClock | None
) -> None:
    await store.release("jobs", ALPHA)
    assert standing(await store.acquire("jobs", ALPHA, LONG)) == (False, None, 0)
    assert standing(await store.acquire("jobs", BETA, LONG)) == (True, "beta", 1)


async def test_leases_of_different_names_know_nothing_of_each_other(store: Store, clock: MockClock | None) -> None:
    for name, holder in (("jobs", ALPHA), ("reports", BETA), ("jobs", ALPHA), ("", ALPHA)):
        assert (await store.acquire(name, holder, LONG)).is_leader
    assert standing(await store.acquire("jobs", BETA, LONG)) == (False, "alpha", 2)
    assert standing(await store.acquire("reports", ALPHA, LONG)) == (False, "beta", 1)


async def test_a_release_bars_an_incarnation_from_that_lease_alone(store: Store, clock: MockClock | None) -> None:
    await store.acquire("jobs", ALPHA, LONG)
    await store.acquire("reports", ALPHA, LONG)
    await store.release("jobs", ALPHA)
    assert standing(await store.acquire("reports", ALPHA, LONG, term=1)) == (True, "alpha", 1)


async def test_nodes_are_remembered_by_their_last_heartbeat_in_order_of_their_ids(
    store: Store, clock: MockClock | None
) -> None:
    assert list(await store.nodes("jobs")) == []
    first = Node("zeta", "host-z", "standby", 7, "1.0")
    other = Node("alpha", "host-a")
    await store.heartbeat("jobs", first, "1", "standby", "aa")
    await store.heartbeat("jobs", other, "1", "leader", "bb")
    await store.heartbeat("reports", Node("other", "elsewhere"), "1", "leader", "bb")
    moved = Node("zeta", "host-z2", "primary", 9, "2.0")
    await store.heartbeat("jobs", moved, "2", "stopped", "cc")
    seen = await store.nodes("jobs")
    assert [(each.node, each.incarnation, each.state, each.fingerprint) for each in seen] == [
        (other, "1", "leader", "bb"),
        (moved, "2", "stopped", "cc"),
    ]
    assert seen[0].last_seen_at <= seen[1].last_seen_at


def test_the_stores_offer_the_protocols_that_they_can_keep(store: Store) -> None:
    assert isinstance(store, LeaseStore)
    assert isinstance(store, NodeRegistry)
    assert isinstance(store, ClaimStore)
    assert isinstance(store, PauseStore)
    assert isinstance(store, CursorStore)
    assert isinstance(store, ReleaseWatcher) == isinstance(store, MemoryLeaseStore)


def test_a_node_is_this_process_and_a_primary_by_default() -> None:
    host = socket.gethostname()
    assert Node() == Node(f"{host}-{os.getpid()}", host, "primary", 100, __version__)
    assert Node(role="standby").priority == 50
    assert Node(" alpha ", " host ").node_id == "alpha"


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"node_id": "  "}, "node node_id must be a non-empty text that UTF-8 can hold, without NUL, not '  '."),
        ({"host": ""}, "node host must be a non-empty text that UTF-8 can hold, without NUL, not ''."),
        ({"node_id": "a\0b"}, "node node_id must be a non-empty text that UTF-8 can hold, without NUL, not 'a\\x00b'."),
        ({"node_id": 5}, "node node_id must be a non-empty text that UTF-8 can hold, without NUL, not 5."),
        ({"role": "boss"}, "node role must be 'primary' or 'standby', not 'boss'."),
        ({"priority": 1.5}, "node priority must be an integer of 64 bits at most, not 1.5."),
        ({"priority": True}, "node priority must be an integer of 64 bits at most, not True."),
    ],
    ids=str,
)
def test_a_bad_node_is_rejected_naming_field_value_and_rule(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="node ") as caught:
        Node(**values)
    assert str(caught.value) == problem
