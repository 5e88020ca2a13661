"""What a `Conductor` was constructed with: checked at once, and the plan of a run, made when one begins."""

import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, final

import msgspec

from .errors import Unusable
from .failures import shown
from .journal import Journal
from .journal_files import JournalFiles
from .lease import LeaseStore, Node, is_lease_store, is_name
from .observers import Observers, Tracer
from .registry import TimedJobs
from .runner_records import keeps_claims
from .seconds import checked_seconds
from .timing import LeaseTiming
from .watchdog import OnOverrun


@final
class Arguments(msgspec.Struct, frozen=True, kw_only=True):
    """The arguments of `Conductor`, which see. Raises ValueError or TypeError, naming the argument."""

    jobs: TimedJobs
    store: LeaseStore
    lease_name: str
    node: Node | None
    timing: LeaseTiming
    journal: Journal | None
    log_dir: str | os.PathLike[str] | None
    journal_sync: Literal["tick"] | None
    retention_days: int | None
    resources: Any
    autostart: bool
    drain_timeout: float
    renew_failure_threshold: int
    on_overrun: OnOverrun
    wall_clock: Callable[[], float]
    boot_clock: Callable[[], float]

    def __post_init__(self) -> None:
        require(isinstance(self.jobs, TimedJobs), "jobs must be a TimedJobs", self.jobs, TypeError)
        if isinstance(self.store, str):
            # Not shown: it may have a password in it.
            raise TypeError("Conductor store must have acquire and release; what open_store(url) returns has.")
        require(is_lease_store(self.store), "store must have acquire and release", self.store, TypeError)
        is_journal = self.journal is None or isinstance(self.journal, Journal)
        require(is_journal, "journal must have add and flush", self.journal, TypeError)
        rule = "lease_name must be a non-empty text that UTF-8 can hold, without NUL"
        require(is_name(self.lease_name), rule, self.lease_name)
        require(self.node is None or isinstance(self.node, Node), "node must be a Node", self.node, TypeError)
        require(isinstance(self.timing, LeaseTiming), "timing must be a LeaseTiming", self.timing, TypeError)
        is_folder = self.log_dir is None or (self.log_dir != "" and _is_path(self.log_dir))
        require(is_folder, "log_dir must be the path of a folder", self.log_dir)
        for name, clock in (("wall_clock", self.wall_clock), ("boot_clock", self.boot_clock)):
            require(callable(clock), f"{name} must be a function that returns seconds", clock, TypeError)
        require(self.journal_sync in (None, "tick"), "journal_sync must be None or 'tick'", self.journal_sync)
        may_retain = self.retention_days is None or _is_positive(self.retention_days)
        require(may_retain, "retention_days must be None or a positive integer", self.retention_days)
        rule = "renew_failure_threshold must be a positive integer"
        require(_is_positive(self.renew_failure_threshold), rule, self.renew_failure_threshold)
        require(self.on_overrun in ("report", "exit"), "on_overrun must be 'report' or 'exit'", self.on_overrun)
        require(type(self.autostart) is bool, "autostart must be True or False", self.autostart)
        checked_seconds("Conductor drain_timeout", self.drain_timeout, zero_allowed=True)

    def plan(self, observers: Observers) -> "Plan":
        """Return the plan of a run that begins now. Raises Unusable for schedules that the store cannot keep."""
        self._refuse_schedules_without_claims()
        # Both are settled only now: between construction and run a server may have forked its workers.
        node, incarnation = self.node or Node(), secrets.token_hex(8)
        files = None if self.log_dir is None else JournalFiles(Path(self.log_dir), node.node_id, incarnation)
        return Plan(self, node, incarnation, files, observers)

    def _refuse_schedules_without_claims(self) -> None:
        if self.jobs.scheduled and not keeps_claims(self.store):
            store, name = type(self.store).__name__, self.jobs.scheduled[0].name
            raise Unusable(f"{store} keeps no claims, which the schedule of runner {name!r} needs.")


@final
class Plan(msgspec.Struct, frozen=True):
    """What a run is to do: what the conductor was given, and what was settled only when the run began."""

    given: Arguments
    node: Node
    incarnation: str
    files: JournalFiles | None
    observers: Observers


def observers_of(tracer: Tracer | None) -> Observers:
    """Return those whom a conductor has from the start. Raises TypeError for what is no tracer."""
    if tracer is None:
        return Observers()
    # It needs a package of an extra, which whoever has a tracer has.
    from .tracing import traces_by

    return Observers(traces_by(tracer))


def _is_positive(value: object) -> bool:
    return type(value) is int and value > 0


def _is_path(value: str | os.PathLike[str]) -> bool:
    try:
        return b"\0" not in os.fsencode(Path(value))
    except (TypeError, ValueError):
        return False


def require(holds: bool, rule: str, value: object, error: type[Exception] = ValueError) -> None:
    """Raise `error` with the rule and the value, unless the rule holds."""
    if not holds:
        raise error(f"Conductor {rule}, not {shown(value)}.")
