"""Two clocks that must agree before leader's work goes on: Trio's, and one that counts suspend.

Trio's clock stands still while a laptop sleeps or a virtual machine is paused; a lease in a store does not.
So a lease's deadline is kept as an `Instant` on both clocks, and what remains is the smaller remainder (I11).
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, final

import trio

_BOOT_CLOCK: Final = time.CLOCK_BOOTTIME if sys.platform == "linux" else time.CLOCK_MONOTONIC
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
# It shifts CLOCK_BOOTTIME; kernels before 5.6 have none.
_TIME_NAMESPACE: Final = Path("/proc/self/ns/time")


def boot_time() -> float:
    """Return seconds since boot, suspend included, on a clock that all processes of the host share.

    Linux: CLOCK_BOOTTIME. macOS: CLOCK_MONOTONIC, which counts sleep there (clock_gettime(3)).
    """
    return time.clock_gettime(_BOOT_CLOCK)


def boot_clock_domain() -> str:
    """Name the boot and time namespace in which readings of `boot_time` can be compared.

    Raises RuntimeError on a platform that names no boot.
    """
    if sys.platform == "linux":
        # Asked each time: a process may be restored from a checkpoint in another boot, or in another namespace.
        boot = _BOOT_ID.read_text(encoding="ascii").strip()
        try:
            return f"{boot}/{_TIME_NAMESPACE.readlink()}"
        except FileNotFoundError:
            return f"{boot}/time"
    if sys.platform == "darwin":
        import subprocess

        command = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - fixed
    raise RuntimeError(f"no clock that outlives suspend and is shared by all processes is known for {sys.platform}")


class Instant(NamedTuple):
    """One moment, as seconds on Trio's clock and on the clock that counts suspend."""

    trio: float
    boot: float

    def after(self, seconds: float) -> "Instant":
        """Return the moment that lies `seconds` later."""
        return Instant(self.trio + seconds, self.boot + seconds)


@final
class Clocks:
    """The pair of clocks of one run; may be read from any thread."""

    def __init__(self, trio_clock: trio.abc.Clock, boot_clock: Callable[[], float]) -> None:
        self._trio_time = trio_clock.current_time
        self._boot_time = boot_clock
        self._trio_sleep_time = trio_clock.deadline_to_sleep_time

    def keep_real_time(self) -> bool:
        """Return whether a second is a second on both: simulations and tests bring clocks of their own."""
        # Asked for a long time, so that it matters little how long the asking itself is held up.
        sleep_time = self._trio_sleep_time(self._trio_time() + 1000.0)
        return self._boot_time is boot_time and round(sleep_time, -3) == 1000.0

    def now(self) -> Instant:
        """Read both clocks."""
        return Instant(self._trio_time(), self._boot_time())

    def have_reached(self, deadline: Instant) -> bool:
        """Return whether `deadline` has come by either clock."""
        return self._trio_time() >= deadline.trio or self._boot_time() >= deadline.boot

    def have_reached_at(self, now: float, deadline: Instant) -> bool:
        """As `have_reached`, `now` being what Trio's clock says."""
        return now >= deadline.trio or self._boot_time() >= deadline.boot

    def remaining(self, deadline: Instant) -> float:
        """Return the seconds until `deadline` by the clock that is nearer to it; negative when it has passed."""
        return min(deadline.trio - self._trio_time(), deadline.boot - self._boot_time())
