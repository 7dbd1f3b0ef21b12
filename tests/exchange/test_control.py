"""The control interface and each fault, over real sockets."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from book.ladder import Book
from book.wire.commands import Update, encode_command
from book.wire.messages import Delta, Snapshot
from tests.exchange.recorder import folded, read_to_the_end, recorder, subscribed, until


def test_state_and_log_tell_what_a_client_got(running: Any) -> None:
    async def main() -> None:
        async with running(markets=10, messages_per_s=500) as local, recorder(local) as client:
            tickers = await subscribed(local, client, "orderbook_delta", "trade", "ticker")
            await until(lambda: len(client.got) > 300)
            port = client.local_address[1]
            state = await local.get("/control/state")
            [connection] = state["connections"]
            assert connection["port"] == port
            assert connection["sids"] == {"orderbook_delta": 1, "trade": 2, "ticker": 3}
            assert (state["markets"], state["source_done"], state["refused"]) == (10, False, 0)
            log = await local.log(limit=300)
            assert [row["n"] for row in log] == list(range(1, 301))
            assert [row["frame"].encode() for row in log] == [data for _, _, data in client.got[:300]]
            assert {row["port"] for row in log} == {port}
            offsets_us = [row["sent_ns"] // 1000 - row["sent_us"] for row in log]
            assert max(offsets_us) - min(offsets_us) < 100_000, "both clocks stamp the same moment"
            assert log[-1]["sent_us"] <= state["now_us"]
            assert [row["sent_ns"] for row in log] == sorted(row["sent_ns"] for row in log)
            for row in log:
                frame = json.loads(row["frame"])
                assert row["type"] == frame["type"]
                assert (row["sid"], row["seq"]) == (frame.get("sid"), frame.get("seq"))
                assert row["ticker"] == frame.get("msg", {}).get("market_ticker")
            some = await local.log(ticker=tickers[0], sid=1, port=port, after=log[20]["n"], limit=5)
            assert 1 <= len(some) <= 5
            assert all(row["ticker"] == tickers[0] and row["sid"] == 1 and row["n"] > 21 for row in some)
            assert await local.log(port=1) == []

    asyncio.run(main())


def test_a_gap_drops_frames_and_their_numbers(running: Any) -> None:
    async def main() -> None:
        async with running(markets=10, messages_per_s=500) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="gap", count=3)
            assert done["done"]
            lost = [effect["seq"] for effect in done["effects"]]
            assert lost == list(range(lost[0], lost[0] + 3))
            assert {effect["port"] for effect in done["effects"]} == {client.local_address[1]}
            await until(lambda: client.texts()[-1].seq > lost[-1] + 20)
            seqs = [message.seq for message in client.texts()[1:]]
            assert sorted(set(range(1, seqs[-1] + 1)) - set(seqs)) == lost
            logged = {row["seq"] for row in await local.log(sid=1)}
            assert not logged & set(lost), "what was dropped was not sent"
            response = await local.http.get(
                "/control/book", params={"port": client.local_address[1], "sid": 1, "seq": lost[0]}
            )
            assert response.status_code == 404
            assert (await local.get("/control/faults"))["faults"] == [done]

    asyncio.run(main())


def test_a_silent_loss_leaves_no_trace_but_a_wrong_book(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=200) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="silent_loss")
            assert done["done"]
            [effect] = done["effects"]
            ticker, key = effect["ticker"], (effect["side"], effect["price_e4"])
            await client.send(encode_command(Update(9, (1,), "get_snapshot", (ticker,))).decode())
            await until(lambda: any(isinstance(m, Snapshot) and m.command_id == 9 for m in client.texts()))
            messages = client.texts()
            place = next(i for i, m in enumerate(messages) if isinstance(m, Snapshot) and m.command_id == 9)
            ours, theirs = Book(), Book(messages[place].levels)
            for message in messages[:place]:
                if getattr(message, "ticker", None) != ticker:
                    continue
                if isinstance(message, Snapshot):
                    ours = Book(message.levels)
                elif isinstance(message, Delta):
                    ours.apply(message.side, message.price_e4, message.change_e2)
            assert ours != theirs
            ours.apply(*key, effect["change_e2"])
            assert ours == theirs, "only the lost change is missing"
            seqs = [message.seq for message in messages[1:]]
            assert seqs == list(range(1, len(seqs) + 1)), "no number is missing"
            told = await local.get(
                "/control/book", port=client.local_address[1], sid=1, seq=messages[place].seq, ticker=ticker
            )
            assert told["digest"] == theirs.digest()

    asyncio.run(main())


def test_a_silent_loss_can_name_its_market_and_waits_for_it(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=300) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            done = await local.fault(kind="silent_loss", ticker=tickers[1], port=client.local_address[1])
            assert [effect["ticker"] for effect in done["effects"]] == [tickers[1]]
            waiting = await local.fault(kind="silent_loss", ticker="KXNONE", wait_s=0.05)
            assert (waiting["done"], waiting["effects"]) == (False, [])

    asyncio.run(main())


def test_a_stall_holds_back_pongs_and_data_while_the_truth_moves_on(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400, ping_s=0.1) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            port = client.local_address[1]
            await (await client.ping(b"before"))
            stalled = time.monotonic()
            done = await local.fault(kind="stall", seconds=1.2)
            assert done["done"]
            assert 1_190_000_000 < done["effects"][0]["until_ns"] - done["effects"][0]["at_ns"] <= 1_200_000_000
            await asyncio.sleep(0.1)  # what was on its way has come
            at_stall = len(client.got)
            before = await local.get(f"/trade-api/v2/markets/{tickers[0]}/orderbook")
            await asyncio.sleep(0.3)
            pong = await client.ping(b"during")
            await client.send(encode_command(Update(9, (1,), "get_snapshot", (tickers[0],))).decode())
            await asyncio.sleep(0.5)
            assert len(client.got) == at_stall, "neither data nor a pong came during the stall"
            assert not pong.done()
            assert (await local.get("/control/state"))["connections"][0]["backlog"] > 10
            assert await local.get(f"/trade-api/v2/markets/{tickers[0]}/orderbook") != before, "the book moved on"
            await asyncio.wait_for(pong, 10)
            assert time.monotonic() - stalled > 1.1
            await until(lambda: len(client.got) > at_stall + 300)
            kinds = [kind for _, kind, _ in client.got[at_stall:]]
            first_pong = kinds.index("PONG")
            assert first_pong > 0, "the pong comes behind what was sent before it"
            assert "TEXT" in kinds[first_pong:]
            seqs = [message.seq for message in client.texts()[1:]]
            assert seqs == list(range(1, len(seqs) + 1)), "released in order, nothing lost"
            asked = next(m for m in client.texts() if isinstance(m, Snapshot) and m.command_id == 9)
            told = await local.get("/control/book", port=port, sid=1, seq=asked.seq)
            assert told["digest"] == Book(asked.levels).digest()
            until_ns = done["effects"][0]["until_ns"]
            stalled_rows = [row for row in await local.log() if done["asked_ns"] < row["sent_ns"] < until_ns - 10**6]
            assert stalled_rows == [], "held frames are stamped when they go out"

    asyncio.run(main())


def test_a_stall_of_one_connection_leaves_the_other_alone(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as held, recorder(local) as free:
            for client in (held, free):
                await subscribed(local, client)
            await local.fault(kind="stall", seconds=0.8, port=held.local_address[1])
            await asyncio.sleep(0.1)  # what was on its way has come
            counts = len(held.got), len(free.got)
            await asyncio.wait_for(await free.ping(), 0.5)
            await asyncio.sleep(0.2)
            assert len(held.got) == counts[0]
            assert len(free.got) > counts[1]
            await until(lambda: len(held.got) > counts[0])

    asyncio.run(main())


def test_a_reset_cuts_the_tcp_connection(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as client, recorder(local) as other:
            for each in (client, other):
                await subscribed(local, each)
            done = await local.fault(kind="reset", port=client.local_address[1])
            assert [effect["port"] for effect in done["effects"]] == [client.local_address[1]]
            with pytest.raises(ConnectionClosed) as caught:
                await read_to_the_end(client)
            assert caught.value.rcvd is None, "no closing handshake"
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            await asyncio.wait_for(await other.ping(), 5)
            state = await local.get("/control/state")
            assert [c["port"] for c in state["connections"]] == [other.local_address[1]]
            await local.fault(kind="reset")
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(other)

    asyncio.run(main())


def test_an_unsolicited_snapshot_on_demand(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=0) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            response = await local.http.post("/control/snapshot", json={"ticker": tickers[2]})
            assert response.json()["ports"] == [client.local_address[1]]
            await until(lambda: len(client.texts()) == 5)
            last = client.texts()[-1]
            assert (last.seq, last.ticker, last.command_id) == (4, tickers[2], None)

    asyncio.run(main())


def test_what_is_no_longer_remembered_is_a_410(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=3_000, log_frames=200) as local, recorder(local) as client:
            await subscribed(local, client)
            await until(lambda: len(client.got) > 1_000)
            port = client.local_address[1]
            response = await local.http.get("/control/book", params={"port": port, "sid": 1, "seq": 5})
            assert (response.status_code, response.json()["error"]["code"]) == (410, "dropped")
            rows = await local.log()
            assert len(rows) <= 400
            assert rows[0]["n"] > 700
            books = folded(client.texts())
            assert len(books) == 3

    asyncio.run(main())


def test_orders_that_make_no_sense(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=0) as local:
            for order, status in (
                ({"kind": "flood"}, 400), ({"kind": "stall"}, 400), ({"kind": "stall", "seconds": -1}, 400),
                ({"kind": "gap", "count": 0}, 400), ({"kind": "gap"}, 404), ({"kind": "reset"}, 404),
                ({"kind": "stall", "seconds": 1, "port": 5}, 404), ({"kind": "gap", "size": 1}, 400), ([], 400),
            ):  # fmt: skip
                response = await local.http.post("/control/fault", json=order)
                assert response.status_code == status, order
            for path in ("/control/book", "/control/book?port=1&sid=1", "/control/log?port=x"):
                assert (await local.http.get(path)).status_code == 400
            assert (await local.http.get("/control/book?port=1&sid=1&seq=1")).status_code == 404
            assert (await local.http.post("/control/snapshot", content=b"{")).status_code == 400

    asyncio.run(main())
