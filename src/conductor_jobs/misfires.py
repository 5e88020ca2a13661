"""What becomes of what is due: run it, run the last of what was missed, each, or none. Pure.

A due instant is *on time* while its start lies no more than a second back. A *misfire* is everything else: due instants
that went by while nobody led, the process was suspended, the wall clock was set ahead, or the run before went on.
"""

from datetime import datetime, timedelta
from itertools import islice, takewhile
from typing import Final, Literal, final

import msgspec

from .agenda import Due
from .moments import iso
from .runners import Misfire
from .schedules import Schedule, due_instants

#: Seconds after its start in which a due instant is still on time.
ON_TIME: Final = 1.0
#: With "run_all", so many of the missed instants are run, the latest; also how far missed instants are counted.
RUN_ALL_LIMIT: Final = 100

_MICROSECOND: Final = timedelta(microseconds=1)
_FIRST_STEP: Final = timedelta(seconds=1)


@final
class Turn(msgspec.Struct, frozen=True):
    """What is to be done about a `Due`.

    `due_at`: the instant to run now, or None. `taken_until`: every instant up to this one is accounted for then; the
    others are to be asked about again once the run has ended. `reason`: why instants were not run, or not on time.
    """

    due_at: datetime | None
    taken_until: datetime
    reason: Literal["misfire", "paused"] | None = None


def turn_of(due: Due, misfire: Misfire, moment: datetime, *, paused: bool) -> Turn:
    """Return what a policy does at `moment` about what is due."""
    if paused:
        return Turn(None, due.last, "paused")
    late = moment - due.start_of(due.last) > timedelta(seconds=ON_TIME)
    if due.first == due.last and not late:
        return Turn(due.last, due.last)
    if misfire == "run_all":
        first = latest(due, RUN_ALL_LIMIT)
        return Turn(first, first, "misfire")
    return Turn(None if late and misfire == "skip" else due.last, due.last, "misfire")


def latest(due: Due, count: int) -> datetime:
    """Return the first of the latest `count` instants of what is due."""
    begin = due.first - _MICROSECOND
    first, left, before, step = due.last, count - 1, due.last - _MICROSECOND, _FIRST_STEP
    # Back from the last one, further each time: after a long absence there may be millions, and only these are wanted.
    while left > 0 and before > begin:
        after = max(before - step, begin)
        found = _instants(due.schedule, after, before, count + 1)
        if len(found) > count:
            step /= 2
            continue
        if found:
            first = found[-left:][0]
            left -= len(found)
        before, step = after, step * 2
    return first


def _instants(schedule: Schedule, after: datetime, until: datetime, at_most: int) -> list[datetime]:
    return list(islice(takewhile(lambda due_at: due_at <= until, due_instants(schedule, after)), at_most))


def missed_details(due: Due, turn: Turn) -> dict[str, object]:
    """Return what the journal says of a misfire or of a pause: which instants, how many, and which of them is run."""
    count = len(_instants(due.schedule, due.first - _MICROSECOND, due.last, RUN_ALL_LIMIT + 1))
    details: dict[str, object] = {"first_due_at": iso(due.first), "last_due_at": iso(due.last)}
    # Beyond the limit nobody counts: with `Every(0.001)` a day has 86 million.
    details["due_count" if count <= RUN_ALL_LIMIT else "due_count_at_least"] = count
    if turn.due_at is not None:
        details["run_due_at"] = iso(turn.due_at)
    return details
