"""
The hostile tenant, a process of its own: `python -m tests.hostile.attacker` with one JSON object on standard input.

The process makes its pictures and prints `ready`. When it reads a line on standard input, it attacks for `seconds`
seconds. At the end it prints the number of answers by attack and status.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from typing import Any

from tests.hostile import attacks
from tests.hostile.attacks import ATTACKS, Attack, HostileTenant
from tests.hostile.http_client import HttpClient


async def run_attack(attack: Attack, tenant: HostileTenant, client: HttpClient, scale: float, end_at: float) -> int:
    """Start the steps of an attack until all are started or `end_at` is reached. Return the number of started steps."""
    count, concurrency = max(1, round(attack.count * scale)), max(1, round(attack.concurrency * min(scale, 1.0)))
    slots, began_at = asyncio.Semaphore(concurrency), time.monotonic()
    begun = set[asyncio.Task[object]]()
    done = 0
    while done < count:
        await asyncio.sleep(max(0.0, began_at + done / attack.per_s - time.monotonic()))
        try:
            await asyncio.wait_for(slots.acquire(), end_at - time.monotonic())
        except TimeoutError:
            break
        task = asyncio.ensure_future(_one(attack, tenant, client, done))
        begun.add(task)
        task.add_done_callback(begun.discard)
        task.add_done_callback(lambda _: slots.release())
        done += 1
    await asyncio.sleep(max(0.0, end_at - time.monotonic()))
    await _end(begun)
    return done


async def _one(attack: Attack, tenant: HostileTenant, client: HttpClient, number: int) -> object:
    return await attack.step(tenant, client, number)


async def _end(tasks: set[asyncio.Task[object]]) -> None:
    meant = list(tasks)
    for task in meant:
        task.cancel()
    for one in await asyncio.gather(*meant, return_exceptions=True):
        if isinstance(one, Exception):
            raise one


async def run_attacks(options: dict[str, Any]) -> dict[str, Any]:
    """Run all named attacks at once. Return the number of started steps and the answers by status, for each attack."""
    tenant = HostileTenant(options["server_url"], random.Random(options["seed"]), options["jobs"], options["receivers"])
    clients = {
        name: HttpClient(options["gateway"], options["secret"], timeout_s=options["seconds"])
        for name in options["attacks"]
    }
    end_at = time.monotonic() + options["seconds"]

    runs = (run_attack(ATTACKS[name], tenant, client, options["scale"], end_at) for name, client in clients.items())
    begun = await asyncio.gather(*runs)
    for client in clients.values():
        client.close()
    return {
        name: {"begun": count, "statuses": clients[name].statuses} for name, count in zip(clients, begun, strict=True)
    }


def main() -> None:
    """Make the pictures, wait for the signal to start, attack, and print the counts."""
    options = json.loads(sys.stdin.readline())
    if "scans" in options["attacks"]:
        attacks._scans()
    if "uploads" in options["attacks"]:
        attacks._large()
    _print_line("ready")
    sys.stdin.readline()
    _print_line(json.dumps(asyncio.run(run_attacks(options))))


def _print_line(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
