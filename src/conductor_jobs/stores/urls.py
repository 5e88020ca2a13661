"""The URLs of stores: which there are, what of them may be shown, and the credentials in those of the control API."""

import re
from typing import Final, final
from urllib.parse import unquote

import msgspec


@final
class Kind(msgspec.Struct, frozen=True):
    """A kind of store: where its class is, and the extra of conductor-jobs that it needs, if any."""

    module: str
    store: str
    extra: str | None = None


_POSTGRES: Final = Kind("postgres", "PostgresLeaseStore", "postgres")
_REDIS: Final = Kind("redis", "RedisLeaseStore", "redis")
_ETCD: Final = Kind("etcd", "EtcdLeaseStore", "etcd")
_HTTP: Final = Kind("http", "HTTPLeaseStore", "web")

KINDS: Final = {
    "memory": Kind("memory", "MemoryLeaseStore"),
    "sqlite": Kind("sqlite", "SQLiteLeaseStore"),
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
    "redis": _REDIS,
    "rediss": _REDIS,
    "valkey": _REDIS,
    "valkeys": _REDIS,
    "etcd": _ETCD,
    "etcds": _ETCD,
    "http": _HTTP,
    "https": _HTTP,
}
WORDS: Final = "`sqlite:///PATH`, `postgresql://…`, `redis://…`, `etcd://…`, `http://…` or `memory:`"


def require_text(what: str, value: object, form: str) -> None:
    """Raise ValueError, naming what it is and its form, for what is no text; its value may be a password."""
    if not isinstance(value, str):
        raise ValueError(f"{what} must be {form}, not a {type(value).__name__}.")  # noqa: TRY004 - one rule, one error


def kind_of(url: str) -> Kind | None:
    """Return the kind of store that a URL names, or None if it names none."""
    scheme, colon, rest = url.partition(":")
    if scheme == "memory":
        return KINDS[scheme] if colon and not rest else None
    needed = "///" if scheme == "sqlite" else "//"
    return KINDS.get(scheme) if rest.startswith(needed) and len(rest) > len(needed) else None


def shown_url(url: str) -> str:
    """Return a URL as it may be shown: without user, password and token, and without what follows a `?`.

    Even of a URL whose password was not encoded, and has an `@`, a `/` or a `?` in it, nothing of that is left. A text
    that names no store, and may be anything, is shown as its scheme at most.
    """
    kind = kind_of(url)
    if kind is None:
        named = re.match(r"[a-z][a-z0-9+.-]{0,20}:", url)
        return f"{named[0]}…" if named else "…"
    if kind.extra is None:
        return url
    scheme, _, rest = url.partition("://")
    _, credentials, place = rest.rpartition("@")
    place = re.split(r"[?#]", place, maxsplit=1)[0]
    return f"{scheme}://{'***@' if credentials else ''}{place}"


def as_redis_url(url: str) -> str:
    """Return the URL of a Valkey server as drivers of Redis know it."""
    scheme, colon, rest = url.partition(":")
    return {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme) + colon + rest


def split_token(url: str) -> tuple[str, str | None]:
    """Return the URL of a control API without the token that stands before its host, and the token, if any."""
    scheme, separator, rest = url.partition("://")
    userinfo, at, place = rest.rpartition("@")
    return f"{scheme}{separator}{place}", unquote(userinfo.removeprefix(":")) if at else None
