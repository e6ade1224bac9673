"""The endpoint of a storm: one simulator, or several simulators with an accounts file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from retouch_ops.simulator.process import Simulator

SPAM_FILTER_S = 1.0
ENDPOINT: dict[str, Any] = {
    "latency_s": 0.1,
    "cap": 100,
    "spam_filter_s": SPAM_FILTER_S,
    "processing_share": 0.3,
    "processing_s": 0.3,
}


@contextmanager
def simulators_of(accounts: int) -> Iterator[dict[str, Simulator]]:
    """
    Context manager that starts a simulator for each account, and yields {account: simulator}.

    If `accounts` is 0, the only account is `default`, which is made of the settings.
    """
    names = [f"account{number}" for number in range(1, accounts + 1)] or ["default"]
    with ExitStack() as stack:
        yield {name: stack.enter_context(Simulator(**ENDPOINT)) for name in names}


def portrait_of(sims: dict[str, Simulator]) -> str:
    """Return the address of the picture that all jobs edit."""
    return next(iter(sims.values())).portrait_url


class AccountsFile:
    """The accounts file of a storm. Its last account is removed for a while."""

    def __init__(self, folder: Path, sims: dict[str, Simulator]) -> None:
        self.path, self._sims, self._written = folder / "accounts.toml", sims, ""
        for name in sims:
            (folder / name).write_text(f"sk-storm-of-{name}")
        self.queues = [f"edits.{name}" for name in sims]
        self.write(without_last=False)

    def write(self, *, without_last: bool) -> None:
        """
        Write the file, with or without the last account, in one step. If its text would stay the same, do nothing.
        """
        tables = [
            f'[accounts.{name}]\nkey_file = "{name}"\nurl = "{sim.pix2pix_url}"\nfetch_url = "{sim.fetch_url}"\n'
            for name, sim in self._sims.items()
        ]
        text = "".join(tables[:-1] if without_last else tables)
        if text != self._written:
            draft = self.path.with_suffix(".new")
            draft.write_text(text)
            draft.replace(self.path)
            self._written = text
