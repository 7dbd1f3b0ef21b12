"""Scenario files: read, refused with line and field, and played over a real exchange."""

import asyncio
import itertools
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from book.wire.commands import Subscribe, encode_command
from exchange.conductor import storm_times
from exchange.errors import ScenarioError
from exchange.orders import Order
from exchange.scenario import Planned, Storm, read_scenario
from tests.exchange.recorder import recorder, until

ROOT = Path(__file__).parents[2]
EXAMPLE = """
# a hard hour
[[fault]]
at_s = 0.3
kind = "gap"
count = 2

[[fault]]
every_s = 30
at_s = 5
times = 3
kind = "stall"
seconds = 1.5
role = "books"

[[fault]]
at = "2026-11-24T20:00:00Z"
kind = "pause"
seconds = 60

[[fault]]
when = "snapshot"
kind = "reset"

[[storm]]
seed = 7
mean_s = 20
from_s = 10
to_s = 600
faults = [{ kind = "gap" }, { kind = "half_open", seconds = 20 }]
"""


def test_the_example_is_read(tmp_path: Path) -> None:
    file = tmp_path / "hard.toml"
    file.write_text(EXAMPLE)
    scenario = read_scenario(file)
    assert scenario.planned == (
        Planned(order=Order(kind="gap", count=2), at_s=0.3),
        Planned(order=Order(kind="stall", seconds=1.5, role="books"), at_s=5.0, every_s=30.0, times=3),
        Planned(order=Order(kind="pause", seconds=60, at_us=1_795_550_400_000_000)),
        Planned(order=Order(kind="reset", when="snapshot")),
    )
    faults = (Order(kind="gap"), Order(kind="half_open", seconds=20))
    assert scenario.storms == (Storm(faults=faults, mean_s=20, seed=7, from_s=10, to_s=600),)


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    file = tmp_path / "hard.jsonl"
    file.write_text(
        '{"at_s":0.3,"kind":"gap","count":2}\n\n{"storm":true,"mean_s":20,"seed":7,"faults":[{"kind":"gap"}]}\n'
    )
    scenario = read_scenario(file)
    assert scenario.planned == (Planned(order=Order(kind="gap", count=2), at_s=0.3),)
    assert scenario.storms == (Storm(faults=(Order(kind="gap"),), mean_s=20, seed=7),)


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ("[[fault]]\nat_s = 1\nkind = 'flood'\n", 3, "kind"),
        ("\n[[fault]]\nat_s = 1\nkind = 'gap'\n[[fault]]\nkind = 'stall'\nat_s = 'x'\nseconds = 1\n", 7, "at_s"),
        ("[[fault]]\nkind = 'gap'\nat_s = 1\nwhoom = 3\n", 4, "whoom"),
        ("[[fault]]\nkind = 'gap'\nat_s = 1\ncount = 0\n", 4, "count"),
        ("[[fault]]\nkind = 'stall'\nat_s = 1\n", 1, "seconds"),
        ("[[fault]]\nkind = 'gap'\n", 2, "kind"),
        ("[[fault]]\nkind = 'gap'\nat = 'tomorrow'\n", 3, "at"),
        ("[[fault]]\nkind = 'gap'\nat_s = 1\ntimes = 2\n", 4, "times"),
        ("[[fault]]\nkind = 'gap'\nat_s = -1\n", 3, "at_s"),
        ("[[storm]]\nmean_s = 1\nfaults = []\n", 3, "faults"),
        ("[[storm]]\nmean_s = 0\nfaults = [{kind='gap'}]\n", 2, "mean_s"),
        ("[[storm]]\nmean_s = 1\nfaults = [{kind='gap'},\n {kind='gap', count='x'}]\n", 4, "count"),
        ("[[storm]]\nmean_s = 1\nto_s = 0\nfaults = [{kind='gap'}]\n", 3, "to_s"),
        ("[other]\nx = 1\n", 1, "other"),
        ("[[fault]]\nkind = \n", 2, ""),
    ],
)
def test_what_is_wrong_is_named_by_line_and_field(tmp_path: Path, text: str, line: int, field: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as caught:
        read_scenario(file)
    assert (caught.value.line, caught.value.field) == (line, field)
    assert f"bad.toml:{line}" in str(caught.value)


def test_a_line_that_is_wrong_and_a_file_that_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / "bad.jsonl"
    for text, line, field in (
        ('{"kind":"gap","at_s":1}\n{"kind":"gap","at_s":1,"port":"x"}\n', 2, "port"), ("[]\n", 1, ""), ("\n{\n", 2, ""),
    ):  # fmt: skip
        file.write_text(text)
        with pytest.raises(ScenarioError) as caught:
            read_scenario(file)
        assert (caught.value.line, caught.value.field) == (line, field)
    with pytest.raises(ScenarioError, match="cannot be read"):
        read_scenario(tmp_path / "none.toml")


def test_the_process_refuses_a_bad_scenario(tmp_path: Path, keys: Any) -> None:
    key, file = tmp_path / "key.pem", tmp_path / "bad.toml"
    key.write_text(keys.pem)
    file.write_text("[[fault]]\nat_s = 1\nkind = 'flood'\n")
    command = [sys.executable, "-m", "exchange", "--public-key", f"me={key}", "--scenario", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "bad.toml:3: kind: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_storm_is_its_seed_and_keeps_to_its_time() -> None:
    faults = (Order(kind="gap"), Order(kind="reset"))

    def drawn(seed: int) -> list[tuple[float, Order]]:
        return list(storm_times(Storm(faults=faults, mean_s=2, seed=seed, from_s=5, to_s=4005)))

    first = drawn(3)
    assert first == drawn(3)
    assert first != drawn(4)
    assert 1_800 < len(first) < 2_200
    assert 5 < first[0][0] < first[-1][0] < 4_005
    assert {order.kind for _, order in first} == {"gap", "reset"}
    endless = Storm(faults=faults, mean_s=2, seed=3, from_s=5)
    assert list(itertools.islice(storm_times(endless), 10)) == first[:10]


def test_a_scenario_is_played(running: Any, tmp_path: Path) -> None:
    file = tmp_path / "play.toml"
    file.write_text(
        "[[fault]]\nwhen = 'snapshot'\nkind = 'gap'\n"
        "[[fault]]\nevery_s = 0.2\nat_s = 0.1\ntimes = 3\nkind = 'late_pong'\nseconds = 1\nport = 1\n"
        "[[storm]]\nseed = 5\nmean_s = 0.1\nto_s = 1.0\nfaults = [{ kind = 'silent_loss', port = 1 }]\n"
        "[[fault]]\nat_s = 0.1\nkind = 'close'\ncode = 1012\nport = 1\n"
    )

    async def main() -> None:
        async with running(markets=3, messages_per_s=400, scenario=file) as local, recorder(local) as client:
            tickers = [row["ticker"] for row in (await local.get("/trade-api/v2/markets"))["markets"]]
            await client.send(encode_command(Subscribe(1, ("orderbook_delta",), tuple(tickers))).decode())
            await until(lambda: len(client.got) > 20)
            assert [m.seq for m in client.texts()[1:]][:2] == [2, 3], "the first book was lost"
            drawn = storm_times(Storm(faults=(Order(kind="silent_loss", port=1),), mean_s=0.1, seed=5, to_s=1))
            wanted = Counter({"gap": 1, "late_pong": 3, "silent_loss": len(list(drawn))})
            async with asyncio.timeout(20):
                while (found := Counter(f["kind"] for f in (await local.get("/control/faults"))["faults"])) != wanted:
                    assert found <= wanted
                    await asyncio.sleep(0.05)

    asyncio.run(main())
