"""Rules of `conformance` that claims and cursors have in common: a write is kept under the present term alone."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio

from ..errors import StaleTerm
from .conformance_clients import ALPHA, BETA, LONG, Clients, Observed, fresh_lease, require
from .conformance_times import expiry

_RACES: Final = 8
_WRITERS: Final = 4


@final
class Fenced:
    """Something that a store keeps under a fence: how it is written, and how one sees what is kept."""

    def __init__(
        self,
        what: str,
        write: Callable[[str, str, int, int], Awaitable[object]],
        look: Callable[[str, str], Awaitable[object]],
    ) -> None:
        """`write` takes a lease, a runner, a term and a number, `look` a lease and a runner.

        What `look` returns after a number was written is what it returns after no other one.
        """
        self.what = what
        self.write = write
        self.look = look

    async def refused(self, lease: str, term: int, number: int, when: str) -> None:
        """See that a write is refused with StaleTerm, and that nothing of it is kept."""
        before = await self.look(lease, "a")
        try:
            await self.write(lease, "a", term, number)
        except StaleTerm:
            after = await self.look(lease, "a")
            require(after == before, f"a {self.what} of term {term} was refused {when}, and kept: {after}.")
        else:
            raise Observed(f"a {self.what} of term {term} was not refused {when}.")


async def every_stale_write_is_refused(clients: Clients, fenced: Fenced) -> None:
    """Try terms that are not the present one: there is none yet, it is another, it was released."""
    lease = fresh_lease()
    for term in (0, 1):
        await fenced.refused(lease, term, 1, "before anybody had held the lease")
    await clients.won(lease, ALPHA)
    await fenced.write(lease, "a", 1, 1)
    await clients.campaign(lease, ALPHA)
    for term in (0, 1, 3):
        await fenced.refused(lease, term, 2, "while the present term was 2")
    await fenced.write(lease, "a", 2, 3)
    await clients.release(lease, ALPHA)
    for term in (2, 3):
        await fenced.refused(lease, term, 4, "after term 2 had been released")
    await clients.won(lease, BETA)
    for term in (1, 2):
        await fenced.refused(lease, term, 5, "while the present term was 3")
    await fenced.write(lease, "a", 3, 6)


async def an_expired_term_writes_on(clients: Clients, fenced: Fenced) -> None:
    """Write after the lease has expired, while nobody has taken it, and then under the term that follows."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA, clients.ttl)
    await fenced.write(lease, "a", 1, 1)
    before = await fenced.look(lease, "a")
    await expiry(clients, lease)
    require(await fenced.look(lease, "a") == before, f"a {fenced.what} was forgotten when the lease expired.")
    try:
        await fenced.write(lease, "a", 1, 2)
    except StaleTerm as error:
        raise Observed(f"a {fenced.what} of term 1, expired but not taken over, was refused: {error}.") from None
    require(await fenced.look(lease, "a") != before, f"a {fenced.what} was not refused, and not kept either.")
    await clients.won(lease, BETA)
    await fenced.refused(lease, 1, 3, "after term 1 had expired and term 2 had begun")
    await fenced.write(lease, "a", 2, 4)


async def no_old_write_is_kept_beside_a_campaign(clients: Clients, fenced: Fenced) -> None:
    """Campaign while writes of the term before are under way, at many moments."""
    for race in range(_RACES):
        await _Race(clients, fenced, fresh_lease()).run(0.0008 * race)


@final
class _Race:
    """Writers of term 1 that go on until they are refused, and the campaign that ends their term."""

    def __init__(self, clients: Clients, fenced: Fenced, lease: str) -> None:
        self._clients = clients
        self._fenced = fenced
        self._lease = lease
        self._over = False

    async def run(self, seconds: float) -> None:
        clients, lease, look = self._clients, self._lease, self._fenced.look
        runners = [f"runner-{number}" for number in range(_WRITERS)]
        seen: list[Any] = []
        await clients.won(lease, ALPHA)
        async with trio.open_nursery() as nursery:
            for runner in runners:
                nursery.start_soon(self._write, runner)
            await trio.sleep(seconds)
            grant = await clients.campaign(lease, ALPHA, LONG)
            self._over = True
            require((grant.is_leader, grant.term) == (True, 2), f"a campaign over term 1 was answered {grant}.")
            seen = [await look(lease, runner) for runner in runners]
        later = [await look(lease, runner) for runner in runners]
        what = f"{self._fenced.what}s of term 1"
        require(later == seen, f"after term 2 was granted, {what} were kept: first there were {seen}, then {later}.")

    async def _write(self, runner: str) -> None:
        number = 0
        while True:
            await trio.sleep(0.0005)  # or the clock of a test would never go on
            number, is_late = number + 1, self._over
            try:
                await self._fenced.write(self._lease, runner, 1, number)
            except StaleTerm:
                return
            require(not is_late, f"after term 2 was granted, a {self._fenced.what} of term 1 was not refused.")
