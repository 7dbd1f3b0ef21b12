import random
from bisect import bisect_right
from pathlib import Path

from bench import book_live, offline, questions, tape
from book.ladder import Book
from book.wire.decode import decode
from book.wire.messages import Delta
from query.log import Log
from query.point import book_at


def test_questions_carry_the_digest_of_a_fold_from_the_start() -> None:
    played = tape.generated(markets=40, messages=800, seed=5)
    stamps = offline.stamps_us(played)
    messages = [decode(frame) for frame in tape.frames(played, {1: 1, 2: 1, 3: 1})]
    asked = questions.choose(played, stamps, 60, random.Random(2))
    assert len(asked) == 60
    for ticker, at_us, digest in asked:
        book = Book(played.books[ticker])
        for message in messages[: bisect_right(stamps, at_us)]:
            if isinstance(message, Delta) and message.ticker == ticker:
                book.apply(message.side, message.price_e4, message.change_e2)
        assert book.digest() == digest


def test_a_tape_becomes_a_log_and_the_floor_holds_what_an_answer_rests_on(tmp_path: Path) -> None:
    played = tape.generated(markets=40, messages=3000, seed=6)
    offline.record(played, tmp_path)
    stamps = offline.stamps_us(played)
    log = Log(tmp_path, lambda: stamps[-1], row_bytes=0)
    asked = questions.choose(played, stamps, 40, random.Random(3))
    answers = [book_at(log, question.ticker, question.at_us) for question in asked]
    assert [answer.digest for answer in answers] == [question.digest for question in asked]
    floors = book_live.floors_of(tmp_path, answers)
    read = book_live.decoder(floors)
    for answer, floor in zip(answers, floors, strict=True):
        assert read(floor) == floor.rows >= answer.deltas_applied + len(answer.book) * (answer.deltas_applied == 0)
        assert 1 <= floor.batches <= answer.deltas_applied + 1
