"""Nodes that have other runners registered than the leader are named."""

from typing import Any

import trio

from conductor_jobs import Every, TimedJobs

from .scheduled import Cluster, Ledger


def jobs_of(*names: str) -> TimedJobs:
    jobs = TimedJobs()
    for name in names:
        jobs.register_runner(name, Ledger().runner(), schedule=Every(3600))
    return jobs


async def test_a_node_that_differs_is_named_once_until_it_agrees(autojump_clock: Any, nursery: Any) -> None:
    cluster, fewer = Cluster(), jobs_of("report")
    leader, _ = cluster.node(jobs_of("report", "invoices"), "a")
    standby, _ = cluster.node(fewer, "b")
    await nursery.start(leader.run)
    await nursery.start(standby.run)
    await trio.sleep(30)
    assert leader.status().drift == ("b",)
    assert standby.status().drift == ()
    (differs,) = cluster.entries("registry_differs")
    assert differs.details["node_id"] == "b"
    assert differs.details["fingerprint"] == fewer.fingerprint
    assert differs.details["leader_fingerprint"] == leader.jobs.fingerprint
    fewer.register_runner("invoices", Ledger().runner(), schedule=Every(3600))
    await trio.sleep(15)
    assert leader.status().drift == ()
    assert len(cluster.entries("registry_agrees")) == 1
    await standby.stop()
    await leader.stop()


async def test_a_node_that_stopped_or_was_not_seen_for_long_is_not_named(autojump_clock: Any, nursery: Any) -> None:
    cluster = Cluster()
    leader, _ = cluster.node(jobs_of("report"), "a")
    stopped, _ = cluster.node(jobs_of("other"), "b")
    lost, its_store = cluster.node(jobs_of("another"), "c")
    await nursery.start(leader.run)
    await nursery.start(stopped.run)
    await nursery.start(lost.run)
    await trio.sleep(12)
    assert leader.status().drift == ("b", "c")
    await stopped.stop()
    its_store.partition()
    await trio.sleep(6)
    assert leader.status().drift == ("c",)
    await trio.sleep(30)
    assert leader.status().drift == ()
    assert len(cluster.entries("registry_differs")) == 2
    nursery.cancel_scope.cancel()
