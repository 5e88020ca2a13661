"""`Retry`: how often a runner that fails is tried again within its tick, and after how long. Pure."""

import random
from typing import Final, final

import msgspec

from .failures import shown
from .seconds import checked_seconds

# Twice as long each time comes to the longest pause there is long before this.
_MOST_DOUBLINGS: Final = 60


@final
class Retry(msgspec.Struct, frozen=True):
    """Try a runner that fails up to `attempts` times in all, within its tick and its term.

    Before the second attempt there is a pause of `backoff` seconds, before each one after that twice as long as the
    last, at most `max_backoff`; up to `jitter` seconds, drawn anew each time, are added, so that several runners that
    failed of one cause do not come back at once. `on`: the exceptions that are worth another attempt, a class or
    several; a runner's timeout is a TimeoutError. Exception groups are judged by what they hold: all of it has to be.

    Raises ValueError or TypeError naming the argument, its value and the rule.
    """

    attempts: int = 3
    backoff: float = 1.0
    max_backoff: float = 60.0
    jitter: float = 0.0
    on: type[Exception] | tuple[type[Exception], ...] = Exception

    def __post_init__(self) -> None:
        if type(self.attempts) is not int or self.attempts < 2:
            raise ValueError(f"Retry attempts must be an integer of 2 or more, not {shown(self.attempts)}.")
        checked_seconds("Retry backoff", self.backoff, zero_allowed=True)
        checked_seconds("Retry jitter", self.jitter, zero_allowed=True)
        if checked_seconds("Retry max_backoff", self.max_backoff, zero_allowed=True) < self.backoff:
            raise ValueError(
                f"Retry max_backoff must not be less than backoff, {self.backoff!r}: {self.max_backoff!r}."
            )
        classes = self.on if isinstance(self.on, tuple) else (self.on,)
        if not classes or not all(isinstance(each, type) and issubclass(each, Exception) for each in classes):
            raise TypeError(f"Retry on must be a class of Exception, or a tuple of several, not {shown(self.on)}.")

    def is_worthwhile(self, failure: Exception, attempt: int) -> bool:
        """Return whether there is to be another attempt after `failure`, that of attempt number `attempt`, from 1."""
        return attempt < self.attempts and self._covers(failure)

    def pause_after(self, attempt: int) -> float:
        """Return the seconds to wait after attempt number `attempt`, from 1."""
        longest: float = min(self.max_backoff, self.backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS))
        return longest + random.uniform(0.0, self.jitter)

    def _covers(self, failure: BaseException) -> bool:
        if isinstance(failure, BaseExceptionGroup) and not isinstance(failure, self.on):
            return all(self._covers(each) for each in failure.exceptions)
        return isinstance(failure, self.on)
