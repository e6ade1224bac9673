"""
Retouch calls a Celery task of your own app with the event of a job, instead of sending a webhook.

Allow the task where jobs are enqueued:  export RETOUCH_CALLBACK_TASKS=billing.tasks.edited@billing
Run the app's worker:                    celery --app examples.celery_callback worker --queues billing
Enqueue:                                 python -m examples.celery_callback IMAGE_URL PROMPT
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery

from retouch import Edit, EditQueue, Settings

app = Celery("billing", broker=Settings.load().broker)
app.conf.update(task_ignore_result=True, worker_enable_remote_control=False)


@app.task(name="billing.tasks.edited")
def edited(event: dict[str, Any]) -> None:
    """Handle the event of a job that ended. The same event may come twice: job_id and sequence identify it."""
    data = event["data"]
    print(f"{event['type']}: {data['job_id']}, charges {data['charges']['possible']}", flush=True)


def main(init_image: str, prompt: str) -> int:
    """Enqueue one edit whose final event is sent to the task above."""
    with EditQueue() as queue:
        job = queue.enqueue(Edit(prompt=prompt, init_image=init_image), callback="billing.tasks.edited")
        print(f"enqueued {job.id}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
