"""Owns what all tests share: where recorded data is, and a line about it in the summary."""

import os
from pathlib import Path

import pytest

_NAMED = os.environ.get("KALSHIBOOK_TEST_DATA")
_FOLDER = Path(_NAMED) if _NAMED else Path(__file__).resolve().parents[2] / "shared" / "data"
_RECORDED = _FOLDER if (_FOLDER / "kalshi-gold15m").is_dir() else None


@pytest.fixture(scope="session")
def recorded_data() -> Path | None:
    """The folder with recorded frames, or None: then the test makes do with generated ones."""
    return _RECORDED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which frames the run was made with."""
    if _RECORDED is not None:
        terminalreporter.write_line(f"recorded data: {_RECORDED}")
    else:
        terminalreporter.write_line(f"recorded data: absent ({_FOLDER}); generated frames stood in for it")
