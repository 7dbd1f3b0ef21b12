"""Hours rebuilt from raw frames: what a right reader published, word by word, and the truth where a wrong one did."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest.mock import patch

import pytest

from book.errors import CorruptError, LakeError, PublishError
from cli.rebuilding import rebuild_of
from lake import paths
from lake.publishing import manifest, parquet
from lake.publishing.manifest import Manifest
from lake.publishing.publish import publish_hours, publish_rebuilt
from lake.publishing.shelf import Shelf
from lake.verify import verify
from tests.model import readers
from tests.model.faults import FAULTS, schedule
from tests.model.frames import lives
from tests.model.one_file import Files
from tests.model.oracle import GAP
from tests.model.play import LIMITS
from tests.model.questions import instants
from tests.model.rig import Rig
from tests.model.times import NS, Shown
from tests.model.venue import Agenda

HOUR_OF_MACHINE_US = 2_000_000


class Recorded:
    """A run that is over and published, and the lake that it is in."""

    def __init__(self, folder: Path, rig: Rig) -> None:
        self.rig, self.home, self.lake = rig, folder / "home", folder / "lake"
        self.hours = paths.hours(self.home, 0)
        self.now_us = paths.hour_start_us(self.hours[-1] + 2)
        assert publish_hours(self.lake, self.home, self.hours, now_us=lambda: self.now_us) is not None

    def shelf(self) -> Shelf:
        shelf = Shelf(self.lake)
        shelf.refresh()
        return shelf

    def rebuild(self, hours: Sequence[int]) -> Manifest | None:
        made = rebuild_of(self.lake, self.home, self.shelf())
        return publish_rebuilt(self.lake, self.home, hours, made, now_us=lambda: self.now_us)

    def wrong(self, count: int = 600) -> list[tuple[str, int]]:
        """Return the markets and instants whose published books are not the venue's."""
        files, rng = Files(self.lake), random.Random(3)
        found = []
        for ticker, ts_us in instants(self.rig.oracle, rng, count):
            if paths.hour_of(ts_us) in files.hours:
                expected, got = self.rig.oracle.answer(ticker, ts_us), files.answer(ticker, ts_us)
                withheld = isinstance(got, str) and expected in (GAP, "not yet")
                if got != expected and not withheld and not (got == "nothing here" and isinstance(expected, str)):
                    found.append((ticker, ts_us))
        return found

    def doubts(self) -> list[str]:
        return [f"{doubt.path}: {doubt.what}" for doubt in verify(self.lake, self.home, None, lambda _: None).doubts]


def run(
    folder: Path, recorded: Path | None, kinds: tuple[str, ...], *, seed: int = 5, seconds: float = 12.0
) -> Recorded:
    rng = random.Random(seed)
    markets = lives(recorded, 3, seconds, 12.0, rng)
    rig = Rig(folder / "home", markets, Shown(HOUR_OF_MACHINE_US), rng, limits=LIMITS, raw=True)
    schedule(rig, kinds, 2 * NS, int((seconds - 2) * NS), rng)
    rig.agenda.run(int(seconds * NS))
    if rig.up:
        rig.close()
    return Recorded(folder, rig)


@pytest.mark.parametrize("kinds", [(), ("crash",), tuple(FAULTS)], ids=("calm", "crash", "all"))
def test_a_rebuilt_hour_is_the_published_one(
    tmp_path: Path, recorded_data: Path | None, kinds: tuple[str, ...]
) -> None:
    found = run(tmp_path, recorded_data, kinds)
    assert len(found.hours) >= 4
    for hour in found.hours:
        again = found.rebuild([hour])
        assert again is None, [(entry.hour, entry.reason) for entry in again.hours]
    assert len(paths.rebuilt_numbers(found.home)) == len(found.hours)
    assert found.doubts() == []


def test_the_hours_of_two_shards_are_rebuilt_together(tmp_path: Path) -> None:
    agenda, shown = Agenda(), Shown(HOUR_OF_MACHINE_US)
    rigs = []
    for shard, kinds in enumerate((("crash", "stall_5"), ("move", "gap"))):
        rng = random.Random(40 + shard)
        markets = lives(None, 3, 10.0, None, rng)
        rig = Rig(tmp_path / "home", markets, shown, rng, limits=LIMITS, shard=shard, agenda=agenda, raw=True)
        schedule(rig, kinds, 2 * NS, 8 * NS, rng)
        rigs.append(rig)
    agenda.run(10 * NS)
    for rig in rigs:
        if rig.up:
            rig.close()
    found = Recorded(tmp_path, rigs[0])
    assert {shard for entry in manifest.read(found.lake, 1).hours for shard in entry.shards} == {0, 1}
    for hour in found.hours[1:4]:
        assert found.rebuild([hour]) is None


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(200, 220))
def test_a_rebuilt_hour_is_the_published_one_again(tmp_path: Path, recorded_data: Path | None, seed: int) -> None:
    found = run(tmp_path, recorded_data, tuple(FAULTS), seed=seed, seconds=40.0)
    for hour in found.hours:
        assert found.rebuild([hour]) is None


WRONG: dict[str, Callable[[str], readers.Reader]] = {
    "sides": readers.swapped,
    "cents": lambda _: readers.shifted(),
    "levels": lambda _: readers.short(),
}


@pytest.mark.parametrize(("mistake", "kinds"), [("sides", ()), ("cents", ()), ("levels", ("crash", "gap"))])
def test_what_a_wrong_reader_published_is_rebuilt_to_the_truth(
    tmp_path: Path, recorded_data: Path | None, mistake: str, kinds: tuple[str, ...]
) -> None:
    ticker = lives(recorded_data, 3, 12.0, 12.0, random.Random(5))[0].ticker
    with patch("collector.intake.decode_batch", WRONG[mistake](ticker)):
        found = run(tmp_path, recorded_data, kinds)
    assert len(found.wrong()) > 20
    before, old_us = found.shelf(), found.now_us
    old = {hour: before.standing_rows(hour) for hour in before.hours()}
    found.now_us += 1_000_000
    decided = found.rebuild(found.hours)
    assert decided is not None
    assert found.wrong() == []
    assert {(entry.version, entry.reason) for entry in decided.hours} == {(2, "rebuilt")}
    assert decided.reason == "rebuilt"
    assert all(read.rebuilt for entry in decided.hours for read in entry.shards.values())
    after = found.shelf()
    for hour in before.hours():
        assert after.standing_rows(hour, old_us).num_rows == old[hour].num_rows
    corrected = [parquet.read_hour(found.lake, "corrections", entry.files["corrections"]) for entry in decided.hours]
    assert {reason for rows in corrected for reason in rows["reason"].to_pylist()} == {"rebuilt"}
    told = [row for rows in corrected for row in rows.to_pylist()]
    assert all("rows read anew" in row["detail"] for row in told if mistake == "sides")
    assert mistake != "sides" or {row["ticker"] for row in told} == {ticker}
    assert found.doubts() == []


def test_an_hour_after_a_rebuilt_one_is_rebuilt_with_it(tmp_path: Path, recorded_data: Path | None) -> None:
    with patch("collector.intake.decode_batch", readers.shifted()):
        found = run(tmp_path, recorded_data, ())
    decided = found.rebuild(found.hours[:1])
    assert decided is not None
    assert [entry.hour for entry in decided.hours][:2] == found.hours[:2]
    assert {entry.reason for entry in decided.hours} == {"rebuilt"}
    assert found.doubts() == []


def test_a_rebuilt_hour_is_never_read_from_its_segments_again(tmp_path: Path, recorded_data: Path | None) -> None:
    with patch("collector.intake.decode_batch", readers.shifted()):
        found = run(tmp_path, recorded_data, ())
    found.rebuild(found.hours)
    for reason in ("late", "correction"):
        assert publish_hours(found.lake, found.home, found.hours, now_us=lambda: found.now_us, reason=reason) is None
    folder = paths.hour_dir(paths.rebuilt_home(found.home, 1), 0, found.hours[0])
    (folder / paths.FLUSH_NAME).unlink()
    with pytest.raises(CorruptError, match="rebuild 1 of the hour is missing"):
        publish_hours(found.lake, found.home, found.hours, now_us=lambda: found.now_us, reason="late")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    return run(tmp_path_factory.mktemp("calm"), None, ())


def _files(found: Recorded, hour: int) -> list[Path]:
    return sorted(paths.raw_hour_dir(found.home, 0, hour).iterdir(), key=lambda path: path.stat().st_size)


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("harm", ["missing", "torn", "altered"])
def test_raw_frames_that_are_not_whole_are_refused(calm: Recorded, place: int, harm: str) -> None:
    hour = calm.hours[1]
    path = _files(calm, hour)[place]
    data, number = path.read_bytes(), manifest.last_number(calm.lake)
    try:
        if harm == "missing":
            path.unlink()
        else:
            half = len(data) // 2
            altered = data[:half] + bytes([data[half] ^ 1]) + data[half + 1 :]
            path.write_bytes(data[:-40] if harm == "torn" else altered)
        with pytest.raises(LakeError, match=str(paths.raw_hour_dir(calm.home, 0, hour))):
            calm.rebuild([hour])
        assert bool(calm.doubts()) == (harm == "altered" or (harm == "missing" and path.name.endswith("-0.raw")))
    finally:
        path.write_bytes(data)
    assert manifest.last_number(calm.lake) == number


def test_an_hour_without_raw_frames_is_refused(calm: Recorded) -> None:
    hour = calm.hours[1]
    folder = paths.raw_hour_dir(calm.home, 0, hour)
    folder.rename(away := folder.with_name("away"))
    try:
        with pytest.raises(PublishError, match="shard 0 has no raw frames of it"):
            calm.rebuild([hour])
    finally:
        away.rename(folder)


def test_the_frames_of_a_process_that_is_missing_are_missed(tmp_path: Path) -> None:
    found = run(tmp_path, None, ("crash",), seconds=14.0)
    for hour in found.hours:
        folder = paths.raw_hour_dir(found.home, 0, hour)
        starts = sorted({parsed[0] for path in folder.iterdir() if (parsed := paths.parse_raw(path.name))})
        for start_us in starts if len(starts) > 1 else ():
            gone = [path for path in folder.iterdir() if path.name.startswith(f"{start_us}-")]
            data = {path: path.read_bytes() for path in gone}
            for path in gone:
                path.unlink()
            with pytest.raises(LakeError, match=r"are missing|end with flush"):
                found.rebuild([hour])
            for path, kept in data.items():
                path.write_bytes(kept)
    assert any(count > 1 for count in _processes(found))


def _processes(found: Recorded) -> list[int]:
    return [
        len({path.name.split("-")[0] for path in paths.raw_hour_dir(found.home, 0, hour).iterdir()})
        for hour in found.hours
    ]
