"""`simulate`: a whole cluster for hours in a second, under faults that a seed decides, and judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from trio.testing import MockClock

from ..violations import Violation
from .checker import judge
from .cluster import Cluster
from .history import History
from .scenario import Fault, Scenario
from .seeding import run_seeded


@final
@dataclass(frozen=True)
class Simulation:
    """What came of a seed: its faults, everything that happened, and what of that must not be."""

    scenario: Scenario
    seed: int
    plan: Sequence[Fault]
    history: History
    violations: Sequence[Violation]


def simulate(scenario: Scenario | None = None, seed: int = 0, *, plan: Sequence[Fault] | None = None) -> Simulation:
    """Run the scenario (`Scenario()` by default) under the faults that `seed` draws, or those of `plan`, and judge it.

    The same scenario, seed, plan and versions give the same history, event by event, in any process, as long as the
    store is one in memory. Opens a Trio run of its own on a MockClock: not to be called within one. Raises what is no
    part of the simulation; what rises out of a conductor's `run` is a violation.
    """
    drawn = (scenario or Scenario()).drawn(seed)
    faults = drawn.plan(seed) if plan is None else plan
    clock = MockClock(autojump_threshold=0)
    history = run_seeded(Cluster(drawn, seed, faults, clock).run, seed, clock)
    return Simulation(drawn, seed, faults, history, judge(drawn, history))
