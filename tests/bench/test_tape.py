from pathlib import Path

from bench import offline, tape
from book.ladder import Book
from book.wire.decode import decode
from book.wire.messages import Delta, Trade


def test_a_generated_tape_folds_to_its_last_books_and_survives_a_file(tmp_path: Path) -> None:
    played = tape.generated(markets=60, messages=3000, seed=3)
    assert len(played.bodies) == len(played.kinds) == len(played.times_us) == 3000
    assert sum(played.count(kind) for kind in range(4)) == 3000
    assert played.count(tape.LIFECYCLE) == 3
    books = {ticker: Book(levels) for ticker, levels in played.books.items()}
    seqs: dict[int, list[int]] = {}
    for frame in tape.frames(played, {1: 501, 2: 1, 3: 1}):
        message = decode(frame)
        seqs.setdefault(message.sid or 0, []).append(message.seq if not isinstance(message, Trade) else 0)
        if isinstance(message, Delta):
            books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
    assert {ticker: book.levels() for ticker, book in books.items()} == played.last
    assert seqs[1] == list(range(501, 501 + played.count(tape.DELTA)))
    played.save(tmp_path / "tape")
    again = tape.load(tmp_path / "tape")
    assert (again.kinds, again.bodies, again.times_us) == (played.kinds, played.bodies, played.times_us)


def test_recorded_frames_fold_to_their_last_books(recorded_data: Path | None) -> None:
    if recorded_data is None:
        assert tape.recorded_folder() is None
        return
    played = tape.recorded(recorded_data / "kalshi-gold15m", 5000)
    books = {ticker: Book(levels) for ticker, levels in played.books.items()}
    for frame in tape.frames(played, {1: 1, 2: 1, 3: 1}):
        message = decode(frame)
        if isinstance(message, Delta):
            books[message.ticker].apply(message.side, message.price_e4, message.change_e2)
    assert played.count(tape.DELTA) > 4000
    assert {ticker: book.levels() for ticker, book in books.items()} == played.last


def test_long_pauses_are_cut_and_nothing_else_moves() -> None:
    played = tape.Tape("x", {}, bytes(5), [b""] * 5, [100, 100, 350, 900_000_000, 900_000_007], {})
    assert offline.stamps_us(played) == [100, 100, 350, 1_000_350, 1_000_357]
