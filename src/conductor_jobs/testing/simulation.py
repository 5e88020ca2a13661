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
from .shrinking import fewest_faults, told_around


@final
@dataclass(frozen=True)
class Simulation:
    """What came of a seed: its faults, everything that happened, and what of that must not be."""

    scenario: Scenario
    seed: int
    plan: Sequence[Fault]
    history: History
    violations: Sequence[Violation]

    def check(self) -> None:
        """Raise AssertionError with the report if anything was violated."""
        if self.violations:
            raise AssertionError(self.report())

    def report(self) -> str:
        """Return the seed, what was violated, and the shortest history that shows it: it is replayed to find that."""
        if not self.violations:
            return f"seed {self.seed}: nothing violated in {len(self.history)} events, {len(self.plan)} faults"
        rule = self.violations[0].rule
        plan = fewest_faults(self.plan, lambda plan: simulate(self.scenario, self.seed, plan=plan).violations, rule)
        shortest = simulate(self.scenario, self.seed, plan=plan)
        shown = next((each for each in shortest.violations if each.rule == rule), self.violations[0])
        lines = told_around(shortest.history, shown, 2 * self.scenario.timing.ttl)
        return "\n".join(
            [
                f"seed {self.seed}: {len(self.violations)} violations, the first of them",
                f"  {self.violations[0]}",
                f"With {len(plan)} of its {len(self.plan)} faults it comes to this:",
                *(f"  {fault}" for fault in plan),
                f"  {shown}",
                f"and before that, in {2 * self.scenario.timing.ttl:g} s:",
                *(f"  {line}" for line in lines),
            ]
        )


def report_of(seed: int, scenario: Scenario) -> str | None:
    """Return the report of a seed that violates something, else None: for processes that share many seeds."""
    simulation = simulate(scenario, seed)
    return simulation.report() if simulation.violations else None


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
