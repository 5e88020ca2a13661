"""How a tick ended, or why there was none: what whoever asked for it is told."""

from typing import Literal, final

import msgspec

from .journal import FRAMEWORK
from .recorder import Recorder
from .runners import TickTrigger

TickDecision = Literal[
    "failed",
    "interrupted",
    "scheduled",
    "skipped_busy",
    "skipped_no_runners",
    "skipped_not_leader",
    "skipped_stopping",
]


@final
class TickResult(msgspec.Struct, frozen=True):
    """How a tick ended: its decision, how many runners it was for, and how many of them failed."""

    batch_id: str
    decision: TickDecision
    runner_count: int
    failed_runner_count: int = 0


def refuse(
    recorder: Recorder, decision: TickDecision, trigger: TickTrigger, runner_count: int, group: str | None = None
) -> TickResult:
    """Journal that a tick which was asked for does not come about, and why; return its result."""
    batch_id = recorder.next_batch_id()
    details: dict[str, object] = {"trigger": trigger}
    if group is not None:
        details["group"] = group
    recorder.write(FRAMEWORK, f"tick_{decision}", batch_id, result=decision, details=details)
    return TickResult(batch_id, decision, runner_count)
