"""Tests of cli.verification: what is asked for, what is told, and the exit code."""

from pathlib import Path

import pytest

from cli.verification import run_verify
from lake.publishing.publish import publish_hours
from ops.settings import Settings
from tests.cli.test_publishing import record
from tests.query.conftest import H0, HOUR

DAY = H0 - 16


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Two published hours of one day."""
    record(tmp_path, hours=2)
    for hour in (H0, H0 + 1):
        assert publish_hours(tmp_path / "lake", tmp_path, [hour], now_us=lambda: (H0 + 3) * HOUR)
    return Settings(home=tmp_path)


def verify(settings: Settings, hours: tuple[int, ...] = (), days: tuple[int, ...] = ()) -> tuple[int, list[str]]:
    told: list[str] = []
    return run_verify(settings, hours, days, told.append), told


def test_a_sound_lake_is_proved(settings: Settings) -> None:
    code, told = verify(settings)

    assert (code, told[-1]) == (0, "the lake: no doubt")
    assert len(told) > 3
    assert all(line.startswith("proved  ") for line in told[:-1])


@pytest.mark.parametrize(("hours", "days"), [((H0,), ()), ((), (DAY,)), ((H0, H0 + 1), (DAY,))])
def test_what_is_published_can_be_asked_for(settings: Settings, hours: tuple[int, ...], days: tuple[int, ...]) -> None:
    code, told = verify(settings, hours, days)

    assert (code, told[-1]) == (0, f"{len(hours)} hours and {len(days)} days: no doubt")


def test_what_is_not_published_is_in_doubt(settings: Settings) -> None:
    code, told = verify(settings, (H0, H0 + 2), (DAY + 24,))

    assert code == 1
    assert [line for line in told if line.startswith("DOUBT")] == [
        "DOUBT   2026-08-01T18 is not published",
        "DOUBT   no hour of 2026-08-02 is published",
    ]
    assert told[-1] == "2 hours and 1 days: 2 doubts"


def test_a_lake_that_is_not_there_is_in_doubt(tmp_path: Path) -> None:
    code, told = verify(Settings(home=tmp_path))

    assert code == 1
    assert f"DOUBT   there is no lake at {tmp_path / 'lake'}" in told


def test_an_altered_file_is_in_doubt_by_its_path(settings: Settings) -> None:
    file = min((settings.lake_root / "v1" / "orderbook").rglob("*.parquet"))
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)

    code, told = verify(settings)

    assert code == 1
    assert any(line.startswith("DOUBT") and file.name in line for line in told)
    assert "doubt" in told[-1]
