"""
Measures a quiet tenant beside a hostile one: `python -m tests.hostile.run --seconds 60 --seed 1`.

The program starts real processes: Valkey, the simulator, a gateway, a worker for each lane, and the receivers of both
tenants. First the quiet tenant works alone. Then the hostile tenant runs all attacks at once, or only the attacks that
`--only` names. With `--each`, one attack after the other is measured, each with new processes. All loads stay on
loopback, are bounded in number and time, and end by themselves.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from retouch.store.scripts import source
from tests.hostile.attacks import ATTACKS
from tests.hostile.http_client import HttpClient
from tests.hostile.preparation import COUNTS, TENANT, add_records
from tests.hostile.quiet_tenant import QuietTenant
from tests.hostile.report import Phase, Report
from tests.hostile.stack import Stage, a_stage, ask, last_line

WARM_UP_S, WEBHOOKS_WITHIN_S, SAMPLE_S = 3.0, 60.0, 0.25


async def work(stage: Stage, seconds: float, seed: int) -> Phase:
    """Let the quiet tenant work for `seconds` seconds, and return the figures of this phase."""
    client: Any = stage.connections.client
    http = HttpClient(stage.urls["gateway"], stage.secrets["quiet"])
    quiet = QuietTenant(http, stage.urls["quiet"], random.Random(seed))
    ask(stage.parts["prober"])
    client.slowlog_reset()
    most = dict.fromkeys(stage.rss_megabytes(), 0.0)

    async def sample() -> None:
        while True:
            most.update({name: max(most[name], now) for name, now in stage.rss_megabytes().items()})
            await asyncio.sleep(SAMPLE_S)

    sampler = asyncio.create_task(sample())
    await quiet.work(seconds)
    redis = await asyncio.to_thread(ask, stage.parts["prober"])
    missing = await quiet.wait_for_webhooks(WEBHOOKS_WITHIN_S)
    sampler.cancel()
    http.close()
    slow = slowest(client)
    return Phase(
        dict(quiet.times), dict(http.statuses), len(missing), quiet.wrong, redis, slow, most, os.getloadavg()[0]
    )


def slowest(client: Any) -> dict[str, float]:
    """Return the longest duration in seconds of each slow command or script, the slowest first."""
    folder = resources.files("retouch.store") / "lua" / "scripts"
    scripts = [path.name.removesuffix(".lua") for path in folder.iterdir()]
    names = {client.register_script(source(name)).sha: name for name in scripts}
    found: dict[str, float] = {}
    for entry in client.slowlog_get(10_000):
        words = entry["command"].decode(errors="replace").split(" ")
        name = names.get(words[1], words[1][:30]) if words[0] == "EVALSHA" else " ".join(words[:2])[:40]
        found[name] = max(found.get(name, 0.0), entry["duration"] / 1e6)
    return dict(sorted(found.items(), key=lambda pair: -pair[1]))


def start_attacker(stage: Stage, attacks: Sequence[str], seconds: float, scale: float, seed: int) -> Any:
    """
    Write the records that the attacks need, start the attacker, and return its process.

    The attacks begin when the process reads a line.
    """
    ids: dict[str, list[str]] = {"jobs": [], "receivers": []}
    wanted = {"jobs": min(0.002, scale), **{what: scale for name in attacks for what in ATTACKS[name].prepares}}
    for what in sorted(wanted, key=("tags", "receivers", "every_job", "jobs").index):
        count = max(1, round(COUNTS[what] * wanted[what]))
        kind = "jobs" if what == "jobs" else "receivers"
        ids[kind] += add_records(stage.connections, what, count, stage.urls[TENANT])
    options = {
        "attacks": list(attacks),
        "seconds": seconds,
        "scale": scale,
        "seed": seed,
        "gateway": stage.urls["gateway"],
        "secret": stage.secrets[TENANT],
        "server_url": stage.urls[TENANT],
        **ids,
    }
    attacker = stage.run("attacker", "tests.hostile.attacker", is_remote=True)
    attacker.ask(json.dumps(options))
    assert last_line(attacker) == "ready"
    return attacker


def measure(
    folder: Path, attacks: Sequence[str], *, seconds: float, scale: float, seed: int, yields: bool = True
) -> Report:
    """
    Start new processes, measure the quiet tenant alone and then beside these attacks, and return the report.

    `yields` has the meaning that `Stage` describes.
    """
    with a_stage(folder, yields=yields) as stage:
        asyncio.run(work(stage, WARM_UP_S, seed))
        quiet = asyncio.run(work(stage, seconds, seed))
        attacker = start_attacker(stage, attacks, seconds + 2.0, scale, seed)
        before = attacker.log.stat().st_size
        attacker.ask("begin")
        beside = asyncio.run(work(stage, seconds, seed + 1))
        answers = json.loads(last_line(attacker, before, seconds + 60.0))
        return Report(list(attacks), quiet, beside, answers)


def main() -> None:
    """Measure and print the reports; exit with 1 if an aim was missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each phase lasts")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the counts: 1 means 100,000 jobs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", action="append", choices=sorted(ATTACKS), help="this attack (may be given several times)"
    )
    parser.add_argument("--each", action="store_true", help="one attack after the other, each on a stage of its own")
    parser.add_argument("--json", action="store_true", help="print JSON in place of tables")
    options = parser.parse_args()
    attacks = options.only or list(ATTACKS)
    missed = False
    for chosen in [[name] for name in attacks] if options.each else [attacks]:
        with tempfile.TemporaryDirectory(prefix="retouch-hostile-", ignore_cleanup_errors=True) as folder:
            report = measure(Path(folder), chosen, seconds=options.seconds, scale=options.scale, seed=options.seed)
        missed = missed or bool(report.missed())
        shown = json.dumps({**asdict(report), "missed": report.missed()}) if options.json else report.table() + "\n"
        sys.stdout.write(shown + "\n")
        sys.stdout.flush()
    sys.exit(missed)


if __name__ == "__main__":
    main()
