"""The runners of a simulated node that have a schedule: one of each policy, with runs of varying length."""

import random
from typing import Final, final

import msgspec

from ..runners import Misfire, OnCrash
from ..schedules import Cron, Every


@final
class ScheduledWork(msgspec.Struct, frozen=True):
    """A runner: when it is due, and how many seconds its runs take, one of `lengths` each."""

    name: str
    schedule: Every | Cron
    lengths: tuple[float, ...]
    misfire: Misfire = "run_once"
    on_crash: OnCrash = "report"

    def length(self, due_at: object) -> float:
        """Return the seconds of the run of an instant: the same in every seed, and when it is run again."""
        return random.Random(f"{self.name} {due_at}").choice(self.lengths)


#: Some runs are longer than what lies between two of them, and some outlive the lease of whoever lost it.
SCHEDULED: Final = {
    work.name: work
    for work in (
        ScheduledWork("often", Every(30, jitter=5), (0, 2, 12, 45)),
        ScheduledWork("minutely", Cron("* * * * *"), (0, 10, 70)),
        ScheduledWork("each", Every(40), (0, 1, 15), misfire="run_all"),
        ScheduledWork("on time", Every(30, jitter=3), (0, 5, 40), misfire="skip"),
        ScheduledWork("again", Every(45), (0, 10, 50), on_crash="rerun"),
    )
}
LONGEST: Final = max(max(work.lengths) for work in SCHEDULED.values())
