"""What a careless world hands in: any number, any text, any object, and objects that misbehave when looked at."""

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

from hypothesis import settings
from hypothesis import strategies as st

from conductor_jobs import JournalEntry

TS = "2026-04-01T00:00:00.000Z"


def fewer(by: int) -> settings:
    """Try so many times less than the profile says: for what costs that much more than the rest."""
    return settings(max_examples=max(5, settings().max_examples // by))


# Numbers and texts ---------------------------------------------------------------------------------------------------

#: What arithmetic stumbles over: at the limits of floats, of 64 bits, of float(), and of what repr() shows at all.
huge = st.builds(
    lambda sign, exponent, more: sign * 2**exponent + more,
    st.sampled_from([1, -1]),
    st.sampled_from([53, 63, 64, 1400, 16_700]),
    st.integers(-1, 1),
)
#: The ends of what a float can be.
EDGES = (0.0, -0.0, 5e-324, 3e-323, 2.3e-308, 1e-9, 1e300, 1.7e308, float("inf"), float("-inf"), float("nan"))

floats = st.one_of(st.sampled_from(EDGES), st.floats())
numbers: st.SearchStrategy[Any] = st.one_of(
    floats, st.floats(0, 1000), st.integers(), st.integers(-2, 100), huge, st.booleans()
)
#: Numbers that are none of Python's own two.
foreign_numbers: st.SearchStrategy[Any] = st.one_of(
    st.decimals(), st.fractions(), st.complex_numbers(), st.just(Decimal("sNaN")), st.just(Fraction(1, 3))
)
#: Every text that Python can hold: lone surrogates, NULs and newlines are in it.
texts = st.text(st.characters(), max_size=20)


# Objects that misbehave ----------------------------------------------------------------------------------------------


class Text(str):
    """A text of a type of its own."""


class Count(int):
    """A number of a type of its own."""


class Seconds(float):
    """A float of a type of its own, as NumPy's float64 is one."""


class Table(dict[Any, Any]):
    """A dict of a type of its own."""


class Sequence(list[Any]):
    """A list of a type of its own."""


class Lazy(Mapping[Any, Any]):
    """A mapping that is no dict."""

    def __init__(self, items: Mapping[Any, Any]) -> None:
        self._items = items

    def __getitem__(self, key: Any) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


class Promising(Lazy):
    """A mapping with keys that it has no values for."""

    def __iter__(self) -> Iterator[Any]:
        return iter([*self._items, "no such key"])


class Boastful(Lazy):
    """A mapping that is never empty."""

    def __len__(self) -> int:
        return 10**6


class Plain:
    """An object of a class that nobody has heard of."""


class Impostor:
    """An object that passes itself off as a text, as proxies do."""

    __class__ = str  # type: ignore[assignment] # on purpose


class Wordy:
    """An object whose repr is a text of a type of its own, which fails at work."""

    class Words(str):
        def encode(self, *_: object, **__: object) -> NoReturn:
            raise RuntimeError("not to be encoded")

    def __repr__(self) -> str:
        return self.Words("words \ud800")


class Aloof:
    """A key that cannot be compared with a text."""

    def __hash__(self) -> int:
        return 1

    def __ne__(self, other: object) -> bool:
        if isinstance(other, str):
            raise RuntimeError("not comparable")
        return self is not other

    def __eq__(self, other: object) -> bool:
        return self is other


class Slippery(Exception):
    """An exception that cannot be put in words."""

    def __str__(self) -> str:
        raise ValueError("no words")

    __repr__ = __str__


class Closed(ExceptionGroup[Exception]):
    """A group of exceptions that can neither be put in words nor parted."""

    @property
    def message(self) -> str:
        raise RuntimeError("no message")

    def split(self, *_: Any) -> Any:
        raise RuntimeError("no parts")


def deep_group(depth: int) -> Exception:
    """Return a group in a group in a group."""
    error: Exception = ValueError("deep down")
    for _ in range(depth):
        inside: list[Exception] = [error]
        error = ExceptionGroup("down", inside)
    return error


_DUNDERS = ("__repr__", "__str__", "__format__", "__eq__", "__hash__", "__iter__", "__len__", "__bool__", "__getattr__")
_ERRORS: tuple[Callable[[], Exception], ...] = (
    lambda: RuntimeError("\ud800"),
    lambda: RecursionError("deep"),
    MemoryError,
    lambda: AttributeError("none"),
    Slippery,
)


@st.composite
def raisers(draw: st.DrawFn) -> Any:
    """Make an object that raises where others answer: its repr, its truth, its iteration."""
    base: type = draw(st.sampled_from((Plain, Text, Count, Seconds, Table, Sequence)))
    dunders = draw(st.sets(st.sampled_from(_DUNDERS), min_size=1))
    error = draw(st.sampled_from(_ERRORS))

    def raises(*_: object) -> NoReturn:
        raise error()

    return type("Raiser", (base,), dict.fromkeys(dunders, raises))()


def nested(depth: int, *, table: bool) -> Any:
    """Return a list in a list in a list, or a dict in a dict."""
    value: Any = []
    for _ in range(depth):
        value = {"n": value} if table else [value]
    return value


def cyclic(table: bool) -> Any:
    """Return what contains itself."""
    if table:
        value: dict[str, Any] = {}
        value["self"] = value
        return value
    items: list[Any] = []
    items.append(items)
    return items


# Up to what every reader can follow, and far beyond what any writer can: the depths in between are a matter of how
# deep the stack of the one and of the other is.
_deep = st.builds(nested, st.one_of(st.integers(0, 500), st.integers(1500, 50_000)), table=st.booleans())
_atoms: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    numbers,
    foreign_numbers,
    texts,
    st.binary(max_size=50),
    texts.map(Text),
    st.integers().map(Count),
    floats.map(Seconds),
    st.dates(),
    st.timedeltas(),
    st.uuids(),
    st.builds(Plain),
    st.builds(Impostor),
    st.builds(Wordy),
    st.builds(Slippery),
    raisers(),
    st.builds(cyclic, st.booleans()),
    _deep,
    st.sampled_from([object(), type, print, Plain, ..., NotImplemented, range(3), memoryview(b"x"), iter([])]),
)
_keys: st.SearchStrategy[Any] = st.one_of(
    texts,
    st.sampled_from(JournalEntry.__struct_fields__),
    st.integers(),
    st.none(),
    st.tuples(texts),
    texts.map(Text),
    st.builds(Wordy),
    st.builds(Aloof),
)


def _containers(inside: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    tables = st.dictionaries(_keys, inside, max_size=4)
    return st.one_of(
        st.lists(inside, max_size=4),
        st.tuples(inside),
        tables,
        tables.map(Table),
        tables.map(Lazy),
        tables.map(Promising),
        tables.map(Boastful),
        st.lists(inside, max_size=3).map(Sequence),
    )


#: Any object that a program may hand over by mistake.
anything: st.SearchStrategy[Any] = st.recursive(_atoms, _containers, max_leaves=8)
#: The same, as the mapping that details should be.
mappings: st.SearchStrategy[Any] = st.dictionaries(_keys, anything, max_size=4).flatmap(
    lambda table: st.sampled_from([table, Table(table), Lazy(table), Promising(table), Boastful(table)])
)


# Journals ------------------------------------------------------------------------------------------------------------

_detail_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=5,
)  # fmt: skip
_names = st.text(min_size=1, max_size=12)
entries: st.SearchStrategy[JournalEntry] = st.builds(
    JournalEntry,
    batch_id=_names,
    duration_ms=st.none() | st.integers(0, 10**9) | st.floats(0, 1e9),
    error=st.none() | st.text(max_size=30),
    result=st.none() | st.text(max_size=12),
    runner=_names,
    stage=_names,
    ts=st.just(TS),
    details=st.dictionaries(
        st.text(max_size=8).filter(lambda key: key not in JournalEntry.__struct_fields__), _detail_values, max_size=3
    ),
)
