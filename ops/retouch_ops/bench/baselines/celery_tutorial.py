"""
Celery as in tutorials. `python -m retouch_ops.bench.baselines.celery_tutorial BROKER POOL CONCURRENCY NAME` runs a
worker.

The worker makes the same calls and writes the same bytes as Retouch. Unlike Retouch, it can lose a job, repeat a paid
call, and exceed the endpoint's limit. There is no shared producer, no session for HTTP, and no result backend. A retry
waits in a worker, since it has a `countdown`.
"""

from __future__ import annotations

import hmac
import json
import sys
from typing import Any

import requests
from celery import Celery

TASK = "tutorial.edit"


def make_tutorial_app(broker: str) -> Celery:
    """Return the Celery app that producer and worker share."""
    app = Celery("tutorial", broker=broker, set_as_current=False)
    app.conf.task_ignore_result = True
    app.conf.broker_connection_retry_on_startup = True

    @app.task(bind=True, name=TASK, max_retries=5)  # type: ignore[untyped-decorator]  # Celery ships no types
    def edit(self: Any, number: int, stub_url: str, folder: str) -> None:
        try:
            one_job(number, stub_url, folder)
        except requests.RequestException as error:
            raise self.retry(exc=error, countdown=2**self.request.retries) from error

    return app


def one_job(number: int, stub_url: str, folder: str) -> None:
    """Do the work of one task: POST the edit, download and write the picture, POST the signed webhook."""
    body = {"key": "bench", "prompt": f"make him woman {number}", "init_image": f"{stub_url}/in.png", "steps": 50}
    reply = requests.post(f"{stub_url}/edit", json=body, timeout=120).json()
    image = requests.get(reply["output"], timeout=60).content
    with open(f"{folder}/{number}.png", "wb") as file:
        file.write(image)
    event = json.dumps({"type": "edit.succeeded", "data": {"job": number, "output": reply["output"]}}).encode()
    signature = hmac.new(b"secret", event, "sha256").hexdigest()
    requests.post(f"{stub_url}/hook", data=event, headers={"webhook-signature": signature}, timeout=15)


if __name__ == "__main__":
    arguments = [f"--pool={sys.argv[2]}", f"--concurrency={sys.argv[3]}", f"--hostname={sys.argv[4]}@%h"]
    make_tutorial_app(sys.argv[1]).worker_main(["worker", "--loglevel=info", *arguments])
