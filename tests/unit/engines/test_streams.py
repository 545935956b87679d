import asyncio
import threading
import time

import pytest

from hypernet.engines import CompletionStream, Delta
from hypernet.errors import EngineError


def stream() -> tuple[CompletionStream, list[int]]:
    cancelled: list[int] = []
    return CompletionStream(prompt_tokens=3, adapter=None, on_cancel=lambda: cancelled.append(1)), cancelled


def delta(text: str, *, last: bool = False) -> Delta:
    return Delta(text=text, token_ids=(1, 2), finish_reason="stop" if last else None)


def later(*actions: object) -> threading.Thread:
    def act() -> None:
        for action in actions:
            time.sleep(0.03)
            action()  # type: ignore[operator]

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def test_stream_gives_what_is_pushed_then_ends() -> None:
    s, _ = stream()
    later(lambda: s.push(delta("a")), lambda: s.push(delta("b", last=True))).join()
    assert [d.text for d in s] == ["a", "b"]
    assert list(s) == []
    assert (s.prompt_tokens, s.completion_tokens) == (3, 4)


def test_stream_waits_for_what_comes_later() -> None:
    s, _ = stream()
    thread = later(lambda: s.push(delta("a")), lambda: s.push(delta("b", last=True)))
    assert s.read() == "ab"
    thread.join()


def test_stream_raises_its_error_after_what_came_before_and_only_once() -> None:
    s, _ = stream()
    s.push(delta("a"))
    s.fail(EngineError("broken"))
    assert next(s).text == "a"
    with pytest.raises(EngineError, match="broken"):
        next(s)
    assert list(s) == []


def test_stream_cancelled_ends_and_tells_the_engine_once() -> None:
    s, cancelled = stream()
    s.cancel()
    s.cancel()
    s.push(delta("late"))
    s.fail(EngineError("late"))
    assert list(s) == []
    assert cancelled == [1]


def test_stream_cancelled_after_its_end_tells_nobody() -> None:
    s, cancelled = stream()
    s.push(delta("a", last=True))
    s.cancel()
    assert [d.text for d in s] == ["a"]
    assert cancelled == []


def test_stream_cancel_wakes_a_waiting_reader() -> None:
    s, _ = stream()
    thread = later(s.cancel)
    assert list(s) == []
    thread.join()


def test_stream_in_an_event_loop_does_not_block_it() -> None:
    async def main() -> tuple[list[str], int]:
        s, _ = stream()
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0.005)

        ticker = asyncio.create_task(tick())
        thread = later(*[lambda: s.push(delta("a"))] * 3, lambda: s.push(delta("b", last=True)))
        texts = [d.text async for d in s]
        ticker.cancel()
        thread.join()
        return texts, ticks

    texts, ticks = asyncio.run(main())
    assert texts == ["a", "a", "a", "b"]
    assert ticks > 4


def test_stream_in_an_event_loop_raises_its_error() -> None:
    async def main() -> None:
        s, _ = stream()
        thread = later(lambda: s.fail(EngineError("broken")))
        try:
            with pytest.raises(EngineError, match="broken"):
                await anext(s)
        finally:
            thread.join()

    asyncio.run(main())


def test_stream_survives_a_reader_that_gave_up_waiting() -> None:
    async def main() -> str:
        s, _ = stream()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(s), 0.02)
        s.push(delta("kept", last=True))
        return (await anext(s)).text

    assert asyncio.run(main()) == "kept"


def test_stream_whose_event_loop_is_gone_does_not_hurt_the_engine() -> None:
    s, _ = stream()

    async def abandon() -> None:
        waiting = asyncio.ensure_future(anext(s))
        await asyncio.sleep(0)
        waiting.cancel()

    loop = asyncio.new_event_loop()
    loop.run_until_complete(abandon())
    loop.close()
    s.push(delta("a", last=True))


def test_stream_cancelled_with_an_error_stops_the_answer_and_says_why() -> None:
    s, cancelled = stream()
    s.push(delta("a"))
    s.cancel(EngineError("cut"))
    s.cancel()
    assert cancelled == [1]
    assert next(s).text == "a"
    with pytest.raises(EngineError, match="cut"):
        next(s)
