"""What is due next, of many schedules: a heap, so that what is not due costs nothing when something else is."""

import heapq
import itertools
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Final, final

import msgspec

from .schedules import Schedule

_MICROSECOND: Final = timedelta(microseconds=1)
# As many stale places as live ones are no burden; below this not even that.
_FEW: Final = 64


@final
class Due(msgspec.Struct, frozen=True):
    """Whose turn it is, and for which due instants: from `first` to `last`, which are one unless some were missed."""

    name: str
    schedule: Schedule
    first: datetime
    last: datetime

    def instants(self) -> Iterator[datetime]:
        """Return every due instant from `first` to `last`, in order, each worked out when it is asked for."""
        due_at: datetime | None = self.first
        while due_at is not None and due_at <= self.last:
            yield due_at
            due_at = self.schedule.due_after(due_at)

    def start_of(self, due_at: datetime) -> datetime:
        """Return when a due instant is to start."""
        return due_at + timedelta(seconds=self.schedule.start_delay(self.name, due_at))


@final
class _Entry(msgspec.Struct, frozen=True, eq=False):
    name: str
    schedule: Schedule
    # Who was put in first goes first, whatever came in between.
    place: int
    due_at: datetime | None

    def starts_at(self, due_at: datetime) -> datetime:
        return due_at + timedelta(seconds=self.schedule.start_delay(self.name, due_at))

    def has_started(self, due_at: datetime, moment: datetime) -> bool:
        return self.starts_at(due_at) <= moment


@final
class Agenda:
    """The schedules of many runners by name, each with the first due instant that has not been taken."""

    def __init__(self) -> None:
        self._entries: dict[str, _Entry] = {}
        # By when it starts; the counter keeps two entries from being compared.
        self._heap: list[tuple[datetime, int, _Entry]] = []
        self._counter = itertools.count()
        self._places = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    @property
    def next_start(self) -> datetime | None:
        """When something starts next, in UTC: its due instant and its delay. None: never."""
        # What was removed or changed leaves a place behind in the heap.
        while self._heap and self._is_stale(self._heap[0][2]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def put(self, name: str, schedule: Schedule, after: datetime) -> None:
        """Add a schedule, or change it: what is due after `after` is to be taken, and nothing before."""
        known = self._entries.get(name)
        place = next(self._places) if known is None else known.place
        self._enter(_Entry(name, schedule, place, schedule.due_after(after)))
        self._tidy()

    def remove(self, name: str) -> None:
        """Forget a schedule. Raises KeyError if there is none of that name."""
        del self._entries[name]
        self._tidy()

    def take_due(self, moment: datetime, at_most: int | None = None) -> list[Due]:
        """Return what has started at `moment` and was not taken before, in the order in which names were put in.

        `at_most`: so many of them, those that start first; the others can be asked for at once. Instants that were
        missed, since nobody asked in between, come as one `Due`. A moment before the last one, as when the wall
        clock is set back, repeats nothing.
        """
        taken: list[_Entry] = []
        while len(taken) != at_most and (start := self.next_start) is not None and start <= moment:
            taken.append(heapq.heappop(self._heap)[2])
        taken.sort(key=lambda entry: entry.place)
        return [self._take(entry, moment) for entry in taken]

    def _take(self, entry: _Entry, moment: datetime) -> Due:
        assert entry.due_at is not None
        schedule, last = entry.schedule, entry.due_at
        following = schedule.due_after(last)
        if following is not None and entry.has_started(following, moment):
            last = _last_started(entry, following, moment)
            following = schedule.due_after(last)
        self._enter(_Entry(entry.name, schedule, entry.place, following))
        return Due(entry.name, schedule, entry.due_at, last)

    def _enter(self, entry: _Entry) -> None:
        self._entries[entry.name] = entry
        if entry.due_at is not None:
            heapq.heappush(self._heap, (entry.starts_at(entry.due_at), next(self._counter), entry))

    def _is_stale(self, entry: _Entry) -> bool:
        return self._entries.get(entry.name) is not entry

    def _tidy(self) -> None:
        if len(self._heap) > _FEW + 2 * len(self._entries):
            self._heap = [place for place in self._heap if not self._is_stale(place[2])]
            heapq.heapify(self._heap)


def _last_started(entry: _Entry, second: datetime, moment: datetime) -> datetime:
    """Return the last instant that has started at `moment`; `second`, the one after the entry's own, has."""
    assert entry.due_at is not None
    due_after, last, bound, step = entry.schedule.due_after, second, moment, second - entry.due_at
    # Back from the moment, further each time: mostly the first look finds it, after an absence of years too.
    while (probe := moment - step) > last:
        due_at = due_after(probe)
        if due_at is not None and entry.has_started(due_at, moment):
            last = due_at
            break
        bound, step = probe, step * 2
    # By halves from there, where instants come in bursts: there may be thousands left.
    while (due_at := due_after(last)) is not None and entry.has_started(due_at, moment):
        middle = due_at + (bound - due_at) / 2
        last, due_at = due_at, due_after(middle)
        if due_at is not None and entry.has_started(due_at, moment):
            last = due_at
        else:
            bound = middle
    return last
