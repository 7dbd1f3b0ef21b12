"""Owns what all tests share: where recorded data is, and a line about it in the summary."""

import os
from pathlib import Path

import pytest

_NAMED = os.environ.get("KALSHIBOOK_TEST_DATA")
_FOLDER = Path(_NAMED) if _NAMED else Path(__file__).resolve().parents[2] / "shared" / "data"
_FIGURES: list[str] = []
_RECORDED = _FOLDER if (_FOLDER / "kalshi-gold15m").is_dir() else None


@pytest.fixture(scope="session")
def recorded_data() -> Path | None:
    """The folder with recorded frames, or None: then the test makes do with generated ones."""
    return _RECORDED


@pytest.fixture(scope="session")
def figures() -> list[str]:
    """Lines for the summary: what a long run came to."""
    return _FIGURES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which frames the run was made with."""
    for line in _FIGURES:
        terminalreporter.write_line(line)
    if _RECORDED is not None:
        terminalreporter.write_line(f"recorded data: {_RECORDED}")
    else:
        terminalreporter.write_line(f"recorded data: absent ({_FOLDER}); generated frames stood in for it")
