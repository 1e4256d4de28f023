"""The queue of turns: never two of one object at once, none lost, a failing one does not run hot."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from ringyard_operator.errors import RingyardError
from ringyard_operator.kube.turns import Key, Turns

JOB, OTHER = Key("TrainingJob", "lab", "digits"), Key("TrainingJob", "lab", "other")


async def until(met: Callable[[], bool], seconds: float = 20.0) -> None:
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0.005)


def test_an_object_has_one_turn_at_a_time_and_what_happens_during_it_has_a_turn_of_its_own() -> None:
    async def run() -> None:
        inside: Counter[Key] = Counter()
        turns_of: Counter[Key] = Counter()
        gate = asyncio.Event()

        async def turn(key: Key) -> None:
            inside[key] += 1
            assert inside[key] == 1
            turns_of[key] += 1
            await gate.wait()
            inside[key] -= 1

        turns = Turns(turn)
        running = asyncio.create_task(turns.run())
        for _ in range(50):
            turns.poke(JOB)
        turns.poke(OTHER)
        await until(lambda: turns_of[JOB] == turns_of[OTHER] == 1)
        for _ in range(50):
            turns.poke(JOB)
        gate.set()
        await until(lambda: turns_of[JOB] == 2)
        await asyncio.sleep(0.3)
        assert turns_of == {JOB: 2, OTHER: 1}
        running.cancel()
        await turns.close(1)

    asyncio.run(run())


def test_the_clock_wakes_an_object_and_a_failing_one_comes_again_however_often_it_is_poked() -> None:
    async def run() -> None:
        seen: Counter[Key] = Counter()
        failures: list[str] = []

        async def turn(key: Key) -> float | None:
            seen[key] += 1
            if key == OTHER:
                raise RingyardError("it is broken")
            return time.time() + 0.01 if seen[key] < 3 else None

        turns = Turns(turn, lambda key, _, error: failures.append(f"{key.name}: {error}") if error else None)
        running = asyncio.create_task(turns.run())
        turns.poke(JOB)
        turns.poke(OTHER)
        await until(lambda: seen[JOB] == 3)
        for _ in range(100):
            turns.poke(OTHER)
            await asyncio.sleep(0)
        assert seen[OTHER] == 1 and failures == ["other: it is broken"]
        await until(lambda: seen[OTHER] == 2)
        running.cancel()
        await turns.close(1)

    asyncio.run(run())


def test_a_closed_queue_lets_the_turn_in_hand_end_and_begins_none() -> None:
    async def run() -> None:
        ended: list[Key] = []

        async def turn(key: Key) -> float:
            await asyncio.sleep(0.1)
            ended.append(key)
            return time.time()

        turns = Turns(turn)
        running = asyncio.create_task(turns.run())
        turns.poke(JOB)
        await asyncio.sleep(0.02)
        running.cancel()
        await turns.close(5)
        turns.poke(OTHER)
        await asyncio.sleep(0.2)
        assert ended == [JOB]

    asyncio.run(run())
