"""Quantiles in flat memory: as exact as they are said to be."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conductor_jobs.durations import Durations


def of(*milliseconds: int) -> Durations:
    durations = Durations()
    for each in milliseconds:
        durations.add(each)
    return durations


def test_without_any_there_is_no_quantile() -> None:
    assert of().quantile(0.5) is None


def test_small_ones_are_exact() -> None:
    durations = of(*range(256))
    assert [durations.quantile(share) for share in (0.0, 0.5, 0.95, 1.0)] == [0, 127, 243, 255]


@pytest.mark.parametrize("milliseconds", [256, 257, 999, 1000, 60_000, 86_400_000, 2**40 + 1])
def test_one_alone_is_every_quantile_of_itself(milliseconds: int) -> None:
    # Not the middle of its bucket where that is beyond the largest.
    assert abs((of(milliseconds).quantile(0.5) or 0) - milliseconds) <= milliseconds / 256
    assert of(milliseconds).largest == milliseconds


@given(st.lists(st.integers(0, 2**42), min_size=1, max_size=200), st.floats(0, 1))
def test_a_quantile_is_within_its_error_of_the_sorted_one(values: list[int], share: float) -> None:
    exact = sorted(values)[max(0, math.ceil(share * len(values)) - 1)]
    found = of(*values).quantile(share)
    assert found is not None
    assert abs(found - exact) <= (0 if exact < 256 else exact / 256)


def test_a_million_durations_fill_no_more_buckets_than_ten_thousand() -> None:
    draw = random.Random(7)
    few, many = of(), of()
    for number in range(300_000):
        milliseconds = int(draw.lognormvariate(6, 2)) % 3_600_000
        many.add(milliseconds)
        if number < 10_000:
            few.add(milliseconds)
    assert len(many._buckets) < 2_100
    assert len(many._buckets) < 4 * len(few._buckets)
