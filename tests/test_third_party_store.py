"""The example of a lease store of one's own, by itself and under conductors in processes of their own."""

import fcntl
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import trio

from conductor_jobs import Holder, LeaseGrant, LeaseStore

from .servers import (
    assert_each_tick_once,
    load_example,
    pid_of_leader,
    started,
)

ROOT = Path(__file__).parent.parent
third_party_store: Any = load_example("third_party_store")


# A store of one's own

ALPHA, BETA = Holder("alpha", "1"), Holder("beta", "1")
ON_THE_STORE = """
import trio
from conductor_jobs import Conductor, LeaseTiming, TimedJobs
from third_party_store import JSONLeaseStore

jobs = TimedJobs(interval=0.2)

@jobs.runner("report")
async def report(ctx):
    await trio.sleep(0.1)
    ctx.log("reported")

store, timing = JSONLeaseStore("leases"), LeaseTiming(ttl=4.0)
trio.run(Conductor(jobs, store=store, timing=timing, log_dir="logs/timed-jobs").run_until_signalled)
"""


@pytest.fixture
def stores(tmp_path: Path) -> tuple[LeaseStore, LeaseStore]:
    """Two of them, as two processes have, on one folder."""
    folder = str(tmp_path / "leases")
    one, other = third_party_store.JSONLeaseStore(folder), third_party_store.JSONLeaseStore(folder)
    assert isinstance(one, LeaseStore)
    assert isinstance(other, LeaseStore)
    return one, other


async def test_store_grants_renews_and_refuses(stores: tuple[LeaseStore, LeaseStore]) -> None:
    one, other = stores
    won = await one.acquire("jobs", ALPHA, 30.0)
    assert (won.holder_id, won.term, won.is_leader, won.operation) == ("alpha", 1, True, "acquire")
    assert won.expires_in == 30.0
    refused = await other.acquire("jobs", BETA, 30.0)
    assert (refused.holder_id, refused.term, refused.is_leader) == ("alpha", 1, False)
    assert 0 < refused.expires_in < 30.0
    renewed = await one.acquire("jobs", ALPHA, 40.0, term=1)
    assert (renewed.term, renewed.is_leader, renewed.operation, renewed.expires_in) == (1, True, "renew", 40.0)
    for holder, term in ((ALPHA, 2), (BETA, 1), (Holder("alpha", "2"), 1)):
        assert not (await other.acquire("jobs", holder, 30.0, term=term)).is_leader
    assert (await other.acquire("reports", BETA, 30.0)).is_leader


async def test_store_campaign_over_a_lease_of_ones_own_is_a_new_term(stores: tuple[LeaseStore, LeaseStore]) -> None:
    one, _ = stores
    await one.acquire("jobs", ALPHA, 30.0)
    assert (await one.acquire("jobs", ALPHA, 30.0)).term == 2
    assert not (await one.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_store_keeps_the_term_over_a_release_and_bars_late_calls(stores: tuple[LeaseStore, LeaseStore]) -> None:
    one, other = stores
    await one.acquire("jobs", ALPHA, 30.0)
    assert not await other.release("jobs", BETA)
    assert await other.release("jobs", ALPHA)
    assert not await other.release("jobs", ALPHA)
    for term in (None, 1):
        late = await one.acquire("jobs", ALPHA, 30.0, term=term)
        assert (late.is_leader, late.term) == (False, 1)
    # Nor does one that never held it, and is gone.
    assert not (await other.acquire("jobs", BETA, 30.0)).is_leader
    assert (await one.acquire("jobs", Holder("alpha", "2"), 30.0)).term == 2


async def test_store_gives_an_expired_lease_to_another_under_a_higher_term(
    stores: tuple[LeaseStore, LeaseStore],
) -> None:
    one, other = stores
    grant = await one.acquire("jobs", ALPHA, 0.2)
    while not (taken := await other.acquire("jobs", BETA, 30.0)).is_leader:
        assert taken.expires_in <= grant.expires_in
        await trio.sleep(taken.expires_in)  # the store's own clock
    assert taken.term == 2
    assert not (await one.acquire("jobs", ALPHA, 30.0, term=1)).is_leader
    assert not await one.release("jobs", ALPHA)
    assert (await other.acquire("jobs", BETA, 30.0, term=2)).is_leader


async def test_store_gives_a_lease_of_another_boot_its_whole_ttl_again(
    stores: tuple[LeaseStore, LeaseStore], tmp_path: Path
) -> None:
    one, other = stores
    await one.acquire("jobs", ALPHA, 30.0)
    file = tmp_path / "leases" / "leases.json"
    leases = json.loads(file.read_text())
    leases["jobs"]["boot"] = "another"
    leases["jobs"]["record"]["expires_at"] = 0.0
    file.write_text(json.dumps(leases))
    refused = await other.acquire("jobs", BETA, 30.0)
    assert (refused.holder_id, refused.is_leader, refused.expires_in) == ("alpha", False, 30.0)
    assert (await one.acquire("jobs", ALPHA, 30.0, term=1)).is_leader


async def test_store_has_one_winner_of_many_that_campaign_at_once(stores: tuple[LeaseStore, LeaseStore]) -> None:
    grants: list[LeaseGrant] = []

    async def campaign(number: int) -> None:
        grants.append(await stores[number % 2].acquire("jobs", Holder(f"node-{number}", "1"), 30.0))

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(campaign, number)
    assert len(grants) == 20
    (winner,) = [grant for grant in grants if grant.is_leader]
    assert {(grant.holder_id, grant.term) for grant in grants if grant is not winner} <= {(winner.holder_id, 1)}


async def test_store_call_that_waits_for_the_lock_can_be_cancelled(
    stores: tuple[LeaseStore, LeaseStore], tmp_path: Path
) -> None:
    await stores[0].acquire("jobs", ALPHA, 30.0)
    folder = os.open(tmp_path / "leases", os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)  # so a lock that was only shared would be no obstacle to it
    with trio.move_on_after(0.1) as patience:
        await stores[1].acquire("jobs", BETA, 30.0)
    assert patience.cancelled_caught
    os.close(folder)
    assert not (await stores[1].acquire("jobs", BETA, 30.0)).is_leader


def test_the_page_of_the_docs_shows_the_store_as_it_is() -> None:
    shown = (ROOT / "docs/stores/own.md").read_text()
    example = Path(third_party_store.__file__).read_text()
    assert f"```python\n# third_party_store.py\n{example}```\n" in shown


def test_conductors_on_the_store_of_ones_own_lead_one_after_the_other(tmp_path: Path) -> None:
    with started(tmp_path, "-c", ON_THE_STORE) as leader:
        leader.journaled("reported", by=leader.pid)
        with started(tmp_path, "-c", ON_THE_STORE) as standby, started(tmp_path, "-c", ON_THE_STORE) as third:
            standby.journaled("started", by=standby.pid)
            third.journaled("started", by=third.pid)
            leader.stop(signal.SIGKILL)
            standby.journaled("leader_started", count=2)
            survivors = {process.pid: process for process in (standby, third)}
            successor = survivors.pop(pid_of_leader(tmp_path))
            (last,) = survivors.values()
            assert successor.stop() == 0
            last.journaled("reported", by=last.pid)
            assert last.stop() == 0
    assert assert_each_tick_once(tmp_path, leader.pid) == [1, 2, 3]
