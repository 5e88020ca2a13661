"""Telling a service manager such as systemd how the service stands, by the datagrams of sd_notify(3).

    READY=1      once the node stands by or leads
    STATUS=      who leads, whenever that changes
    WATCHDOG=1   twice as often as is asked for, while the loop turns and the lease task asks its store
    STOPPING=1   when the stop begins

Without NOTIFY_SOCKET nothing is done.
"""

import math
import os
import socket
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Final, final

import trio

from .conductor import Conductor
from .status import ConductorStatus
from .stderr import tell

# Seconds from one look at the conductor to the next.
LOOK_INTERVAL: Final = 0.25
_OURS: Final = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


@final
class ServiceManager:
    """Where to tell it, if anywhere. Telling never waits, and never raises: what cannot be sent goes with the next."""

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        """`address`: a path, or `@` and a name of the abstract namespace. `watchdog`: seconds it waits for a sign."""
        self._address = None if address is None else _socket_address(address)
        self.watchdog: float | None = watchdog
        self._owed: dict[str, str] = {}
        self._reported = False
        self._socket: socket.socket | None = None
        if self._address is not None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._socket.setblocking(False)

    @property
    def listens(self) -> bool:
        """Whether there is one."""
        return self._socket is not None

    def tell(self, **assignments: str) -> None:
        """Send assignments such as `READY="1"`."""
        if self._socket is None or self._address is None:
            return
        self._owed |= assignments
        message = "\n".join(f"{name}={' '.join(value.split())}" for name, value in self._owed.items())
        try:
            self._socket.sendto(message.encode(errors="replace"), self._address)
        except OSError as error:
            if not self._reported and not isinstance(error, BlockingIOError):
                tell(f"conductor-jobs: the service manager cannot be told: {error.strerror or error}")
                self._reported = True
        else:
            self._owed.clear()

    def close(self) -> None:
        """Give the socket up."""
        if self._socket is not None:
            self._socket.close()


def service_manager(variables: MutableMapping[str, str]) -> ServiceManager:
    """Return the service manager that the variables name, and remove them, for what is started from here is not it.

    A variable that makes no sense is told on stderr, and counts as one that is not set.
    """
    address, microseconds, pid = (variables.pop(name, "") for name in _OURS)
    if not address:
        return ServiceManager(None)
    if address[0] not in "/@" or len(address) < 2 or "\0" in address:
        tell("conductor-jobs: warning: NOTIFY_SOCKET is neither a path nor a name that begins with @")
        return ServiceManager(None)
    watchdog = None
    with suppress(ValueError):
        watchdog = int(microseconds) / 1_000_000 if pid in ("", str(os.getpid())) else None
    return ServiceManager(address, watchdog if watchdog and watchdog > 0 else None)


async def keep_informed(manager: ServiceManager, conductor: Conductor, longest_quiet: float) -> None:
    """Tell the service manager of a conductor until cancelled, and at last that it stops.

    No sign of life is given while the lease task has not asked its store for more than `longest_quiet` seconds.
    """
    if not manager.listens:
        return
    news = _News(manager, longest_quiet)
    try:
        while True:
            news.tell(conductor.status())
            await trio.sleep(min(LOOK_INTERVAL, news.beat))
    finally:
        news.stopping()


@final
class _News:
    """What was told already, and when."""

    def __init__(self, manager: ServiceManager, longest_quiet: float) -> None:
        self._manager = manager
        self._longest_quiet = longest_quiet
        self._status = ""
        self._ready = False
        self._stopping = False
        # Seconds from one sign of life to the next: half of what is asked for, so that one may come late.
        self.beat: float = math.inf if manager.watchdog is None else manager.watchdog / 2
        self._next_beat = trio.current_time() + (0.0 if manager.watchdog else math.inf)

    def tell(self, status: ConductorStatus) -> None:
        if status.settled and not self._ready:
            self._ready = True
            # By itself: of READY and STOPPING in one message, systemd heeds the last.
            self._manager.tell(READY="1")
        news: dict[str, str] = {}
        if status.stopping:
            self.stopping()
        elif (words := status_words(status)) != self._status:
            news["STATUS"] = self._status = words
        now = trio.current_time()
        if now >= self._next_beat and status.lease_task_quiet_for <= self._longest_quiet:
            # Half a look early rather than half a look late.
            news["WATCHDOG"], self._next_beat = "1", now + self.beat - LOOK_INTERVAL / 2
        if news:
            self._manager.tell(**news)

    def stopping(self) -> None:
        if not self._stopping:
            self._stopping = True
            self._manager.tell(STOPPING="1", STATUS="stopping")


def status_words(status: ConductorStatus) -> str:
    """Return how a conductor stands, in a line."""
    if not status.started or not status.settled:
        words = "starting"
    elif status.leadership == "leader":
        words = f"leader of term {status.term}"
    elif status.holder_id is None:
        words = "standby; nobody is known to lead"
    else:
        words = f"standby; {status.holder_id} leads, term {status.term}"
    return f"{words}; degraded: {status.problem}" if status.degraded else words


def _socket_address(address: str) -> str | bytes:
    return b"\0" + os.fsencode(address[1:]) if address.startswith("@") else address
