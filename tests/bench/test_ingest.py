import re

import pytest

from bench import ingest, tape


def test_both_sides_run_and_the_log_is_read_back(capsys: pytest.CaptureFixture[str]) -> None:
    """A tape far too short to measure anything, through real processes; a wrong log would raise."""
    ingest.measure(tape.generated(markets=30, messages=2000), rounds=1, sides=ingest.SIDES)
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"ingest generated ratio \d+\.\d\d \(target >= 0\.60\); by round \d.*", lines[-1])
    assert "read back right" in lines[-2]
