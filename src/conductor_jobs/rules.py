"""What texts a setting takes: each rule as usage text names it, in words, and as a parser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, final
from urllib.parse import urlsplit

import msgspec

from .http_serving.address import URL_RULE, parsed_address
from .stores.urls import WORDS, kind_of

# More digits than the milliseconds of thirty years have are no setting.
_MOST_DIGITS: Final = 12


@final
class Rule(msgspec.Struct, frozen=True):
    """What values a setting takes. `parse` returns None for a text that breaks the rule."""

    metavar: str
    words: str
    parse: Callable[[str], Any]


def _integer_from(minimum: int) -> Callable[[str], int | None]:
    def parse(text: str) -> int | None:
        digits = text.strip()
        if not digits.isascii() or not digits.isdigit() or len(digits) > _MOST_DIGITS:
            return None
        return int(digits) if int(digits) >= minimum else None

    return parse


def _integer(text: str) -> int | None:
    negative = text.strip().startswith("-")
    magnitude = _integer_from(0)(text.strip().removeprefix("-"))
    return -magnitude if negative and magnitude is not None else magnitude


def _line(text: str) -> str | None:
    stripped = text.strip()
    return stripped if stripped and stripped.isprintable() else None


def _path(text: str) -> str | None:
    if not text.strip() or not text.isprintable():
        return None
    try:
        return str(Path(text).expanduser())
    except RuntimeError:  # `~name`, and nobody is called that
        return None


def _role(text: str) -> str | None:
    return text.strip() if text.strip() in ("primary", "standby") else None


def _http_url(text: str) -> str | None:
    try:
        parts = urlsplit(text.strip())
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    # urlsplit passes over newlines and tabs.
    plain = text.strip().isprintable() and not any(each in text.strip() for each in "@?# ")
    return text.strip() if usable and plain else None


def _listen_url(text: str) -> str | None:
    try:
        parsed_address(text.strip())
    except ValueError:
        return None
    return text.strip()


def _store_url(text: str) -> str | None:
    return text.strip() if text.strip().isprintable() and kind_of(text.strip()) is not None else None


POSITIVE: Final = Rule("<integer>", "a positive integer", _integer_from(1))
NON_NEGATIVE: Final = Rule("<integer>", "a non-negative integer", _integer_from(0))
INTEGER: Final = Rule("<integer>", "an integer", _integer)
LINE: Final = Rule("<text>", "a non-empty line of text", _line)
PATH: Final = Rule("<path>", "a path in one line, any `~` being somebody's home", _path)
ROLE: Final = Rule("<role>", "`primary` or `standby`", _role)
HTTP_URL: Final = Rule("<url>", "an http or https URL without credentials or query", _http_url)
LISTEN_URL: Final = Rule("<url>", URL_RULE, _listen_url)
STORE_URL: Final = Rule("<url>", f"{WORDS}, in one line", _store_url)
