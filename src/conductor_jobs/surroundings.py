"""What every tick of a run shares, and what it tells of itself to its runners and in the entries of their starts."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, final

import msgspec
import trio

from .cursors import Cursors
from .lease import Node
from .observers import Observers
from .recorder import Recorder
from .runners import TickTrigger, TimedJobsConfig
from .term import Term
from .tick_results import TickDecision, TickResult, refuse

# The fields of `TickContext` that all runners of a tick have in common: all but the first.
Shared = tuple[str, str, int, str, TickTrigger, TimedJobsConfig, Any, Term, Recorder, Cursors, datetime | None]


@final
class Surroundings(msgspec.Struct, frozen=True):
    """What every tick of a run shares."""

    node: Node
    resources: Any
    recorder: Recorder
    thread_limiter: trio.CapacityLimiter
    cursors: Cursors
    observers: Observers

    def refuse(
        self, decision: TickDecision, trigger: TickTrigger, runner_count: int, group: str | None = None
    ) -> TickResult:
        """Tell that a tick which was asked for does not come about, and why; return its result."""
        self.observers.tick_refused(decision)
        return refuse(self.recorder, decision, trigger, runner_count, group)

    def shared_context(
        self, term: Term, batch_id: str, trigger: TickTrigger, config: TimedJobsConfig, due_at: datetime | None
    ) -> Shared:
        """Return what every runner of a tick is given, to be unpacked behind its name."""
        return (
            self.node.node_id,
            self.node.host,
            term.number,
            batch_id,
            trigger,
            config,
            self.resources,
            term,
            self.recorder,
            self.cursors,
            due_at,
        )

    def start_details(self, term: Term, config: TimedJobsConfig, about: Mapping[str, object]) -> dict[str, object]:
        """Return the details of a runner's start; `about` is what every entry of the tick says of it."""
        return {
            "controller_id": self.node.node_id,
            "host": self.node.host,
            "max_messages_per_tick": config.max_messages_per_tick,
            "max_tasks_per_tick": config.max_tasks_per_tick,
            "settle_delay_ms": round(config.settle_delay * 1000),
            "term": term.number,
            **about,
        }
