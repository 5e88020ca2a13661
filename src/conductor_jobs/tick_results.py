"""How a tick ended, or why there was none: what whoever asked for it is told."""

from typing import Literal, final

import msgspec

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
