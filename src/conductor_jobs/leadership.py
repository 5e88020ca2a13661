"""Whoever waits for leadership: the term while this node leads, and whether the conductor runs at all."""

from collections.abc import Callable
from typing import Literal, Protocol, TypeVar, final

from trio_util import AsyncValue, compose_values

from .errors import ConductorStopped
from .failures import error_text
from .stderr import tell
from .term import Term

T_co = TypeVar("T_co", covariant=True)
Life = Literal["not started", "starting", "running", "ended"]


class Watchable(Protocol[T_co]):
    """The reading side of trio-util's AsyncValue, which carries leadership to whoever waits for it."""

    @property
    def value(self) -> T_co:
        """The value now."""
        ...

    async def wait_value(self, value_or_predicate: Callable[[T_co], bool], *, held_for: float = 0.0) -> T_co:
        """Wait until the predicate holds, for `held_for` seconds without a break; return the value that it held for.

        Cancelling stops the waiting only.
        """
        ...


@final
class Leadership:
    """The term of this node, or None, and the life of its conductor, for all who wait for a change of them.

    The term is kept in two values: ours, which nobody else waits on, and the users', whose predicates AsyncValue
    calls in its setter, where they may raise.
    """

    def __init__(self) -> None:
        self._term: AsyncValue[Term | None] = AsyncValue(None)
        self._life: AsyncValue[Life] = AsyncValue("not started")
        self._published: AsyncValue[Term | None] = AsyncValue(None)

    @property
    def published(self) -> Watchable[Term | None]:
        """The term or None, for users to read and to wait on."""
        return self._published

    @property
    def term(self) -> Term | None:
        """The term while this node leads."""
        return self._term.value

    @term.setter
    def term(self, term: Term | None) -> None:
        self._term.value = term
        try:
            self._published.value = term
        except Exception as error:  # noqa: BLE001 - a user's predicate; the lease task must not die of it
            problem = f"raised {type(error).__name__}: {error_text(error)}"
            tell(f"conductor-jobs: a predicate that waits on Conductor.leadership {problem}")

    def enter(self, life: Life) -> None:
        """Note what has become of the conductor."""
        self._life.value = life

    async def wait_leader(self, *, after: Term | None = None) -> Term:
        """Wait for a term that runs and is not `after`. Raises ConductorStopped once the conductor has ended."""
        while True:
            with compose_values(term=self._term, life=self._life, _transform_=tuple) as both:
                term, life = await both.wait_value(lambda now: _leads(now[0], after) or now[1] == "ended")
            # The term may be over again by the time that the waiter is woken.
            if _leads(term, after):
                assert isinstance(term, Term)
                return term
            if life == "ended":
                raise ConductorStopped("the conductor's run has ended")

    async def wait_standby(self) -> None:
        """Wait until the conductor runs and does not lead. Raises ConductorStopped once it has ended."""
        with compose_values(term=self._term, life=self._life, _transform_=tuple) as both:
            _, life = await both.wait_value(lambda now: now in ((None, "running"), (None, "ended")))
        if life == "ended":
            raise ConductorStopped("the conductor's run has ended")

    async def wait_over(self) -> None:
        """Wait until the conductor does not run, not having begun or having ended."""
        await self._life.wait_value(lambda life: life in ("not started", "ended"))


def _leads(term: Term | None, after: Term | None) -> bool:
    return term is not None and term is not after and term.over is None
