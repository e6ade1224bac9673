"""`retouch status`, `pause`, `resume`: their arguments and options."""

from __future__ import annotations

from retouch_producer.cli.options import Json, Lane


def status(json: Json = False) -> None:
    """Show how both lanes stand: waiting, in flight, limit, dead letters."""
    from retouch_producer.cli.lanes.run import show_status

    show_status(as_json=json)


def pause(lane: Lane = "edits") -> None:
    """Stop dispatching: jobs wait, what is in flight ends, nothing is lost."""
    from retouch_producer.cli.lanes.run import set_paused

    set_paused(lane, True)


def resume(lane: Lane = "edits") -> None:
    """Dispatch again."""
    from retouch_producer.cli.lanes.run import set_paused

    set_paused(lane, False)
