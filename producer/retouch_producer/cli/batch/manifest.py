"""The manifest of a batch. This file beside the results records the job and the state of each row for the next run."""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.output_file import write_atomically

NAME, LOCK = "retouch-batch.json", ".retouch-batch.lock"
_FORMAT = 1
_SAVE_EVERY_S = 0.5


@dataclass(slots=True)
class Entry:
    """
    The entry of one row. `state` is `planned` (about to be enqueued), `open` (enqueued), `saved` or `failed`.

    `round` counts how often the row was enqueued anew because its job was gone. `link` is the URL that is sent for a
    local picture. A repeated request must send the same URL, so the entry stores it. `bytes` is the size of `file`.
    `more` maps the file names of further images to their sizes in bytes.
    """

    state: str = "planned"
    planned_at: float = 0.0
    round: int = 0
    link: str = ""
    job: str = ""
    file: str = ""
    bytes: int = 0
    more: dict[str, int] = field(default_factory=dict)
    code: str = ""
    message: str = ""

    def fail(self, code: str, message: str) -> None:
        """Set the state `failed`, with an error code and a message for people."""
        self.state, self.code, self.message = "failed", code, message


class Manifest:
    """
    The entries of all rows by row key. The file is always replaced as a whole, so a killed process leaves a valid file.

    Failure policy: a row is recorded before it is enqueued, and its job is recorded afterwards. If the run is killed in
    between, the next run finds the job by the row's idempotency key.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.entries: dict[str, Entry] = self._read()
        self._saved_at = 0.0

    def _read(self) -> dict[str, Entry]:
        try:
            rows = json.loads(self.path.read_text())["rows"]
            return {key: Entry(**entry) for key, entry in rows.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise UsageError(
                f"{str(self.path)!r} cannot be read as a manifest of `retouch batch`; nothing was enqueued. Move the "
                "file away and run the command again: rows enqueued in the last 24 h are recognised without it"
            ) from None

    def save(self) -> None:
        """Write all entries to the file."""
        # Empty fields are left out, since a manifest may have many thousand rows.
        rows = {key: {n: v for n, v in asdict(entry).items() if v} for key, entry in self.entries.items()}
        write_atomically(self.path, json.dumps({"format": _FORMAT, "rows": rows}).encode())
        self._saved_at = time.monotonic()

    def save_sometimes(self) -> None:
        """Write all entries to the file, unless they were written less than half a second ago."""
        # If the run is killed first, the next run only has to read the job again.
        if time.monotonic() - self._saved_at > _SAVE_EVERY_S:
            self.save()


@contextmanager
def own_folder(folder: Path) -> Iterator[None]:
    """
    Context manager that creates the folder of results, and locks it so that only one run saves rows in it.

    Raises `UsageError` if the folder is unusable or locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        raise UsageError(f"--out: folder {str(folder)!r} cannot be used: {error.strerror}") from None
    with lock:
        try:
            # The system releases this lock when the process ends, even if it is killed.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"--out: another `retouch batch` is running in {str(folder)!r}; wait for it to end"
            ) from None
        yield
