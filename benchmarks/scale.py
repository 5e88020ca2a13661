"""A thousand nodes on one lease: what the store hears in the steady state, when the leader crashes, when it stops.

    python -m benchmarks.scale [--json] [--brief] [--nodes N]

Simulated on virtual time with the default timing (a lease of 30 s), nodes started over two seconds, a store that
answers within 10 ms; once with a store that tells its standbys of releases and of new terms, within 5 ms, and once
with one that is polled. Steady state: store calls a second over twenty seconds. Then the leader crashes, and the one
after it is told to stop: `without leader` is in seconds, `campaigns` are the questions of all nodes in the two seconds
around the beginning of the next term (for a stop: from the request on), `busiest 10 ms` and `busiest 100 ms` the most
of them that fell into so short a time. The jitter of I9 is to spread them: over 100 ms after an expiry, over 20 ms
after a release of which all are told, over the pause between two looks when polled; and whom the store tells that
somebody leads already does not campaign.
"""

import random
from collections import Counter
from functools import partial
from typing import final

import click
import msgspec
import trio

from conductor_jobs.testing.faulty_store import StoreCall

from .cluster import Cluster, SimulatedNode, simulate
from .measuring import Cell, Table, command

NODES, BRIEF_NODES = 1_000, 20
STEADY_SECONDS = 20.0
# Until every node has seen the leader renew, and the looks of the nodes have drifted apart.
SETTLE_SECONDS = (6.0, 11.0)
SLOTS = (0.01, 0.1)


@final
class Change(msgspec.Struct, frozen=True):
    """A change of leader: seconds without one, the campaigns around it, the most of them in a slot of each length."""

    seconds: float
    campaigns: int
    busiest: list[int]


@final
class Observed(msgspec.Struct, frozen=True):
    """What one simulation showed: calls by kind in the steady state, and two changes of leader."""

    steady: Counter[StoreCall]
    crash: Change
    stop: Change


def tables(*, brief: bool, nodes: int | None = None) -> list[Table]:
    """Simulate both kinds of store."""
    size = nodes or (BRIEF_NODES if brief else NODES)
    observed = {
        store: simulate(partial(_observe, size=size, watching=watching), seed=1)
        for store, watching in (("tells what happens", True), ("polled", False))
    }
    steady: list[list[Cell]] = [
        [store, *(each.steady[kind] / STEADY_SECONDS for kind in ("renew", "campaign", "heartbeat"))]
        for store, each in observed.items()
    ]
    changes: list[list[Cell]] = [
        [what, store, change.seconds, change.campaigns, *change.busiest]
        for store, each in observed.items()
        for what, change in (("crash", each.crash), ("clean stop", each.stop))
    ]
    columns = ["what", "store", "without leader", "campaigns", "busiest 10 ms", "busiest 100 ms"]
    return [
        Table(f"Store calls a second, {size:,} nodes", ["store", "renewals", "campaigns", "heartbeats"], steady),
        Table(f"A change of leader among {size:,} nodes", columns, changes),
    ]


async def _observe(nursery: trio.Nursery, *, size: int, watching: bool) -> Observed:
    cluster = Cluster(size, watching=watching)
    await cluster.start(nursery, over=2.0)
    await trio.sleep(random.uniform(*SETTLE_SECONDS))
    began = trio.current_time()
    await trio.sleep(STEADY_SECONDS)
    steady = cluster.calls(began, trio.current_time())
    leader = cluster.leader
    leader.wire.partition()
    crash, successor = await _change(cluster, leader, before=1.0)
    # The new leader has renewed, and the standbys have seen it.
    await trio.sleep(random.uniform(*SETTLE_SECONDS))
    successor.conductor.request_stop()
    stop, _ = await _change(cluster, successor, before=0.0)
    return Observed(steady, crash, stop)


async def _change(cluster: Cluster, leader: SimulatedNode, *, before: float) -> tuple[Change, SimulatedNode]:
    began = trio.current_time()
    successor = await cluster.wait_for_another(leader)
    leads = trio.current_time()
    await trio.sleep(2.0 - before)
    since = leads - before if before else began
    around = cluster.calls(since, trio.current_time())["campaign"]
    busiest = [cluster.busiest(since, trio.current_time(), slot) for slot in SLOTS]
    return Change(leads - began, around, busiest), successor


OPTION = click.Option(["--nodes"], type=click.IntRange(min=3), help=f"How many nodes, {NODES:,} by default.")
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
