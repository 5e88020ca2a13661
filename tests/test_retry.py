"""`Retry`: which failures are tried again, how often, and after how long."""

import math
from typing import Any

import pytest

from conductor_jobs import Retry


class Unreachable(OSError): ...


def test_its_arguments_may_be_given_in_order() -> None:
    named = Retry(attempts=5, backoff=0.5, max_backoff=30.0, jitter=0.1, on=OSError)
    assert Retry(5, 0.5, 30.0, 0.1, OSError) == named


def test_the_default_is_three_attempts_of_any_failure_a_second_and_two_apart() -> None:
    retry = Retry()
    assert (retry.attempts, retry.backoff, retry.max_backoff, retry.jitter, retry.on) == (3, 1.0, 60.0, 0.0, Exception)
    assert [retry.is_worthwhile(ValueError(), attempt) for attempt in (1, 2, 3, 4)] == [True, True, False, False]
    assert [retry.pause_after(attempt) for attempt in (1, 2)] == [1.0, 2.0]


def test_pauses_double_up_to_the_longest() -> None:
    retry = Retry(attempts=8, backoff=0.5, max_backoff=6.0)
    assert [retry.pause_after(attempt) for attempt in range(1, 8)] == [0.5, 1.0, 2.0, 4.0, 6.0, 6.0, 6.0]


def test_many_attempts_overflow_nothing() -> None:
    assert Retry(attempts=10_000, max_backoff=3600.0).pause_after(9_999) == 3600.0
    assert Retry(attempts=10_000, backoff=0.0).pause_after(9_999) == 0.0


def test_jitter_is_drawn_anew_and_comes_on_top_of_the_longest_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter([0.25, 1.75])

    def draw(least: float, most: float) -> float:
        assert (least, most) == (0.0, 2.0)
        return next(drawn)

    monkeypatch.setattr("random.uniform", draw)
    retry = Retry(backoff=10.0, max_backoff=10.0, jitter=2.0)
    assert [retry.pause_after(1), retry.pause_after(2)] == [10.25, 11.75]


@pytest.mark.parametrize(
    ("on", "failure", "worthwhile"),
    [
        (OSError, OSError(), True),
        (OSError, Unreachable(), True),
        (OSError, ValueError(), False),
        (TimeoutError, TimeoutError("timed out after 5 s"), True),
        ((OSError, KeyError), KeyError(), True),
        ((OSError, KeyError), ValueError(), False),
        (OSError, ExceptionGroup("both", [OSError(), Unreachable()]), True),
        (OSError, ExceptionGroup("one of them", [OSError(), ValueError()]), False),
        (OSError, ExceptionGroup("nested", [ExceptionGroup("inner", [OSError()]), OSError()]), True),
        (OSError, ExceptionGroup("nested", [ExceptionGroup("inner", [ValueError()]), OSError()]), False),
        (ExceptionGroup, ExceptionGroup("as such", [ValueError()]), True),
        (Exception, ExceptionGroup("any", [ValueError()]), True),
    ],
)
def test_another_attempt_is_worth_it_if_all_that_failed_is_covered(
    on: Any, failure: Exception, worthwhile: bool
) -> None:
    assert Retry(on=on).is_worthwhile(failure, 1) is worthwhile


@pytest.mark.parametrize(
    ("argument", "problem"),
    [
        ({"attempts": 1}, "Retry attempts must be an integer of 2 or more, not 1."),
        ({"attempts": 2.0}, "Retry attempts must be an integer of 2 or more, not 2.0."),
        ({"attempts": True}, "Retry attempts must be an integer of 2 or more, not True."),
        ({"backoff": -1.0}, "Retry backoff must be a non-negative number of seconds, not -1.0."),
        ({"backoff": math.nan}, "Retry backoff must be a non-negative number of seconds, not nan."),
        ({"jitter": math.inf}, "Retry jitter must be a non-negative number of seconds, not inf."),
        ({"jitter": "1"}, "Retry jitter must be a non-negative number of seconds, not '1'."),
        ({"max_backoff": -0.1}, "Retry max_backoff must be a non-negative number of seconds, not -0.1."),
        ({"backoff": 5.0, "max_backoff": 4.0}, "Retry max_backoff must not be less than backoff, 5.0: 4.0."),
    ],
    ids=str,
)
def test_a_bad_number_is_refused_naming_argument_value_and_rule(argument: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match="Retry ") as caught:
        Retry(**argument)
    assert str(caught.value) == problem


@pytest.mark.parametrize("on", [(), "OSError", OSError(), KeyboardInterrupt, BaseException, (OSError, int), [OSError]])
def test_what_is_no_exception_class_is_refused(on: Any) -> None:
    with pytest.raises(TypeError, match=r"Retry on must be a class of Exception, or a tuple of several, not "):
        Retry(on=on)
