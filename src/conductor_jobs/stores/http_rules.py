"""Rules for the fields of what is said to a control API, and how a broken one is told: field, value and rule."""

from typing import Final

from ..failures import shown
from ..lease import TERM_LIMIT, is_name

LONGEST_NAME: Final = 1000
_NAME: Final = f"a text of 1 to {LONGEST_NAME} characters without NUL"
_LONGEST_SHOWN: Final = 80


def check(holds: bool, field: str, value: object, rule: str) -> None:
    """Raise ValueError unless it holds."""
    if not holds:
        raise ValueError(f"{_camel(field)} must be {rule}, not {shown_briefly(value)}.")


def check_names(request: object, *fields: str) -> None:
    """Raise ValueError unless each is a name: any text tells a lease or a life from another, also one of blanks."""
    for field in fields:
        value: str = getattr(request, field)
        holds = is_name(f"x{value}") and 1 <= len(value) <= LONGEST_NAME
        check(holds, field, value, _NAME)


def check_words(request: object, *fields: str) -> None:
    """Raise ValueError unless each is a name that is not blank."""
    check_names(request, *fields)
    for field in fields:
        value: str = getattr(request, field)
        check(is_name(value), field, value, "a text that is not blank")


def check_term(term: int) -> None:
    """Raise ValueError unless it is the number of a term, or 0."""
    check(0 <= term < TERM_LIMIT, "term", term, "an integer from 0 to 2**63 - 1")


def _camel(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(map(str.capitalize, others))


def shown_briefly(value: object) -> str:
    """Return a value as an error's sentence shows it, and not all of it if it is long."""
    text = shown(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
