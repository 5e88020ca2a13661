"""Where a Redis or Valkey server is, and who we are to it: what a `redis://` URL says, read strictly."""

import ssl
from dataclasses import dataclass, field
from typing import Final, NoReturn, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from ..errors import Unusable
from ..lease import is_name
from .urls import require_text

FORM: Final = "redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE], or rediss:// for TLS"
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


@final
@dataclass(frozen=True, slots=True)
class RedisAddress:
    """A server and a database of it. Two are equal when they are one place; credentials do not count, nor are shown."""

    host: str
    port: int
    database: int
    user: str | None = field(compare=False, repr=False)
    password: str | None = field(compare=False, repr=False)
    tls: bool = field(compare=False)
    files: dict[str, str] = field(compare=False, repr=False)
    require_durable: bool = field(compare=False)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis{'s' * self.tls}://{host}:{self.port}/{self.database}"

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return what TLS needs, read from the files, or None without TLS. Raises Unusable naming a file."""
        if not self.tls:
            return None
        certificate, key = self.files.get("ssl_certfile"), self.files.get("ssl_keyfile")
        try:
            context = ssl.create_default_context(cafile=self.files.get("ssl_ca_certs"))
            if certificate is not None:
                context.load_cert_chain(certificate, key)
        except OSError as error:
            names = ", ".join(f"{name}={path!r}" for name, path in self.files.items())
            raise Unusable(f"{self} cannot be reached by TLS with {names}: {error.strerror or error}.") from error
        return context


def parse_redis_url(url: str) -> RedisAddress:
    """Return what the URL says. Raises ValueError naming the part and the rule, and showing no password."""
    require_text("RedisLeaseStore url", url, f"a text like {FORM}")
    parts, port = _split(url)
    if not port:
        _refuse(url, "has a port that is no number from 1 to 65535, or a host that is none")
    if parts.scheme not in ("redis", "rediss") or not parts.hostname or parts.fragment:
        _refuse(url, "has another form; signs such as / # ? @ in a password are written as %2F %23 %3F %40")
    query = _query(url, parts)
    return RedisAddress(
        host=parts.hostname,
        port=port,
        database=_database(url, parts.path),
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        tls=parts.scheme == "rediss",
        files={name: query[name] for name in _FILES if name in query},
        require_durable=query.get("require_durable", "0") == "1",
    )


def _split(url: str) -> tuple[SplitResult, int]:
    # With port 0 for a URL that is none, and no error raised: that of urllib would show a part of the URL.
    try:
        parts = urlsplit(url)
        port = 6379 if parts.port is None else parts.port
    except ValueError:
        return urlsplit(""), 0
    return parts, port


def _database(url: str, path: str) -> int:
    number = path.strip("/")
    if not number:
        return 0
    if not (number.isascii() and number.isdigit() and len(number) < 10):
        _refuse(url, "has a DATABASE that is no number from 0")
    return int(number)


def _query(url: str, parts: SplitResult) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in query.items():
        if name not in (*_FILES, "require_durable"):
            _refuse(url, f"has ?{name}=; there are only require_durable and {', '.join(_FILES)}")
        if name == "require_durable" and value not in ("0", "1"):
            _refuse(url, "has ?require_durable=, which must be 0 or 1")
        if name in _FILES and (parts.scheme != "rediss" or not is_name(value)):
            _refuse(url, f"has ?{name}=, which must name a file, and needs rediss://")
    if "ssl_keyfile" in query and "ssl_certfile" not in query:
        _refuse(url, "has ?ssl_keyfile= without ?ssl_certfile=")
    return query


def _refuse(url: str, what: str) -> NoReturn:
    # Behind an unquoted / or # the rest of a password passes for another part: with an @ in it nothing is shown.
    shown = "that with a user and a password" if "@" in url else repr(url)
    raise ValueError(f"RedisLeaseStore url must be {FORM}, and {shown} {what}.")
