import random
from pathlib import Path

import pytest

from bench import book_published, offline, published, questions, tape, versus
from bench.questions import Question
from query.log import Log


def test_the_floor_holds_what_an_answer_rests_on(tmp_path: Path) -> None:
    played = tape.generated(markets=40, messages=3000, seed=6)
    home, lake = tmp_path / "home", tmp_path / "lake"
    offline.record(played, home)
    hours = published.publish(home, lake)
    assert len(hours) == 2
    stamps = offline.stamps_us(played)
    log = Log(home, lambda: stamps[-1], lake=lake, row_bytes=0)
    asked = questions.choose(played, stamps, 40, random.Random(3))
    answers = book_published.ask(log, asked)
    floors = book_published.floors_of(lake, hours, answers)
    read = book_published.decoder(floors)
    for answer, floor in zip(answers, floors, strict=True):
        assert read(floor) == floor.rows >= answer.deltas_applied
        assert len(floor.parts) == 1
    with pytest.raises(AssertionError, match="differs from the tape"):
        book_published.ask(log, [Question(asked[0].ticker, asked[0].at_us, "0" * 16)])


def test_two_sides_are_asked_in_turn(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[tuple[str, int]] = []
    pair = versus.Pair(
        lambda place: asked.append(("ours", place)) or sum(range(20_000)),
        lambda place: asked.append(("floor", place)) or sum(range(20_000)),
    )
    pair.measure(3)
    assert asked[:6] == [(side, place) for side in ("ours", "floor") for place in range(3)]
    assert len(asked) == 2 * 3 * versus.ROUNDS
    assert pair.ratio().value > 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["book_at", "decode"]
    assert versus.spread([1.0, 2.0, 30_000.0]) == "p50 2, p99 30,000"
