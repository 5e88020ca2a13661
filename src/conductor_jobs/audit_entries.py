"""What is judged of an entry, and how a detail is read that may be anybody's."""

from collections.abc import Callable
from typing import Any, Protocol

#: Is told where, which rule, and what happened.
Report = Callable[[str, str, str], None]


class Line(Protocol):
    """What is judged of an entry; a `JournalEntry` will do."""

    @property
    def batch_id(self) -> str:
        """See `JournalEntry`."""
        ...

    @property
    def runner(self) -> str:
        """See `JournalEntry`."""
        ...

    @property
    def stage(self) -> str:
        """See `JournalEntry`."""
        ...

    @property
    def ts(self) -> str:
        """See `JournalEntry`."""
        ...

    @property
    def details(self) -> Any:
        """See `JournalEntry`: a mapping."""
        ...


def text(entry: Line, name: str) -> str | None:
    """Return a detail that is to be a text, or None."""
    value = entry.details.get(name)
    return value if type(value) is str else None


def number(entry: Line, name: str) -> int | None:
    """Return a detail that is to be a positive integer, or None."""
    value = entry.details.get(name)
    return value if type(value) is int and value > 0 else None
