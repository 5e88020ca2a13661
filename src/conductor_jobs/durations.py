"""Quantiles of a stream of durations, in memory that does not grow with it."""

from collections import defaultdict
from typing import final

# Of a number only the highest eight bits are kept: what is below 256 is exact.
_BITS = 8


@final
class Durations:
    """Counts milliseconds in buckets whose width grows with them, and tells any quantile.

    A quantile is exact below 256 ms and within 0.4 % above, the largest duration is exact. A month of milliseconds
    has some 3,000 buckets. It is the idea of HdrHistogram, whose buckets are as wide as the numbers' bits say.
    """

    def __init__(self) -> None:
        self.count: int = 0
        self.largest: int = 0
        self._buckets: defaultdict[int, int] = defaultdict(int)

    def add(self, milliseconds: int) -> None:
        """Count one."""
        self.count += 1
        if milliseconds > self.largest:
            self.largest = milliseconds
        shift = milliseconds.bit_length() - _BITS
        self._buckets[milliseconds if shift <= 0 else milliseconds >> shift << shift] += 1

    def quantile(self, share: float) -> int | None:
        """Return the duration that this share of all do not exceed, in milliseconds; None when there are none."""
        wanted, seen = share * self.count, 0
        for lowest in sorted(self._buckets):
            seen += self._buckets[lowest]
            if seen >= wanted:
                # The middle of the bucket: nothing of it is further away than half its width.
                width = 1 << max(0, lowest.bit_length() - _BITS)
                return min(lowest + (width >> 1), self.largest)
        return None
