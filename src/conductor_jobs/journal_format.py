"""How an entry becomes a line of JSON and a line becomes an entry again."""

from collections.abc import Mapping
from typing import Any

import msgspec

from .journal import JournalEntry

KEYS = JournalEntry.__struct_fields__[:7]
_RESERVED = frozenset(KEYS)


# Not tracked by the garbage collector: it holds texts and numbers alone, and one is made for every line.
class _Line(msgspec.Struct, gc=False):
    batch_id: str
    duration_ms: int | float | None
    error: str | None
    result: str | None
    runner: str
    stage: str
    ts: str


def _plain(value: object) -> object:
    # msgspec takes exact types only; a subclass, such as NumPy's float64, is what it derives from.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, int):
        return int.__int__(value)
    return dict(value) if isinstance(value, Mapping) else repr(value)


_encode = msgspec.json.Encoder(enc_hook=_plain).encode
_decoder = msgspec.json.Decoder(_Line)
_details_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_line(entry: JournalEntry) -> bytes:
    """Return the entry as one line, with its newline. Never raises: what cannot be encoded becomes its repr."""
    # Before the rest, since the repr of a detail may do anything.
    details = encode_details(entry.details) if entry.details else None
    head = _Line(entry.batch_id, entry.duration_ms, entry.error, entry.result, entry.runner, entry.stage, entry.ts)
    try:
        line = _encode(head)
    except UnicodeEncodeError:  # a lone surrogate, from a file name or a broken decoder
        line = _encode(_mended_texts(head))
    return line + b"\n" if details is None else b"%b,%b\n" % (line[:-1], details[1:])


def encode_text(text: str) -> str:
    """Return a text as JSON. Never raises."""
    try:
        return _encode(text).decode()
    except UnicodeEncodeError:
        return _encode(_mended(text)).decode()


def line_around(*gaps: str, **said: str) -> list[str]:
    """Return the line of an entry without details, in the pieces that stand around the `gaps`, its end cut off.

    For lines that are the same but for these fields. What fills a gap is JSON.
    `end_of_line` is what belongs behind the last piece.
    """
    fields: dict[str, Any] = dict.fromkeys(KEYS) | said | {gap: f"<{gap}>" for gap in gaps}
    rest = encode_line(JournalEntry(**fields)).decode().removesuffix("}\n")
    pieces: list[str] = []
    for gap in gaps:
        piece, _, rest = rest.partition(f'"<{gap}>"')
        pieces.append(piece)
    return [*pieces, rest]


def end_of_line(details: Mapping[str, Any] | None) -> str:
    """Return what belongs behind the seven keys: the details, if there are any, brace and newline. Never raises."""
    return f",{encode_details(details).decode()[1:]}\n" if details else "}\n"


def decode_line(line: bytes) -> JournalEntry:
    """Return the entry of a line. Raises msgspec.DecodeError: bad JSON or UTF-8, a key missing or of a wrong type."""
    try:
        head = _decoder.decode(line)
        details = _details_decoder.decode(line)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error
    for key in KEYS:
        del details[key]
    return JournalEntry(
        head.batch_id, head.duration_ms, head.error, head.result, head.runner, head.stage, head.ts, details
    )


def encode_details(details: Mapping[str, Any]) -> bytes:
    """Return details as a JSON object in which none of the seven keys is a name. Never raises, as `encode_line`."""
    try:
        if type(details) is dict:
            # A plain loop: any() and a generator cost twice as much as the encoding.
            for name in details:
                if type(name) is not str or name in _RESERVED:
                    break
            else:
                return _encode(details)
    except Exception:  # noqa: BLE001, S110 - whatever a user's value raises, its entry is kept, below
        pass
    return b"{" + b",".join(_encode_detail(key, value) for key, value in _renamed(details)) + b"}"


def _renamed(details: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # A detail never overwrites one of the seven keys, and no two details end under one name.
    taken = set(_RESERVED) | {key for key in details if type(key) is str and key not in _RESERVED}
    pairs: list[tuple[str, Any]] = []
    for key, value in details.items():
        name = _mended(key if type(key) is str else _safe_text(key))
        if name != key or name in _RESERVED or type(key) is not str:
            while name in taken:
                name = f"details.{name}"
            taken.add(name)
        pairs.append((name, value))
    return pairs


def _encode_detail(name: str, value: object) -> bytes:
    return _encode_value(name) + b":" + _encode_value(value)


def _encode_value(value: object) -> bytes:
    try:
        return _encode(value)
    except Exception:  # noqa: BLE001 - as above
        return _encode(_mended(safe_repr(value)))


def safe_repr(value: object) -> str:
    """Return the value's repr, or its type's name where even that fails."""
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a user's __repr__ may do anything
        return f"<{type(value).__name__}>"


def _safe_text(key: object) -> str:
    try:
        return f"{key}"
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        return safe_repr(key)


def _mended_texts(head: _Line) -> _Line:
    fields = {key: _mended(value) for key, value in msgspec.structs.asdict(head).items()}
    return _Line(**fields)


def _mended(value: Any) -> Any:
    # A lone surrogate, as in an undecodable file name, has no UTF-8.
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
