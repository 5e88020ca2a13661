"""What leader's work did, and when: the evidence by which two leaders at once would be found out (I2, I3).

An effect is something that a runner does to the world outside. Whether it came too late is judged by when the loop
had last turned before it: that was the last moment at which Trio could have cancelled the work. A process that is
frozen between two checkpoints can do what stands before the next one when it thaws, and nothing after that. Work in a
thread has no loop: for it, give the moment before its last `check_lease()` that did not raise.

Exact for work that waits by sleeping. Work that is woken by I/O, or by another task, in the very turn in which its term
ends goes on to its next checkpoint: give the turn before that one for such work.
"""

from collections.abc import Callable, Iterable
from typing import final

import msgspec
import trio

from ..violations import Violation


@final
class Effect(msgspec.Struct, frozen=True):
    """One act of leader's work: when (`at`), in which `term`, by which `life` of a node.

    `turned_at`: when the loop that it ran on had last turned. Both are seconds on one clock of all lives. It is to be
    read right before the act: whoever is frozen between the two passes for having acted in time, with one act only.
    """

    at: float
    term: int
    life: str
    turned_at: float


@final
class LoopTurns(trio.abc.Instrument):
    """Notes when the loop last looked at its deadlines: `trio.lowlevel.add_instrument(LoopTurns(clock))`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Read `clock`, which returns seconds, at each turn of the loop."""
        self._clock = clock
        self.turned_at: float = clock()

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - the signature of an Instrument
        """See `trio.abc.Instrument`: what is due is cancelled right after this."""
        self.turned_at = self._clock()


def judge_effects(effects: Iterable[Effect]) -> list[Violation]:
    """Return the effects, in the order of time, that came from a term when a later one had already acted.

    They may be given in any order; those of one moment are taken in the order given. What the loop could not have
    prevented is passed over: it had not turned since the later term's first effect. Also returned: a term that two
    lives acted in.
    """
    owners: dict[int, str] = {}
    began: dict[int, float] = {}
    highest = 0
    violations: list[Violation] = []
    for effect in sorted(effects, key=lambda effect: effect.at):
        owner = owners.setdefault(effect.term, effect.life)
        if owner != effect.life:
            what = f"term {effect.term} belongs to {owner}, and {effect.life} acted in it"
            violations.append(Violation(f"{effect.at:.6f}", "I3", what))
        began.setdefault(effect.term, effect.at)
        highest = max(highest, effect.term)
        if effect.term == highest:
            continue
        newer = min(at for term, at in began.items() if term > effect.term)
        if effect.turned_at > newer:
            what = f"{effect.life} acted in term {effect.term}, though a later term had been at work since {newer:.6f}"
            violations.append(Violation(f"{effect.at:.6f}", "I3", what))
    return violations
