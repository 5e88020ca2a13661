"""Events, for whoever listens: the latest are kept, each listener has his place among them, and none is waited for.

An event is encoded once and kept once, however many listen. Whoever falls behind what is kept, or comes with a place
that is not kept any more, is told `reset`, and looks at everything anew.
"""

import secrets
from collections import deque
from itertools import islice
from typing import Final, final

import trio

MOST_EVENTS: Final = 2000
MOST_BYTES: Final = 4 * 2**20
# To send to one takes a tenth of a millisecond: so many at once, and then a pause in seconds for ticks and renewals.
_WOKEN_AT_ONCE: Final = 8
_PAUSE: Final = 0.002
_BATCH: Final = 64 * 1024


@final
class Events:
    """What has happened, numbered from 1. Everything on the loop."""

    def __init__(self) -> None:
        # A number alone would mean something else after a restart.
        self._life = secrets.token_hex(4)
        self._kept: deque[bytes] = deque()
        self._bytes = 0
        self._lot = trio.lowlevel.ParkingLot()
        #: The number of the latest event.
        self.latest: int = 0
        #: Whether there will be no more: who listens hears the rest, and leaves.
        self.ended: bool = False
        #: How many listen.
        self.listeners: int = 0

    def publish(self, kind: str, data: bytes) -> None:
        """Take an event; `data` is one line of JSON. Nobody is woken by it."""
        self.latest += 1
        event = self.written(kind, data)
        self._kept.append(event)
        self._bytes += len(event)
        while len(self._kept) > MOST_EVENTS or self._bytes > MOST_BYTES:
            self._bytes -= len(self._kept.popleft())

    def written(self, kind: str, data: bytes) -> bytes:
        """Return an event as it is sent, as of the latest number."""
        return b"id: %s.%d\nevent: %s\ndata: %s\n\n" % (self._life.encode(), self.latest, kind.encode(), data)

    def place(self, last_event_id: str) -> int | None:
        """Return the number of an event by its id, or None when it is none of ours."""
        life, _, number = last_event_id.strip().partition(".")
        if life != self._life or not number.isascii() or not number.isdecimal() or len(number) > 18:
            return None
        return int(number) if int(number) <= self.latest else None

    def after(self, place: int) -> tuple[bytes, int] | None:
        """Return some of the events after a place, with the place after them; None when they are not kept any more."""
        missing = self.latest - place
        if missing > len(self._kept):
            return None
        batch = bytearray()
        for event in islice(self._kept, len(self._kept) - missing, None):
            batch += event
            place += 1
            if len(batch) >= _BATCH:
                break
        return bytes(batch), place

    async def wait(self) -> None:
        """Wait to be woken: there may be something new. Cancelling stops the waiting only."""
        await self._lot.park()

    async def wake(self) -> None:
        """Wake those who wait, a few at a time."""
        for _ in range(0, len(self._lot), _WOKEN_AT_ONCE):
            self._lot.unpark(count=_WOKEN_AT_ONCE)
            await trio.sleep(_PAUSE)

    def end(self) -> None:
        """Have everybody leave once he has heard the rest."""
        self.ended = True
        self._lot.unpark_all()
