"""Lease stores. Each is a module of its own, imported only by whoever uses it.

`memory` serves the conductors of one Trio run; `sqlite` the processes of one machine; `postgres`, `redis`, `etcd` and
`http` those of many. A store imports `conductor_jobs.lease`, the rules in `conductor_jobs.records`, clocks and errors,
never the engine.
"""

from contextlib import AbstractAsyncContextManager
from importlib import import_module
from typing import Any, Protocol

from ..errors import Unusable
from ..lease import LeaseStore
from .urls import WORDS, as_redis_url, kind_of, require_text, shown_url, split_token


class OpenableStore(LeaseStore, AbstractAsyncContextManager["OpenableStore"], Protocol):
    """What `open_store` returns: a lease store whose connections are kept while it is entered, and then closed."""


def open_store(url: str, *, token: str | None = None) -> OpenableStore:
    """Return the store that a URL names, to be entered as `async with`.

    `memory:`; `sqlite:///PATH`, an absolute PATH making it four slashes; `postgresql://` or `postgres://`; `redis://`
    or `valkey://`, with TLS `rediss://` or `valkeys://`; `etcd://`, with TLS `etcds://`; `http://` or `https://` of a
    control API, whose token is `token`, or stands before the host, `https://:TOKEN@HOST`. Others ignore `token`.

    Nothing is connected or made yet. Raises ValueError naming the rule, and Unusable saying what to install when the
    packages of the store's extra are missing. Neither shows credentials.
    """
    require_text("store", url, WORDS)
    kind = kind_of(url)
    if kind is None:
        raise ValueError(f"store must be {WORDS}, not {shown_url(url)!r}.")
    if kind.extra is not None and "#" in url:
        raise ValueError(f"store {shown_url(url)} has a `#` in its URL, which in a password is written %23.")
    try:
        module = import_module(f".{kind.module}", __name__)
        return _made(getattr(module, kind.store), kind.module, url, token)
    except ValueError as error:
        raise ValueError(str(error).replace(url, shown_url(url))) from None
    except ImportError as error:
        if kind.extra is None or (error.name or "").startswith("conductor_jobs"):
            raise
        raise Unusable(
            f"store {shown_url(url)} needs packages that are not installed ({error}): "
            f"pip install 'conductor-jobs[{kind.extra}]'."
        ) from error


def _made(store: Any, module: str, url: str, token: str | None) -> OpenableStore:
    made: OpenableStore
    match module:
        case "memory":
            made = store()
        case "sqlite":
            made = store(url.removeprefix("sqlite:///"))
        case "http":
            base_url, own_token = split_token(url)
            made = store(base_url, own_token or token)
        case "redis":
            made = store(as_redis_url(url))
        case _:
            made = store(url)
    return made
