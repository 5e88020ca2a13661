"""How long a lease may be trusted: the deadline arithmetic, pure, and when a standby looks again."""

import random
from dataclasses import dataclass
from typing import final

from .clocks import Instant
from .lease import PRIMARY_PRIORITY, LeaseGrant
from .seconds import checked_seconds

POLL_INTERVAL = 0.75
POLL_JITTER = 0.1
LOW_PRIORITY_WAIT = 0.5
FIRST_BACKOFF = 0.25


@final
@dataclass(frozen=True, slots=True, init=False)
class LeaseTiming:
    """The seconds by which a lease is held; a `ttl` alone is always safe.

    `ttl`: how long the store honours a lease without renewal. `renew_interval`: from one renewal to the next.
    `margin`: how long before the store would give the lease away our work is cancelled, so that its cleanup and
    the drift between two clocks fit in. `store_timeout`: how long one call of the store may take.
    `heartbeat_interval`: from one sign of life of the node to the next.
    """

    ttl: float
    renew_interval: float
    margin: float
    store_timeout: float
    heartbeat_interval: float

    def __init__(
        self,
        ttl: float = 30.0,
        renew_interval: float | None = None,
        margin: float | None = None,
        store_timeout: float | None = None,
        heartbeat_interval: float | None = None,
    ) -> None:
        """Fill in min(5, ttl/6), ttl/10, ttl/6 and the renew interval for what is left out.

        Raises ValueError, naming the numbers, unless each is positive and two store calls in a row may time out
        after a renewal falls due without the lease being lost (I10).
        """
        checked_seconds("lease timing ttl", ttl)
        values = {
            "ttl": ttl,
            "renew_interval": min(5.0, ttl / 6) if renew_interval is None else renew_interval,
            "margin": ttl / 10 if margin is None else margin,
            "store_timeout": ttl / 6 if store_timeout is None else store_timeout,
        }
        values["heartbeat_interval"] = values["renew_interval"] if heartbeat_interval is None else heartbeat_interval
        for name, value in values.items():
            object.__setattr__(self, name, checked_seconds(f"lease timing {name}", value))
        if self.renew_interval + 2 * self.store_timeout + self.margin >= self.ttl:
            raise ValueError(
                "lease timing is unsafe: renew_interval + 2 * store_timeout + margin must be less than ttl, but "
                f"{self.renew_interval:g} + 2 * {self.store_timeout:g} + {self.margin:g} >= {self.ttl:g} seconds."
            )

    @property
    def patience(self) -> float:
        """Seconds in which a run ends once its work is cancelled: the margin, the release, the last heartbeat."""
        return self.margin + 2 * self.store_timeout

    def deadline(self, asked_at: Instant, grant: LeaseGrant) -> Instant:
        """Return until when work may go on under a grant that was asked for at `asked_at` (I1).

        Counted from before the question was sent, never from the answer's arrival: the store cannot have
        begun to count earlier than that.
        """
        return asked_at.after(min(self.ttl, grant.expires_in) - self.margin)

    def next_look(self, grant: LeaseGrant, *, watching: bool, priority: int) -> float:
        """Return the seconds after which a standby that was refused asks again (I9).

        Far from the expiry it asks every interval; near it, just after, a node of lower priority half a second after,
        so that the primary wins when both are there. One of lower priority that would wait too long for noticing
        a release asks once more before the expiry.
        """
        interval = self.renew_interval if watching else POLL_INTERVAL
        jitter = random.uniform(0, POLL_JITTER)
        wait = LOW_PRIORITY_WAIT if priority < PRIMARY_PRIORITY else 0.0
        # A call takes its time: one that is sent just before the expiry may be carried out just after it.
        near = interval + (2 * POLL_JITTER if wait else POLL_JITTER)
        if not 0 < grant.expires_in <= near:
            return interval + (jitter if watching else 2 * jitter - POLL_JITTER)
        if wait and not watching and grant.expires_in + wait > POLL_INTERVAL + POLL_JITTER:
            return max(0.0, grant.expires_in - POLL_JITTER - jitter)
        return grant.expires_in + wait + jitter

    def backoff(self, failures: int) -> float:
        """Return the seconds to wait after so many failed calls in a row, the first retry being immediate (I11)."""
        if failures <= 1:
            return 0.0
        ceiling = min(self.renew_interval, FIRST_BACKOFF * 2.0 ** min(failures - 2, 16))
        return random.uniform(ceiling / 2, ceiling)
