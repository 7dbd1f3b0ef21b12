"""The rule of the log against brute force: a simulated venue, the real session, journal and reader.

The long runs are marked fault, and say in the summary what they came to.
"""

from pathlib import Path

import pytest

from tests.model.faults import FAULTS
from tests.model.play import Played, play

CALM, CLOSING, ALL = "calm", "closing", "all"
KINDS = (CALM, *FAULTS, CLOSING, ALL)
SHOWS = {
    "gap": "seq_gap",
    "repeat": "seq_gap",
    "resubscribe": "channel_error",
    "reconnect": "disconnect",
    "move": "moved",
    "step": "clock_step",
    "stall_20": "stall",
    "silent": "audit_mismatch",
    "negative": "negative_level",
    "unsolicited": "audit_mismatch",
    "overflow": "overflow",
    "crash": "crash",
    "channel_error": "channel_error",
    "unreadable": "unrepresentable",
    CLOSING: "market_closed",
}
"""The close that proves that a fault was felt."""
SECONDS = {"stall_5": 40.0, "stall_20": 60.0, "crash": 30.0, ALL: 50.0}
"""Of machine time where 20 are too few for a fault."""


WAITS = {"stall_5": 5, "stall_20": 15, ALL: 15}
"""How many hours, of a second each, may still wait at the end for a connection that stalls: as long as it may."""


def _play(
    home: Path, recorded: Path | None, kind: str, *, seed: int, scale: float, files: int, questions: int
) -> Played:
    kinds = tuple(FAULTS) if kind == ALL else (kind,) if kind in FAULTS else ()
    seconds = scale * SECONDS.get(kind, 20.0)
    closing = kind in (CLOSING, ALL)
    return play(home, recorded, kinds, seed=seed, seconds=seconds, files=files, questions=questions, closing=closing)


def _check(played: Played, kind: str) -> None:
    assert played.asked.wrong == []
    assert played.disorders == []
    assert played.unaccounted == []
    assert played.false_ends == []
    assert 0 in played.unended
    assert min(played.unended) >= -2 - WAITS.get(kind, 0)
    assert played.asked.verdicts["book"] >= 0.3 * played.asked.count
    assert played.days >= 2
    assert played.ties
    if kind in SHOWS:
        assert played.closes[SHOWS[kind]] > 0
    done = {fault for fault in FAULTS if played.happened[fault]}
    assert len(done) >= 12 if kind == ALL else {kind} & set(FAULTS) <= done
    if kind == CALM:
        assert not played.closes
        assert played.asked.verdicts["gap"] == 0
    if kind == "stall_5":
        assert played.silences > 0
    if kind == "late_ack":
        assert played.happened["late acknowledgement"] > 0
    if kind in ("silent", "negative", "unsolicited"):
        assert played.withdrawn > 0


@pytest.mark.parametrize("kind", KINDS)
def test_every_answer_is_the_brute_forces(tmp_path: Path, recorded_data: Path | None, kind: str) -> None:
    _check(_play(tmp_path, recorded_data, kind, seed=7, scale=1.0, files=3, questions=200), kind)


@pytest.mark.fault
@pytest.mark.parametrize("kind", KINDS)
def test_fifteen_hundred_questions_of_each_kind(
    tmp_path: Path, recorded_data: Path | None, kind: str, figures: list[str]
) -> None:
    played = _play(tmp_path, recorded_data, kind, seed=11, scale=5.0, files=6, questions=1500)
    figures.append(played.line(kind))
    _check(played, kind)


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(20, 26))
def test_all_faults_together_again(tmp_path: Path, seed: int, figures: list[str]) -> None:
    played = _play(tmp_path, None, ALL, seed=seed, scale=4.0, files=5, questions=1500)
    figures.append(played.line(ALL))
    _check(played, ALL)
