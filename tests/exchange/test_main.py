"""The exchange as a whole: a recorded market played at high speed over a socket, and the process by itself."""

import asyncio
import gzip
import json
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from book.wire.commands import Subscribe, encode_command
from exchange.__main__ import config_of
from exchange.config import ExchangeConfig
from exchange.errors import ConfigError, SourceError
from exchange.main import make_source

TICKER = "KXGOLD15M-26AUG101800-00"
ROOT = Path(__file__).parents[2]


def test_a_recorded_market_plays_whole_and_in_order_at_high_speed(running: Any, capture_folder: Path) -> None:
    [path] = (capture_folder / "events" / TICKER).glob("*.gz")
    with gzip.open(path) as file:
        recorded = [json.loads(text) for text in file]
    first_us = recorded[0]["recv_ms"] * 1000
    began_ns = time.monotonic_ns()

    def clock() -> int:
        return first_us - 240_000_000 + (time.monotonic_ns() - began_ns) * 240 // 1000

    async def main() -> None:
        options = {"source": str(capture_folder), "capture_tickers": (TICKER,), "rehearsal": True}
        async with running(clock, **options) as local, local.connect() as client:
            for number, channel in enumerate(("market_lifecycle_v2", "orderbook_delta", "trade"), 1):
                await client.send(encode_command(Subscribe(number, (channel,), (TICKER,))).decode())
            heard = []
            while not heard or heard[-1]["msg"].get("event_type") != "settled":
                heard.append(json.loads(await asyncio.wait_for(client.recv(), 60)))
            port = client.local_address[1]
            for sid, kinds in ((2, ("orderbook_snapshot", "orderbook_delta")), (3, ("trade",))):
                sent: list[Any] = []
                while page := await local.log(port=port, sid=sid, after=sent[-1]["n"] if sent else 0):
                    sent += page
                assert [row["seq"] for row in sent] == list(range(1, len(sent) + 1))
                frames = [json.loads(row["frame"]) for row in sent]
                if sid == 2:
                    assert frames.pop(0)["msg"] == {"market_ticker": TICKER, "market_id": ""}, (
                        "the book at subscription"
                    )
                    sent.pop(0)
                expected = [row["event"] for row in recorded if row["event"]["type"] in kinds]
                assert [(f["type"], f["msg"]) for f in frames] == [(f["type"], f["msg"]) for f in expected]
                received = [row["recv_ms"] * 1000 for row in recorded if row["event"]["type"] in kinds]
                late_us = [row["sent_us"] - recv_us for row, recv_us in zip(sent, received, strict=True)]
                assert min(late_us) >= 0, "nothing is sent before its time"
            lives = [f["msg"]["event_type"] for f in heard if f["type"] == "market_lifecycle_v2"]
            assert lives == ["created", "determined", "settled"]
            market = (await local.get(f"/trade-api/v2/markets/{TICKER}"))["market"]
            assert (market["status"], market["settlement_value_dollars"]) == ("finalized", "0.0000")
            assert market["result"] == "no"
            assert (await local.get("/control/state"))["source_done"]

    asyncio.run(main())


def test_options_that_cannot_be_run() -> None:
    good: dict[str, Any] = {"public_keys": {"k": "p"}}
    for field, value in (
        ("public_keys", {}), ("markets", 0), ("messages_per_s", -1), ("log_frames", 0), ("speed", 0.0),
        ("source", "/nowhere"), ("cycle_s", 0),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            ExchangeConfig(**good | {field: value}).checked()
        assert caught.value.field == field
    with pytest.raises(ConfigError, match="rehearsal clock sets the pace"):
        ExchangeConfig(**good, rehearsal=True, speed=2.0).checked()
    with pytest.raises(ConfigError, match="legacy"):
        ExchangeConfig(**good, source=str(ROOT), legacy=True).checked()
    with pytest.raises(SourceError):
        make_source(ExchangeConfig(**good, source=str(ROOT / "docs")), 0)


def test_the_command_line(tmp_path: Path, keys: Any) -> None:
    file = tmp_path / "key.pem"
    file.write_text(keys.pem)
    config = config_of(["--public-key", f"me={file}", "--markets", "7", "--capture", str(tmp_path), "--market", "A"])
    assert (config.public_keys, config.markets, config.source) == ({"me": keys.pem}, 7, str(tmp_path))
    assert config.capture_tickers == ("A",)
    for bad in ("me", f"me={tmp_path / 'none'}"):
        with pytest.raises(ConfigError, match="public_keys"):
            config_of(["--public-key", bad])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_process_says_where_it_is_and_stops_when_told(tmp_path: Path, keys: Any, number: signal.Signals) -> None:
    file = tmp_path / "key.pem"
    file.write_text(keys.pem)
    command = [sys.executable, "-m", "exchange", "--public-key", f"me={file}", "--markets", "5"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            with urllib.request.urlopen(f"{told['rest_url']}/markets?status=open", timeout=10) as response:
                assert len(json.load(response)["markets"]) == 5
            process.send_signal(number)
            assert process.wait(10) == 0
        finally:
            process.kill()


def test_the_process_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "exchange", "--public-key", f"me={tmp_path / 'none'}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert done.returncode == 2
    assert "cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
