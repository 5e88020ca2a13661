"""Rules of `conformance`: being told of a release, and of the next term, for stores that can."""

from typing import Final, cast

import trio

from ..lease import LeaseStore, ReleaseWatcher
from .conformance_clients import ALPHA, ALPHA_AGAIN, BETA, Clients, Observed, fresh_lease, require

_RACES: Final = 12
#: Seconds in which nothing must be told, when there is nothing to tell.
_QUIET: Final = 0.3


async def a_release_that_is_past_is_told_at_once(clients: Clients) -> None:
    """Whoever asks to be told of the release of a term that is over is told at once, whether or not another began."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    await clients.release(lease, ALPHA)
    for store in clients.stores:
        await _told(store, lease, 1, clients.prompt)
    await clients.won(lease, BETA)
    for store in clients.stores:
        await _told(store, lease, 1, clients.prompt)


async def a_release_wakes_whoever_waits(clients: Clients) -> None:
    """A release promptly wakes all who wait for it, through whichever client; cancelling one wait ends no other."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    waiting = 2 * len(clients.stores)
    woken: list[LeaseStore] = []
    all_woken = trio.Event()

    async def wait(store: LeaseStore) -> None:
        await _watcher(store).wait_released(lease, 1)
        woken.append(store)
        if len(woken) == waiting:
            all_woken.set()

    async with trio.open_nursery() as nursery:
        for store in 2 * clients.stores:
            nursery.start_soon(wait, store)
        for store in clients.stores:
            with trio.move_on_after(_QUIET / 3):
                await _watcher(store).wait_released(lease, 1)
        require(not woken, f"{len(woken)} of {waiting} were told of a release while the lease was held.")
        await clients.still_held(lease, ALPHA, 1)
        await clients.release(lease, ALPHA)
        with trio.move_on_after(clients.prompt):
            await all_woken.wait()
        require(
            len(woken) == waiting,
            f"{waiting - len(woken)} of {waiting} were not told within {clients.prompt:g} s.",
        )


async def nothing_else_wakes_them(clients: Clients) -> None:
    """Renewals, refused calls and releases by others, or of other leases, are no release."""
    lease, other = fresh_lease(), fresh_lease()
    await clients.won(lease, ALPHA)
    await clients.won(other, ALPHA)
    told: list[bool] = []

    async def wait(store: LeaseStore) -> None:
        await _watcher(store).wait_released(lease, 1)
        told.append(True)

    async with trio.open_nursery() as nursery:
        for store in clients.stores:
            nursery.start_soon(wait, store)
        await trio.sleep(_QUIET)
        await clients.renew(lease, ALPHA, 1)
        await clients.campaign(lease, BETA)
        await clients.renew(lease, BETA, 1)
        await clients.release(lease, BETA)
        await clients.release(lease, ALPHA_AGAIN)
        await clients.release(other, ALPHA)
        await trio.sleep(_QUIET)
        nursery.cancel_scope.cancel()
    require(
        not told, f"{len(told)} of {len(clients.stores)} were told of a release, and the lease was held throughout."
    )
    await clients.still_held(lease, ALPHA, 1)


async def no_release_is_missed(clients: Clients) -> None:
    """A release at the very moment when somebody begins to wait for it is told too."""
    for race in range(_RACES):
        lease = fresh_lease()
        await clients.won(lease, ALPHA)
        watching = clients.stores[race % len(clients.stores)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_told, watching, lease, 1, clients.prompt)
            await trio.sleep(0.0005 * (race // 2))
            await clients.release(lease, ALPHA)


async def a_term_that_has_begun_is_told_at_once(clients: Clients) -> None:
    """Whoever asks to be told when a term begins is told at once if that one, or a later one, has begun."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    await clients.campaign(lease, ALPHA)
    for store in clients.stores:
        for term in (1, 2):
            await _begun(store, lease, term, clients.prompt)


async def the_next_term_wakes_whoever_waits(clients: Clients) -> None:
    """The beginning of a term promptly wakes all who wait for it, and neither a renewal nor the release before does."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    waiting = trio.Event()
    woken: list[LeaseStore] = []

    async def wait(store: LeaseStore) -> None:
        waiting.set()
        await _begun(store, lease, 2, 2 * _QUIET + clients.prompt)
        woken.append(store)

    async with trio.open_nursery() as nursery:
        for store in clients.stores:
            nursery.start_soon(wait, store)
        await waiting.wait()
        await trio.sleep(_QUIET)
        await clients.still_held(lease, ALPHA, 1)
        await clients.release(lease, ALPHA)
        await trio.sleep(_QUIET)
        require(not woken, f"{len(woken)} of {len(clients.stores)} were told of term 2, which nobody had been granted.")
        await clients.won(lease, BETA)


async def _begun(store: LeaseStore, lease: str, term: int, prompt: float) -> None:
    with trio.move_on_after(prompt):
        await _watcher(store).wait_begun(lease, term)
        return
    raise Observed(f"that term {term} had begun was not told within {prompt:g} s.")


async def _told(store: LeaseStore, lease: str, term: int, prompt: float) -> None:
    with trio.move_on_after(prompt):
        await _watcher(store).wait_released(lease, term)
        return
    raise Observed(f"of the release of term {term} nothing was told within {prompt:g} s.")


def _watcher(store: LeaseStore) -> ReleaseWatcher:
    # Of its two methods a store may have only the one that is asked for here.
    return cast("ReleaseWatcher", store)
