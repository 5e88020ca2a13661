"""How long a lease may be trusted, and when a standby looks again (I1, I9, I10, I11)."""

import random
from typing import Any

import pytest

from conductor_jobs.clocks import Instant
from conductor_jobs.lease import LeaseGrant
from conductor_jobs.timing import LeaseTiming

BEYOND_FLOATS = 10**400
ASKED_AT = Instant(trio=100.0, boot=5000.0)


def refused(expires_in: float) -> LeaseGrant:
    return LeaseGrant("other", 3, False, "acquire", 0.0, 0.0, expires_in)


@pytest.fixture(params=[0.0, 1.0], ids=["least jitter", "most jitter"])
def luck(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """Have every random choice fall on one end of its range."""
    share: float = request.param
    monkeypatch.setattr(random, "uniform", lambda low, high: low + share * (high - low))
    return share


def test_the_defaults_are_those_of_the_seed() -> None:
    timing = LeaseTiming()
    assert (timing.ttl, timing.renew_interval, timing.margin, timing.store_timeout) == (30.0, 5.0, 3.0, 5.0)
    assert timing.heartbeat_interval == 5.0


@pytest.mark.parametrize("ttl", [0.001, 1, 3.0, 30.0, 600.0, 1e6])
def test_a_ttl_alone_is_always_safe(ttl: float) -> None:
    timing = LeaseTiming(ttl)
    assert timing.renew_interval == min(5.0, ttl / 6)
    assert timing.margin == ttl / 10
    assert timing.store_timeout == ttl / 6
    assert timing.renew_interval + 2 * timing.store_timeout + timing.margin < ttl


def test_heartbeats_follow_the_renew_interval_unless_given_one() -> None:
    assert LeaseTiming(30.0, renew_interval=2.0).heartbeat_interval == 2.0
    assert LeaseTiming(30.0, heartbeat_interval=60.0).heartbeat_interval == 60.0


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ({"ttl": 10.0, "renew_interval": 9.0}, "9 + 2 * 1.66667 + 1 >= 10 seconds"),
        ({"ttl": 10.0, "margin": 6.0}, "1.66667 + 2 * 1.66667 + 6 >= 10 seconds"),
        ({"ttl": 10.0, "store_timeout": 4.5}, "1.66667 + 2 * 4.5 + 1 >= 10 seconds"),
        ({"ttl": 10.0, "renew_interval": 3.0, "margin": 1.0, "store_timeout": 3.0}, "3 + 2 * 3 + 1 >= 10 seconds"),
    ],
    ids=["renewal too late", "margin too wide", "store too slow", "exactly the ttl"],
)
def test_what_cannot_be_safe_is_rejected_naming_the_numbers(values: dict[str, float], numbers: str) -> None:
    with pytest.raises(ValueError, match="renew_interval") as caught:
        LeaseTiming(**values)
    assert numbers in str(caught.value)


def test_what_is_just_safe_is_accepted() -> None:
    timing = LeaseTiming(10.0, renew_interval=3.0, margin=1.0, store_timeout=2.999)
    assert timing.store_timeout == 2.999


@pytest.mark.parametrize("field", ["ttl", "renew_interval", "margin", "store_timeout", "heartbeat_interval"])
@pytest.mark.parametrize(
    "value", [0, -1.0, float("nan"), float("inf"), True, "5", BEYOND_FLOATS], ids=lambda value: repr(value)[:5]
)
def test_each_number_must_be_positive_and_finite_seconds(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"lease timing {field} must be a positive number of seconds, not ") as caught:
        LeaseTiming(**{field: value})
    assert repr(value)[:20] in str(caught.value)


def test_a_timing_cannot_be_changed_into_an_unsafe_one() -> None:
    with pytest.raises(AttributeError):
        LeaseTiming().margin = 29.0  # type: ignore[misc] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("expires_in", "seconds"),
    [(30.0, 27.0), (20.0, 17.0), (90.0, 27.0), (1.0, -2.0)],
    ids=["the whole ttl", "less than the ttl", "more than the ttl", "less than the margin"],
)
def test_the_deadline_is_counted_from_before_the_question_and_never_beyond_our_ttl(
    expires_in: float, seconds: float
) -> None:
    grant = LeaseGrant("us", 3, True, "renew", 0.0, 0.0, expires_in)
    assert LeaseTiming(30.0).deadline(ASKED_AT, grant) == Instant(100.0 + seconds, 5000.0 + seconds)


@pytest.mark.parametrize(
    ("expires_in", "priority"), [(30.0, 100), (30.0, 50), (0.851, 100), (0.951, 50), (0.0, 100), (0.0, 50)]
)
def test_a_polling_standby_looks_every_three_quarters_of_a_second_give_or_take_a_tenth(
    luck: float, expires_in: float, priority: int
) -> None:
    pause = LeaseTiming(30.0).next_look(refused(expires_in), watching=False, priority=priority)
    assert pause == pytest.approx(0.65 + 0.2 * luck)


@pytest.mark.parametrize("expires_in", [0.01, 0.3])
@pytest.mark.parametrize(("priority", "wait"), [(101, 0.0), (100, 0.0), (99, 0.5), (50, 0.5)])
@pytest.mark.parametrize("watching", [True, False])
def test_a_standby_looks_right_after_an_expiry_that_is_near_and_a_lower_priority_half_a_second_later(
    luck: float, expires_in: float, priority: int, wait: float, watching: bool
) -> None:
    pause = LeaseTiming(30.0).next_look(refused(expires_in), watching=watching, priority=priority)
    assert pause == pytest.approx(expires_in + 0.1 * luck + wait)


@pytest.mark.parametrize("expires_in", [30.0, 5.21, 0.0])
def test_a_watching_standby_looks_once_in_a_renew_interval(luck: float, expires_in: float) -> None:
    pause = LeaseTiming(30.0).next_look(refused(expires_in), watching=True, priority=50)
    assert pause == pytest.approx(5.0 + 0.1 * luck)


@pytest.mark.parametrize("priority", [100, 50])
@pytest.mark.parametrize("watching", [True, False])
@pytest.mark.parametrize("expires_in", [0.05, 0.4, 0.74, 0.86, 1.3, 4.9, 5.09, 5.11, 7.0, 29.9])
def test_after_a_crash_a_standby_asks_within_a_second_of_the_expiry_and_never_long_before_in_vain(
    luck: float, expires_in: float, watching: bool, priority: int
) -> None:
    timing = LeaseTiming(30.0)
    asked_after, looks = 0.0, 0
    while asked_after < expires_in:
        asked_after += timing.next_look(refused(expires_in - asked_after), watching=watching, priority=priority)
        looks += 1
    assert asked_after - expires_in <= 0.6 + 1e-9
    assert looks <= expires_in / (5.0 if watching else 0.65) + 2


@pytest.mark.parametrize("priority", [100, 50])
@pytest.mark.parametrize("expires_in", [0.2, 0.5, 0.84, 0.86, 30.0])
def test_a_polling_standby_notices_a_release_within_a_second(luck: float, expires_in: float, priority: int) -> None:
    pause = LeaseTiming(30.0).next_look(refused(expires_in), watching=False, priority=priority)
    assert pause <= 1.0


@pytest.mark.parametrize("latency", [0.0, 0.02, 0.05])
@pytest.mark.parametrize("watching", [True, False])
def test_a_lower_priority_takes_nothing_in_the_half_second_after_an_expiry_though_calls_take_time(
    luck: float, watching: bool, latency: float
) -> None:
    timing, expires_at = LeaseTiming(30.0), 7.0
    for start in range(200):
        # From one call being carried out to the next it takes the latency beside the pause.
        carried_out = start / 200
        while carried_out < expires_at:
            pause = timing.next_look(refused(expires_at - carried_out), watching=watching, priority=50)
            carried_out += latency + pause
        assert carried_out >= expires_at + 0.5


@pytest.mark.parametrize(
    ("failures", "low", "high"),
    [(0, 0.0, 0.0), (1, 0.0, 0.0), (2, 0.125, 0.25), (3, 0.25, 0.5), (5, 1.0, 2.0), (7, 2.5, 5.0), (10_000, 2.5, 5.0)],
)
def test_the_first_retry_is_immediate_and_the_next_ones_back_off_with_jitter_up_to_the_renew_interval(
    luck: float, failures: int, low: float, high: float
) -> None:
    assert LeaseTiming(30.0).backoff(failures) == pytest.approx(high if luck else low)
