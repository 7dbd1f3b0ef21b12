import pytest

from bench.figures import percentile, ratio


def test_a_ratio_is_of_medians_and_its_spread_is_by_round() -> None:
    found = ratio([1.0, 2.0, 30.0], [4.0, 4.0, 5.0])
    assert (found.value, found.least, found.greatest) == (0.5, 0.25, 6.0)
    assert found.line("ingest generated", ">= 0.60") == (
        "ingest generated ratio 0.50 (target >= 0.60); by round 0.25-6.00"
    )


@pytest.mark.parametrize(("above", "below"), [([], []), ([1.0], [1.0, 2.0])])
def test_rounds_must_pair(above: list[float], below: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no rounds|zip"):
        ratio(above, below)


def test_percentiles_are_by_nearest_rank() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, share) for share in (0.0, 0.5, 0.505, 0.99, 1.0)] == [1.0, 50.0, 51.0, 99.0, 100.0]
    assert percentile([3.0, 1.0, 2.0], 0.5) == 2.0
    for bad in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            percentile(values, bad)
    with pytest.raises(ValueError, match="values"):
        percentile([], 0.5)
