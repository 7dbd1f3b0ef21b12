"""``kalshibook publish --from-raw``: what it says and how it ends."""

from pathlib import Path
from unittest.mock import patch

from cli.hours import hour_text
from lake import paths
from tests.cli.test_publishing import once
from tests.model import readers
from tests.model.test_raw import run

LATER = "2026-08-20T00:00:00Z"


def test_an_hour_is_published_anew_from_its_raw_frames_or_refused(tmp_path: Path) -> None:
    with patch("collector.intake.decode_batch", readers.swapped(None)):
        found = run(tmp_path, None, (), seconds=8.0)
    first, second, *_ = found.hours
    lake = {"shown": LATER, "KALSHIBOOK_LAKE": found.lake.as_uri()}

    code, out, _ = once(found.home, "--from-raw", hour_text(first), **lake)
    assert code == 0
    assert out.splitlines()[0] == f"published {hour_text(first)}"
    assert found.wrong() == []

    again = once(found.home, "--from-raw", hour_text(first), **lake)[:2]
    assert again == (0, "the raw frames say what is published already\n")

    missing = min(paths.raw_hour_dir(found.home, 0, second).glob("*-1.raw"))
    missing.unlink()
    code, out, err = once(found.home, "--from-raw", hour_text(second), **lake)
    assert (code, out) == (1, "")
    assert str(missing.parent) in err
    assert once(found.home, "--from-raw", hour_text(first), "--hour", hour_text(first), **lake)[0] == 2
