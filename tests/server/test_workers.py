"""The bounded threads: results, refusals, deadlines, and that a hanging call keeps nothing but its thread."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import pytest

from book.errors import ApiError
from server.workers import Workers

PATIENCE_S = 30.0


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not true():
            await asyncio.sleep(0.001)


async def refusal(asked: Awaitable[object]) -> str:
    with pytest.raises(ApiError) as refused:
        await asked
    return refused.value.code


def test_it_returns_and_raises_what_the_call_does() -> None:
    def fail() -> None:
        raise LookupError("no such thing")

    async def scenario() -> None:
        workers = Workers(threads=2, waiting=0, deadline_s=PATIENCE_S)
        assert await workers.run(lambda: threading.current_thread().name != "MainThread")
        with pytest.raises(LookupError, match="no such thing"):
            await workers.run(fail)
        assert workers.unfinished == 0
        workers.close()

    asyncio.run(scenario())


def test_a_timeout_of_the_call_is_not_taken_for_the_deadline() -> None:
    def fail() -> None:
        raise TimeoutError("of a disk")

    async def scenario() -> None:
        workers = Workers(threads=1, waiting=0, deadline_s=PATIENCE_S)
        with pytest.raises(TimeoutError, match="of a disk"):
            await workers.run(fail)
        workers.close()

    asyncio.run(scenario())


def test_past_the_bound_it_refuses_and_takes_questions_again_afterwards() -> None:
    async def scenario() -> None:
        release = threading.Event()
        workers = Workers(threads=1, waiting=1, deadline_s=PATIENCE_S)
        asked = [asyncio.create_task(workers.run(release.wait)) for _ in range(2)]
        await until(lambda: workers.unfinished == 2)
        assert await refusal(workers.run(lambda: None)) == "overloaded"
        release.set()
        assert await asyncio.gather(*asked) == [True, True]
        assert await workers.run(lambda: 1) == 1
        workers.close()

    asyncio.run(scenario())


def test_past_the_deadline_it_answers_and_the_call_still_counts() -> None:
    async def scenario() -> None:
        release = threading.Event()
        workers = Workers(threads=1, waiting=0, deadline_s=0.01)
        assert await refusal(workers.run(release.wait)) == "deadline_exceeded"
        assert await refusal(workers.run(lambda: None)) == "overloaded"
        release.set()
        await until(lambda: workers.unfinished == 0)
        workers.close()

    asyncio.run(scenario())


def test_a_call_whose_deadline_passed_while_it_waited_never_runs() -> None:
    async def scenario() -> None:
        release, ran = threading.Event(), threading.Event()
        workers = Workers(threads=1, waiting=1, deadline_s=0.01)
        first = asyncio.create_task(workers.run(release.wait))
        second = asyncio.create_task(workers.run(ran.set))
        assert [await refusal(first), await refusal(second)] == ["deadline_exceeded"] * 2
        release.set()
        await until(lambda: workers.unfinished == 0)
        assert not ran.is_set()
        workers.close()

    asyncio.run(scenario())
