"""Test kit: a journal in memory, wall time on Trio's clock, runners called directly, faulty stores, whole clusters.

For the tests of an application's jobs, as for our own; nothing of the engine imports it. `docs/testing.md` shows
each part in use.
"""

from .conformance import ConformanceError, exercise_lease_store
from .effects import Effect, LoopTurns, judge_effects
from .fakes import MemoryJournal, MockWallClock, threads_inline, tick_context
from .faulty_store import HANG, LOST_ANSWER, FaultyLeaseStore, StoreFault
from .history import History
from .scenario import Fault, Scenario
from .simulation import Simulation, simulate

__all__ = [
    "HANG",
    "LOST_ANSWER",
    "ConformanceError",
    "Effect",
    "Fault",
    "FaultyLeaseStore",
    "History",
    "LoopTurns",
    "MemoryJournal",
    "MockWallClock",
    "Scenario",
    "Simulation",
    "StoreFault",
    "exercise_lease_store",
    "judge_effects",
    "simulate",
    "threads_inline",
    "tick_context",
]
