# SPDX-License-Identifier: Apache-2.0
"""taskiq: the task for its worker, and a producer that does as it is told (see ../queues.py)."""

import asyncio
import json
import os
import sys
import time

from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend

URL = os.environ["BENCH_REDIS"]
LOOK_EVERY_S = 0.0005
broker = ListQueueBroker(url=URL).with_result_backend(RedisAsyncResultBackend(redis_url=URL))


async def echo(event: object) -> object:
    """Its own event."""
    return event


task = broker.task(task_name="echo")(echo)


async def back(times: int) -> list[float]:
    """Milliseconds there and back."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        sent = await task.kiq({"a": 1})
        result = await sent.wait_result(check_interval=LOOK_EVERY_S, timeout=60)
        assert result.return_value == {"a": 1}
        took.append((time.perf_counter() - began) * 1000)
    return took


async def many(times: int) -> tuple[float, float]:
    """Seconds until that many were sent, and until all had come back."""
    began = time.perf_counter()
    sent = [await task.kiq({"a": 1}) for _ in range(times)]
    after = time.perf_counter() - began
    for one in sent:
        assert (await one.wait_result(check_interval=LOOK_EVERY_S, timeout=60)).return_value == {"a": 1}
    return after, time.perf_counter() - began


async def main() -> None:
    """Answer until there is nothing more to read."""
    await broker.startup()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["act"] == "back":
            print("answer", json.dumps({"ms": await back(asked["times"])}), flush=True)
        else:
            print("answer", json.dumps({"s": await many(asked["times"])}), flush=True)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(main())
