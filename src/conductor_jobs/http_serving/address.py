"""The URL that a server is to listen on, and which addresses only this machine reaches."""

import ipaddress
from typing import Final, NamedTuple
from urllib.parse import urlsplit

#: What a URL to listen on must be, in words.
URL_RULE: Final = "an http URL of a host and a port, such as http://127.0.0.1:4317, without path, user or query"


class Address(NamedTuple):
    """Where to listen; port 0 takes a free one."""

    host: str
    port: int


def parsed_address(url: str) -> Address:
    """Return where a URL says to listen. Raises ValueError with the rule."""
    if not isinstance(url, str):
        raise ValueError(f"must be {URL_RULE}")  # noqa: TRY004 - the rule is the same
    try:
        # urlsplit passes over newlines and tabs.
        parts = urlsplit(url if url.isprintable() else "")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError(f"must be {URL_RULE}") from None
    # What stands between // and the end is all that there may be; an empty query or path is one too.
    plain = host is not None and port is not None and url.lower() == f"http://{parts.netloc}".lower()
    if host is None or port is None or not plain or any(each in url for each in "@ \\"):
        raise ValueError(f"must be {URL_RULE}")
    return Address(host, port)


def is_loopback(address: str) -> bool:
    """Return whether only this machine reaches an IP address. Raises ValueError for what is none."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


def names_loopback(host: str) -> bool:
    """Return whether a Host header names this machine: localhost or a loopback address, with any port."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or is_loopback(name)
    except ValueError:
        return False
