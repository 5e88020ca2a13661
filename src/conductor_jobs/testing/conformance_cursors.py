"""Rules of `conformance`: pauses and cursors, for stores that keep them (`PauseStore`, `CursorStore`)."""

from typing import Final

from ..lease import LeaseStore
from ..runner_records import CursorStore, PauseStore, keeps_cursors, keeps_pauses
from .conformance_clients import ALPHA, BETA, RUNNER_NAMES, Clients, Observed, fresh_lease, require
from .conformance_fences import (
    Fenced,
    an_expired_term_writes_on,
    every_stale_write_is_refused,
    no_old_write_is_kept_beside_a_campaign,
)

_CURSORS: Final = (
    *(
        "message:1",
        "",
        " ",
        "\n",
        "null",
        '{"after": "ä"}',
        "日本語 🦊",
        "\ud7ff\ue000\uffff",
        "a'b\"c\\d%s$1\r\t\x01\x7f",
    ),
    *("x" * 2**20, "ж" * 2**19, "shorter again"),
)


async def a_pause_lasts_until_it_is_ended(clients: Clients) -> None:
    """A runner of any name is paused until it is resumed, however often it is told either."""
    lease = fresh_lease()
    require(
        await _paused(clients, lease) == set(), "it remembered pauses of a lease that nobody had paused anything of."
    )
    for paused in (True, False):
        for name in RUNNER_NAMES:
            for _ in range(2):
                await _pauser(clients.next_store()).set_paused(lease, name, paused)
        told = await _paused(clients, lease)
        expected = set(RUNNER_NAMES) if paused else set()
        require(
            told == expected,
            f"of {len(RUNNER_NAMES)} runners that were told {paused=} it has others: {told ^ expected}.",
        )
    await _pauser(clients.next_store()).set_paused(lease, "a", True)
    await _pauser(clients.next_store()).set_paused(lease, "A", False)
    told = await _paused(clients, lease)
    require(told == {"a"}, f"paused were {told}, not 'a' alone.")


async def pauses_are_no_matter_of_terms(clients: Clients) -> None:
    """Runners are paused and resumed whether or not anybody holds the lease, and stay so over terms and releases."""
    lease = fresh_lease()
    await _pauser(clients.next_store()).set_paused(lease, "a", True)
    await clients.won(lease, ALPHA)
    await _pauser(clients.next_store()).set_paused(lease, "b", True)
    await clients.campaign(lease, ALPHA)
    require(await _paused(clients, lease) == {"a", "b"}, "with a new term a pause was forgotten.")
    await clients.release(lease, ALPHA)
    require(await _paused(clients, lease) == {"a", "b"}, "with a release a pause was forgotten.")
    await _pauser(clients.next_store()).set_paused(lease, "a", False)
    await clients.won(lease, BETA)
    told = await _paused(clients, lease)
    require(told == {"b"}, f"while nobody held the lease a runner was resumed, and paused were {told}.")
    await clients.still_held(lease, BETA, 3)


async def pauses_of_leases_are_kept_apart(clients: Clients) -> None:
    """Pauses of one lease are none of another, however alike the names of leases and runners are."""
    for separator in ":/|,.-_ \n\x1f":
        prefix = fresh_lease()
        await _pauser(clients.next_store()).set_paused(f"{prefix}{separator}b", "c", True)
        told = await _paused(clients, prefix)
        require(told == set(), f"of lease {prefix!r} nothing was paused, and it told of {told}.")
        await _pauser(clients.next_store()).set_paused(prefix, f"b{separator}c", False)
        told = await _paused(clients, f"{prefix}{separator}b")
        require(told == {"c"}, f"a pause was ended by that of another lease: {told}.")


async def a_cursor_is_kept_as_it_was_written(clients: Clients) -> None:
    """A cursor is any text, also empty or a megabyte long, and the last one that was saved counts."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    require(await _load(clients, lease, "a") is None, "it had a cursor that nobody had saved.")
    for cursor in _CURSORS:
        await _save(clients, lease, "a", 1, cursor)
        loaded = await _load(clients, lease, "a")
        require(loaded == cursor, f"{_brief(cursor)} was saved, and {_brief(loaded)} loaded.")


async def cursors_are_kept_apart(clients: Clients) -> None:
    """Each runner, of any name, has a cursor of its own in each lease."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    for name in RUNNER_NAMES:
        await _save(clients, lease, name, 1, f"that of {name}")
    for name in RUNNER_NAMES:
        loaded = await _load(clients, lease, name)
        require(loaded == f"that of {name}", f"the cursor of {name!r} was {loaded!r}.")
    for separator in ":/|,.-_ \n\x1f":
        prefix = fresh_lease()
        await clients.won(f"{prefix}{separator}b", ALPHA)
        await _save(clients, f"{prefix}{separator}b", "c", 1, "cursor")
        loaded = await _load(clients, prefix, f"b{separator}c")
        require(loaded is None, f"a cursor of lease {prefix + separator + 'b'!r} was loaded from {prefix!r}.")


async def cursors_outlive_terms(clients: Clients) -> None:
    """A cursor is loaded in every later term, and while nobody holds the lease."""
    lease = fresh_lease()
    await clients.won(lease, ALPHA)
    await _save(clients, lease, "a", 1, "first")
    await clients.campaign(lease, ALPHA)
    require(await _load(clients, lease, "a") == "first", "with a new term a cursor was forgotten.")
    await _save(clients, lease, "a", 2, "second")
    await clients.release(lease, ALPHA)
    require(await _load(clients, lease, "a") == "second", "with a release a cursor was forgotten.")
    await clients.won(lease, BETA)
    require(await _load(clients, lease, "a") == "second", "with the next holder a cursor was forgotten.")


async def a_stale_cursor_is_refused(clients: Clients) -> None:
    """A cursor is refused with StaleTerm, and not kept, unless it carries the present term, not yet released."""
    await every_stale_write_is_refused(clients, _fenced(clients))


async def cursors_are_kept_after_an_expiry(clients: Clients) -> None:
    """That a lease has expired makes no difference to cursors, as long as nobody has taken it."""
    await an_expired_term_writes_on(clients, _fenced(clients))


async def no_old_cursor_is_kept_once_a_term_was_granted(clients: Clients) -> None:
    """Once a term was granted no cursor of the one before is kept, whichever was under way at that moment."""
    await no_old_write_is_kept_beside_a_campaign(clients, _fenced(clients))


def _fenced(clients: Clients) -> Fenced:
    async def write(lease: str, runner: str, term: int, number: int) -> None:
        await _save(clients, lease, runner, term, f"cursor {number}")

    async def look(lease: str, runner: str) -> str | None:
        return await _load(clients, lease, runner)

    return Fenced("cursor", write, look)


async def _paused(clients: Clients, lease: str) -> set[str]:
    return set(await _pauser(clients.next_store()).paused(lease))


async def _load(clients: Clients, lease: str, runner: str) -> str | None:
    return await _keeper(clients.next_store()).load_cursor(lease, runner)


async def _save(clients: Clients, lease: str, runner: str, term: int, cursor: str) -> None:
    await _keeper(clients.next_store()).save_cursor(lease, runner, term, cursor)


def _brief(cursor: str | None) -> str:
    return repr(cursor) if cursor is None or len(cursor) < 50 else f"{cursor[:10]!r}… of {len(cursor)} characters"


def _pauser(store: LeaseStore) -> PauseStore:
    if not keeps_pauses(store):
        raise Observed("one client remembers pauses, and another does not.")
    return store


def _keeper(store: LeaseStore) -> CursorStore:
    if not keeps_cursors(store):
        raise Observed("one client keeps cursors, and another does not.")
    return store
