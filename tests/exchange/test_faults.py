"""Each fault over real sockets, seen by a client of its own: what its effects say is what happened."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from book.ladder import Book
from book.wire.commands import Subscribe, Unsubscribe, Update, encode_command
from book.wire.messages import Delta, Lifecycle, Snapshot, VenueError
from tests.exchange.recorder import Recorder, folded, read_to_the_end, recorder, subscribed, until

HOUR_US = 3_600_000_000


async def status_of(local: Any) -> int:
    try:
        async with recorder(local):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


def seqs(client: Recorder, sid: int = 1) -> list[int]:
    return [m.seq for m in client.texts() if getattr(m, "seq", None) is not None and m.sid == sid]


async def true_digest(local: Any, ticker: str, client: Recorder, seq: int) -> str:
    return str((await local.get("/control/book", port=client.port, sid=1, seq=seq, ticker=ticker))["digest"])


def test_a_duplicate_is_the_same_frame_again(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="duplicate", count=2)
            twice = [effect["seq"] for effect in done["effects"]]
            assert (done["done"], len(twice)) == (True, 2)
            await until(lambda: seqs(client)[-1] > twice[-1] + 20)
            got = seqs(client)
            assert sorted(got) == sorted([*range(1, got[-1] + 1), *twice])
            frames = [raw for raw in client.raw() if json.loads(raw).get("seq") == twice[0]]
            assert len(frames) == 2
            assert frames[0] == frames[1]
            assert [row["seq"] for row in await local.log(sid=1) if row["seq"] in twice] == sorted(twice * 2)

    asyncio.run(main())


def test_a_gap_tells_the_very_frames_that_were_lost(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as client:
            tickers = await subscribed(local, client, "orderbook_delta", "trade")
            done = await local.fault(kind="gap", count=2, ticker=tickers[0])
            await until(lambda: seqs(client)[-1] > done["effects"][-1]["seq"] + 5)
            assert {json.loads(e["frame"])["msg"]["market_ticker"] for e in done["effects"]} == {tickers[0]}
            assert not {effect["seq"] for effect in done["effects"]} & set(seqs(client))
            losses = (await local.get("/control/losses"))["losses"]
            assert [(row["fault"], row["kind"], row["frame"]) for row in losses] == [
                (done["id"], "gap", effect["frame"]) for effect in done["effects"]
            ]
            trade = await local.fault(kind="gap", channel="trade")
            lost = json.loads(trade["effects"][0]["frame"])["msg"]["trade_id"]
            await until(lambda: seqs(client, 2)[-1] > trade["effects"][0]["seq"])
            assert lost.encode() not in b"".join(client.raw())
            assert lost in (await local.http.get("/control/trades")).text, "the trade happened all the same"

    asyncio.run(main())


@pytest.mark.parametrize(("kind", "code"), [("overflow_error", 25), ("channel_error", 10)])
def test_a_terminal_error_takes_a_number_and_ends_the_subscription(running: Any, kind: str, code: int) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as client:
            tickers = await subscribed(local, client, "orderbook_delta", "trade")
            done = await local.fault(kind=kind)
            [effect] = done["effects"]
            await until(lambda: any(isinstance(m, VenueError) for m in client.texts()))
            mine = [m for m in client.texts() if getattr(m, "sid", None) == 1 and hasattr(m, "seq")]
            error = mine[-1]
            assert (error.code, error.sid, error.seq) == (code, 1, effect["seq"])
            assert seqs(client) == list(range(1, error.seq + 1))
            count = len(seqs(client, 2))
            await until(lambda: len(seqs(client, 2)) > count)  # the other subscription lives on
            assert [m for m in client.texts() if getattr(m, "sid", None) == 1 and hasattr(m, "seq")][-1] == error
            again = Subscribe(7, ("orderbook_delta",), tuple(tickers))
            await client.send(encode_command(again).decode())
            await until(lambda: len(seqs(client, 3)) > len(tickers))
            assert seqs(client, 3)[0] == 1

    asyncio.run(main())


def test_half_open_swallows_everything_both_ways_and_keeps_tcp(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=400) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="half_open", seconds=2.0)
            await asyncio.sleep(0.1)
            count = len(client.got)
            pong = await client.ping(b"anybody?")
            await client.send(encode_command(Unsubscribe(9, (1,))).decode())
            await asyncio.sleep(0.3)
            assert len(client.got) == count
            assert (await local.get("/control/state"))["connections"][0]["sids"], "the venue heard nothing"
            assert not pong.done()
            assert client.state.name == "OPEN"
            with pytest.raises(ConnectionClosed) as caught:
                await read_to_the_end(client)
            assert isinstance(caught.value.__cause__, ConnectionResetError)
            begin, end = (await local.get(f"/control/faults/{done['id']}"))["effects"]
            assert end["at_ns"] >= begin["until_ns"] - 10_000_000
            assert (end["type"], end["count"] > 50) == ("end", True)
            sent = [row["seq"] for row in await local.log(sid=1)]
            assert sent == seqs(client), "the log has what was sent, and nothing of what was lost"
            assert [past["port"] for past in (await local.get("/control/state"))["ended"]] == [begin["port"]]

    asyncio.run(main())


def test_half_open_for_good_ends_when_it_is_cancelled(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=100) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="half_open", port=client.port)
            await asyncio.sleep(0.3)
            assert (await local.get("/control/state"))["connections"]
            await local.http.delete(f"/control/faults/{done['id']}")
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(client)

    asyncio.run(main())


def test_close_codes(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=100) as local:
            for code in (1001, 1012, 4001):
                async with recorder(local) as client:
                    await subscribed(local, client)
                    done = await local.fault(kind="close", code=code, reason="so it is")
                    with pytest.raises(ConnectionClosed) as caught:
                        await read_to_the_end(client)
                    assert caught.value.rcvd is not None
                    assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (code, "so it is")
                    assert (done["effects"][0]["port"], done["effects"][0]["code"]) == (client.port, code)

    asyncio.run(main())


def test_a_late_pong_is_late_and_the_data_is_not(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=400) as local, recorder(local) as client:
            await subscribed(local, client)
            armed = await local.fault(kind="late_pong", seconds=0.5, wait_s=0)
            assert not armed["done"]
            asked_s, count = time.monotonic(), len(client.got)
            await asyncio.wait_for(await client.ping(b"one"), 10)
            place = next(i for i, (_, kind, _) in enumerate(client.got) if kind == "PONG")
            assert client.got[place][0] - asked_s >= 0.5
            assert place > count + 20, "data came before it"
            [effect] = (await local.get(f"/control/faults/{armed['id']}"))["effects"]
            assert 0.49e9 < effect["until_ns"] - effect["at_ns"] < 0.51e9
            await asyncio.wait_for(await client.ping(b"two"), 10)
            assert len((await local.get(f"/control/faults/{armed['id']}"))["effects"]) == 1

    asyncio.run(main())


def test_faults_of_handshakes(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=0) as local:
            for kind, status in (("unauthorized", 401), ("too_many", 429)):
                armed = await local.fault(kind=kind, count=2, wait_s=0)
                assert [await status_of(local) for _ in range(3)] == [status, status, 101]
                told = await local.get(f"/control/faults/{armed['id']}")
                assert [effect["code"] for effect in told["effects"]] == [status] * 2
            standing = await local.fault(kind="unauthorized", seconds=60)
            assert standing["done"]
            assert [await status_of(local) for _ in range(3)] == [401] * 3
            await local.http.delete(f"/control/faults/{standing['id']}")
            slow = await local.fault(kind="slow_handshake", seconds=0.4, wait_s=0)
            began_s = time.monotonic()
            assert await status_of(local) == 101
            assert time.monotonic() - began_s >= 0.4
            assert (await local.get(f"/control/faults/{slow['id']}"))["done"]
            await local.fault(kind="too_many", limit=0)
            assert await status_of(local) == 429

    asyncio.run(main())


def test_limits_of_markets_and_of_commands(running: Any) -> None:
    async def main() -> None:
        async with running(markets=4, messages_per_s=0) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            armed = await local.fault(kind="market_limit", wait_s=0)
            await client.send(encode_command(Update(2, (1,), "add_markets", ("KXNEW",))).decode())
            await until(lambda: isinstance(client.texts()[-1], VenueError))
            assert (client.texts()[-1].code, client.texts()[-1].command_id) == (26, 2)
            assert (await local.get(f"/control/faults/{armed['id']}"))["effects"][0]["code"] == 26
            await local.fault(kind="too_fast", wait_s=0)
            for command_id in (3, 4):
                await client.send(encode_command(Update(command_id, (1,), "get_snapshot", (tickers[0],))).decode())
            await until(lambda: getattr(client.texts()[-1], "command_id", None) == 4)
            assert [getattr(m, "code", None) for m in client.texts()[-2:]] == [27, None]
            await local.fault(kind="market_limit", limit=4)
            await client.send(encode_command(Update(5, (1,), "add_markets", ("KXNEW",))).decode())
            await until(lambda: getattr(client.texts()[-1], "command_id", None) == 5)
            assert client.texts()[-1].code == 26

    asyncio.run(main())


def test_an_empty_snapshot_is_true_and_the_market_trades_on(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=600) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            done = await local.fault(kind="empty_snapshot", ticker=tickers[1])
            [effect] = done["effects"]
            await until(lambda: seqs(client)[-1] > effect["seq"] + 300)
            empty = next(raw for raw in client.raw() if json.loads(raw).get("seq") == effect["seq"])
            assert set(json.loads(empty)["msg"]) == {"market_ticker", "market_id"}
            last = [m for m in client.texts() if getattr(m, "ticker", None) == tickers[1]][-1].seq
            book = folded([m for m in client.texts() if getattr(m, "seq", None) and m.seq <= last])[tickers[1]]
            assert book.digest() == await true_digest(local, tickers[1], client, last)
            assert len(book) > 0
            assert (await local.get("/control/state"))["refused"] == 0

    asyncio.run(main())


def test_another_grid_is_told_shown_and_used(running: Any) -> None:
    async def main() -> None:
        async with running(markets=15, messages_per_s=1_500) as local, recorder(local) as client:
            await subscribed(local, client, "orderbook_delta", "market_lifecycle_v2")
            rows = (await local.get("/trade-api/v2/markets"))["markets"]
            ticker = next(row["ticker"] for row in rows if row["price_level_structure"] == "linear_cent")
            name = "deci_cent"
            done = await local.fault(kind="price_structure", ticker=ticker, structure=name)
            told = next(m for m in client.texts() if isinstance(m, Lifecycle))
            assert (told.fields["event_type"], told.fields["market_ticker"]) == (
                "price_level_structure_updated",
                ticker,
            )
            shown = (await local.get(f"/trade-api/v2/markets/{ticker}"))["market"]
            assert shown["price_level_structure"] == told.fields["price_level_structure"] == name
            assert shown["price_ranges"] == told.fields["price_ranges"]
            assert shown["updated_time"] > rows[0]["updated_time"]
            assert done["effects"][0]["ticker"] == ticker
            await until(
                lambda: any(isinstance(m, Delta) and m.ticker == ticker and m.price_e4 % 100 for m in client.texts())
            )

    asyncio.run(main())


def test_a_reactivation_cancels_every_order(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=500) as local, recorder(local) as client:
            tickers = await subscribed(local, client, "orderbook_delta", "market_lifecycle_v2")
            ticker = tickers[1]
            done = await local.fault(kind="reactivate", ticker=ticker, seconds=0.3, wait_s=0)
            assert (await local.get(f"/trade-api/v2/markets/{ticker}"))["market"]["status"] == "inactive"
            down_ns = done["effects"][0]["at_ns"]
            async with asyncio.timeout(10):
                while not (done := await local.get(f"/control/faults/{done['id']}"))["done"]:
                    await asyncio.sleep(0.02)
            assert (await local.get(f"/trade-api/v2/markets/{ticker}"))["market"]["status"] == "active"
            assert [effect["type"] for effect in done["effects"]] == ["deactivated", "activated"]
            up_ns = done["effects"][1]["at_ns"]
            assert up_ns - down_ns >= 0.29e9
            count = len(client.got)
            await until(lambda: len(client.got) > count + 300)
            rows = await local.log(ticker=ticker)
            lifecycle = [json.loads(r["frame"])["msg"]["event_type"] for r in rows if "lifecycle" in r["type"]]
            assert lifecycle == ["deactivated", "activated"]
            assert not [r for r in rows if down_ns + 20_000_000 < r["sent_ns"] < up_ns], "it rests meanwhile"
            book, sizes = Book(), []
            for message in client.texts():
                if isinstance(message, Snapshot) and message.ticker == ticker:
                    book = Book(message.levels)
                elif isinstance(message, Delta) and message.ticker == ticker:
                    book.apply(message.side, message.price_e4, message.change_e2)
                    sizes.append(len(book))
            assert 0 in sizes, "every order was cancelled"
            assert sizes[-1] > 0, "and the market trades again"
            assert (await local.get("/control/state"))["refused"] == 0

    asyncio.run(main())


def test_a_pause_drops_refuses_stops_and_ends(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=500) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            done = await local.fault(kind="pause", seconds=60, wait_s=0)
            with pytest.raises(ConnectionClosed) as caught:
                await read_to_the_end(client)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001
            assert await status_of(local) == 503
            status = await local.http.get("/trade-api/v2/exchange/status")
            assert (status.status_code, status.json()["exchange_active"]) == (503, False)
            assert status.json()["exchange_estimated_resume_time"]
            assert not any(row["trading_active"] for row in status.json()["exchange_index_statuses"])
            [window] = (await local.get("/trade-api/v2/exchange/schedule"))["schedule"]["maintenance_windows"]
            assert window["start_datetime"] < window["end_datetime"]
            books = [await local.get(f"/trade-api/v2/markets/{t}/orderbook") for t in tickers]
            await asyncio.sleep(0.2)
            assert [await local.get(f"/trade-api/v2/markets/{t}/orderbook") for t in tickers] == books
            effects = (await local.http.delete(f"/control/faults/{done['id']}")).json()["effects"]
            assert [(effect["type"], effect["port"]) for effect in effects] == [
                ("begin", None), (None, client.port), ("end", None),
            ]  # fmt: skip
            assert (await local.http.get("/trade-api/v2/exchange/status")).status_code == 200
            async with recorder(local) as again:
                await subscribed(local, again)
                await until(lambda: len(again.got) > 100)
                assert (await local.get("/control/state"))["refused"] == 0

    asyncio.run(main())


def test_a_trading_pause_keeps_connections(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, messages_per_s=500) as local, recorder(local) as client:
            await subscribed(local, client)
            done = await local.fault(kind="pause", seconds=60, trading_only=True, wait_s=0)
            status = await local.get("/trade-api/v2/exchange/status")
            assert (status["exchange_active"], status["trading_active"]) == (True, False)
            await asyncio.sleep(0.1)
            count = len(client.got)
            await asyncio.wait_for(await client.ping(), 1)
            assert len(client.got) == count + 1
            await local.http.delete(f"/control/faults/{done['id']}")
            await until(lambda: len(client.got) > count + 50)

    asyncio.run(main())


def test_a_halt_stops_one_part_of_the_exchange(running: Any) -> None:
    async def main() -> None:
        async with running(markets=20, messages_per_s=600) as local, recorder(local) as client:
            rows = (await local.get("/trade-api/v2/markets", limit=1000))["markets"]
            index = {row["ticker"]: row["exchange_index"] for row in rows}
            assert {0, 2} <= set(index.values())
            await subscribed(local, client)
            done = await local.fault(kind="halt", exchange_index=2, seconds=60, wait_s=0)
            status = await local.get("/trade-api/v2/exchange/status")
            assert [row["trading_active"] for row in status["exchange_index_statuses"]] == [True, True, False, True]
            await asyncio.sleep(0.1)
            count = len(client.texts())
            halted = next(ticker for ticker in index if index[ticker] == 2)
            free = next(ticker for ticker in index if index[ticker] == 0)
            for command_id, ticker in ((8, halted), (9, free)):
                await client.send(encode_command(Update(command_id, (1,), "get_snapshot", (ticker,))).decode())
            async with recorder(local) as second:
                ask = Subscribe(1, ("orderbook_delta",), (halted, free))
                await second.send(encode_command(ask).decode())
                await asyncio.sleep(0.2)
                during = client.texts()[count:]
                assert {index[m.ticker] for m in during} == {index[t] for t in index if index[t] != 2}
                assert [m.ticker for m in during if isinstance(m, Snapshot)] == [free]
                assert {m.ticker for m in second.texts() if isinstance(m, Snapshot)} == {free}
                await local.http.delete(f"/control/faults/{done['id']}")
                await until(lambda: {m.ticker for m in second.texts() if isinstance(m, Snapshot)} == {free, halted})
            await until(lambda: any(index[getattr(m, "ticker", free)] == 2 for m in client.texts()[count:]))
            told = (await local.get(f"/control/faults/{done['id']}"))["effects"]
            assert [(e["type"], e["ticker"]) for e in told] == [
                ("begin", None), ("get_snapshot", halted), ("end", None),
            ]  # fmt: skip
            last = client.texts()[-1]
            books = folded(client.texts())
            for ticker, book in books.items():
                assert book.digest() == await true_digest(local, ticker, client, last.seq)
            assert seqs(client) == list(range(1, len(seqs(client)) + 1))

    asyncio.run(main())


def test_first_books_come_when_a_halt_is_over_even_if_nobody_trades(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=0) as local, recorder(local) as client:
            halt = await local.fault(kind="halt", exchange_index=2, seconds=60, wait_s=0)
            tickers = [row["ticker"] for row in (await local.get("/trade-api/v2/markets"))["markets"]]
            await client.send(encode_command(Subscribe(1, ("orderbook_delta",), tuple(tickers))).decode())
            await until(lambda: len(client.got) == 1)
            await asyncio.wait_for(await client.ping(), 5)
            assert len(client.texts()) == 1
            ended = (await local.http.delete(f"/control/faults/{halt['id']}")).json()
            assert [effect["type"] for effect in ended["effects"]] == ["begin", "end"]
            await until(lambda: [m.ticker for m in client.texts()[1:]] == tickers)

    asyncio.run(main())


def test_a_burst_and_its_end(running: Any) -> None:
    async def main() -> None:
        async with running(markets=20, messages_per_s=0) as local:
            before = (await local.get("/control/state"))["steps"]
            await local.fault(kind="burst", messages_per_s=10_000, seconds=0.5)
            after = before
            async with asyncio.timeout(20):
                while after < before + 3_000 or (await local.get("/control/state"))["steps"] != after:
                    after = (await local.get("/control/state"))["steps"]
                    await asyncio.sleep(0.3)
            assert 3_000 < after - before < 7_000, "half a second of it, and then nothing"

    asyncio.run(main())


def test_a_fault_between_a_command_and_its_books(running: Any) -> None:
    async def main() -> None:
        async with running(markets=4, messages_per_s=0) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            armed = await local.fault(kind="gap", when="snapshot", ticker=tickers[2], wait_s=0)
            assert not armed["done"]
            await client.send(encode_command(Update(5, (1,), "get_snapshot", tuple(tickers))).decode())
            await until(lambda: seqs(client)[-1] == 8)
            got = [m.ticker for m in client.texts() if isinstance(m, Snapshot) and m.command_id == 5]
            assert got == [tickers[0], tickers[1], tickers[3]]
            [effect] = (await local.get(f"/control/faults/{armed['id']}"))["effects"]
            assert (effect["seq"], effect["type"], effect["ticker"]) == (7, "orderbook_snapshot", tickers[2])
            await local.fault(kind="gap", when="snapshot", skip=1, wait_s=0)
            await client.send(encode_command(Update(6, (1,), "get_snapshot", tuple(tickers))).decode())
            await until(lambda: seqs(client)[-1] == 12)
            got = [m.ticker for m in client.texts() if isinstance(m, Snapshot) and m.command_id == 6]
            assert got == [tickers[0], tickers[2], tickers[3]]
            await local.fault(kind="reset", when="snapshot", wait_s=0)
            await client.send(encode_command(Update(7, (1,), "get_snapshot", tuple(tickers))).decode())
            with pytest.raises(ConnectionClosed):
                await read_to_the_end(client)
            assert not [m for m in client.texts() if isinstance(m, Snapshot) and m.command_id == 7]

    asyncio.run(main())


def test_a_fault_while_connecting_and_subscribing(running: Any) -> None:
    async def main() -> None:
        async with running(markets=4, messages_per_s=0) as local:
            await local.fault(kind="reset", when="handshake", wait_s=0)
            with pytest.raises((ConnectionClosed, OSError, InvalidStatus)):
                async with recorder(local) as client:
                    await read_to_the_end(client)
            await local.fault(kind="overflow_error", when="snapshot", wait_s=0)
            await local.fault(kind="close", code=1012, when="subscribe", channel="trade", wait_s=0)
            async with recorder(local) as client:
                tickers = [row["ticker"] for row in (await local.get("/trade-api/v2/markets"))["markets"]]
                books = Subscribe(1, ("orderbook_delta",), tuple(tickers))
                await client.send(encode_command(books).decode())
                await until(lambda: isinstance(client.texts()[-1], VenueError) if client.texts() else False)
                assert [type(m).__name__ for m in client.texts()] == ["Subscribed", "VenueError"]
                assert client.texts()[-1].seq == 1
                await client.send(encode_command(Subscribe(2, ("trade",))).decode())
                with pytest.raises(ConnectionClosed) as caught:
                    await read_to_the_end(client)
                assert caught.value.rcvd is not None
                assert caught.value.rcvd.code == 1012

    asyncio.run(main())


def test_a_fault_at_an_instant_and_at_the_hour(running: Any) -> None:
    async def main() -> None:
        began_ns = time.monotonic_ns()
        start_us = 1_795_564_800_000_000 - 1_500_000

        def clock() -> int:
            return start_us + (time.monotonic_ns() - began_ns) // 1000

        async with running(clock, markets=3, messages_per_s=300) as local, recorder(local) as client:
            await subscribed(local, client)
            at_us = (await local.get("/control/state"))["now_us"] + 300_000
            done = await local.fault(kind="gap", at_us=at_us)
            assert done["effects"][0]["at_us"] >= at_us
            turn = await local.fault(kind="reset", when="rollover")
            assert 0 <= turn["effects"][0]["at_us"] - 1_795_564_800_000_000 < HOUR_US
            told_us = (await local.get("/control/state"))["now_us"] + 3_600_000_000
            await local.fault(kind="pause", at_us=told_us, seconds=60, wait_s=0)
            schedule = "/trade-api/v2/exchange/schedule"
            assert len((await local.get(schedule))["schedule"]["maintenance_windows"]) == 1, "said beforehand"
            await local.http.delete("/control/faults/3")
            assert (await local.get(schedule))["schedule"]["maintenance_windows"] == []
            never = await local.fault(kind="gap", when="rollover", offset_us=-1000, wait_s=0)
            cancelled = (await local.http.delete(f"/control/faults/{never['id']}")).json()
            assert (cancelled["done"], cancelled["effects"]) == (True, [])

    asyncio.run(main())


def test_whom_a_fault_is_about(running: Any) -> None:
    async def main() -> None:
        async with (
            running(markets=4, messages_per_s=300) as local,
            recorder(local) as books,
            recorder(local) as tape,
            recorder(local) as life,
        ):
            await subscribed(local, books)
            await tape.send(encode_command(Subscribe(1, ("trade", "ticker"))).decode())
            await life.send(encode_command(Subscribe(1, ("market_lifecycle_v2",))).decode())
            await until(lambda: tape.got and life.got)
            for client, order in (
                (tape, {"role": "tape"}), (life, {"role": "lifecycle"}), (books, {"channel": "orderbook_delta"}),
            ):  # fmt: skip
                done = await local.fault(kind="stall", seconds=0.05, **order)
                assert [effect["port"] for effect in done["effects"]] == [client.port]

    asyncio.run(main())


def test_the_true_book_at_an_instant_and_of_all_markets(running: Any) -> None:
    async def main() -> None:
        async with running(markets=5, messages_per_s=800) as local, recorder(local) as client:
            tickers = await subscribed(local, client)
            await until(lambda: len(client.got) > 400)
            log = await local.log(sid=1)
            middle = log[len(log) // 2]
            books: dict[str, Book] = folded(
                [m for m in client.texts() if getattr(m, "seq", 0) and m.seq <= middle["seq"]]
            )
            told = await local.get("/control/book", port=client.port, sid=1, seq=middle["seq"])
            assert told["digest"] == books[middle["ticker"]].digest()
            after = next(row for row in log if row["sent_us"] > middle["sent_us"])
            at_us = middle["sent_us"]
            text = (await local.http.get("/control/books", params={"at_us": at_us, "levels": "true"})).text
            rows = {row["ticker"]: row for row in map(json.loads, text.splitlines())}
            assert set(rows) >= set(tickers)
            last = max(row["seq"] for row in log if row["sent_us"] <= at_us)
            at_books = folded([m for m in client.texts() if getattr(m, "seq", 0) and m.seq <= last])
            assert after["seq"] > last
            for ticker, book in at_books.items():
                assert rows[ticker]["digest"] == book.digest()
                assert rows[ticker]["levels"] == [list(level) for level in book.levels()]
                one = await local.get("/control/book", ticker=ticker, at_us=at_us)
                assert one["digest"] == book.digest()

    asyncio.run(main())


def test_orders_that_make_no_sense_name_the_field(running: Any) -> None:
    async def main() -> None:
        async with running(markets=2, messages_per_s=0) as local:
            for order, field in (
                ({"kind": "flood"}, "kind"), ({"kind": "close"}, "code"), ({"kind": "close", "code": 1006}, "code"),
                ({"kind": "halt", "seconds": 1}, "exchange_index"), ({"kind": "gap", "when": "never"}, "when"),
                ({"kind": "gap", "role": "x"}, "role"), ({"kind": "gap", "channel": "x"}, "channel"),
                ({"kind": "unauthorized", "when": "snapshot"}, "when"), ({"kind": "pause", "seconds": -1}, "seconds"),
                ({"kind": "price_structure", "structure": "x"}, "structure"), ({"kind": "gap", "wher": 1}, "wher"),
                ({"kind": "gap", "when": "snapshot", "at_us": 5}, "at_us"), ({"kind": "burst"}, "messages_per_s"),
            ):  # fmt: skip
                response = await local.http.post("/control/fault", json=order)
                assert response.status_code == 400, order
                assert field in response.json()["error"]["message"], order
            for path in ("/control/faults/9", "/control/faults/x"):
                assert (await local.http.get(path)).status_code == 404
            response = await local.http.post("/control/fault", json={"kind": "empty_snapshot", "ticker": "KXNONE"})
            assert response.status_code == 404
            assert await status_of_plain(local) == 401

    asyncio.run(main())


async def status_of_plain(local: Any) -> int:
    try:
        async with connect(local.ws_url, proxy=None):
            return 101
    except InvalidStatus as refusal:
        return refusal.response.status_code


def test_the_life_of_combos_has_a_channel_of_its_own(running: Any) -> None:
    async def main() -> None:
        async with running(markets=3, combos=2, messages_per_s=0) as local, recorder(local) as client:
            channels = ("market_lifecycle_v2", "multivariate_market_lifecycle")
            await client.send(encode_command(Subscribe(1, channels)).decode())
            await until(lambda: len(client.got) == 2)
            rows = (await local.get("/trade-api/v2/markets"))["markets"]
            combo = next(row["ticker"] for row in rows if row["ticker"].startswith("KXMVE"))
            for ticker in (combo, rows[0]["ticker"]):
                await local.fault(kind="reactivate", ticker=ticker)
            told = [(json.loads(raw)["type"], m.sid, m.fields["market_ticker"]) for raw, m in zip(
                client.raw()[2:], client.texts()[2:], strict=True
            )]  # fmt: skip
            assert told == [(channels[1], 2, combo)] * 2 + [(channels[0], 1, rows[0]["ticker"])] * 2

    asyncio.run(main())
