"""When a lease that is held will have expired, as far as a standby can know it.

Etcd tells how long an etcd lease has left in whole seconds only, and deletes what lived by it up to half a second after
its end. Whoever watches the renewals knows the end better: it comes its length after the last of them was heard of.
A standby is sent there, a little late, and from then on it is told to come again at once. One of lower priority waits
half a second more, as it does after any expiry; by then one of higher priority has come often enough to go first.

Nothing but when to ask again depends on this.
"""

import time
from typing import Final, final

from .etcd_gateway import EtcdGateway
from .etcd_keys import Seen

# The half second of etcd's and half a second of a standby's coincide, were it not for this.
_LATE: Final = 0.2
_AT_ONCE: Final = 0.05


@final
class ExpiryEstimates:
    """The latest renewal of each lease that was heard of, and when to look for its end."""

    def __init__(self, gateway: EtcdGateway) -> None:
        self._gateway = gateway
        self._latest: dict[str, tuple[int, float]] = {}

    def heard_of(self, lease_name: str, renewal: int, seconds: int) -> None:
        """Take note of a renewal for `seconds`, known by its revision, that was made just now or earlier."""
        self._latest[lease_name] = renewal, time.monotonic() + seconds + _LATE

    async def expires_in(self, lease_name: str, seen: Seen) -> float:
        """Return the seconds after which to ask again for a lease that is held; 0 for one that is not."""
        if seen.record is None or not seen.etcd_lease:
            return 0.0
        renewal, look_at = self._latest.get(lease_name, (0, 0.0))
        if renewal != seen.renewal or look_at <= time.monotonic():
            # Not heard of, or kept by etcd for longer, as after a change of its leader.
            seconds = await self._gateway.time_to_live(seen.etcd_lease)
            if seconds <= 0:
                return _AT_ONCE
            self.heard_of(lease_name, seen.renewal, seconds)
        return min(max(self._latest[lease_name][1] - time.monotonic(), _AT_ONCE), seen.record.ttl)
