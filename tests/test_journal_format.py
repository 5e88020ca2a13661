"""How an entry becomes a line and a line an entry again (seed 2.1, 2.2; design section 7)."""

import enum
import json
import math
from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest

from conductor_jobs.journal import JournalEntry
from conductor_jobs.journal_format import decode_line, encode_line

SEVEN = ["batch_id", "duration_ms", "error", "result", "runner", "stage", "ts"]
TS = "2026-04-01T00:00:00.000Z"
ENTRY = JournalEntry("b-1", 12, None, "ok", "r", "s", TS)


class Text(str):
    pass


class Number(float):
    pass


class Key(enum.Enum):
    STAGE = "stage"


class TextKey(enum.StrEnum):
    STAGE = "stage"
    DETAILS_STAGE = "details.stage"


class Plain:
    def __repr__(self) -> str:
        return "<plain \ud800>"


class Speechless:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


def entry(details: Mapping[Any, Any] | None = None, **fields: Any) -> JournalEntry:
    return msgspec.structs.replace(ENTRY, details=details or {}, **fields)


def pairs_of(line: bytes) -> list[tuple[str, Any]]:
    """Read a line by another JSON reader, which tells a key that stands there twice."""
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    return json.loads(line, object_pairs_hook=list)  # type: ignore[no-any-return]


def details_of(line: bytes) -> dict[str, Any]:
    pairs = pairs_of(line)
    assert pairs[:7] == [(key, getattr(ENTRY, key)) for key in SEVEN]
    decoded = decode_line(line)
    assert list(decoded.details) == [key for key, _ in pairs[7:]], "two details went by one name"
    return dict(decoded.details)


def test_a_line_is_the_seeds_to_the_byte() -> None:
    line = encode_line(
        JournalEntry(
            batch_id="timed-jobs-1775001600000-1",
            duration_ms=None,
            error=None,
            result="ok",
            runner="renewal.projector",
            stage="scan_window",
            ts=TS,
            details={"cursor": "message:1", "a": [1, 2.5, True, None, {"ä": '"\n'}]},
        )
    )
    assert line == (
        b'{"batch_id":"timed-jobs-1775001600000-1","duration_ms":null,"error":null,"result":"ok",'
        b'"runner":"renewal.projector","stage":"scan_window","ts":"2026-04-01T00:00:00.000Z",'
        b'"cursor":"message:1","a":[1,2.5,true,null,{"\xc3\xa4":"\\"\\n"}]}\n'
    )


def test_all_seven_keys_are_there_in_alphabetical_order_when_nothing_was_said() -> None:
    line = encode_line(entry(duration_ms=None, result=None))
    assert [key for key, _ in pairs_of(line)] == SEVEN


@pytest.mark.parametrize(
    "details",
    [
        {},
        {"text": "ä\u2028\0\x7f", "empty": "", "n": -1.5e300, "deep": {"stage": [[], {}]}},
        {"big": 2**64 - 1, "bigger": 2**70, "": "no name", "details": {"a": 1}, "details.x": 1},
        {str(number): number for number in range(1000)},
    ],
    ids=["none", "texts", "names", "many"],
)
def test_an_entry_comes_back_as_it_was(details: dict[str, Any]) -> None:
    original = entry(details, duration_ms=0.25, error="bad\n", result=None)
    assert decode_line(encode_line(original)) == original


@pytest.mark.parametrize("name", SEVEN)
def test_a_detail_never_overwrites_one_of_the_seven(name: str) -> None:
    assert details_of(encode_line(entry({"a": 0, name: "mine", "z": 1}))) == {"a": 0, f"details.{name}": "mine", "z": 1}


@pytest.mark.parametrize(
    ("details", "written"),
    [
        ({"stage": 1, "details.stage": 2}, {"details.details.stage": 1, "details.stage": 2}),
        ({"details.stage": 2, "stage": 1}, {"details.details.stage": 1, "details.stage": 2}),
        ({"ts": object, "stage": 1}, {"details.ts": "<class 'object'>", "details.stage": 1}),
        (MappingProxyType({"stage": 1, "x": 2}), {"details.stage": 1, "x": 2}),
        ({TextKey.STAGE: 1}, {"details.stage": 1}),
        ({Text("stage"): 1}, {"details.stage": 1}),
        ({Key.STAGE: 1}, None),
        ({"stage": 1, TextKey.DETAILS_STAGE: 2}, None),
        ({1: "number", "1": "text"}, None),
        ({UUID(int=1): "uuid", str(UUID(int=1)): "text"}, None),
        ({"k\ud800": 1, "'k\\ud800'": 2, "k\\ud800": 3}, None),
        ({Speechless(): 1, Speechless(): 2}, None),
        ({None: 1, "None": 2, (1, 2): 3, "(1, 2)": 4}, None),
    ],
    ids=[
        *("details. is taken", "details. is taken before", "unencodable", "mapping", "StrEnum", "str", "Enum"),
        *("StrEnum is taken", "int and str", "UUID and str", "surrogate and its repr", "speechless", "repr and str"),
    ],
)
def test_no_two_details_end_under_one_name(details: Mapping[Any, Any], written: dict[str, Any] | None) -> None:
    found = details_of(encode_line(entry(details)))
    if written is not None:
        assert found == written
    assert len(found) == len(details)
    assert all(isinstance(value, str) or value in details.values() for value in found.values())


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (object, "<class 'object'>"),
        (1 + 2j, "(1+2j)"),
        ({"stage": [1, object]}, {"stage": [1, "<class 'object'>"]}),
        (Plain(), "<plain \\ud800>"),
        (Speechless(), "<Speechless>"),
        ("lone \ud800", "lone \\ud800"),
        (["fine", "\udc80"], ["fine", "\\udc80"]),
        ([1, 10**5000], [1, "<int>"]),
        (math.nan, None),
        ([math.inf, -math.inf], [None, None]),
        (10**5000, "<int>"),
        ({1: {2: 3}}, {"1": {"2": 3}}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (datetime(2026, 4, 1), "2026-04-01T00:00:00"),
        (b"\xff", "/w=="),
    ],
    ids=[
        *(
            "type",
            "complex",
            "nested",
            "repr with a surrogate",
            "speechless",
            "surrogate",
            "nested surrogate",
            "nested huge int",
        ),
        *("nan", "infinities", "huge int", "int keys", "tuple key", "datetime", "bytes"),
    ],
)
def test_what_json_cannot_say_is_said_by_its_repr_and_no_other_detail_is_lost(value: object, written: object) -> None:
    assert details_of(encode_line(entry({"a": 1, "value": value, "z": "ä"}))) == {"a": 1, "value": written, "z": "ä"}


def test_truth_beside_what_json_cannot_say_stays_truth() -> None:
    assert b'"value":[true,null,1,"<class \'object\'>"]' in encode_line(entry({"value": [True, None, 1, object]}))


def test_values_that_go_round_or_too_deep_do_not_lose_the_entry() -> None:
    circle: list[object] = []
    circle.append(circle)
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    written = details_of(encode_line(entry({"circle": circle, "deep": deep, "z": 1})))
    assert written == {"circle": "[[...]]", "deep": "<list>", "z": 1}


def test_a_value_nested_beside_one_whose_repr_raises_costs_at_most_that_one_detail() -> None:
    assert details_of(encode_line(entry({"a": [1, Speechless()], "z": 1}))) == {"a": [1, "<Speechless>"], "z": 1}


@pytest.mark.parametrize("field", [key for key in SEVEN if key != "duration_ms"])
def test_a_lone_surrogate_in_any_text_is_written_as_its_escape(field: str) -> None:
    broken, mended = {field: "x\ud800y"}, {field: "x\\ud800y"}
    assert decode_line(encode_line(entry({"z": 1}, **broken))) == entry({"z": 1}, **mended)


@pytest.mark.parametrize("field", ["error", "result", "stage"])
def test_a_kind_of_str_in_any_text_is_that_text(field: str) -> None:
    kind, text = {field: Text("name")}, {field: "name"}
    assert decode_line(encode_line(entry({"z": 1}, **kind))) == entry({"z": 1}, **text)


@pytest.mark.parametrize(
    ("duration", "written"),
    [(0, 0), (1.5, 1.5), (Number(1.5), 1.5), (math.nan, None), (math.inf, None)],
    ids=["int", "float", "a kind of float", "nan", "infinity"],
)
def test_any_duration_makes_a_line_that_can_be_read(duration: float, written: float | None) -> None:
    assert decode_line(encode_line(entry(duration_ms=duration))).duration_ms == written


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\0" * 40,
        b"no json",
        b"[]",
        b"null",
        b"{}",
        b'"text"',
        encode_line(ENTRY)[:-4],
        encode_line(ENTRY).replace(b'"stage":"s",', b""),
        encode_line(ENTRY).replace(b'"stage":"s"', b'"stage":7'),
        encode_line(ENTRY).replace(b":12,", b':"12",'),
        encode_line(ENTRY).replace(b'"s"', b'"\xff\xfe"'),
        encode_line(ENTRY)[:-1] * 2,
        encode_line(ENTRY)[:-2] + b',"deep":' + b"[" * 100_000,
    ],
    ids=[
        *("empty", "NULs", "no JSON", "list", "null", "no keys", "text", "torn", "no stage", "numeric stage"),
        *("textual duration", "invalid UTF-8", "two in one", "deep"),
    ],
)
def test_a_line_that_is_no_entry_is_a_decode_error(line: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode_line(line)
