"""The rule for numbers of seconds that callers give, stated once."""

import math

from .failures import shown


def checked_seconds(name: str, value: object, *, zero_allowed: bool = False) -> float:
    """Return a finite number of seconds as a float. Raises ValueError naming what it is, its value and the rule."""
    rule = "a non-negative" if zero_allowed else "a positive"
    try:
        seconds = float(value) if type(value) in (int, float) else math.nan  # type: ignore[arg-type] # tested before
    except OverflowError:
        seconds = math.inf
    if not 0 <= seconds < math.inf or (seconds == 0 and not zero_allowed):
        raise ValueError(f"{name} must be {rule} number of seconds, not {shown(value)}.")
    return seconds
