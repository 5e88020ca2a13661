"""What an exception means: in words, and which part of it is a failure (I15, seed 2.6)."""

import pytest
import trio

from conductor_jobs.failures import error_text, sole_exception, split_failure


class Speechless(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


VALUE, KEY = ValueError("bad value"), KeyError("k")
INTERRUPT, EXIT = KeyboardInterrupt(), SystemExit(3)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("bad value"), "bad value"),
        (ValueError(), "ValueError"),
        (ValueError(""), "ValueError"),
        (KeyError("cursor"), "'cursor'"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (Speechless(), "Speechless"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (ExceptionGroup("two", [ValueError("a"), TypeError("b")]), "two: a; b"),
        (ExceptionGroup("outer", [ExceptionGroup("inner", [ValueError("a")]), OSError()]), "outer: inner: a; OSError"),
        (BaseExceptionGroup("mixed", [KeyboardInterrupt(), Speechless()]), "mixed: KeyboardInterrupt; Speechless"),
    ],
    ids=repr,
)
def test_an_error_is_told_in_its_own_words_or_by_its_type(error: BaseException, text: str) -> None:
    assert error_text(error) == text


def test_an_exception_is_a_failure_and_nothing_goes_on() -> None:
    assert split_failure(VALUE) == (VALUE, None)


@pytest.mark.parametrize("error", [INTERRUPT, EXIT, GeneratorExit()], ids=repr)
def test_an_interrupt_or_exit_goes_on_and_is_no_failure(error: BaseException) -> None:
    assert split_failure(error) == (None, error)


def test_a_group_of_exceptions_alone_is_a_failure() -> None:
    group = ExceptionGroup("g", [VALUE, KEY])
    assert split_failure(group) == (group, None)


def test_a_mixed_group_is_taken_apart_at_every_depth() -> None:
    group = BaseExceptionGroup("g", [VALUE, BaseExceptionGroup("h", [INTERRUPT, KEY])])
    failure, rest = split_failure(group)
    assert isinstance(failure, ExceptionGroup)
    assert leaves(failure) == [VALUE, KEY]
    assert rest is not None
    assert leaves(rest) == [INTERRUPT]


async def test_a_cancellation_is_parted_from_an_error_of_the_cleanup() -> None:
    failure: Exception | None = None
    with trio.CancelScope() as scope:
        scope.cancel()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_fail_in_cleanup)
                await trio.sleep_forever()
        except BaseException as error:
            failure, rest = split_failure(error)
            assert rest is not None
            raise rest from None
    assert scope.cancelled_caught
    assert failure is not None
    assert leaves(failure) == [VALUE]


@pytest.mark.parametrize(
    ("error", "sole"),
    [
        (VALUE, VALUE),
        (ExceptionGroup("g", [VALUE]), VALUE),
        (ExceptionGroup("g", [ExceptionGroup("h", [VALUE])]), VALUE),
        (BaseExceptionGroup("g", [INTERRUPT]), INTERRUPT),
    ],
    ids=["none", "one", "nested", "interrupt"],
)
def test_groups_of_one_are_unwrapped(error: BaseException, sole: BaseException) -> None:
    assert sole_exception(error) is sole


def test_a_group_of_several_is_kept_whole() -> None:
    several = ExceptionGroup("h", [VALUE, KEY])
    assert sole_exception(several) is several
    assert sole_exception(ExceptionGroup("g", [several])) is several


async def _fail_in_cleanup() -> None:
    try:
        await trio.sleep_forever()
    finally:
        raise VALUE


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in leaves(each)]
    return [error]
