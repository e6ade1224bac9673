"""Calls that a type checker must refuse. If mypy accepts a call, mypy reports the unused `type: ignore`."""

from __future__ import annotations

from retouch import Edit, EditQueue


def mistakes(queue: EditQueue, edit: Edit) -> None:
    """Use misspelt or wrong options, fields and states."""
    queue.enqueue(edit, webhok="https://shop.example")  # type: ignore[call-arg]  # it is called webhook
    queue.enqueue(edit, priority="urgent")  # type: ignore[arg-type]  # high, normal or low
    queue.enqueue_many([edit], max_charge=1)  # type: ignore[call-arg]  # it is called max_charges
    queue.enqueue(edit, events=["edit.done"])  # type: ignore[list-item]  # no such event
    queue.jobs(state="suceeded")  # type: ignore[call-overload]  # no such state
    Edit(prompt="winter", init_image="https://shop.example/in.png", stepz=3)  # type: ignore[call-arg]  # it is called steps
    Edit(prompt="winter")  # type: ignore[call-arg]  # init_image is missing
