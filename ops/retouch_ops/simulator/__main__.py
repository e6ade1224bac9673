"""The command line of the simulator: `python -m retouch_ops.simulator`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from retouch_ops.simulator.config import ControlError, SimulatorConfig
from retouch_ops.simulator.server import serve


def simulator(
    address: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0 takes a free one.")] = 8999,
    latency_s: Annotated[float | None, typer.Option(help="Time from an accepted POST to its answer.")] = None,
    cap: Annotated[int | None, typer.Option(help="Requests that one key may have in flight.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting, as NAME=VALUE with a JSON value; repeatable.")
    ] = None,
    with_parent: Annotated[bool, typer.Option(help="Stop when standard input ends.")] = False,
) -> None:
    """
    Run a simulator of the pix2pix endpoint: a development tool that edits with simple filters and charges nobody.
    """
    named = {"latency_s": latency_s, "cap": cap}
    try:
        config = SimulatorConfig().changed(
            {name: value for name, value in named.items() if value is not None}
            | dict(_setting(text) for text in setting or [])
        )
    except ControlError as error:
        raise typer.BadParameter("\n".join(error.faults)) from None
    serve(address, port, config, with_parent=with_parent)


def _setting(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ControlError([f"expected NAME=VALUE, got {text!r}"])
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


if __name__ == "__main__":
    typer.run(simulator)
