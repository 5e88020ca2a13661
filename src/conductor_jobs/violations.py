"""What a checker says of a history that must not be."""

from typing import final

import msgspec


@final
class Violation(msgspec.Struct, frozen=True, order=True):
    """A rule that was broken: where in the history, which one (`I3`), and what happened, in a sentence.

    `at` is a place in the words of the history that was judged: a moment, or a file and its line.
    """

    at: str
    rule: str
    what: str

    def __str__(self) -> str:
        return f"{self.at}: {self.rule}: {self.what}"
