"""The arguments and options of `retouch status`, `pause` and `resume`."""

from __future__ import annotations

from retouch_producer.cli.options import Json, Lane


def status(json: Json = False) -> None:
    """Show the numbers of both lanes (waiting, in flight, limit, dead letters), the workers, and failing receivers."""
    from retouch_producer.cli.lanes.run import show_status

    show_status(as_json=json)


def pause(lane: Lane = "edits") -> None:
    """Pause a lane: jobs wait, calls in flight end, nothing is lost."""
    from retouch_producer.cli.lanes.run import set_paused

    set_paused(lane, True)


def resume(lane: Lane = "edits") -> None:
    """Resume a paused lane."""
    from retouch_producer.cli.lanes.run import set_paused

    set_paused(lane, False)
