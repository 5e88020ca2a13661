"""Telling a person something beside the journal."""

import contextlib
import sys


def tell(sentence: str) -> None:
    """Write a line to stderr; where it is gone or full there is nobody to tell, and nothing is raised."""
    if sys.stderr is None:
        return
    with contextlib.suppress(OSError, ValueError):
        print(sentence, file=sys.stderr, flush=True)  # noqa: T201 - what it is for
