"""What the local API answers, as structs; the OpenAPI description and the docs are made of them.

Times are ISO 8601, UTC, with a `Z`; seconds are plain numbers, and names that end in `_ms` are milliseconds.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, final

import msgspec

from ..lease import NodeState, Role
from ..runner_records import Claim
from ..runners import Misfire, OnCrash
from ..tick_results import TickDecision, TickResult
from ..watchdog import Overrun

RunOutcome = Literal["completed", "failed", "cancelled"]


@final
class NodeAnswer(msgspec.Struct, frozen=True):
    """A node that can lead."""

    node_id: str
    host: str
    role: Role
    priority: int
    version: str


@final
class LeaseAnswer(msgspec.Struct, frozen=True):
    """How the lease stood when the store was last asked, `asked_ago` seconds before `now`.

    `expires_in`: seconds that were left then, 0 when nobody held it.
    """

    holder_id: str | None
    term: int
    held: bool
    expires_in: float
    asked_ago: float


@final
class StatusAnswer(msgspec.Struct, frozen=True):
    """One moment of this node; see `ConductorStatus` for what the names mean that are there too.

    `ttl`: the lease's seconds, what `lease_remaining` is a part of. `lease`: as the store tells it, None before its
    first answer; `lease_problem` is what the store failed with when it was last asked for that. `writable`: whether a
    token is configured, so that POST is possible. `event_clients`: how many event streams are open.
    """

    now: str
    node: NodeAnswer
    lease_name: str
    ttl: float
    leadership: Literal["leader", "standby"]
    term: int | None
    holder_id: str | None
    lease_remaining: float | None
    lease: LeaseAnswer | None
    lease_problem: str | None
    started: bool
    settled: bool
    stopping: bool
    degraded: bool
    problem: str | None
    consecutive_renew_failures: int
    batch_in_flight: str | None
    runs_in_flight: Sequence[str]
    last_tick: TickResult | None
    interval: float
    missed_interval_count: int
    runner_count: int
    entries_lost: int
    overruns: tuple[Overrun, ...]
    drift: Sequence[str]
    writable: bool
    event_clients: int


@final
class NodeSeenAnswer(msgspec.Struct, frozen=True):
    """A node by its last heartbeat, `seen_ago` seconds before the answer.

    `alive`: it has not said that it stopped, and was seen within the ttl. `same_runners`: it has the same runners
    registered as this node, with the same schedules.
    """

    node_id: str
    host: str
    role: Role
    priority: int
    version: str
    state: NodeState
    alive: bool
    same_runners: bool
    first_seen_at: str
    last_seen_at: str
    seen_ago: float


@final
class NodesAnswer(msgspec.Struct, frozen=True):
    """The nodes that the store remembers, the latest first, at most 200 of `node_count`.

    `nodes` is None when the store remembers none, or has not answered yet; `problem` is what it failed with.
    """

    nodes: Sequence[NodeSeenAnswer] | None
    node_count: int
    problem: str | None


@final
class Run(msgspec.Struct, frozen=True):
    """One run of a runner. `result` is what it returned, "ok" by default, or why it ended."""

    batch_id: str
    started_at: str | None
    ended_at: str
    duration_ms: int | float | None
    outcome: RunOutcome
    result: str | None
    error: str | None


@final
class RunnerRuns(msgspec.Struct, frozen=True):
    """What is remembered of a runner since the local API began.

    `at_work_since` is None while it is not at work. `durations_ms` and `outcomes` are of its latest runs, at most
    30, the oldest first.
    """

    name: str
    at_work_since: str | None = None
    last_run: Run | None = None
    run_count: int = 0
    failed_run_count: int = 0
    durations_ms: Sequence[int | float] = ()
    outcomes: Sequence[RunOutcome] = ()


@final
class RunnerAnswer(msgspec.Struct, frozen=True):
    """A registered runner: how it is registered, when it is due, and what is remembered of its runs.

    `schedule` is None for a runner of the interval ticks, as are `tz`, `misfire` and `on_crash` then. `next_due_at`:
    the next three due instants. `last_claim`: the due instant that was taken last. That, and who is paused, is as this
    node knows it.
    """

    name: str
    description: str | None
    timeout: float | None
    schedule: str | None
    tz: str | None
    misfire: Misfire | None
    on_crash: OnCrash | None
    paused: bool
    at_work: bool
    next_due_at: Sequence[datetime]
    last_claim: Claim | None
    runs: RunnerRuns


@final
class RunnersAnswer(msgspec.Struct, frozen=True):
    """A page of the runners, in the order of their registration; `runner_count` is how many there are."""

    runners: Sequence[RunnerAnswer]
    runner_count: int


@final
class Failure(msgspec.Struct, frozen=True):
    """A runner of a tick that failed or was cancelled."""

    runner: str
    outcome: RunOutcome
    result: str | None
    error: str | None


@final
class TickAnswer(msgspec.Struct, frozen=True):
    """A tick. While it is at work `ended_at` and `decision` are None.

    `started_at` is None for one that was refused. `result` is that of its last journal entry. `failures` are its
    first five; `runner` is the runner of a tick that has only one. `due_at`: the due instant that it was for.
    """

    batch_id: str
    trigger: str | None
    started_at: str | None
    ended_at: str | None
    duration_ms: int | float | None
    decision: TickDecision | None
    result: str | None
    error: str | None
    runner: str | None
    due_at: str | None
    runner_count: int
    failed_runner_count: int
    failures: Sequence[Failure]


@final
class TicksAnswer(msgspec.Struct, frozen=True):
    """The latest ticks, the latest first, and the latest errors. `since`: from when on none are missing."""

    ticks: Sequence[TickAnswer]
    errors: Sequence["ErrorAnswer"]
    since: str


@final
class ErrorAnswer(msgspec.Struct, frozen=True):
    """A journal entry with an error: of a runner, a tick, or the lease."""

    ts: str
    runner: str
    stage: str
    batch_id: str
    result: str | None
    error: str
