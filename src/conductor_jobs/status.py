"""What a conductor tells of itself."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, final

import msgspec

from .lease import Node
from .runner_status import RunnerStatus, runner_status
from .runners import Runner
from .supervisor import Supervisor
from .tick_results import TickResult
from .watchdog import Overrun


@final
class ConductorStatus(msgspec.Struct, frozen=True):
    """One moment of a conductor.

    `term` and `holder_id` are the latest that the store named, whoever leads; `lease_remaining` is the seconds for
    which our own work may go on, None unless we lead. `degraded`: as many store calls in a row have failed as the
    threshold allows. `problem`: what the last of them failed with, None once one has succeeded. `started`: `run` is
    running. `stopping`: a stop was requested. `batch_in_flight`: the batch id of the tick at work. `last_tick`: the
    latest that ended in this run. `missed_interval_count`: instants of the grid that went by unused. `entries_lost`:
    journal entries the disk did not take. `overruns`: leader's work that was found at work after its lease had run
    out, and still is; `overrun_count`: how often that was found. `runs_in_flight`: the runners with a schedule that are
    at work. `paused`: the runners that are paused, as this node heard last. `drift`: the ids of nodes that have other
    runners registered than this node, while it leads. `renewals` were confirmed, which took `renew_seconds` together;
    `renew_failures` failed. `drain_seconds`: for how long a stop has waited for the work, or did; None before.
    `journal_bytes` were written to the files of `log_dir`. What is counted is counted anew in every run.
    `settled`: the store's first answer has come in this run, or is overdue. `lease_task_quiet_for`: seconds since the
    lease task last asked the store, 0 while it has no reason to; as long as a ttl, it is stuck.
    """

    node: Node
    runners: tuple[str, ...]
    leadership: Literal["leader", "standby"] = "standby"
    term: int | None = None
    holder_id: str | None = None
    lease_remaining: float | None = None
    consecutive_renew_failures: int = 0
    degraded: bool = False
    problem: str | None = None
    started: bool = False
    stopping: bool = False
    batch_in_flight: str | None = None
    last_tick: TickResult | None = None
    missed_interval_count: int = 0
    entries_lost: int = 0
    overruns: tuple[Overrun, ...] = ()
    runs_in_flight: tuple[str, ...] = ()
    paused: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    overrun_count: int = 0
    renewals: int = 0
    renew_failures: int = 0
    renew_seconds: float = 0.0
    drain_seconds: float | None = None
    journal_bytes: int = 0
    settled: bool = False
    lease_task_quiet_for: float = 0.0


def status_of(
    supervisor: Supervisor | None, node: Node, runners: tuple[str, ...], renew_failure_threshold: int
) -> ConductorStatus:
    """Describe a conductor by its present or latest run, if there was any."""
    if supervisor is None:
        return ConductorStatus(node, runners)
    election, ticks, files = supervisor.election, supervisor.ticks, supervisor.plan.files
    started = not supervisor.ended.is_set()
    candidate, in_flight = election.candidate, ticks.in_flight
    grant = candidate.last_grant
    live = election.live_scope if started else None
    return ConductorStatus(
        node=supervisor.plan.node,
        leadership="standby" if live is None else "leader",
        term=None if grant is None else grant.term,
        holder_id=None if grant is None else grant.holder_id,
        lease_remaining=None if live is None else live.term.lease_remaining(),
        consecutive_renew_failures=candidate.consecutive_failures,
        degraded=candidate.consecutive_failures >= renew_failure_threshold,
        problem=candidate.problem,
        started=started,
        stopping=started and supervisor.stopping,
        batch_in_flight=None if in_flight is None else in_flight.batch_id,
        last_tick=ticks.last,
        missed_interval_count=ticks.missed_interval_count,
        runners=runners,
        entries_lost=0 if files is None else files.entries_lost,
        overruns=supervisor.watchdog.overruns,
        settled=started and election.settled.is_set(),
        lease_task_quiet_for=election.quiet_for if started else 0.0,
        runs_in_flight=supervisor.runs.in_flight,
        paused=tuple(sorted(supervisor.ledger.paused)),
        drift=() if supervisor.heartbeats is None or live is None else supervisor.heartbeats.drift.node_ids,
        overrun_count=supervisor.watchdog.overrun_count,
        renewals=candidate.renewals,
        renew_failures=candidate.renew_failures,
        renew_seconds=candidate.renew_seconds,
        drain_seconds=supervisor.drain.seconds,
        journal_bytes=0 if files is None else files.bytes_written,
    )


def runner_statuses_of(
    supervisor: Supervisor | None, runners: Iterable[Runner], now: datetime
) -> tuple[RunnerStatus, ...]:
    """Describe the runners by the present or latest run, if there was any."""
    if supervisor is None:
        return tuple(runner_status(runner, now, paused=False, at_work=False, last_claim=None) for runner in runners)
    tick, at_work, ledger = supervisor.ticks.in_flight, supervisor.runs.in_flight, supervisor.ledger
    return tuple(
        runner_status(
            runner,
            now,
            paused=runner.name in ledger.paused,
            at_work=runner.name in at_work or (tick is not None and tick.is_at(runner.name)),
            last_claim=ledger.claims.get(runner.name),
        )
        for runner in runners
    )
