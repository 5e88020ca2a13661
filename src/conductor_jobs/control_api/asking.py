"""One question to the store, within a limit of time, and what is said when that fails."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, final

from ..errors import StaleTerm
from ..lease import TERM_LIMIT, Holder, LeaseGrant, LeaseStore
from ..store_calls import call_store, checked_grant, problem_text
from ..stores.http_wire import STALE_TERM

T = TypeVar("T")

#: Seconds that the store has for one call. Whoever asked may give up before, and the call with it.
STORE_TIMEOUT: Final = 15.0
# Not for long, for it is never granted.
_TTL: Final = 30.0
# Who has never campaigned holds nothing: no store confirms a renewal to it.
_ONLOOKER: Final = Holder("onlooker", secrets.token_hex(8))


@final
class Refused(Exception):
    """A request that is not answered with data: the status, the code and the message of its envelope."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def ask_store(call: Callable[[], Awaitable[T]]) -> T:
    """Return what the store answers. Raises Refused when it refuses a stale term, fails, or takes too long.

    Cancelling leaves the outcome of the call unknown.
    """
    try:
        return await call_store(call, STORE_TIMEOUT)
    except StaleTerm as error:
        raise Refused(409, STALE_TERM, str(error)) from error
    except Exception as error:
        raise Refused(503, "store_failed", f"the lease store failed: {problem_text(error)}") from error


async def look(store: LeaseStore, lease_name: str) -> LeaseGrant:
    """Return how a lease stands, changing nothing. Raises what the store raises.

    A renewal by somebody who never held the lease is refused by the rules (I4), and whoever is refused is told who
    holds it: so every store can be looked at, and none needs a method for it.
    """
    answer = await store.acquire(lease_name, _ONLOOKER, _TTL, term=TERM_LIMIT - 1)
    grant = checked_grant(answer, _ONLOOKER)
    if grant.is_leader:
        raise ValueError("it confirmed a renewal to somebody who never held the lease")
    return grant
