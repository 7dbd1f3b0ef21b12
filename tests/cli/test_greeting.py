"""Tests of cli.greeting, against a server made of a dictionary."""

import asyncio
import json
import random
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx

from cli.greeting import ServedBook, find_book, lines_to_try

READY: dict[str, Any] = {"/readyz": {"status": "ok"}}
KNOWN = "2026-08-10T22:00:00.000001Z"


def book(*, two_sided: bool) -> dict[str, Any]:
    return {"timestamp": KNOWN, "yes": [{"price": 45, "quantity": 1}], "no": [{}] if two_sided else []}


def markets(*tickers: str) -> dict[str, Any]:
    return {"/v1/markets": {"data": [{"ticker": t, "first_data_at": KNOWN} for t in tickers]}}


def ask(answers: dict[str, Any], rng: random.Random | None = None) -> ServedBook | None:
    def answer(request: httpx.Request) -> httpx.Response:
        body = answers.get(request.url.path)
        return httpx.Response(404 if body is None else 200, json=body)

    async def scenario() -> ServedBook | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://book") as client:
            return await find_book(client, rng or random.Random(1))

    return asyncio.run(scenario())


def test_a_market_with_both_sides_is_preferred() -> None:
    answers = READY | markets("EMPTY", "ONE", "BOTH")
    answers |= {"/v1/orderbook/ONE": book(two_sided=False), "/v1/orderbook/BOTH": book(two_sided=True)}

    assert ask(answers) == ServedBook("BOTH", KNOWN)


def test_markets_without_a_book_do_not_hide_the_others() -> None:
    empty = [f"EMPTY-{n}" for n in range(100)]
    answers = READY | markets(*empty, "BOTH") | {"/v1/orderbook/BOTH": book(two_sided=True)}
    rng = random.Random(1)

    assert any(ask(answers, rng) == ServedBook("BOTH", KNOWN) for _ in range(100))


def test_a_book_of_one_side_will_do() -> None:
    assert ask(READY | markets("ONE") | {"/v1/orderbook/ONE": book(two_sided=False)}) == ServedBook("ONE", KNOWN)


def test_there_is_none_before_the_server_is_ready_or_has_a_book() -> None:
    assert ask(markets("BOTH") | {"/v1/orderbook/BOTH": book(two_sided=True)}) is None
    assert ask(READY) is None
    assert ask(READY | markets("EMPTY")) is None
    assert ask(READY | {"/v1/markets": {"data": [{"ticker": "NEW", "first_data_at": None}]}}) is None


def test_a_server_that_does_not_answer_is_no_error() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    async def scenario() -> ServedBook | None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(refuse), base_url="http://book") as client:
            return await find_book(client, random.Random(1))

    assert asyncio.run(scenario()) is None


def test_the_lines_are_commands_that_a_shell_reads_as_meant() -> None:
    lines = lines_to_try("http://127.0.0.1:8000", "kb-x", ServedBook("T-'1", KNOWN), Path("var/lake"))

    commands = [shlex.split(line) for line in lines if line.startswith("  curl ")]
    assert len(commands) == 3
    assert commands[0] == [
        "curl",
        "-s",
        "-H",
        "Authorization: Bearer kb-x",
        "http://127.0.0.1:8000/v1/orderbook/T-'1?depth=5",
    ]
    assert json.loads(commands[1][commands[1].index("-d") + 1]) == {"market_ticker": "T-'1", "timestamp": KNOWN}
    assert any(line.endswith("http://127.0.0.1:8000") for line in lines)
    assert any(line.endswith("kb-x") for line in lines)
    assert any(line.split() == ["lake", str(Path.cwd() / "var" / "lake")] for line in lines)
    (sql,) = (shlex.split(line) for line in lines if " sql " in line)
    assert Path(sql[0]).resolve() == Path(sys.executable).with_name("kalshibook").resolve()
    assert sql[1:] == ["sql", f"FROM book_at('T-''1', TIMESTAMPTZ '{KNOWN}')"]
