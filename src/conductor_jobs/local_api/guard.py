"""Who may ask, and for what: the token, and whether a page of another site is behind a request.

a page of another site     is told apart by Sec-Fetch-Site and Origin, which a page cannot forge
DNS rebinding              makes a page one of this very site, by a name that we do not have: Host is not ours
writing                    needs the token, and so does reading, as soon as others than this machine reach us
"""

from typing import Final, final

from starlette.requests import Request

from ..http_serving.address import names_loopback
from ..http_serving.bearer import bears
from .refusals import Refused

#: What is to be set so that writing is possible.
TOKEN_VARIABLE: Final = "BAA_CONDUCTOR_LOCAL_API_TOKEN"  # noqa: S105 - its name
# Asked by whoever cannot bear a token: a browser that opens the page, and probes. They tell no more than that.
_PROBES: Final = frozenset({"/healthz", "/readyz"})
_FRIENDLY_SITES: Final = frozenset({"same-origin", "none"})
_READING: Final = frozenset({"GET", "HEAD"})


@final
class Guard:
    """Decides before a route is looked up or a byte of a body is read."""

    def __init__(self, token: str | None, *, exposed: bool, page: frozenset[str]) -> None:
        """`exposed`: others than this machine can connect; `page`: the paths of the page's files."""
        self._token = None if token is None else token.encode()
        self._exposed = exposed
        self._page = page

    @property
    def writable(self) -> bool:
        """Whether anybody may write."""
        return self._token is not None

    def why_not(self, request: Request) -> Refused | None:
        """Return why a request is not answered, or None."""
        if not request.scope["http_version"].startswith("1"):
            return Refused(505, "http_version", "this server speaks HTTP/1.1.")
        bearer = self._token is not None and bears(request.headers.getlist("authorization"), self._token)
        return self._wrong_host(request, bearer) or self._other_site(request) or self._no_token(request, bearer)

    def _wrong_host(self, request: Request, bearer: bool) -> Refused | None:
        # Whoever bears the token is no page that got here by a name of its own.
        if bearer or self._exposed or names_loopback(request.headers.get("host", "")):
            return None
        return Refused(403, "forbidden_host", "Host must be localhost or a loopback address, or the token be borne.")

    def _other_site(self, request: Request) -> Refused | None:
        opens_page = request.method == "GET" and request.url.path in self._page
        site = request.headers.get("sec-fetch-site", "none")
        if site not in _FRIENDLY_SITES and not (opens_page and request.headers.get("sec-fetch-mode") == "navigate"):
            return Refused(403, "cross_site", "a page of another site may not ask (Sec-Fetch-Site).")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != request.headers.get("host", "").lower():
            return Refused(403, "cross_site", "a page of another site may not ask (Origin).")
        return None

    def _no_token(self, request: Request, bearer: bool) -> Refused | None:
        if request.method not in _READING:
            return None if bearer else self._unwritable()
        public = request.url.path in self._page or request.url.path in _PROBES
        if bearer or public or not self._exposed:
            return None
        return _unauthorized()

    def _unwritable(self) -> Refused:
        if self._token is None:
            rule = f"writing needs a token: start with {TOKEN_VARIABLE}, or give serve_local_api a token."
            return Refused(403, "not_writable", rule)
        return _unauthorized()


def _unauthorized() -> Refused:
    return Refused(
        401, "unauthorized", "the bearer token is missing, or is not this server's.", www_authenticate="Bearer"
    )
