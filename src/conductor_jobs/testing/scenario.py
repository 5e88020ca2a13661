"""What a simulation is made of: the cluster, and the plan of faults that a seed draws for it."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal, final, get_args

from ..lease import LeaseStore
from ..seconds import checked_seconds
from ..stores.memory import MemoryLeaseStore
from ..timing import LeaseTiming

StoreFaultKind = Literal[
    "slow",  # calls are carried out late
    "slow answers",  # calls are carried out, their answers come late
    "lost answers",  # calls are carried out, no answer comes
    "broken answers",  # calls are carried out, and then the connection breaks
    "errors",  # calls are refused
    "hang",  # calls are never carried out
    "late writes",  # calls are carried out when their caller has given up
    "flaky",  # any of these, call by call
    "release lost",  # releases get lost, everything else works
    "outage",  # errors, for all nodes at once
]
NodeFaultKind = Literal["crash", "stop", "cancel"]
RunnerFaultKind = Literal["blocks", "clings", "overstays", "works long", "raises", "stops", "times out"]
ScheduleFaultKind = Literal[
    "pause",  # an operator pauses a runner, and resumes it later
    "run now",  # an operator has a runner run, paused or not
    "resign",  # the leader gives the lease back and runs on
    "clock step",  # the wall clock of all nodes is set, ahead or back
    "crash at due",  # the leader crashes around a due instant, with a store that answers late
]
FaultKind = StoreFaultKind | NodeFaultKind | RunnerFaultKind | ScheduleFaultKind

STORE_FAULTS: tuple[StoreFaultKind, ...] = get_args(StoreFaultKind)
NODE_FAULTS: tuple[NodeFaultKind, ...] = get_args(NodeFaultKind)
RUNNER_FAULTS: tuple[RunnerFaultKind, ...] = get_args(RunnerFaultKind)
SCHEDULE_FAULTS: tuple[ScheduleFaultKind, ...] = get_args(ScheduleFaultKind)
ALL_FAULTS: tuple[FaultKind, ...] = (*STORE_FAULTS, *NODE_FAULTS, *RUNNER_FAULTS, *SCHEDULE_FAULTS)
#: What the wall clock shows at the beginning, in unix seconds.
START: Final = 1_700_000_000.0
# A clock is set by a little, as by NTP, or by a lot, as by a person; in seconds.
_CLOCK_STEPS = ((0.0, 2.0), (2.0, 150.0))


@final
@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a plan: what befalls which node (by number) when, and how much of it.

    `at` and `seconds` are seconds of the simulated clock: when, and how long a store is faulty, a node stays away,
    a runner is at it. `seed` decides what is left to chance in it, so that other faults can be left out.
    """

    at: float
    kind: FaultKind
    node: int
    seconds: float
    seed: int

    def __str__(self) -> str:
        return f"{self.at:.1f} s: n{self.node} {self.kind} ({self.seconds:.1f} s)"


@final
@dataclass(frozen=True, slots=True)
class Scenario:
    """A cluster, and what may befall it; times in seconds of the simulated clock.

    `nodes` conductors run for `duration`, with a tick every `interval`. About every `fault_gap` one of `faults`
    strikes, of those that concern schedules half as many, until a calm of four ttls at the end, in which all must
    recover. `clock_drift`: by what part the store's
    clock may run fast or slow; the margin of `timing` has to allow for it. `watching`: whether the store tells standbys
    of releases; None: some seeds so, some so. `store` makes the store; what it keeps in memory, on Trio's clock and
    without threads, replays exactly. Raises ValueError naming the field.
    """

    nodes: int = 3
    duration: float = 3600.0
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    interval: float = 10.0
    drain_timeout: float = 20.0
    fault_gap: float = 20.0
    faults: Sequence[FaultKind] = ALL_FAULTS
    clock_drift: float = 0.02
    watching: bool | None = None
    store: Callable[[], LeaseStore] = MemoryLeaseStore

    def __post_init__(self) -> None:
        if type(self.nodes) is not int or self.nodes < 1:
            raise ValueError(f"Scenario nodes must be an integer of at least 1, not {self.nodes!r}.")
        for name in ("duration", "interval", "fault_gap"):
            checked_seconds(f"Scenario {name}", getattr(self, name))
        checked_seconds("Scenario drain_timeout", self.drain_timeout, zero_allowed=True)
        if self.duration <= self.calm:
            raise ValueError(f"Scenario duration must exceed its calm end of {self.calm:g} s, not {self.duration:g}.")
        if not 0 <= self.clock_drift * self.timing.ttl < self.timing.margin:
            raise ValueError(
                f"Scenario clock_drift must be at least 0 and, in a ttl, less than the margin: {self.clock_drift!r} "
                f"of {self.timing.ttl:g} s is not less than {self.timing.margin:g} s."
            )
        if unknown := [kind for kind in self.faults if kind not in ALL_FAULTS]:
            raise ValueError(f"Scenario faults must be some of {', '.join(ALL_FAULTS)}, not {unknown[0]!r}.")

    @property
    def calm(self) -> float:
        """Seconds without new faults at the end."""
        return 4 * self.timing.ttl

    @property
    def cleanup(self) -> float:
        """Seconds that a cancelled runner may take to clean up, whatever the clocks do."""
        return self.timing.margin - 2 * self.clock_drift * self.timing.ttl

    def plan(self, seed: int) -> list[Fault]:
        """Draw the faults of a seed."""
        # Two plans, drawn apart: what is added to one kind leaves the others of a seed as they were.
        of_schedules: list[FaultKind] = [kind for kind in self.faults if kind in SCHEDULE_FAULTS]
        others: list[FaultKind] = [kind for kind in self.faults if kind not in SCHEDULE_FAULTS]
        drawn = self._plan(others, self.fault_gap, f"plan {seed}")
        drawn += self._plan(of_schedules, 2 * self.fault_gap, f"schedules {seed}")
        return sorted(drawn, key=lambda fault: fault.at)

    def _plan(self, kinds: Sequence[FaultKind], gap: float, seed: str) -> list[Fault]:
        chance = random.Random(seed)
        faults: list[Fault] = []
        at = 0.0
        while kinds and (at := at + chance.expovariate(1 / gap)) < self.duration - self.calm:
            kind = chance.choice(kinds)
            node, length = chance.randrange(self.nodes), self._length(kind, chance)
            # Nothing reaches into the calm.
            length = min(length, self.duration - self.calm - at)
            faults.append(Fault(at, kind, node, length, chance.getrandbits(32)))
        return faults

    def drawn(self, seed: int) -> "Scenario":
        """Settle what the scenario leaves to the seed."""
        if self.watching is not None:
            return self
        return replace(self, watching=random.Random(f"scenario {seed}").random() < 0.5)

    def clock_rate(self, seed: int) -> float:
        """Return how fast the store's clock runs under a seed."""
        return random.Random(f"clock {seed}").uniform(1 - self.clock_drift, 1 + self.clock_drift)

    def _length(self, kind: FaultKind, chance: random.Random) -> float:
        ttl = self.timing.ttl
        match kind:
            case "clings":
                return chance.uniform(0, self.cleanup)
            case "overstays":
                return chance.uniform(self.timing.margin, 1.5 * ttl)
            case "blocks":
                return chance.uniform(0, 1.5 * ttl)
            case "clock step":
                return chance.uniform(*chance.choice(_CLOCK_STEPS))
            case "crash" | "stop" | "cancel" | "crash at due":
                # At once, or long enough for others to have led.
                return chance.choice((0.0, chance.uniform(0, 2 * ttl)))
            case _:
                return chance.uniform(0.5, 2 * ttl)
