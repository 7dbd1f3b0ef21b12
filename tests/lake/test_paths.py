"""Paths, both ways."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lake import paths

HOME = Path("/home")


@given(st.integers(0, 3_000_000))
def test_an_hour_and_its_folder(hour: int) -> None:
    folder = paths.hour_dir(HOME, 7, hour)
    assert folder.parts[:4] == ("/", "home", "journal", "7")
    assert paths.parse_hour(folder.parent.name, folder.name) == hour
    assert paths.hour_of(paths.hour_start_us(hour)) == paths.hour_of(paths.hour_start_us(hour + 1) - 1) == hour


def test_the_form_of_names() -> None:
    assert paths.hour_dir(HOME, 0, 1_786_399_500 // 3600) == HOME / "journal/0/2026-08-10/22"
    assert paths.segment_name("orderbook", 12) == "orderbook-000012.arrow"
    assert paths.sidecar_name("orderbook-000012.arrow") == "orderbook-000012.arrow.json"


@given(st.sampled_from(["orderbook", "trades"]), st.integers(0, 10**7))
def test_a_segment_and_its_name(table: str, number: int) -> None:
    assert paths.parse_segment(paths.segment_name(table, number)) == (table, number)


def test_other_names_are_not_ours() -> None:
    assert paths.parse_segment("orderbook-000012.arrow.json") is None
    assert paths.parse_segment("orderbook-12.arrow") is None
    assert paths.parse_hour("2026-13-40", "05") is None
    assert paths.parse_hour("2026-08-10", "24") is None
    assert paths.parse_hour("lost+found", "00") is None


def test_listing(tmp_path: Path) -> None:
    assert (paths.shards(tmp_path), paths.hours(tmp_path, 0)) == ([], [])
    for shard, hour in ((10, 5), (2, 496_001), (2, 495_999)):
        paths.hour_dir(tmp_path, shard, hour).mkdir(parents=True)
    (tmp_path / "journal" / "lock").touch()
    (paths.journal_dir(tmp_path, 2) / "lock").touch()
    (paths.hour_dir(tmp_path, 2, 495_999).parent / "notes").mkdir()
    assert paths.shards(tmp_path) == [2, 10]
    assert paths.hours(tmp_path, 2) == [495_999, 496_001]
