# pyright: reportUnnecessaryTypeIgnoreComment=true, reportUnnecessaryComparison=true
"""The conductor: its arguments, what its calls return, and what may be read from it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, assert_type

import trio

from conductor_jobs import (
    Conductor,
    ConductorStatus,
    Holder,
    JournalEntry,
    LeaseTiming,
    Node,
    Term,
    TickDecision,
    TickResult,
    TimedJobs,
    read_journal,
    run_in_thread,
)
from conductor_jobs.stores import open_store
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore

jobs = TimedJobs()
store = MemoryLeaseStore()


class ListJournal:
    """A journal is whatever has the two methods."""

    def __init__(self) -> None:
        self.entries: list[JournalEntry] = []

    def add(self, entry: JournalEntry) -> None:
        self.entries.append(entry)

    def flush(self) -> None: ...


class TextJournal:
    def add(self, entry: str) -> None: ...
    def flush(self) -> None: ...


conductor = Conductor(
    jobs,
    store=store,
    lease_name="invoices",
    node=Node("node-1", role="standby", priority=10),
    timing=LeaseTiming(ttl=10),
    journal=ListJournal(),
    log_dir=Path("logs"),
    journal_sync="tick",
    resources={"database": object()},
    autostart=False,
    drain_timeout=5,
    wall_clock=lambda: 0.0,
)
Conductor(jobs, store=SQLiteLeaseStore(Path("conductor.db")), log_dir="logs")
Conductor(jobs, store=open_store("memory:"))

Conductor(jobs, store)  # type: ignore[call-arg]  # only jobs goes without a name
Conductor(jobs)  # type: ignore[call-arg]  # without a store nobody can lead
Conductor(store=store)  # type: ignore[call-arg]  # nor without jobs
Conductor({}, store=store)  # type: ignore[arg-type]  # a registry
Conductor(jobs, store="sqlite:///a")  # type: ignore[arg-type]  # open_store makes one of it
Conductor(jobs, store=store, node="node-1")  # type: ignore[arg-type]  # Node("node-1")
Conductor(jobs, store=store, timing=30.0)  # type: ignore[arg-type]  # LeaseTiming(30.0)
Conductor(jobs, store=store, journal=TextJournal())  # type: ignore[arg-type]  # takes entries
Conductor(jobs, store=store, journal_sync="line")  # type: ignore[arg-type]  # "tick" or None
Conductor(jobs, store=store, logdir="logs")  # type: ignore[call-arg]  # a slip of the pen
Node(role="leader")  # type: ignore[arg-type]  # leadership is won, not configured


async def uses_a_conductor() -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(conductor.run)
        nursery.start_soon(conductor.run)
        nursery.start_soon(conductor.run_until_signalled)
        nursery.start_soon(conductor.run_while_leader, service)
        nursery.start_soon(conductor.run_while_leader, number)
        nursery.start_soon(conductor.run_while_leader, nothing)  # type: ignore[arg-type]  # is given a term
    assert_type(await conductor.wait_leader(), Term)
    tick = await conductor.run_tick()
    assert_type(tick, TickResult)
    assert_type(tick.runner_count, int)
    decided(tick)
    await conductor.run_tick("schedule")
    await conductor.run_tick("nightly")  # type: ignore[arg-type]  # three triggers
    tick.decision = "failed"  # type: ignore[misc]  # what was is not changed
    assert_type(conductor.started, bool)


# A comparison with what can never be decided is an error, and so is a match that forgets a decision.
def decided(tick: TickResult) -> str:
    assert_type(
        tick.decision,
        Literal[
            "failed",
            "interrupted",
            "scheduled",
            "skipped_busy",
            "skipped_no_runners",
            "skipped_not_leader",
            "skipped_stopping",
        ],
    )
    decision: TickDecision = tick.decision
    wrong: TickDecision = "done"  # type: ignore[assignment]  # no decision
    if decision == "done":  # type: ignore[comparison-overlap]  # no decision
        return wrong
    match decision:
        case "scheduled" | "failed" | "interrupted":
            return "ran"
        case "skipped_busy" | "skipped_no_runners" | "skipped_not_leader" | "skipped_stopping":
            return "skipped"


# Leader's work is any async function of a term; its result is nobody's business.
async def service(term: Term) -> None:
    assert_type(term.number, int)
    assert_type(term.lease_name, str)
    assert_type(term.holder, Holder)
    assert_type(term.lease_remaining(), float)


async def number(term: Term) -> int:
    return term.number


async def nothing() -> None: ...
def plain(term: Term) -> None: ...


async def runs_work() -> None:
    assert_type(await conductor.run_as_leader(service), Literal["scheduled", "skipped_not_leader"])
    assert_type(await conductor.run_as_leader(number), Literal["scheduled", "skipped_not_leader"])
    await conductor.run_as_leader(nothing)  # type: ignore[arg-type]  # is given a term
    await conductor.run_as_leader(plain)  # type: ignore[arg-type]  # is awaited
    await conductor.run_as_leader(service(await conductor.wait_leader()))  # type: ignore[arg-type]  # not yet called


async def watches() -> None:
    assert_type(conductor.leadership.value, Term | None)
    assert_type(await conductor.leadership.wait_value(lambda term: term is None), Term | None)
    print(conductor.leadership.value.number)  # type: ignore[union-attr]  # perhaps nobody leads
    conductor.leadership.value = None  # type: ignore[misc]  # for reading only
    conductor.leadership = None  # type: ignore[misc, assignment]  # for reading only


def tells() -> None:
    status = conductor.status()
    assert_type(status, ConductorStatus)
    assert_type(status.leadership, Literal["leader", "standby"])
    assert_type(status.term, int | None)
    assert_type(status.lease_remaining, float | None)
    assert_type(status.last_tick, TickResult | None)
    assert_type(status.runners, tuple[str, ...])
    status.degraded = False  # type: ignore[misc]  # one moment, as it was


def hosts() -> None:
    managed: AbstractContextManager[Conductor] = run_in_thread(conductor)
    with managed as same:
        assert_type(same, Conductor)
    run_in_thread(jobs)  # type: ignore[arg-type]  # a conductor


def reads_back() -> None:
    journal = read_journal("logs/timed-jobs")
    assert_type(iter(journal), Iterator[JournalEntry])
    for entry in journal:
        assert_type(entry, JournalEntry)
        assert_type(entry.runner, str)
        assert_type(entry.error, str | None)
        assert_type(entry.details.get("term"), Any | None)
    assert_type([skipped.torn for skipped in journal.skipped], list[bool])
    assert_type(len(list(read_journal(Path("logs")))), int)
    read_journal(b"logs")  # type: ignore[arg-type]  # text or a Path
