"""The main job: recorded frames through sockets, segments and HTTP to books that equal the exchange's own.

The same at a higher speed, with hours published, is tests/e2e/test_published.py.
"""

import random
from pathlib import Path

import pytest

from tests.e2e.capture import interrogate, play, tickers
from tests.e2e.stack import running


def _folder(recorded_data: Path | None) -> Path:
    if recorded_data is None:
        pytest.skip("no recorded frames here; test_generated plays the same part")
    return recorded_data / "kalshi-gold15m"


@pytest.mark.fault
@pytest.mark.parametrize(
    ("day", "shown", "questions"),
    [
        ("2026-08-10", "2026-08-10T21:45:30Z", 2000),
        ("2026-08-05", "2026-08-05T11:44:30Z", 250),
        ("2026-08-07", "2026-08-07T16:44:30Z", 250),
    ],
)
def test_every_market_at_twenty_fold_speed(
    tmp_path: Path,
    recorded_data: Path | None,
    figures: list[str],
    day: str,
    shown: str,
    questions: int,
) -> None:
    folder = _folder(recorded_data)
    markets = tickers(folder, day)
    with running(tmp_path, shown=shown, rate=20, KALSHIBOOK_AUDIT_EVERY_S="10") as stack:
        play(stack, folder, markets)
        tally = interrogate(stack, markets, questions, random.Random(2))
        figures.append(f"{stack.home.name}: {tally}")
        assert tally.wrong == []
        assert tally.refused.total() <= tally.asked // 100
        assert min(tally.by_market.values()) >= 100
