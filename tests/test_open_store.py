"""`open_store`: which URL names which store, what is said of one that cannot be used, and no word of credentials."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conductor_jobs.config import BadSettings, read_config
from conductor_jobs.errors import Unusable
from conductor_jobs.lease import is_lease_store, keeps_nodes
from conductor_jobs.stores import open_store
from conductor_jobs.stores.etcd import EtcdLeaseStore
from conductor_jobs.stores.http import HTTPLeaseStore
from conductor_jobs.stores.memory import MemoryLeaseStore
from conductor_jobs.stores.postgres import PostgresLeaseStore
from conductor_jobs.stores.redis import RedisLeaseStore
from conductor_jobs.stores.sqlite import SQLiteLeaseStore
from conductor_jobs.stores.urls import KINDS, as_redis_url, kind_of, shown_url, split_token

SECRET = "hunter2"
CREDENTIALS = [
    f"postgresql://me:{SECRET}@db.example:5432/jobs",
    f"postgres://me:{SECRET}@one.example,two.example/jobs",
    f"postgresql://db.example/jobs?user=me&password={SECRET}",
    f"postgresql://me:{SECRET}/with@slash/and?marks#@db.example/jobs",
    f"redis://:{SECRET}@db.example:6379/0",
    f"rediss://{SECRET}@db.example",
    f"redis://db.example?password={SECRET}",
    f"etcds://me:{SECRET}@one.example:2379,two.example:2379/prefix",
    f"https://:{SECRET}@control.example/base",
    f"https://{SECRET}@control.example/base",
    f"http://control.example#{SECRET}",
    f"mysql://me:{SECRET}@db.example",
    f"redis:{SECRET}@db.example",
    f"host=db.example password={SECRET}",
]
URLS = {
    "postgresql://db.example/jobs": "PostgresLeaseStore",
    "postgres://db.example/jobs": "PostgresLeaseStore",
    "redis://db.example:6379/1": "RedisLeaseStore",
    "rediss://db.example": "RedisLeaseStore",
    "valkey://db.example": "RedisLeaseStore",
    "valkeys://db.example": "RedisLeaseStore",
    "etcd://one.example,two.example": "EtcdLeaseStore",
    "etcds://one.example": "EtcdLeaseStore",
    "http://control.example/base": "HTTPLeaseStore",
    "https://control.example": "HTTPLeaseStore",
}


async def test_stores_that_need_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("sqlite:///a/b.db") == SQLiteLeaseStore("a/b.db")
    assert open_store(f"sqlite:///{tmp_path}/b.db") == SQLiteLeaseStore(tmp_path / "b.db")
    async with open_store("memory:") as store:
        assert isinstance(store, MemoryLeaseStore)


@pytest.mark.parametrize(("url", "name"), URLS.items())
def test_a_scheme_names_a_store_and_nothing_is_connected(url: str, name: str) -> None:
    store: Any = open_store(url, token="token")
    assert type(store).__name__ == name
    assert is_lease_store(store)
    assert keeps_nodes(store)
    assert hasattr(store, "__aenter__")
    again: Any = open_store(url, token="token")
    assert store == again


def test_every_scheme_is_tried_here() -> None:
    assert {url.split(":")[0] for url in URLS} | {"memory", "sqlite"} == set(KINDS)


@pytest.mark.parametrize("url", ["", "x", "mysql://x", "sqlite://x.db", "sqlite:///", "memory", "memory:x", "redis:x"])
def test_what_names_no_store_is_refused_with_the_rule(url: str) -> None:
    with pytest.raises(ValueError, match=r"^store must be `sqlite:///PATH`, `postgresql://…`, .* or `memory:`, not '"):
        open_store(url)


@pytest.mark.parametrize("given", [None, 5, b"redis://h", ["memory:"], object()], ids=repr)
def test_what_is_no_text_is_refused_by_name_and_not_shown(given: Any) -> None:
    takers: dict[str, Callable[[Any], object]] = {
        "store": open_store,
        "SQLiteLeaseStore path": SQLiteLeaseStore,
        "PostgresLeaseStore url": PostgresLeaseStore,
        "RedisLeaseStore url": RedisLeaseStore,
        "EtcdLeaseStore url": EtcdLeaseStore,
        "HTTPLeaseStore base_url": HTTPLeaseStore,
    }
    if given is not None:
        takers["HTTPLeaseStore token"] = lambda token: HTTPLeaseStore("http://h", token)
    for what, take in takers.items():
        with pytest.raises(ValueError, match=f"^{what} must be") as caught:
            take(given)
        assert str(caught.value).endswith(f", not a {type(given).__name__}.")


@pytest.mark.parametrize(
    ("url", "module", "extra"),
    [
        ("redis://db.example", "coredis", "redis"),
        ("etcd://db.example", "httpx2", "etcd"),
        ("http://db.example", "httpx2", "web"),
        ("postgresql://db.example", "psycopg", "postgres"),
    ],
)
def test_a_missing_extra_says_what_to_install(
    url: str, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = KINDS[url.split(":")[0]]
    for name in list(sys.modules):
        if name.split(".")[0] == module or name.startswith(f"conductor_jobs.stores.{kind.module}"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(Unusable, match=f"needs packages that are not installed .*{module}") as caught:
        open_store(url)
    assert str(caught.value).endswith(f": pip install 'conductor-jobs[{extra}]'.")
    with pytest.raises(BadSettings) as refused:
        read_config({"store": url}, {})
    assert refused.value.problems == [f"--store: {caught.value}"]


@pytest.mark.parametrize("url", CREDENTIALS)
def test_credentials_are_shown_nowhere(url: str) -> None:
    assert SECRET not in shown_url(url)
    told: list[Any] = []
    try:
        told.append(repr(open_store(url)))
    except (ValueError, Unusable) as error:
        told.append(str(error))
    try:
        told.append(read_config({"store": url}, {}).shown())
    except BadSettings as refused:
        told.append(str(refused))
    assert SECRET not in repr(told)


def test_what_is_shown_of_a_url_still_says_which_store_it_is() -> None:
    assert (
        shown_url("postgresql://me:x@db.example:5432/jobs?sslmode=require") == "postgresql://***@db.example:5432/jobs"
    )
    assert shown_url("etcd://one:1,two:2/prefix") == "etcd://one:1,two:2/prefix"
    assert shown_url("sqlite:///a/me@home.db?x") == "sqlite:///a/me@home.db?x"
    assert shown_url("memory:") == "memory:"


def test_the_token_of_a_control_api_may_stand_before_its_host() -> None:
    assert split_token("https://:to%40ken@control.example/base") == ("https://control.example/base", "to@ken")
    assert split_token("https://token@control.example") == ("https://control.example", "token")
    assert split_token("https://control.example") == ("https://control.example", None)


def test_valkey_is_spoken_to_as_redis_is() -> None:
    assert [as_redis_url(f"{scheme}://valkey.example") for scheme in ("valkey", "valkeys", "redis", "rediss")] == [
        *("redis://valkey.example", "rediss://valkey.example", "redis://valkey.example", "rediss://valkey.example")
    ]


@pytest.mark.parametrize("url", ["redis://", "sqlite:x", "postgresql:", "http:///", "memory: "])
def test_a_scheme_alone_names_no_store(url: str) -> None:
    if url == "http:///":
        assert kind_of(url) is not None
        with pytest.raises(ValueError, match="base_url"):
            open_store(url)
    else:
        assert kind_of(url) is None


# The control API as the store


def test_the_control_api_is_the_store_if_there_is_a_token_and_no_store() -> None:
    base = {"BAA_CONDUCTOR_PUBLIC_API_BASE": "https://control.example/base"}
    token = {"BAA_SHARED_TOKEN": SECRET}
    assert read_config({}, base | token).store_url == "https://control.example/base"
    assert read_config({}, base | token).shown()["store"] == "https://control.example/base"
    assert read_config({}, base).store_url == "sqlite:///.conductor/state/conductor.db"
    assert read_config({}, token).store_url == "sqlite:///.conductor/state/conductor.db"
    assert read_config({"store": "memory:"}, base | token).store_url == "memory:"


def test_what_a_store_finds_wrong_with_its_url_is_said_with_the_other_bad_settings() -> None:
    with pytest.raises(BadSettings) as caught:
        read_config({"store": "redis://db.example:99999", "role": "boss"}, {})
    role, store = caught.value.problems
    assert role.startswith("--role: ")
    assert store.startswith("--store: ")
