"""A lease store that answers anything: nobody leads without a valid grant, and `run` outlives it all (I1, I5).

Every answer, exception and delay is drawn; the conductor and Trio are real, on virtual time.
"""

import math
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from trio.testing import MockClock

from conductor_jobs import Holder, LeaseGrant, LeaseTiming, TickContext
from conductor_jobs.errors import Unusable

from .strategies import Closed, Slippery, anything, deep_group, fewer, numbers
from .support import make_conductor, make_jobs

TIMING = LeaseTiming(ttl=6.0)
DRAIN_TIMEOUT = 2.0
US = "mini-main"


_KINDS = (
    *(OSError, Slippery, MemoryError, StopIteration, TimeoutError, Unusable),
    *(trio.TooSlowError, trio.BusyResourceError, RecursionError),
)
errors: st.SearchStrategy[Exception] = st.one_of(
    st.sampled_from(_KINDS).map(lambda kind: kind()),
    st.builds(lambda: ExceptionGroup("both", [OSError("one"), Unusable("two")])),
    st.builds(lambda: Closed("x", [OSError("one")])),
    st.builds(deep_group, st.sampled_from([1, 50, 3000])),
)
#: What a store means to answer when all is well, most of the time; None stands for the right term.
terms = st.one_of(st.none(), st.none(), st.integers(-1, 5), numbers, anything)
leading = st.one_of(st.booleans(), st.booleans(), st.booleans(), anything)
remains = st.one_of(st.just(6.0), st.floats(0, 10), numbers, anything)
holders = st.one_of(st.just(US), st.just(US), st.just("other"), st.none(), anything)
fields = st.tuples(holders, terms, leading, remains)
good = st.tuples(st.just(US), st.none(), st.just(value=True), st.floats(2, 10))
delays = st.one_of(st.just(0.0), st.just(0.0), st.floats(0, 2), st.just(math.inf))
answers = st.tuples(delays, st.one_of(good, good, fields, fields, errors, anything))


class AnyStore:
    """Answers from a script, the last answer for ever; notes the grants that may be relied on."""

    def __init__(self, script: list[Any], at_release: Any) -> None:
        self._script = script
        self._at_release = at_release
        self._asked = 0
        self._highest = 0
        #: Of each grant that may be relied on: its term, and from when until when work may go on under it.
        self.trusted: list[tuple[int, float, float]] = []

    async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
        asked_at = trio.current_time()
        delay, answer = self._script[min(self._asked, len(self._script) - 1)]
        self._asked += 1
        await trio.sleep(delay)
        if isinstance(answer, tuple) and len(answer) == 4:
            holder_id, number, is_leader, expires_in = answer
            number = (self._highest + 1 if term is None else term) if number is None else number
            grant: Any = LeaseGrant(holder_id, number, is_leader, "acquire", 0.0, 0.0, expires_in)
            self._note(grant, asked_at)
            return grant
        return answer_or_raise(answer)

    async def release(self, lease_name: str, holder: Holder) -> Any:
        delay, answer = self._at_release
        await trio.sleep(delay)
        return answer_or_raise(answer)

    def _note(self, grant: LeaseGrant, asked_at: float) -> None:
        if (
            grant.is_leader is True
            and grant.holder_id == US
            and type(grant.term) is int
            and 0 < grant.term < 2**63
            and type(grant.expires_in) in (int, float)
            and 0 <= grant.expires_in < 2**1024
        ):
            until = asked_at + min(TIMING.ttl, grant.expires_in) - TIMING.margin
            self.trusted.append((grant.term, asked_at, until))
            self._highest = max(self._highest, grant.term)


def answer_or_raise(answer: Any) -> Any:
    if isinstance(answer, Exception):
        raise answer
    return answer


def on_virtual_time(main: Callable[[], Awaitable[None]]) -> None:
    trio.run(main, clock=MockClock(autojump_threshold=0))


@fewer(by=3)
@given(st.lists(answers, min_size=1, max_size=12), answers)
@example([(0.0, (US, None, True, 6.0)), (0.0, (US, None, True, -math.inf))], (0.0, True))
@example([(0.0, (US, None, True, math.nan))], (0.0, True))
@example([(0.0, (US, "7", True, 6.0))], (0.0, True))
@example([(0.0, (US, 1.5, True, 6.0))], (0.0, True))
@example([(0.0, ("other", None, True, 6.0))], (0.0, True))
@example([(0.0, (US, 2**15000, True, 6.0))], (0.0, True))
@example([(0.0, (US, None, "no", 6.0))], (0.0, True))
@example([(0.0, (US, None, 1, 6.0))], (0.0, True))
@example([(0.0, (US, 5, True, 6.0)), (0.0, ("other", 5, False, 0.1)), (0.0, (US, 3, True, 6.0))], (0.0, True))
@example([(0.0, ("other", 3, False, None))], (0.0, True))
def test_whatever_a_store_answers_nobody_leads_without_a_valid_grant_and_the_run_ends_in_time(
    script: list[Any], at_release: Any
) -> None:
    acts: list[tuple[float, int]] = []

    async def act(ctx: TickContext) -> None:
        while True:
            acts.append((trio.current_time(), ctx.term))
            await trio.sleep(0.1)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_or_hear_why_not)
            await trio.sleep(30)
            if conductor.started:
                stopped_at = trio.current_time()
                await conductor.stop()
                # I14: the drain, then the release; the work here ends when it is cancelled.
                assert trio.current_time() - stopped_at <= DRAIN_TIMEOUT + TIMING.store_timeout
        assert unusable or trio.current_time() >= 30

    async def run_or_hear_why_not() -> None:
        try:
            await conductor.run()
        except Unusable:
            # Before the first answer it is the end, and nothing had begun.
            assert not acts
            unusable.append(True)

    unusable: list[bool] = []
    store = AnyStore(script, at_release)
    conductor, journal = make_conductor(make_jobs(act, interval=0.5), store, timing=TIMING, drain_timeout=DRAIN_TIMEOUT)
    on_virtual_time(main)
    for at, term in acts:
        assert any(number == term and asked <= at <= until for number, asked, until in store.trusted)
    worked = [term for _, term in acts]
    assert worked == sorted(worked), "a term went down"
    begun = [entry.details["term"] for entry in journal.all("leader_started")]
    assert all(before < after for before, after in pairwise(begun))
    assert journal.stages().count("leader_started") == journal.stages().count("leader_ended")
    assert journal.stages()[-1:] in ([], ["stopped"])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
@fewer(by=10)
@given(st.integers(1, 8), st.booleans())
def test_what_is_no_exception_goes_on_once_the_work_has_ended_and_the_release_was_asked_for(
    error: type[BaseException], at: int, grouped: bool
) -> None:
    class Deadly(AnyStore):
        released = False

        async def acquire(self, lease_name: str, holder: Holder, ttl: float, *, term: int | None = None) -> Any:
            grant = await super().acquire(lease_name, holder, ttl, term=term)
            if self._asked == at:
                raise BaseExceptionGroup("both", [error(), OSError()]) if grouped else error()
            return grant

        async def release(self, lease_name: str, holder: Holder) -> bool:
            assert at_work == 0
            Deadly.released = True
            return True

    at_work = 0

    async def act(ctx: TickContext) -> None:
        nonlocal at_work
        at_work += 1
        try:
            await trio.sleep_forever()
        finally:
            at_work -= 1

    async def main() -> None:
        await conductor.run()

    conductor, journal = make_conductor(
        make_jobs(act, interval=0.5), Deadly([(0.0, (US, None, True, 6.0))], None), timing=TIMING
    )
    with pytest.raises((error, BaseExceptionGroup)):
        on_virtual_time(main)
    assert Deadly.released
    assert at_work == 0
    assert journal.stages()[-1] == "stopped"
