"""Requests from bodies and URLs, or what is wrong with them: the field, its value and the rule."""

import re
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from ..stores.http_rules import shown_briefly

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
    rule, found, path = str(error).removesuffix("`").rpartition(" - at `$.")
    if not found:
        return _whole(str(error), "the request does not fit")
    if rule.endswith(".") or rule.startswith("Object "):
        return _whole(rule, path)
    try:
        if rule.startswith("Invalid enum value"):
            rule = f"must be one of {', '.join(map(repr, _choices(_type_at(what, path))))}"
        return f"{path}: {rule}, not {shown_briefly(_value_at(decode(), path))}."
    except Exception:  # noqa: BLE001 - as of a value nested too deeply: then the rule alone is said
        return f"{path}: {rule}."


def _whole(rule: str, where: str) -> str:
    # A rule of ours names the field and the value itself, but not in which part of a request.
    return rule if rule.endswith(".") and "[" not in where else f"{where}: {rule.rstrip('.')}."


def _value_at(body: Any, path: str) -> Any:
    """Return what is at a path like `claims[0].result`."""
    for step in re.findall(r"\w+", path):
        body = body[int(step) if isinstance(body, list) else step]
    return body


def _type_at(what: Any, path: str) -> Any:
    for step in re.findall(r"\w+", path):
        if get_origin(what) is list:
            (what,) = get_args(what)
        else:
            what = {each.encode_name: each.type for each in msgspec.structs.fields(what)}[step]
    return what


def _choices(kind: Any) -> Iterator[object]:
    for each in get_args(kind):
        if get_origin(each) is Literal:
            yield from get_args(each)
        else:
            yield None if each is NoneType else each
