"""How an entry becomes a line of JSON and a line becomes an entry again."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, final

import msgspec

from .failures import shown
from .journal import JournalEntry

KEYS = JournalEntry.__struct_fields__[:7]
_RESERVED = frozenset(KEYS)
# Encoded without any code of the user's, and without an inside.
_ATOMS = frozenset({str, int, float, bool, type(None)})
_SEQUENCES = (list, tuple, set, frozenset)
# Beyond that what a detail is made of is told by its repr; it also ends what goes round.
_DEEPEST = 100


# Not tracked by the garbage collector: it holds texts and numbers alone, and one is made for every line.
class _Line(msgspec.Struct, gc=False):
    batch_id: str
    duration_ms: int | float | None
    error: str | None
    result: str | None
    runner: str
    stage: str
    ts: str


@final
class LineFacts(_Line, gc=False):
    """What a judge of a line needs, decoded at once: the seven keys, and the few details that the engine's rules name.

    Stands for a `JournalEntry` whose other details were not read. A runner may give such a detail any value.
    """

    term: Any = None
    lease_name: Any = None
    holder_id: Any = None
    node_id: Any = None
    host: Any = None
    pid: Any = None
    incarnation: Any = None
    lost_entry_count: Any = None
    group: Any = None
    due_at: Any = None
    on_crash: Any = None

    @property
    def details(self) -> "LineFacts":
        """Itself, for `details.get`."""
        return self

    def get(self, name: str) -> Any:
        """Return the detail of that name, or None."""
        return getattr(self, name)


# It keeps no reference to what it walks through: if that changed on the way, by another thread or by a time zone that
# is written in Python, the process would go down. So what has an inside is given to it only as a copy of our own.
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(_Line)
_facts_decoder = msgspec.json.Decoder(LineFacts)
_details_decoder = msgspec.json.Decoder(dict[str, Any])


def encode_line(entry: JournalEntry) -> bytes:
    """Return the entry as one line, with its newline. Never raises: what cannot be encoded becomes its repr."""
    head = _Line(entry.batch_id, entry.duration_ms, entry.error, entry.result, entry.runner, entry.stage, entry.ts)
    try:
        line = _encode(head)
    except Exception:  # noqa: BLE001 - a lone surrogate, a text of a type of its own, a number beyond all bounds
        line = _encode(_mended_head(head))
    return line[:-1] + end_of_line(entry.details)


def encode_text(text: str) -> bytes:
    """Return a text as JSON. Never raises."""
    try:
        return _encode(text)
    except Exception:  # noqa: BLE001 - as above
        return _encode(_mended(str.__str__(text)))


def encode_number(number: int) -> bytes:
    """Return a number of 64 bits as JSON."""
    return _encode(number)


def line_form(*gaps: str, **said: str) -> bytes:
    """Return the line of an entry as a form: `form % (...)` fills each of the `gaps`, which are fields, with JSON.

    The last gap is for `end_of_line`. For lines that are the same but for these fields.
    """
    fields: dict[str, Any] = dict.fromkeys(KEYS) | said | {gap: f"<{gap}>" for gap in gaps}
    form = encode_line(JournalEntry(**fields)).removesuffix(b"}\n")
    for gap in gaps:
        form = form.replace(encode_text(f"<{gap}>"), b"%b")
    return form + b"%b"


def end_of_line(details: Mapping[str, Any] | None) -> bytes:
    """Return what belongs behind the seven keys: the details, if there are any, brace and newline. Never raises."""
    return b"," + _encode_details(details)[1:] + b"\n" if details else b"}\n"


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


def decode_facts(line: bytes) -> LineFacts:
    """Return what a judge needs of a line. Raises msgspec.DecodeError as `decode_line` does."""
    try:
        return _facts_decoder.decode(line)
    except (UnicodeDecodeError, RecursionError) as error:
        raise msgspec.DecodeError(str(error)) from error


def _encode_details(details: Mapping[str, Any]) -> bytes:
    # Before anything is looked at: a copy is made in one step, whatever another thread does to the original.
    details = dict(details)
    try:
        # A plain loop: all() and a generator cost twice as much as the encoding.
        for name, value in details.items():
            if type(name) is not str or name in _RESERVED or type(value) not in _ATOMS:
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
        if type(key) is not str or name != key or name in _RESERVED:
            while name in taken:
                name = f"details.{name}"
            taken.add(name)
        pairs.append((name, value))
    return pairs


def _encode_detail(name: str, value: object) -> bytes:
    return _encode(name) + b":" + _encode_value(value)


def _encode_value(value: object) -> bytes:
    try:
        return _encode(_plain(value, 0))
    except Exception:  # noqa: BLE001 - as above
        return _encode(_mended(shown(value)))


def _plain(value: Any, depth: int) -> object:
    """Return a copy, of exact types: a subclass, such as NumPy's float64, is what it derives from."""
    kind = type(value)
    if depth > _DEEPEST:
        raise RecursionError
    if issubclass(kind, str):
        return _mended(str.__str__(value))
    if issubclass(kind, _SEQUENCES):
        items = list(value)
        return _at_once(items, items) or [_plain(each, depth + 1) for each in items]
    try:
        table = dict(value) if issubclass(kind, Mapping) else _fields(value)
        if table is None:
            return _encoded_leaf(value)
    except Exception:  # noqa: BLE001 - as above
        return _mended(shown(value))
    if {str}.issuperset(map(type, table)) and (at_once := _at_once(table, table.values())):
        return at_once
    plain = {_mended(_safe_text(key)): _plain(each, depth + 1) for key, each in table.items()}
    if len(plain) < len(table):
        raise KeyError
    return plain


def _encoded_leaf(value: Any) -> msgspec.Raw:
    kind = type(value)
    if issubclass(kind, float):
        value = float.__float__(value)
    elif issubclass(kind, int) and kind is not bool:
        value = int.__int__(value)
    return msgspec.Raw(_encode(value))


def _at_once(copy: object, inside: Iterable[Any]) -> msgspec.Raw | None:
    """Return a copy of ours as JSON, if nothing is inside that has to be looked at: many times as fast."""
    try:
        return msgspec.Raw(_encode(copy)) if _ATOMS.issuperset(map(type, inside)) else None
    except Exception:  # noqa: BLE001 - as above
        return None


def _fields(value: Any) -> dict[str, Any] | None:
    """Return the fields of a value that has some in JSON though it is no mapping; None for any other value."""
    kind = type(value)
    if issubclass(kind, msgspec.Struct):
        fields = zip(kind.__struct_encode_fields__, msgspec.structs.astuple(value), strict=True)
        return {name: each for name, each in fields if each is not msgspec.UNSET}
    of_dataclass = hasattr(kind, "__dataclass_fields__")
    named = dataclasses.fields(value) if of_dataclass else getattr(kind, "__attrs_attrs__", ())
    return {field.name: getattr(value, field.name) for field in named if hasattr(value, field.name)} or None


def _safe_text(key: object) -> str:
    try:
        return str.__str__(f"{key}")
    except Exception:  # noqa: BLE001 - a user's __str__ may do anything
        return shown(key)


def _mended_head(head: _Line) -> _Line:
    return _Line(**{key: _mended_field(value) for key, value in msgspec.structs.asdict(head).items()})


def _mended_field(value: Any) -> Any:
    if value is None:
        return None
    if issubclass(type(value), str):
        return _mended(str.__str__(value))
    # A number of milliseconds; beyond what a float can tell it is as good as none.
    try:
        return float(value)
    except Exception:  # noqa: BLE001 - as above
        return None


def _mended(text: str) -> str:
    # A lone surrogate, as in an undecodable file name, has no UTF-8.
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()
