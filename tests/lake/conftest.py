"""Owns the log and the empty lake that the tests of publishing begin with."""

from pathlib import Path

import pytest

from tests.lake.tapes import FIRST, Tape


@pytest.fixture
def tape(tmp_path: Path) -> Tape:
    tape = Tape(tmp_path / "home")
    for hour in range(3):
        tape.write_hour(FIRST + hour, flushes=2, deltas=10)
    return tape


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"
