"""When a lease that is held will have expired, as far as a standby can know it.

Etcd deletes what lived by an etcd lease up to half a second after its end, and tells how long that has left in whole
seconds only. Whoever watches the renewals knows better: the lease ends its length after the last of them was heard of,
at the latest. Nothing but when to ask again depends on this.
"""

import time
from typing import Final, final

from .etcd_gateway import EtcdGateway
from .etcd_keys import Seen

# Etcd looks twice a second for leases that have run out.
_DELETED_WITHIN: Final = 0.5
_LOOK_AGAIN: Final = 0.25
_SOONEST: Final = 0.01


@final
class ExpiryEstimates:
    """The latest renewal of each lease that was heard of, and until when it keeps the lease at most."""

    def __init__(self, gateway: EtcdGateway) -> None:
        self._gateway = gateway
        self._latest: dict[str, tuple[int, float]] = {}

    def heard_of(self, lease_name: str, renewal: int, granted: int) -> None:
        """Take note of a renewal, by its revision, that was made just now or earlier, for `granted` seconds."""
        self._latest[lease_name] = renewal, time.monotonic() + granted + _DELETED_WITHIN

    async def expires_in(self, lease_name: str, seen: Seen) -> float:
        """Return the seconds after which to ask again for a lease that is held; 0 for one that is not."""
        if seen.record is None or not seen.etcd_lease:
            return 0.0
        renewal, gone_by = self._latest.get(lease_name, (0, 0.0))
        if renewal != seen.renewal or gone_by <= time.monotonic():
            # Not heard of, or kept by etcd for longer, as after a change of its leader. Half a second is the middle
            # of what was rounded away; whoever comes too early then is told to come again soon.
            left = await self._gateway.time_to_live(seen.etcd_lease)
            gone_by = time.monotonic() + (left + 0.5 if left > 0 else _LOOK_AGAIN)
            self._latest[lease_name] = seen.renewal, gone_by
        return min(max(gone_by - time.monotonic(), _SOONEST), seen.record.ttl)
