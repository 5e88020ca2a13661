"""What people do to a simulated cluster while it runs: pause a runner, have one run, have the leader step down."""

import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Final, final

import trio

from ..conductor import Conductor
from .life import Life
from .scenario import Fault
from .scheduled_work import SCHEDULED

_AGAIN: Final = 1.0


@final
class Operator:
    """Does what a fault says by way of a node: through whichever life it has at the moment."""

    def __init__(self, life: Callable[[], Life | None], over: trio.Event) -> None:
        self._life = life
        self._over = over

    async def pause(self, fault: Fault) -> None:
        """Pause a runner, and resume it after the seconds of the fault."""
        name = random.Random(fault.seed).choice([*SCHEDULED, "steady"])
        await self._until_done(lambda conductor: conductor.pause(name))
        await trio.sleep(fault.seconds)
        await self._until_done(lambda conductor: conductor.resume(name))

    async def run_now(self, fault: Fault) -> None:
        """Have a runner run, if the node leads."""
        name = random.Random(fault.seed).choice([*SCHEDULED, "eager"])
        await self._once(lambda conductor: conductor.run_now(name))

    async def resign(self) -> None:
        """Have the node give the lease back, if it leads."""
        if (life := self._life()) is not None:
            life.note_resignation()
            await self._once(lambda conductor: conductor.resign())

    async def _until_done(self, call: Callable[[Conductor], Awaitable[object]]) -> None:
        while not self._over.is_set() and not await self._once(call):
            with trio.move_on_after(_AGAIN):
                await self._over.wait()

    async def _once(self, call: Callable[[Conductor], Awaitable[object]]) -> bool:
        # The node may be gone, or going, and the store away: then a person tries again, or gives up.
        with contextlib.suppress(Exception):
            if (life := self._life()) is not None:
                await call(life.conductor)
                return True
        return False
