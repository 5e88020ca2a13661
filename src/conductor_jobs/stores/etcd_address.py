"""The URL of an etcd cluster: its members, who logs in, by which certificates, and below which prefix our keys are."""

import re
import ssl
from dataclasses import dataclass, field
from typing import Final, NoReturn, Self, final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from .urls import require_text

DEFAULT_PREFIX: Final = "conductor-jobs"
DEFAULT_PORT: Final = 2379
_MEMBER: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:/@\s]+)(?::(?P<port>\d{1,5}))?")
_CERTIFICATES: Final = ("ca", "cert", "key")
_RULE: Final = "`etcd://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]...][/PREFIX]`, or `etcds://...` with TLS"


@final
@dataclass(frozen=True, slots=True)
class EtcdAddress:
    """Where an etcd cluster is. Neither `repr` nor any error shows the password."""

    members: tuple[str, ...]
    prefix: str
    user: str | None
    password: str = field(repr=False)
    secure: bool
    certificates: dict[str, str] = field(hash=False)

    @classmethod
    def parsed(cls, url: str) -> Self:
        """Take a URL apart. Raises ValueError naming what is wrong, and the rule."""
        require_text("EtcdLeaseStore url", url, "a text like etcd://[USER:PASSWORD@]HOST[:PORT][/PREFIX]")
        parts = _split(url)
        login, at, hosts = parts.netloc.rpartition("@")
        user, _, password = login.partition(":")
        if at and not user:
            _refuse("a password needs a user")
        certificates = dict(parse_qsl(parts.query, keep_blank_values=True))
        _check_certificates(certificates, secure=parts.scheme == "etcds")
        if parts.fragment:
            _refuse("a fragment means nothing")
        return cls(
            members=tuple(_member(each) for each in hosts.split(",")),
            prefix=unquote(parts.path).strip("/") or DEFAULT_PREFIX,
            user=unquote(user) if at else None,
            password=unquote(password),
            secure=parts.scheme == "etcds",
            certificates=certificates,
        )

    def __str__(self) -> str:
        """Return the URL without login and certificates."""
        return f"etcd{'s' * self.secure}://{','.join(self.members)}/{self.prefix}"

    def base_url(self, member: str) -> str:
        """Return where a member's HTTP API is."""
        return f"http{'s' * self.secure}://{member}"

    def ssl_context(self) -> ssl.SSLContext:
        """Read the certificates. Raises OSError for what cannot be read, which an ssl.SSLError is as well."""
        context = ssl.create_default_context(cafile=self.certificates.get("ca"))
        if "cert" in self.certificates:
            context.load_cert_chain(self.certificates["cert"], self.certificates.get("key"))
        return context


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = None  # outside of the handler, since the error's own text may show the password
    if parts is None:
        _refuse("it is no URL")
    if parts.scheme not in ("etcd", "etcds"):
        _refuse(f"its scheme is {parts.scheme!r}")
    return parts


def _member(text: str) -> str:
    found = _MEMBER.fullmatch(text)
    port = int(found["port"] or DEFAULT_PORT) if found else 0
    if found is None or not 0 < port < 65536:
        _refuse(f"{text!r} is no HOST[:PORT]")
    return f"{found['host']}:{port}"


def _check_certificates(certificates: dict[str, str], *, secure: bool) -> None:
    for name, path in certificates.items():
        if name not in _CERTIFICATES or not path:
            _refuse(
                f"of options it knows ?ca=FILE, cert=FILE and key=FILE, not `{name}`" + " without a file" * (not path)
            )
    if certificates and not secure:
        _refuse("certificates need etcds://")
    if "key" in certificates and "cert" not in certificates:
        _refuse("key=FILE needs cert=FILE")


def _refuse(problem: str) -> NoReturn:
    raise ValueError(f"etcd URL must be {_RULE}: {problem}.")
