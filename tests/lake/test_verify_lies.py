"""A publisher that lies and hashes its lies well: what verify finds, by itself or while the segments exist."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from book.errors import ProofError
from book.records import HOUR_US, Kind
from lake.publishing import attempt, drafts, publish
from lake.publishing.accounts import accounts_of
from lake.publishing.corrections import rows_of
from lake.publishing.manifest import Account
from lake.settling.coverage import DERIVED
from lake.settling.fingerprint import fingerprint
from lake.settling.settle import SettledHour, settle
from lake.settling.standing import Standing
from tests.lake import lakes

Rows = Callable[[pa.Table], pa.Table]


def _lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, lie: Any) -> Path:
    monkeypatch.setattr(module, name, lie)
    lakes.build(tmp_path / "home", tmp_path / "lake")
    monkeypatch.undo()
    return tmp_path


def _settling(table: str, alter: Rows) -> Callable[..., SettledHour]:
    def lie(*args: Any) -> SettledHour:
        found = settle(*args)
        if table not in found.tables or found.hour != lakes.CORRECTED:
            return found
        tables = found.tables | {table: alter(found.tables[table])}
        tables = {name: rows for name, rows in tables.items() if rows.num_rows}
        return replace(found, tables=tables, prints={name: fingerprint(rows) for name, rows in tables.items()})

    return lie


class _Accountant:
    """Makes accounts fit whatever rows there are: what is missing was never in a table."""

    def __init__(self) -> None:
        self._hidden: dict[tuple[int, int], int] = {}

    def __call__(self, found: SettledHour) -> dict[int, Account]:
        told: dict[int, Account] = {}
        for conn in found.marks:
            earlier = sum(hidden for (hour, of), hidden in self._hidden.items() if of == conn and hour < found.hour)
            told |= next(one for hidden in range(60) if (one := self._told(found, conn, earlier, hidden)))
        return told

    def _told(self, found: SettledHour, conn: int, earlier: int, hidden: int) -> dict[int, Account] | None:
        marks, before = (
            {conn: mark._replace(apart=mark.apart + more)} if (mark := of.get(conn)) else {}
            for of, more in ((found.marks, earlier + hidden), (found.before, earlier))
        )
        try:
            told = accounts_of(replace(found, marks=marks, before=before))
        except ProofError:
            return None
        self._hidden[found.hour, conn] = hidden
        return told if told[conn].sum_ok else None


def _without_last_pair(rows: pa.Table) -> pa.Table:
    """Drop the last change of A: no checkpoint follows it."""
    at = max(
        place
        for place, (ticker, kind) in enumerate(zip(rows["ticker"].to_pylist(), rows["kind"].to_pylist(), strict=True))
        if ticker == "A" and kind in (Kind.DELTA, Kind.ORPHAN)
    )
    return pa.concat_tables([rows.slice(0, at), rows.slice(at + 1)])


def _set(name: str, value: str) -> Rows:
    return lambda rows: rows.set_column(
        place := rows.schema.get_field_index(name), rows.schema.field(place), pa.array([value] * rows.num_rows)
    )


@pytest.mark.parametrize(
    ("table", "alter"),
    [
        ("orderbook", _without_last_pair),
        ("trades", lambda rows: rows.slice(0, 0)),
        ("lifecycle", _set("event_type", "settled")),
        ("audits", _set("digest_ours", "0" * 16)),
    ],
)
def test_rows_that_the_segments_do_not_hold_are_found_while_those_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, alter: Rows
) -> None:
    monkeypatch.setattr(attempt, "accounts_of", _Accountant())
    root = _lie(tmp_path, monkeypatch, publish, "settle", _settling(table, alter))
    assert any(doubt.endswith(("from the segments", "the segments'", "alone")) for doubt in lakes.doubts(root))
    assert lakes.doubts(root, with_log=False) == []  # by itself the forgery is perfect


def _field(state: str, end_reason: str | None = None, /, **fields: Any) -> Callable[[dict[str, Any]], bool]:
    def alter(row: dict[str, Any]) -> bool:
        if end_reason not in (None, row["end_reason"]):
            return False
        if row["state"] == state and row["ts_from"].timestamp() * 1e6 // HOUR_US == lakes.CORRECTED:
            row.update(fields)
        return False

    return alter


@pytest.mark.parametrize(
    "alter",
    [
        _field("known", "audit_mismatch", digest="0123456789abcdef"),
        _field("known", last_change=None),
        _field("known", deltas=7),
        _field("known", end_reason="continues"),
        _field("known", bases=[]),
        _field("known", audits=0),
        _field("gap", state="known"),
        lambda row: row["state"] == "gap",
    ],
    ids=["digest", "last_change", "deltas", "end_reason", "bases", "audits", "state", "no gap"],
)
def test_a_coverage_row_that_lies_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alter: Callable[[dict[str, Any]], bool]
) -> None:
    root = _lie(tmp_path, monkeypatch, drafts.coverage, "derive", lakes.deriving(alter))
    assert any("differ" in doubt or "follow from the files" in doubt for doubt in lakes.doubts(root, with_log=False))


@pytest.mark.parametrize("state", ["conn", "silence"])
def test_a_conn_or_silence_that_lies_is_found_while_segments_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    dropped = lakes.deriving(lambda row: row["state"] == state and row["conn"] % 3 == 0)
    root = _lie(tmp_path, monkeypatch, drafts.coverage, "derive", dropped)
    assert lakes.doubts(root)


def test_an_account_that_lies_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(found: SettledHour) -> dict[int, Account]:
        told = accounts_of(found)
        return {
            conn: msgspec.structs.replace(one, deltas=one.deltas - 1, apart=(one.apart or 0) + 1) if one.deltas else one
            for conn, one in told.items()
        }

    root = _lie(tmp_path, monkeypatch, attempt, "accounts_of", lie)
    assert any("deltas are stated" in doubt for doubt in lakes.doubts(root, with_log=False))


def test_a_correction_that_is_hidden_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lie(old: pa.Table, new: pa.Table, **told: Any) -> pa.Table:
        rows = rows_of(old, new, **told)
        place = rows.schema.get_field_index("detail")
        return rows.set_column(place, rows.schema.field(place), pa.array(["nothing"] * rows.num_rows))

    root = _lie(tmp_path, monkeypatch, attempt.corrections, "rows_of", lie)
    assert any("not what differs between the versions" in doubt for doubt in lakes.doubts(root, with_log=False))


def test_rows_out_of_order_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def swap(rows: pa.Table) -> pa.Table:
        return rows.take(pc.sort_indices(rows, sort_keys=[("ticker", "descending"), ("seq", "ascending")]))

    monkeypatch.setattr(drafts.proof, "prove_order", lambda *_: None)
    monkeypatch.setattr(drafts.proof, "prove_replay", lambda *_: None)
    monkeypatch.setattr(drafts.coverage, "derive", lambda *_: DERIVED.empty_table())
    root = _lie(tmp_path, monkeypatch, publish, "settle", _settling("orderbook", swap))
    assert any("not in order of ticker" in doubt for doubt in lakes.doubts(root, with_log=False))


def test_an_hour_that_goes_on_from_nowhere_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: Any) -> tuple[int | None, Standing]:
        return None, Standing.empty()

    root = _lie(tmp_path, monkeypatch, attempt.Attempt, "standing", nothing)
    assert any("does not go on from the hour before it" in doubt for doubt in lakes.doubts(root, with_log=False))
