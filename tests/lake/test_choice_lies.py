"""A publisher that lies about two shards: what verify finds, by itself or while the segments exist."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest

from book.records import HOUR_US, Kind
from lake.journal.flush import Silence
from lake.publishing import drafts, publish
from lake.publishing.publish import publish_hours
from lake.settling import settle as settling
from lake.settling.fingerprint import fingerprint
from lake.settling.settle import SettledHour, settle
from tests.lake import lakes
from tests.lake.handlog import CONN, H0, T0, HandLog, S

ZERO, ONE = CONN, CONN + 1


def _record(home: Path) -> None:
    """Two hours of a market in two shards: in the second one shard 0 was silent, so that shard 1 is published."""
    for shard, conn in ((0, ZERO), (1, ONE)):
        log = HandLog(home, shard)
        log.snapshot("A", T0 + S, 1, conn=conn)
        log.delta("A", T0 + 2 * S, 2, conn=conn)
        log.flush(H0, {conn: (T0 + HOUR_US + S, 2, 1, 0)})  # type: ignore[dict-item]
        silent = [Silence(ZERO, T0 + HOUR_US + S, T0 + HOUR_US + 9 * S)] if conn == ZERO else []
        log.flush(H0 + 1, {conn: (T0 + 2 * HOUR_US + S, 2, 1, 0)}, silent)  # type: ignore[dict-item]


def _publish(root: Path) -> None:
    for hour in (H0, H0 + 1):
        assert publish_hours(root / "lake", root / "home", [hour], now_us=lambda: T0 + 3 * HOUR_US) is not None


def _lie(root: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, lie: Any) -> Path:
    _record(root / "home")
    monkeypatch.setattr(module, name, lie)
    _publish(root)
    monkeypatch.undo()
    return root


def test_the_truth_is_not_doubted(tmp_path: Path) -> None:
    _record(tmp_path / "home")
    _publish(tmp_path)
    report = lakes.look(tmp_path)
    assert report.doubts == []
    assert "2 choices between shards" in report.proved


@pytest.mark.parametrize("with_log", [True, False])
def test_the_worse_shard_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_log: bool) -> None:
    worse: Callable[..., int] = lambda known, _before: min(known, key=lambda shard: (known[shard], shard))  # noqa: E731
    root = _lie(tmp_path, monkeypatch, settling, "choose", worse)
    assert any("is published from shard" in doubt for doubt in lakes.doubts(root, with_log=with_log))


@pytest.mark.parametrize("with_log", [True, False])
def test_an_altered_checkpoint_at_a_switch_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_log: bool
) -> None:
    def lie(*args: Any) -> SettledHour:
        found = settle(*args)
        if found.hour != H0 + 1:
            return found
        rows = found.tables["orderbook"]
        place = rows.schema.get_field_index("qty_e2")
        rows = rows.set_column(place, rows.schema.field(place), pc.add(rows["qty_e2"], 1))
        assert set(rows["kind"].to_pylist()) == {Kind.CHECKPOINT}
        return replace(found, tables=found.tables | {"orderbook": rows}, prints={"orderbook": fingerprint(rows)})

    monkeypatch.setattr(drafts.proof, "prove_replay", lambda *_: None)
    root = _lie(tmp_path, monkeypatch, publish, "settle", lie)
    assert any("is not the one that stood before" in doubt for doubt in lakes.doubts(root, with_log=with_log))


def _points_back(row: dict[str, Any]) -> bool:
    if row["state"] == "known" and row["ts_from"].timestamp() * 1e6 == T0 + HOUR_US:
        row["last_record_hour"] = T0
    return False


@pytest.mark.parametrize(
    "alter",
    [
        _points_back,
        lambda row: row["state"] == "switch",
        lambda row: row["state"] == "other_known" and row["shard"] == 0,
    ],
    ids=["last_record_hour crosses the switch", "no mark of the switch", "a shard's stand is dropped"],
)
def test_coverage_that_hides_a_switch_or_a_shard_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[dict[str, Any]], bool]
) -> None:
    root = _lie(tmp_path, monkeypatch, drafts.coverage, "derive", lakes.deriving(alter))
    assert lakes.doubts(root, with_log=False)
