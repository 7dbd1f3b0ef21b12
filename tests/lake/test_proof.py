"""The proofs: untouched hours pass, and every hour that was tampered with is refused, with its place."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from book.errors import BookError, ProofError
from book.ladder import Book
from lake.schemas import PUBLISHED, TABLES
from lake.settling import fold as folding
from lake.settling import proof
from lake.settling.columns import book_columns, groups, level_columns
from lake.settling.fingerprint import Fingerprint, fingerprint
from lake.settling.fold import Stretches, fold
from lake.settling.standing import Stand, Standing
from tests.lake.chains import ALL, chain, run, slow_hours
from tests.lake.handlog import CHECKPOINT, CLOSE, CONN, DELTA, ORPHAN, SNAPSHOT, T0
from tests.lake.slow import Row, plain_rows

NEXT = CONN + 1024
Change = Callable[[list[Row]], list[Row]]


def table(rows: list[Row]) -> pa.Table:
    """Return rows as a published orderbook, in the order given."""
    columns = list(zip(*rows, strict=True)) or [()] * len(Row._fields)
    fields = list(PUBLISHED["orderbook"])
    return pa.table(
        [pa.array(list(column), pa.int64() if pa.types.is_timestamp(field.type) else field.type).cast(field.type)
         for column, field in zip(columns, fields, strict=True)],
        schema=PUBLISHED["orderbook"],
    )  # fmt: skip


def row(ticker: str, at: int, seq: int, kind: int, *level: int, conn: int = CONN, reason: str | None = None) -> Row:
    side, price, qty = level or (None, None, None)
    return Row(ticker, T0 + at, None, conn, seq, kind, side, price, qty, reason)


def hour() -> list[Row]:
    """Return an hour of two markets: spans, a checkpoint, a gap, a move, an orphan inside."""
    return [
        row("A", 0, 4, CHECKPOINT, 0, 4500, 100),
        row("A", 0, 4, CHECKPOINT, 1, 5000, 7),
        row("A", 5, 6, DELTA, 0, 4500, -100),
        row("A", 6, 7, DELTA, 0, 4400, 3),
        row("A", 6, 7, CHECKPOINT, 0, 4400, 3),
        row("A", 6, 7, CHECKPOINT, 1, 5000, 7),
        row("A", 7, 8, DELTA, 1, 5000, -7),
        row("A", 8, 8, CLOSE, reason="seq_gap"),
        row("A", 9, 11, ORPHAN, 0, 4500, -100),
        row("A", 10, 12, SNAPSHOT, 0, 4500, 2),
        row("A", 11, 13, DELTA, 0, 4500, 2),
        row("A", 20, 13, CLOSE, reason="moved"),
        row("A", 20, 3, SNAPSHOT, conn=NEXT),
        row("A", 21, 14, ORPHAN, 0, 4500, 5),
        row("A", 22, 4, DELTA, 0, 1, 1, conn=NEXT),
        row("B", 1, 5, SNAPSHOT, 0, 10, 10),
        row("B", 2, 9, DELTA, 0, 10, -10),
        row("B", 2, 10, DELTA, 0, 10, 1),
    ]


STOOD = Standing(
    {"A": Stand(True, 0, CONN, None, 1, None, None, Book([(0, 4500, 100), (1, 5000, 7)]).digest())},
)


def prove(rows: list[Row], standing: Standing = STOOD) -> None:
    proof.prove_order(table(rows))
    proof.prove_replay(table(rows), standing)


def test_a_good_hour_is_proved() -> None:
    prove(hour())
    prove(hour(), Standing.empty())
    prove([])


def _set(index: int, **fields: Any) -> Change:
    return lambda rows: [*rows[:index], rows[index]._replace(**fields), *rows[index + 1 :]]


def _put(index: int, *new: Row, drop: int = 0) -> Change:
    return lambda rows: [*rows[:index], *new, *rows[index + drop :]]


TAMPERED: dict[str, tuple[Change, str]] = {
    "two rows change places": (lambda rows: [*rows[:2], rows[3], rows[2], *rows[4:]], "sorts before"),
    "two levels change places": (lambda rows: [rows[1], rows[0], *rows[2:]], "sorts before"),
    "two markets change places": (lambda rows: [*rows[15:], *rows[:15]], "sorts before"),
    "a market comes twice": (lambda rows: [*rows, rows[0]], "sorts before"),
    "a number goes back": (_set(3, seq=5, kind=DELTA), "greater number"),
    "a checkpoint has the number of the next change": (
        lambda rows: [one._replace(seq=9) if one.kind == CHECKPOINT and one.seq == 7 else one for one in rows],
        "greater number",
    ),
    "a change stands twice": (_put(3, hour()[2]), "twice"),
    "a close has a number too great": (_set(7, seq=14), "greater number"),
    "a delta without a base": (lambda rows: [*rows[:15], *rows[16:]], "outside"),
    "a delta in a gap": (_set(8, kind=DELTA), "outside"),
    "a delta of another conn": (_set(13, kind=DELTA, qty=1), "outside"),
    "a delta before a first book": (_put(15, row("B", 0, 1, DELTA, 0, 10, 1)), "outside"),
    "a checkpoint in a gap": (_put(8, row("A", 9, 11, CHECKPOINT, 0, 4500, 2)), "outside"),
    "a checkpoint of another conn": (_put(13, row("A", 21, 14, CHECKPOINT, 0, 1, 1)), "outside"),
    "a level is below zero": (_set(2, qty=-101), "below zero"),
    "a level is below zero at the end": (_set(17, qty=-1), "below zero"),
    "a level below zero recovers": (_set(16, qty=-11), "below zero"),
    "a level stands twice": (_put(16, row("B", 1, 5, SNAPSHOT, 0, 10, 3)), "twice"),
    "a change is lost": (_put(3, drop=1), "folded up to it"),
    "a change is another": (_set(3, qty=4), "folded up to it"),
    "a level of a checkpoint is another": (_set(4, qty=4), "folded up to it"),
    "a level of a checkpoint is missing": (_put(4, drop=1), "folded up to it"),
    "a checkpoint has a level more": (_put(5, row("A", 6, 7, CHECKPOINT, 0, 4500, 1)), "folded up to it"),
    "the last level of a checkpoint is missing": (_put(5, drop=1), "below zero"),
    "the carried book is another": (_set(0, qty=101), "before the hour|folded up to it|below zero"),
    "the carried book has a level less": (_put(1, drop=1), "before the hour|below zero"),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_an_hour_tampered_with_is_refused(name: str) -> None:
    change, words = TAMPERED[name]
    with pytest.raises(ProofError, match=words) as refused:
        prove(change(hour()))
    assert refused.value.ticker in ("A", "B")
    assert isinstance(refused.value.ts_us, int)
    assert T0 <= refused.value.ts_us <= T0 + 22


@pytest.mark.parametrize(
    "stand",
    [
        Stand(False, 0, CONN, "crash", 1, None, None, None),
        Stand(True, 0, NEXT, None, 1, None, None, STOOD.markets["A"].digest),
        Stand(True, 0, CONN, None, 1, None, None, Book().digest()),
    ],
    ids=["in a gap", "on another conn", "another book"],
)
def test_a_first_checkpoint_must_be_what_stood(stand: Stand) -> None:
    with pytest.raises(ProofError, match=r"outside its conn's span|before the hour"):
        prove(hour(), Standing({"A": stand}))
    prove(hour(), Standing({"C": stand}))


def test_a_book_ends_with_its_market_and_a_checkpoint_is_of_its_own_conn() -> None:
    """Each of the two proofs by itself: what the other one refuses is not told as something else."""
    first = [row("A", 1, 1, SNAPSHOT, 0, 10, 10), row("B", 1, 2, DELTA, 0, 10, -11)]
    proof.prove_replay(table(first), Standing.empty())
    with pytest.raises(ProofError, match=r"B at .*outside"):
        proof.prove_order(table(first))
    other = [row("A", 1, 1, SNAPSHOT, 0, 10, 10), row("A", 2, 1, CHECKPOINT, 0, 10, 10, conn=NEXT)]
    proof.prove_order(table(other))
    with pytest.raises(ProofError, match="outside its conn's span"):
        proof.prove_replay(table(other), Standing.empty())


def test_the_place_of_a_wrong_checkpoint_is_named() -> None:
    with pytest.raises(ProofError) as refused:
        proof.prove_replay(table(_set(4, qty=4)(hour())), STOOD)
    assert (refused.value.ticker, refused.value.ts_us) == ("A", T0 + 6)


def test_every_hour_of_a_simulated_log_is_proved_and_none_with_a_row_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "_PART_ROWS", 300)
    monkeypatch.setattr(folding, "_PART_ROWS", 300)
    run(tmp_path, ALL, 24, 40.0)
    rng = random.Random(1)
    refused = tried = 0
    for link in chain(tmp_path, slow_hours(tmp_path).hours):
        for name, published in link.settled.tables.items():
            proof.prove_conserved(link.settled.prints, name, [published.slice(0, 7), published.slice(7)])
        if link.book is None:
            continue
        proof.prove_order(link.book)
        proof.prove_replay(link.book, link.standing)
        rows = plain_rows(link.book)
        places = [at for at, one in enumerate(rows) if one.kind == CHECKPOINT and one.qty]
        for at in rng.sample(places, min(2, len(places))):
            tried += 1
            with pytest.raises(ProofError):
                proof.prove_replay(table(_set(at, qty=(rows[at].qty or 0) + 1)(rows)), link.standing)
            refused += 1
    assert refused == tried > 5


# conservation


def test_what_was_written_must_be_what_was_read() -> None:
    whole = table(hour())
    prints = {"orderbook": fingerprint(whole)}
    proof.prove_conserved(prints, "orderbook", [whole.slice(9), whole.slice(0, 9)])
    wrong = {
        "a row less": whole.slice(1),
        "a row more": pa.concat_tables([whole, whole.slice(0, 1)]),
        "a row twice, another missing": pa.concat_tables([whole.slice(1), whole.slice(1, 1)]),
        "a value changed": table(_set(3, qty=4)(hour())),
        "a null filled": table(_set(7, qty=0)(hour())),
        "values swapped between columns": table(_set(2, conn=6, seq=CONN)(hour())),
        "values swapped between rows": table(_set(2, qty=3)(_set(3, qty=-100)(hour()))),
        "text changed": table(_set(7, reason="crash")(hour())),
    }
    for name, written in wrong.items():
        with pytest.raises(ProofError, match="orderbook"):
            proof.prove_conserved(prints, "orderbook", [written])
        assert fingerprint(written) != prints["orderbook"], name
    with pytest.raises(ProofError, match="trades"):
        proof.prove_conserved(prints, "trades", [whole])
    proof.prove_conserved(prints, "trades", [])


def test_a_fingerprint_is_of_the_set_of_rows_whatever_their_order_and_form() -> None:
    rows = hour() * 40
    rng = random.Random(2)
    whole = table(rows)
    shuffled = rng.sample(rows, len(rows))
    assert fingerprint(table(shuffled)) == fingerprint(whole)
    as_logged = whole.set_column(0, TABLES["orderbook"].field("ticker"), whole["ticker"].dictionary_encode())
    batches = [as_logged.slice(at, 11) for at in range(0, len(rows), 11)]
    assert fingerprint(pa.concat_tables(batches)) == fingerprint(whole)
    parts = [fingerprint(part) for part in (whole.slice(0, 100), whole.slice(100))]
    assert parts[0].plus(parts[1]) == fingerprint(whole)
    assert fingerprint(whole).minus(parts[1]) == parts[0]
    assert fingerprint(whole.slice(0, 0)) == Fingerprint(0, 0)
    assert parts[0].rows == 100


# the fold


def test_only_later_changes_of_the_bases_conn_are_added() -> None:
    rows = [
        row("A", 1, 5, SNAPSHOT, 0, 10, 10),
        row("A", 2, 4, DELTA, 0, 10, 1),
        row("A", 3, 5, DELTA, 0, 10, 2),
        row("A", 4, 6, DELTA, 0, 10, 4, conn=NEXT),
        row("A", 5, 7, ORPHAN, 0, 10, 8),
        row("A", 6, 8, DELTA, 0, 10, 16),
    ]
    published = table(rows)
    one = np.array([1])
    folded = fold(book_columns(published), level_columns(published), Stretches(one - 1, one, one + 5))
    assert folded.qty_e2.tolist() == [26]


changes = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from((0, 1, 4500, 9999, 10_000)), st.integers(-3, 4)), max_size=30
)


@given(st.lists(changes, min_size=1, max_size=4))
@settings(deadline=None)
def test_a_fold_is_the_plain_books(spans: list[list[tuple[int, int, int]]]) -> None:
    """Each span is a book and changes; both must find the first level that falls below zero, or the same levels."""
    rows: list[Row] = []
    books: list[list[tuple[int, int, int]]] = []
    negative = False
    for number, span in enumerate(spans):
        seq = 100 * number
        levels = {(side, price): qty for side, price, qty in span[:4] if qty > 0}
        rows += [row("A", seq, seq, SNAPSHOT, *level, qty) for level, qty in sorted(levels.items())] or [
            row("A", seq, seq, SNAPSHOT)
        ]
        book = Book((*level, qty) for level, qty in levels.items())
        for at, (side, price, qty) in enumerate(span[4:], 1):
            rows.append(row("A", seq + at, seq + at, DELTA, side, price, qty))
            try:
                book.apply(side, price, qty)
            except BookError:
                negative = True
        books.append(book.levels())
    published = table(rows)
    columns = book_columns(published)
    found = groups(columns)
    ends = [*found.row[1:].tolist(), len(rows)]
    folded = fold(columns, level_columns(published), Stretches(found.row, found.rows, pa.array(ends).to_numpy()))
    assert bool(len(folded.negative)) == negative
    if not negative:
        ours: list[list[tuple[int, int, int]]] = [[] for _ in spans]
        for stretch, slot, qty in zip(
            folded.stretch.tolist(), folded.slot.tolist(), folded.qty_e2.tolist(), strict=True
        ):
            ours[stretch].append((slot >> 14, slot & 16_383, qty))
        assert ours == books
        assert folded.digests(len(spans)) == [Book(levels).digest() for levels in books]
