"""What a lease costs on each store: a renewal, a campaign that is refused, a heartbeat; and a handover after a stop.

    python -m benchmarks.stores [--store URL ...] [--json] [--brief]

Without --store every store is measured that can be: SQLite in a temporary folder, and the others on servers that are
started for it, as in the tests (extras `test` and `servers`). Calls are made one after the other, by one client that
keeps its connections; `client CPU` is what they take of this process, all threads. A handover is counted from the
request to stop, with no tick in flight, at a random moment, until the term of the other conductor begins: both are in
this process, each with a client of its own. A store that tells its standbys of releases takes milliseconds for it, one
that is polled up to a second.
"""

import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import uuid4

import click
import trio

from conductor_jobs import Conductor, Holder, LeaseStore, LeaseTiming, Node, TimedJobs
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import keeps_nodes
from conductor_jobs.stores import open_store
from conductor_jobs.stores.urls import shown_url
from conductor_jobs.testing import FaultyLeaseStore

from .measuring import Cell, Table, command, spread

CALLS, BRIEF_CALLS = 500, 3
WARM_UP = 5
HANDOVERS, BRIEF_HANDOVERS = 20, 1
TTL = 30.0
# Seconds until the stop: a standby may be anywhere between two looks at the lease.
MOMENT, BRIEF_MOMENT = (0.2, 1.2), (0.0, 0.05)
Call = Callable[[], Awaitable[object]]


def tables(*, brief: bool, urls: Sequence[str] = ()) -> list[Table]:
    """Measure the stores with these URLs, or all that can be started here."""
    calls, handovers, moment = (BRIEF_CALLS, BRIEF_HANDOVERS, BRIEF_MOMENT) if brief else (CALLS, HANDOVERS, MOMENT)
    of_calls: list[list[Cell]] = []
    of_handovers: list[list[Cell]] = []
    with stores(urls, brief=brief) as (named, absent):
        for name, url in named.items():
            of_calls += [[name, *row] for row in trio.run(_calls, url, calls)]
            if url != "memory:":  # in which there is nobody else
                took = trio.run(_handovers, url, handovers, moment)
                of_handovers.append([name, len(took), min(took), *spread(took)])
    note = f"Not here: {', '.join(absent)}." if absent else ""
    return [
        Table("Milliseconds a call", ["store", "call", "p50", "p99", "max", "client CPU"], of_calls, note),
        Table("Seconds without a leader, clean stop", ["store", "runs", "min", "p50", "p99", "max"], of_handovers),
    ]


@contextmanager
def stores(urls: Sequence[str], *, brief: bool) -> Generator[tuple[dict[str, str], list[str]], None, None]:
    """Yield the URL of each store by what to call it, and the names of those that could not be started."""
    if urls:
        yield {shown_url(url): url for url in urls}, []
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        found = {"sqlite": f"sqlite:///{folder}/conductor.db"}
        absent = [] if brief else _start_servers(Path(folder), stack, found)
        yield found, absent


def _start_servers(folder: Path, stack: ExitStack, found: dict[str, str]) -> list[str]:
    try:
        import pytest
        from tests.real_servers.every import STORES, started
    except ImportError:
        return ["stores that need a server, since the extra `test` is not installed"]
    absent = []
    for name in [each for each in STORES if each not in found]:
        place = folder / name
        place.mkdir()
        try:
            found[name] = stack.enter_context(started(name, place))
        except pytest.skip.Exception as reason:
            absent.append(f"{name} ({reason})")
    return absent


async def _calls(url: str, calls: int) -> list[list[Cell]]:
    lease, holder, rival = f"benchmark-{uuid4().hex}", Holder("one", "1"), Holder("other", "1")
    async with open_store(url) as store:
        grant = await store.acquire(lease, holder, TTL)
        measured: dict[str, Call] = {
            "renewal": lambda: store.acquire(lease, holder, TTL, term=grant.term),
            "refused campaign": lambda: store.acquire(lease, rival, TTL),
        }
        registry: LeaseStore = store
        if keeps_nodes(registry):
            node = Node("one", "benchmark")
            measured["heartbeat"] = lambda: registry.heartbeat(lease, node, "1", "leader", "f")
        rows = [[name, *await _measured(call, calls)] for name, call in measured.items()]
        await store.release(lease, holder)
    return rows


async def _measured(call: Call, calls: int) -> list[Cell]:
    for _ in range(WARM_UP):
        await call()
    took = []
    cpu = time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        took.append(1000 * (time.perf_counter() - began))
    return [*spread(took), 1000 * (time.process_time() - cpu) / calls]


async def _handovers(url: str, runs: int, moment: tuple[float, float]) -> list[float]:
    lease = f"benchmark-{uuid4().hex}"
    took = []
    async with open_store(url) as one, open_store(url) as other, trio.open_nursery() as nursery:
        leader, standby = _conductor(one, lease, "one"), _conductor(other, lease, "other")
        await nursery.start(leader.run)
        await leader.wait_leader()
        for _ in range(runs):
            await nursery.start(standby.run)
            await trio.sleep(random.uniform(*moment))
            began = time.perf_counter()
            leader.request_stop()
            await standby.wait_leader()
            took.append(time.perf_counter() - began)
            await leader.stop()
            leader, standby = standby, leader
        leader.request_stop()
    return took


def _conductor(store: LeaseStore, lease: str, name: str) -> Conductor:
    # Two conductors of a process on one place would be refused: each goes its own way to it.
    way, timing, node = FaultyLeaseStore(store), LeaseTiming(TTL), Node(name, "benchmark")
    return Conductor(TimedJobs(), store=way, lease_name=lease, node=node, timing=timing, autostart=False)


def _checked(_context: click.Context, _parameter: click.Parameter, urls: tuple[str, ...]) -> tuple[str, ...]:
    try:
        for url in urls:
            open_store(url)
    except (ValueError, Unusable) as error:
        raise click.BadParameter(str(error)) from None
    return urls


OPTION = click.Option(
    ["--store", "urls"], multiple=True, metavar="URL", help="Measure this one; may be repeated.", callback=_checked
)
main = command(tables, OPTION)

if __name__ == "__main__":
    main()
