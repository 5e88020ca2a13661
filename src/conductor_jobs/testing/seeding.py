"""A Trio run that a seed replays exactly: Trio's own choice of the next task, and `random`, are seeded.

This is the only place that knows two private names of Trio, the switch and the generator by which Trio's Hypothesis
support makes scheduling repeatable; `tests/test_simulation.py` pins them. Threads are not seeded, and neither is real
time: what runs in here belongs on a MockClock and on stores in memory.
"""

import random
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

import trio
import trio._core._run as trio_scheduler

T = TypeVar("T")

_SWITCH = "_ALLOW_DETERMINISTIC_SCHEDULING"
_GENERATOR = "_r"


def run_seeded(run: Callable[[], Awaitable[T]], seed: int, clock: trio.abc.Clock) -> T:
    """Return what `trio.run(run, clock=clock)` returns, every choice that is left to chance made by `seed`.

    Raises what `run` raises, and RuntimeError where this version of Trio does not have what it needs.
    """
    with _seeded(seed):
        return trio.run(run, clock=clock)


@contextmanager
def _seeded(seed: int) -> Generator[None, None, None]:
    if not hasattr(trio_scheduler, _SWITCH) or not hasattr(trio_scheduler, _GENERATOR):
        raise RuntimeError(f"Trio {trio.__version__} lets nobody seed its scheduling: a seed would not replay")
    before = {name: getattr(trio_scheduler, name) for name in (_SWITCH, _GENERATOR)}
    jitter = random.getstate()
    for name, value in {_SWITCH: True, _GENERATOR: random.Random(seed)}.items():
        setattr(trio_scheduler, name, value)
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(jitter)
        for name, value in before.items():
            setattr(trio_scheduler, name, value)
