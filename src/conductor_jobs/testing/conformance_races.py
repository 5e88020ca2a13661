"""Rules of `conformance`: many calls at once, from several clients, and calls that are given up."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, final

import trio

from ..errors import StaleTerm
from ..lease import Holder, LeaseGrant, LeaseStore, Node, keeps_nodes, watches_releases
from ..runner_records import Claim, keeps_claims, keeps_cursors, keeps_pauses
from .conformance_clients import ALPHA, BETA, LONG, Clients, fresh_lease, named, require
from .conformance_times import taken_over

_CONTENDERS: Final = 12
_TERMS: Final = 20
#: Seconds after which calls are given up, the first at once.
_GIVEN_UP_AFTER: Final = (0.0, 0.0003, 0.001, 0.003, 0.01, 0.03)


async def one_of_many_campaigns_wins(clients: Clients) -> None:
    """Of many that campaign at once exactly one is granted the lease, and the others are told of it."""
    for _ in range(3):
        lease = fresh_lease()
        grants: list[LeaseGrant] = []

        async def campaign(number: int, lease: str = lease, grants: list[LeaseGrant] = grants) -> None:
            grants.append(await clients.campaign(lease, Holder(f"node-{number}", "1")))

        async with trio.open_nursery() as nursery:
            for number in range(2 * _CONTENDERS):
                nursery.start_soon(campaign, number)
        winners = [grant for grant in grants if grant.is_leader]
        require(len(winners) == 1, f"of {len(grants)} that campaigned at once these were granted the lease: {winners}.")
        told = {(grant.holder_id, grant.term) for grant in grants}
        require(len(told) == 1, f"of one campaign the contenders were told different things: {sorted(told, key=str)}.")


async def terms_rise_in_every_order_of_calls(clients: Clients) -> None:
    """Terms rise one by one, never two of them at once, whatever campaigns, renewals and releases come together."""
    storm = _Storm(clients)
    async with trio.open_nursery() as nursery:
        for number in range(_CONTENDERS):
            nursery.start_soon(storm.contend, number)
    terms = sorted(storm.granted)
    require(terms == list(range(1, len(terms) + 1)), f"the terms of a lease, in the end, were {terms}.")


@final
class _Storm:
    """Contenders for one lease, and what is known of it from what they were answered so far."""

    def __init__(self, clients: Clients) -> None:
        self.granted: dict[int, Holder] = {}
        self._clients = clients
        self._lease = fresh_lease()
        self._holding: Holder | None = None

    async def contend(self, number: int) -> None:
        """Live one life after another until there were terms enough."""
        life = 0
        while len(self.granted) < _TERMS:
            holder = Holder(f"node-{number}", f"life-{life}")
            term = await self._campaign(holder)
            if term is not None:
                await self._lead(holder, term)
                life += 1
            await trio.sleep(0.001)  # or whoever is first in the loop might always be first in the store

    async def _lead(self, holder: Holder, term: int) -> None:
        await self._renew(holder, term, confirmed=True)
        later = await self._campaign(holder)
        require(later is not None, f"{named(holder)} campaigned over its own lease, and was refused.")
        assert later is not None
        await self._renew(holder, term, confirmed=False)
        await self._renew(holder, later, confirmed=True)
        self._holding = None
        require(await self._clients.release(self._lease, holder), f"a release by {named(holder)} returned False.")
        require(await self._campaign(holder) is None, f"{named(holder)} was granted a term after its release.")

    async def _campaign(self, holder: Holder) -> int | None:
        latest = max(self.granted, default=0)
        grant = await self._clients.campaign(self._lease, holder)
        require(
            grant.term >= latest, f"{named(holder)} was told of term {grant.term} after term {latest} had been granted."
        )
        if not grant.is_leader:
            return None
        require(grant.term not in self.granted, f"term {grant.term} was granted twice.")
        require(
            self._holding in (None, holder), f"{named(holder)} was granted the lease while {self._holding} held it."
        )
        self.granted[grant.term] = self._holding = holder
        return grant.term

    async def _renew(self, holder: Holder, term: int, *, confirmed: bool) -> None:
        grant = await self._clients.renew(self._lease, holder, term)
        latest = max(self.granted)
        require(
            grant.is_leader is confirmed,
            f"{named(holder)} asked to renew term {term} when the latest was {latest}, and was answered {grant}.",
        )


async def a_call_that_is_given_up_does_no_harm(clients: Clients) -> None:
    """A call that is cancelled ends promptly; it was carried out or not, and the store is as good as before."""
    lease = fresh_lease()
    latest = 0
    for number, seconds in enumerate(_GIVEN_UP_AFTER):
        for call in _calls_of(clients, lease, number):
            await _give_up(call, seconds, clients.prompt)
        async with trio.open_nursery() as nursery:
            for rival in range(_CONTENDERS):
                one_of_many = _campaign_of(clients, lease, Holder(f"rival-{rival}", f"{number}"))
                nursery.start_soon(_give_up, one_of_many, seconds, clients.prompt)
        grant = await taken_over(clients, lease, Holder("patient", f"{number}"))
        require(grant.term > latest, f"after term {latest}, and calls that were given up, there was term {grant.term}.")
        latest = grant.term
        await clients.still_held(lease, Holder("patient", f"{number}"), latest)
        await clients.release(lease, Holder("patient", f"{number}"))


def _calls_of(clients: Clients, lease: str, number: int) -> list[Callable[[], Awaitable[object]]]:
    store, holder, node = clients.next_store(), Holder("hasty", f"{number}"), Node("hasty", "conformance")
    calls: list[Callable[[], Awaitable[object]]] = [
        _campaign_of(clients, lease, holder),
        lambda: store.acquire(lease, holder, clients.ttl, term=number),
        lambda: store.release(lease, holder),
    ]
    calls += _calls_for_runners(store, lease, number)
    if keeps_nodes(store):
        calls += [
            lambda: store.heartbeat(lease, node, f"{number}", "standby", "fingerprint"),
            lambda: store.nodes(lease),
        ]
    if watches_releases(store):
        calls += [lambda: store.wait_released(lease, 10**6), lambda: store.wait_begun(lease, 10**6)]
    return calls


def _calls_for_runners(store: LeaseStore, lease: str, term: int) -> list[Callable[[], Awaitable[object]]]:
    calls: list[Callable[[], Awaitable[object]]] = []
    if keeps_claims(store):
        claim = Claim("hasty", datetime(2026, 1, 1, tzinfo=UTC), term)
        calls += [lambda: _fenced(store.claim(lease, [claim])), lambda: store.claims(lease)]
    if keeps_pauses(store):
        calls += [lambda: store.set_paused(lease, "hasty", term % 2 == 0), lambda: store.paused(lease)]
    if keeps_cursors(store):
        calls += [
            lambda: _fenced(store.save_cursor(lease, "hasty", term, "")),
            lambda: store.load_cursor(lease, "hasty"),
        ]
    return calls


async def _fenced(write: Awaitable[object]) -> None:
    with suppress(StaleTerm):
        await write


def _campaign_of(clients: Clients, lease: str, holder: Holder) -> Callable[[], Awaitable[object]]:
    store = clients.next_store()
    return lambda: store.acquire(lease, holder, clients.ttl)


async def _give_up(call: Callable[[], Awaitable[object]], seconds: float, prompt: float) -> None:
    with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
        await call()
    late = trio.current_time() - scope.deadline
    require(late < prompt, f"a call that was cancelled ended {late:.3f} s after that.")


async def closing_a_client_changes_nothing(clients: Clients) -> None:
    """A lease outlives the client that it was taken through, and one client that closes leaves the others open."""
    lease = fresh_lease()
    async with clients.open_store() as passing:
        grant = await passing.acquire(lease, ALPHA, LONG)
        require(grant.is_leader, f"{named(ALPHA)} campaigned for a lease that was free, and was refused: {grant}.")
    for _ in clients.stores:
        await clients.still_held(lease, ALPHA, 1)
    rival = await clients.campaign(lease, BETA)
    require(not rival.is_leader, f"a lease ended with the client that it was taken through: {rival}.")
