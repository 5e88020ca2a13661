"""`exercise_lease_store`: whether a lease store keeps the rules of `LeaseStore`, and of what it can do besides.

    conformance_clients    several clients of one place: how the rules ask, and how they judge an answer
    conformance_leases     who gets a lease, who is refused, what a release leaves behind
    conformance_times      when a lease expires, and for whom
    conformance_races      many calls at once, and calls that are given up
    conformance_watches    being told of a release
    conformance_nodes      heartbeats
    conformance_fences     what is kept under the present term alone
    conformance_claims     claims of due instants
    conformance_cursors    pauses, and cursors

A rule is an async function; the first line of its docstring is the rule.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from itertools import chain
from typing import Final

import trio

from ..failures import sole_exception
from ..lease import LeaseStore, is_lease_store
from ..seconds import checked_seconds
from ..store_calls import problem_text
from . import conformance_claims as claims
from . import conformance_cursors as cursors
from . import conformance_leases as leases
from . import conformance_nodes as nodes
from . import conformance_races as races
from . import conformance_times as times
from . import conformance_watches as watches
from .conformance_clients import CLIENTS, Clients, Observed, Rule

OF_LEASES: Final[tuple[Rule, ...]] = (
    leases.a_campaign_takes_a_free_lease,
    leases.others_are_refused_and_told,
    leases.a_renewal_is_confirmed,
    leases.a_renewal_of_anything_else_is_refused,
    leases.a_campaign_over_ones_own_lease_is_a_new_term,
    leases.a_release_frees_and_keeps_the_term,
    leases.a_release_is_for_the_holder_alone,
    leases.a_released_incarnation_is_barred,
    leases.leases_know_nothing_of_each_other,
    leases.any_text_is_a_name,
    times.an_expired_lease_is_not_renewed,
    times.a_lease_lasts_as_long_as_was_told,
    times.a_renewal_moves_the_expiry,
    times.what_is_late_changes_nothing,
    races.one_of_many_campaigns_wins,
    races.terms_rise_in_every_order_of_calls,
    races.a_call_that_is_given_up_does_no_harm,
    races.closing_a_client_changes_nothing,
)
#: For stores that have the method.
OF_ABILITIES: Final[Mapping[str, tuple[Rule, ...]]] = {
    "wait_released": (
        watches.a_release_that_is_past_is_told_at_once,
        watches.a_release_wakes_whoever_waits,
        watches.nothing_else_wakes_them,
        watches.no_release_is_missed,
    ),
    "wait_begun": (
        watches.a_term_that_has_begun_is_told_at_once,
        watches.the_next_term_wakes_whoever_waits,
    ),
    "nodes": (
        nodes.a_node_is_remembered_as_it_described_itself,
        nodes.a_later_heartbeat_takes_the_place_of_the_last,
        nodes.a_node_is_known_since_the_first_heartbeat_of_its_incarnation,
        nodes.nodes_are_ordered_by_their_ids,
        nodes.heartbeats_leave_leases_alone,
    ),
    "claims": (
        claims.a_claim_is_kept_as_it_was_written,
        claims.claims_are_ordered_by_their_runners,
        claims.a_later_instant_takes_the_place_of_an_earlier_one,
        claims.an_instant_ends_once,
        claims.an_open_instant_is_taken_over_by_a_later_term,
        claims.a_claim_that_is_repeated_is_answered_alike,
        claims.of_several_claims_each_is_judged_by_itself,
        claims.a_stale_claim_keeps_nothing_of_its_call,
        claims.claims_are_kept_after_an_expiry,
        claims.no_old_claim_is_kept_once_a_term_was_granted,
        claims.many_claims_go_into_one_call,
        claims.claims_of_leases_are_kept_apart,
        claims.calls_for_runners_hold_up_no_renewal,
    ),
    "paused": (
        cursors.a_pause_lasts_until_it_is_ended,
        cursors.pauses_are_no_matter_of_terms,
        cursors.pauses_of_leases_are_kept_apart,
    ),
    "load_cursor": (
        cursors.a_cursor_is_kept_as_it_was_written,
        cursors.cursors_are_kept_apart,
        cursors.cursors_outlive_terms,
        cursors.a_stale_cursor_is_refused,
        cursors.cursors_are_kept_after_an_expiry,
        cursors.no_old_cursor_is_kept_once_a_term_was_granted,
    ),
}


class ConformanceError(AssertionError):
    """What `exercise_lease_store` found: `broken` has each rule that was broken, and what was observed."""

    def __init__(self, broken: Mapping[str, str]) -> None:
        found = "".join(f"\n- {rule}\n  Observed: {observed}" for rule, observed in broken.items())
        super().__init__(f"the lease store breaks {len(broken)} rules:{found}")
        self.broken: dict[str, str] = dict(broken)


async def exercise_lease_store(
    open_store: Callable[[], AbstractAsyncContextManager[LeaseStore]],
    *,
    ttl: float = 1.0,
    prompt: float = 2.0,
    patience: float = 60.0,
) -> None:
    """Try every rule of a lease store, and of what it can do besides: tell of releases, remember nodes, keep claims.

    `open_store` gives one more client of the same place at each call, as another process would have; a store that
    holds nothing open is wrapped: `lambda: contextlib.nullcontext(MyStore(path))`. Every rule takes leases under
    names that nobody used before, so the place may have been used; it is left with about two hundred of them.

    `ttl`: of the leases that are to expire, in seconds: the shortest that the store is good at. `prompt`: the seconds
    within which whoever waits for a release must hear of it, and a call that is cancelled must end. `patience`: the
    seconds that one rule may take.

    Raises ConformanceError naming every broken rule and what was observed; what `open_store` raises goes on as it
    is. Cancelling ends it, with leases left behind that expire.
    """
    for name, seconds in {"ttl": ttl, "prompt": prompt, "patience": patience}.items():
        checked_seconds(f"exercise_lease_store {name}", seconds)
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store()) for _ in range(CLIENTS)]
        for store in stores:
            if not is_lease_store(store):
                raise TypeError(f"open_store must give a lease store, with acquire and release, not {store!r}.")
        clients = Clients(stores, open_store, ttl, prompt)
        broken = await _broken_rules(clients, patience)
    if broken:
        raise ConformanceError(broken)


async def _broken_rules(clients: Clients, patience: float) -> dict[str, str]:
    broken: dict[str, str] = {}
    for rule in rules_of(clients.stores[0]):
        try:
            with trio.fail_after(patience):
                await rule(clients)
        except trio.TooSlowError:
            # Whatever hangs would hang in the other rules too.
            broken[sentence(rule)] = f"this took more than {patience:g} s, and nothing else was tried."
            break
        except Exception as error:  # noqa: BLE001 - whatever a store raises is what is to be found out
            broken[sentence(rule)] = _observed(error)
    return broken


def rules_of(store: LeaseStore) -> list[Rule]:
    """Return the rules that a store has to keep, by what it can do."""
    able = [rules for method, rules in OF_ABILITIES.items() if callable(getattr(store, method, None))]
    return [*OF_LEASES, *chain.from_iterable(able)]


def sentence(rule: Rule) -> str:
    """Return the rule in words."""
    return (rule.__doc__ or rule.__name__).strip().splitlines()[0]


def _observed(error: Exception) -> str:
    # Of several calls at once that found the same, one is enough.
    while isinstance(error, ExceptionGroup):
        seen, _ = error.split(Observed)
        error = (seen or error).exceptions[0]
    cause = sole_exception(error)
    return str(cause) if isinstance(cause, Observed) else f"the store raised {problem_text(error)}"
