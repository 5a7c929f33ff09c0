# SPDX-License-Identifier: Apache-2.0
"""Celery: the task for its worker, and a producer that does as it is told (see ../queues.py)."""

import json
import os
import sys
import time

from celery import Celery

URL = os.environ["BENCH_REDIS"]
app = Celery("bench", broker=URL, backend=URL)


def echo(event: object) -> object:
    """Its own event."""
    return event


task = app.task(name="echo")(echo)


def back(times: int) -> list[float]:
    """Milliseconds there and back."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        assert task.delay({"a": 1}).get(timeout=60) == {"a": 1}
        took.append((time.perf_counter() - began) * 1000)
    return took


def many(times: int) -> tuple[float, float]:
    """Seconds until that many were sent, and until all had come back."""
    began = time.perf_counter()
    sent = [task.delay({"a": 1}) for _ in range(times)]
    after = time.perf_counter() - began
    for one in sent:
        assert one.get(timeout=60) == {"a": 1}
    return after, time.perf_counter() - began


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = {"ms": back(asked["times"])} if asked["act"] == "back" else {"s": many(asked["times"])}
        print("answer", json.dumps(answer), flush=True)
