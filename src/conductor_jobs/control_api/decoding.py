"""Requests from bodies and URLs, or what is wrong with them: the field, its value and the rule."""

import re
from collections.abc import Callable
from typing import Any, TypeVar, get_args

import msgspec

from ..stores.http_wire import shown_briefly

T = TypeVar("T", bound=msgspec.Struct)


class BadRequest(ValueError):
    """A request that breaks a rule; the text names the field, its value and the rule."""


def decoded_body(body: bytes, what: type[T]) -> T:
    """Return the request that a body is. Raises BadRequest."""
    try:
        return msgspec.json.decode(body, type=what)
    except msgspec.ValidationError as error:
        raise BadRequest(_complaint(error, what, lambda: msgspec.json.decode(body))) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body must be one JSON object: {error}") from None


def converted_query(parameters: list[tuple[str, str]], what: type[T]) -> T:
    """Return the request that the parameters of a URL are. Raises BadRequest."""
    given = dict(parameters)
    if len(given) < len(parameters):
        twice = next(name for name in given if [each for each, _ in parameters].count(name) > 1)
        raise BadRequest(f"{shown_briefly(twice)} must be given once.")
    try:
        return msgspec.convert(given, type=what, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(_complaint(error, what, lambda: given)) from None


def _complaint(error: msgspec.ValidationError, what: type[msgspec.Struct], decode: Callable[[], Any]) -> str:
    # msgspec names the field and most rules, and not the value.
    rule, _, path = str(error).partition(" - at `$.")
    field = re.match(r"\w+", path)
    if field is None:
        return rule if rule.endswith(".") else f"the request does not fit: {rule}."
    if rule.startswith("Invalid enum value"):
        kinds = {each.encode_name: each.type for each in msgspec.structs.fields(what)}
        rule = f"must be one of {', '.join(map(repr, get_args(kinds[field[0]])))}"
    try:
        return f"{field[0]}: {rule}, not {shown_briefly(decode()[field[0]])}."
    except Exception:  # noqa: BLE001 - as of a value nested too deeply: then the rule alone is said
        return f"{field[0]}: {rule}."
