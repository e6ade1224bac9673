"""
Enqueue many edits in one round trip: `python examples/enqueue_many.py ORDER IMAGE_URL PROMPT…`.

Each edit has an idempotency key, made from the order and the position of the edit. If you run this again within a day,
nothing new is enqueued, and the same jobs are found.
"""

from __future__ import annotations

import sys

from retouch import Edit, EditCancelled, EditFailed, EditQueue, JobOptions, ResultTimeout


def main(order: str, init_image: str, *prompts: str) -> int:
    """Enqueue one edit for each prompt, and wait for all. Return exit code 1 if an edit yielded no image, else 0."""
    requests = [
        (Edit(prompt=prompt, init_image=init_image), JobOptions(idempotency_key=f"{order}-{place}"))
        for place, prompt in enumerate(prompts)
    ]
    missing = 0
    with EditQueue() as queue:
        jobs = queue.enqueue_many(requests, tenant="shop", priority="low", tags={"order": order})
        print(f"{len(jobs)} jobs, {sum(job.replayed for job in jobs)} of them known from an earlier run")
        for job, prompt in zip(jobs, prompts, strict=True):
            try:
                result = job.result(timeout_s=120)
            except EditFailed as failure:
                missing += 1
                print(f"{prompt}: failed: {failure.code}")
            except (EditCancelled, ResultTimeout) as error:
                missing += 1
                print(f"{prompt}: {error}")
            else:
                print(f"{prompt}: {result.sha256[:12]}, {result.bytes:,} bytes")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
