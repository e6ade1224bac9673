"""Enqueue one edit, wait for its image, save it: `python examples/enqueue_one.py IMAGE_URL PROMPT`."""

from __future__ import annotations

import sys

from retouch import Edit, EditCancelled, EditFailed, EditQueue, ResultTimeout


def main(init_image: str, prompt: str) -> int:
    """Run one edit, which is paid for at most once. Return the exit code."""
    with EditQueue() as queue:
        job = queue.enqueue(Edit(prompt=prompt, init_image=init_image), max_charges=1)
        print(f"enqueued {job.id}")
        try:
            result = job.result(timeout_s=120)
        except EditFailed as failure:
            print(f"failed: {failure.code}: {failure.message}; possible charges: {failure.charges}")
            return 1
        except (EditCancelled, ResultTimeout) as error:
            print(f"{error}")
            return 1
        path = result.save(f"edited.{result.format.lower()}")
        print(f"saved {path}, {result.size[0]} x {result.size[1]}, at {result.url}")
        return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
