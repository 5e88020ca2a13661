"""The rules of a lease record, pure (I3, I4)."""

import random

import pytest

from conductor_jobs.lease import Holder, LeaseGrant
from conductor_jobs.records import LeaseRecord, answer, campaign, is_present, release, renew, restamped, stale_text

ALPHA = Holder("alpha", "1")
ALPHA_AGAIN = Holder("alpha", "2")
BETA = Holder("beta", "1")
# Held by alpha in term 7 until the store's clock shows 130.
HELD = LeaseRecord(ALPHA, term=7, ttl=30.0, expires_at=130.0)
FREED = LeaseRecord(ALPHA, term=7, ttl=30.0, expires_at=130.0, released=True)


def test_the_first_campaign_of_a_lease_begins_term_1() -> None:
    assert campaign(None, ALPHA, 30.0, now=100.0) == LeaseRecord(ALPHA, 1, 30.0, 130.0)


@pytest.mark.parametrize("now", [99.0, 129.999])
@pytest.mark.parametrize("holder", [BETA, ALPHA_AGAIN])
def test_an_unexpired_lease_is_not_taken_from_another_incarnation(holder: Holder, now: float) -> None:
    assert campaign(HELD, holder, 30.0, now) is None


@pytest.mark.parametrize(
    ("before", "holder", "now"),
    [
        pytest.param(HELD, ALPHA, 110.0, id="its own, unexpired"),
        pytest.param(HELD, ALPHA, 131.0, id="its own, expired"),
        pytest.param(HELD, BETA, 130.0, id="expired at this very moment"),
        pytest.param(HELD, ALPHA_AGAIN, 500.0, id="expired long ago"),
        pytest.param(FREED, BETA, 110.0, id="released"),
    ],
)
def test_a_campaign_takes_what_is_free_expired_or_its_own_under_the_next_term(
    before: LeaseRecord, holder: Holder, now: float
) -> None:
    assert campaign(before, holder, 20.0, now) == LeaseRecord(holder, 8, 20.0, now + 20.0)


def test_a_renewal_moves_the_expiry_and_keeps_holder_and_term() -> None:
    assert renew(HELD, ALPHA, 7, 45.0, now=129.0) == LeaseRecord(ALPHA, 7, 45.0, 174.0)


@pytest.mark.parametrize(
    ("before", "holder", "term", "now"),
    [
        pytest.param(None, ALPHA, 1, 100.0, id="never held"),
        pytest.param(HELD, BETA, 7, 100.0, id="another node"),
        pytest.param(HELD, ALPHA_AGAIN, 7, 100.0, id="another incarnation"),
        pytest.param(HELD, ALPHA, 6, 100.0, id="an older term"),
        pytest.param(HELD, ALPHA, 8, 100.0, id="a later term"),
        pytest.param(HELD, ALPHA, 7, 130.0, id="expired at this very moment"),
        pytest.param(FREED, ALPHA, 7, 100.0, id="released"),
    ],
)
def test_a_renewal_is_refused_unless_that_very_term_is_held(
    before: LeaseRecord | None, holder: Holder, term: int, now: float
) -> None:
    assert renew(before, holder, term, 30.0, now) is None


def test_a_release_keeps_the_row_and_its_term() -> None:
    assert release(HELD, ALPHA) == FREED


@pytest.mark.parametrize(
    ("before", "holder"),
    [
        pytest.param(None, ALPHA, id="never held"),
        pytest.param(HELD, BETA, id="another node"),
        pytest.param(HELD, ALPHA_AGAIN, id="another incarnation"),
        pytest.param(FREED, ALPHA, id="released before"),
    ],
)
def test_a_release_changes_nothing_for_whoever_does_not_hold_the_lease(
    before: LeaseRecord | None, holder: Holder
) -> None:
    assert release(before, holder) is None


@pytest.mark.parametrize("record", [HELD, FREED])
def test_a_record_of_a_clock_that_is_gone_gets_its_whole_ttl_again(record: LeaseRecord) -> None:
    restarted = restamped(record, now=5.0)
    assert restarted == LeaseRecord(ALPHA, 7, 30.0, 35.0, record.released)


def test_the_answer_about_a_lease_that_nobody_ever_held_names_nobody_and_term_0() -> None:
    expected = LeaseGrant(None, 0, False, "renew", 1000.0, 1000.0, 0.0)
    assert answer(None, is_leader=False, operation="renew", now=100.0, unix_now=1000.0) == expected


@pytest.mark.parametrize("is_leader", [True, False])
def test_the_answer_tells_holder_term_and_times_in_unix_seconds(is_leader: bool) -> None:
    expected = LeaseGrant("alpha", 7, is_leader, "acquire", 990.0, 1020.0, 20.0)
    assert answer(HELD, is_leader=is_leader, operation="acquire", now=110.0, unix_now=1000.0) == expected


@pytest.mark.parametrize(("record", "now"), [(FREED, 110.0), (HELD, 131.0)])
def test_nothing_remains_of_a_released_or_an_expired_lease(record: LeaseRecord, now: float) -> None:
    grant = answer(record, is_leader=False, operation="acquire", now=now, unix_now=1000.0)
    assert (grant.holder_id, grant.term, grant.expires_in) == ("alpha", 7, 0.0)


@pytest.mark.parametrize("seed", range(20))
def test_in_any_order_of_calls_terms_rise_strictly_and_only_one_term_is_ever_renewable(seed: int) -> None:
    choice = random.Random(seed)
    holders = [ALPHA, ALPHA_AGAIN, BETA]
    record: LeaseRecord | None = None
    terms: list[int] = []
    now = 0.0
    for _ in range(300):
        now += choice.choice([0.0, 0.5, 4.0])
        holder = choice.choice(holders)
        match choice.choice(["campaign", "renew", "release"]):
            case "campaign":
                taken = campaign(record, holder, 3.0, now)
                if taken is not None:
                    terms.append(taken.term)
                record = taken or record
            case "renew":
                record = renew(record, holder, choice.choice(terms or [1]), 3.0, now) or record
            case _:
                record = release(record, holder) or record
        renewable = [(h, t) for h in holders for t in terms if renew(record, h, t, 3.0, now) is not None]
        assert len(renewable) == (1 if record is not None and record.held_at(now) else 0)
        assert all(term == terms[-1] for _, term in renewable)
    assert terms == list(range(1, len(terms) + 1))
    assert len(terms) > 10


@pytest.mark.parametrize(
    ("record", "term", "state"),
    [
        pytest.param(HELD, 7, None, id="the present term, expired or not"),
        pytest.param(HELD, 6, "its term is 7", id="an older term"),
        pytest.param(HELD, 8, "its term is 7", id="a later term"),
        pytest.param(FREED, 7, "that term has been released", id="released"),
        pytest.param(FREED, 6, "its term is 7", id="an older term, released since"),
        pytest.param(None, 0, "nobody has held it yet", id="never held"),
    ],
)
def test_a_fenced_write_is_kept_under_the_present_term_alone(
    record: LeaseRecord | None, term: int, state: str | None
) -> None:
    assert is_present(record, term) is (state is None)
    if state is not None:
        assert stale_text(record, "jobs", term) == f"a write under term {term} of lease 'jobs' was refused: {state}"
