"""The rule over published hours: a simulated venue's hours published as they end, and each file read alone.

The long runs are marked fault, and say in the summary what they came to.
"""

import random
from collections import Counter
from pathlib import Path

import pytest

from lake import paths
from lake.publishing.shelf import Shelf
from tests.model.faults import FAULTS
from tests.model.one_file import Files
from tests.model.oracle import GAP, Oracle
from tests.model.play import Played, play
from tests.model.questions import instants, word

ALL = "all"


def _play(tmp_path: Path, kind: str, *, seed: int, seconds: float, questions: int) -> Played:
    kinds = tuple(FAULTS) if kind == ALL else (kind,)
    lake = tmp_path / "lake"
    played = play(
        tmp_path / "home",
        None,
        kinds,
        seed=seed,
        seconds=seconds,
        files=3,
        questions=questions,
        closing=kind == ALL,
        lake=lake,
    )
    assert played.asked.wrong == []
    shelf = Shelf(lake)
    shelf.refresh()
    waits = {ALL: 15, "stall_20": 15, "stall_5": 5}.get(kind, 0)  # as long as a connection may stall
    assert len(shelf.hours()) >= 0.8 * played.hours - waits
    return played


def _alone(lake: Path, oracle: Oracle, count: int, rng: random.Random) -> Counter[str]:
    """Hold readings of single files against the oracle; return what they came to."""
    files = Files(lake)
    verdicts: Counter[str] = Counter()
    for ticker, ts_us in instants(oracle, rng, count):
        if paths.hour_of(ts_us) not in files.hours:
            continue
        expected, got = oracle.answer(ticker, ts_us), files.answer(ticker, ts_us)
        touched = "touched" if files.touched(ticker, ts_us) else "pointed"
        if got != "nothing here" or isinstance(expected, dict):
            assert got == expected or (isinstance(got, str) and expected in (GAP, "not yet")), (ticker, ts_us, touched)
        verdicts[f"{touched} {word(got)}"] += 1
    return verdicts


@pytest.mark.parametrize(("kind", "seconds"), [(ALL, 24.0), ("silent", 8.0), ("crash", 12.0), ("stall_5", 16.0)])
def test_books_of_published_hours_are_the_brute_forces(tmp_path: Path, kind: str, seconds: float) -> None:
    played = _play(tmp_path, kind, seed=3, seconds=seconds, questions=200)
    verdicts = _alone(tmp_path / "lake", played.oracle, 200, random.Random(4))
    assert verdicts["touched book"] > 50


@pytest.mark.fault
@pytest.mark.parametrize("seed", range(40, 44))
@pytest.mark.parametrize("kind", [ALL, *FAULTS])
def test_published_hours_with_each_fault(tmp_path: Path, kind: str, seed: int, figures: list[str]) -> None:
    played = _play(tmp_path, kind, seed=seed, seconds=80.0 if kind == ALL else 30.0, questions=800)
    verdicts = _alone(tmp_path / "lake", played.oracle, 1500, random.Random(seed))
    figures.append(f"{played.line(f'published, {kind}')}; one file alone: {dict(sorted(verdicts.items()))}")
    assert verdicts["touched book"] > 50
