"""
`retouch batch` from the command line: it names wrong rows, edits each row once despite kills, and reports failures.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest

from retouch import EditQueue
from retouch.store.ledger import Ledger
from retouch_ops.demo import PHOTO
from retouch_ops.simulator.process import Simulator
from tests.command_line import serving_files, typed, work_in
from tests.process_watch import eventually

ROWS = 300


@pytest.fixture
def folder(
    tmp_path: Path, worker_environment: dict[str, str], queue: EditQueue, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """Yield a working folder with a photograph, while a server serves the links of the blob store."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(PHOTO, tmp_path / "photo.jpg")
    kept = Path(url2pathname(urlsplit(worker_environment["RETOUCH_STORE_URL"]).path))
    with serving_files(kept) as url:
        monkeypatch.setenv("RETOUCH_PUBLIC_URL", url)
        yield tmp_path


def write_csv(path: Path, rows: list[dict[str, object]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def saved(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("[!.]*.png"))


def test_every_bad_row_is_named_and_nothing_is_enqueued(folder: Path, client: Any) -> None:
    """One message names each wrong row with its fault, and nothing is enqueued."""
    (folder / "half.jpg").write_bytes(PHOTO.read_bytes()[:30_000])
    lines = [
        "id,init_image,prompt,guidance_scale",
        "good,photo.jpg,make it winter,7",
        "a,photo.jpg,,7",
        "b,photo.jpg,x,0",
        "c,photo.jpg,x,7x",
        'd,file:///etc/passwd,"two\nlines",7',
        "e,half.jpg,x,",
        "f,photo.jpg,x",
        "good,photo.jpg,x,",
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    ended = typed("batch", "rows.csv")
    assert (ended.code, ended.out) == (2, "")
    first, *faults = ended.err.splitlines()
    assert first == "retouch: 7 rows are invalid; nothing was enqueued:"
    assert [line.split(":")[0].strip() for line in faults] == [f"line {n}" for n in (3, 4, 5, 7, 8, 9, 10)]
    assert faults[1].endswith("guidance_scale: expected a number from 1 to 20, got 0")
    assert faults[2].endswith("guidance_scale: expected a number from 1 to 20, got '7x'")
    assert faults[3].endswith("init_image: expected an http(s) URL, got file:")
    assert "names the same file as line 2" in faults[6]
    assert work_in(client) == []
    assert not (folder / "rows-edited").exists()
    (folder / "one.csv").write_text("init_image,prompt\nphoto.jpg,\n")
    assert typed("batch", "one.csv").err.startswith("retouch: 1 row is invalid; nothing was enqueued:")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("rows.txt", "x", "expected a file named .csv or .jsonl"),
        ("none.csv", None, "could not be read: No such file"),
        ("empty.csv", "init_image,prompt\n", "has no rows"),
        ("bytes.csv", "init_image,prompt\n\udcff,x\n", "is not UTF-8 text"),
        ("column.csv", "init_image,promt\na,b\n", "unknown column 'promt'"),
        ("broken.jsonl", '{"prompt": "x"\n', "line 1: expected a JSON object"),
        ("column.jsonl", '{"prompt": "x", "image": "y"}\n', "line 1: unknown column 'image'"),
        ("types.jsonl", '{"prompt": 5, "init_image": "https://example.com/a.png"}\n', "prompt: expected text, got int"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(
    name: str, text: str | None, message: str, folder: Path, client: Any
) -> None:
    """For a file that cannot be read, `batch` prints the reason, exits with 2 and enqueues nothing."""
    if text is not None:
        (folder / name).write_text(text, errors="surrogateescape")
    ended = typed("batch", name)
    assert ended.code == 2
    assert message in ended.err
    assert work_in(client) == []


def test_a_second_run_repeats_nothing(folder: Path, simulator: Simulator, module_worker: object) -> None:
    """
    A second run sends no POST, even if the rows are in another order. A deleted image is fetched again.

    Two equal rows get two images.
    """
    simulator.settings(spam_filter_s=0.0)  # it would have one of the twins wait for 30 s
    lines: list[dict[str, object]] = [
        {"init_image": "photo.jpg", "prompt": "make it winter", "name": "one"},
        {"init_image": simulator.portrait_url, "prompt": "make it winter", "steps": 20},
        {"init_image": simulator.portrait_url, "prompt": "make it snow [[twin]]"},
        {"init_image": simulator.portrait_url, "prompt": "make it snow [[twin]]"},
    ]
    (folder / "rows.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    first = typed("batch", "rows.jsonl", "--out", "done", "--json")
    assert first.code == 0, first.err + first.out
    assert (first.json["saved"], first.json["saved_before"], first.json["possible_charges"]) == (4, 0, 4)
    names = saved(folder / "done")
    assert len(names) == 4
    assert "one.png" in names
    posts = simulator.books()["posts"]
    (folder / "moved.jsonl").write_text("\n" + "\n".join(json.dumps(line) for line in reversed(lines)))
    (folder / "done" / "one.png").unlink()
    again = typed("batch", "moved.jsonl", "--out", "done", "--json")
    assert again.code == 0, again.err
    assert (again.json["saved"], again.json["saved_before"]) == (4, 3)
    assert saved(folder / "done") == names
    assert simulator.books()["posts"] == posts


def test_failed_rows_are_reported_and_replayed_on_request(
    folder: Path, simulator: Simulator, module_worker: object
) -> None:
    """
    A run with failed rows reports each of them and exits with 1. Only a run with `--retry-failed` POSTs them again.
    """
    url = simulator.portrait_url
    write_csv(folder / "rows.csv", [{"id": f"r{n}", "init_image": url, "prompt": f"winter {n}"} for n in range(4)])
    simulator.faults(next=[{"kind": "no_credits", "times": 2}])
    first = typed("batch", "rows.csv", "--json")
    assert (first.code, first.json["saved"]) == (1, 2)
    assert {row["code"] for row in first.json["failed"]} == {"no_credits"}
    posts = simulator.books()["posts"]
    second = typed("batch", "rows.csv")
    assert second.code == 1
    assert second.err.count("Insufficient credits") == 2
    assert simulator.books()["posts"] == posts
    third = typed("batch", "rows.csv", "--retry-failed", "--json")
    assert (third.code, third.json["failed"]) == (0, [])
    assert saved(folder / "rows-edited") == [f"r{n}.png" for n in range(4)]
    assert simulator.books()["posts"] == posts + 2


def test_a_batch_waits_for_room(
    folder: Path, client: Any, simulator: Simulator, module_worker: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch with more rows than the backlog limit enqueues further rows as jobs end. Each row is POSTed once."""
    monkeypatch.setattr("retouch_producer.cli.batch.row_runner._MOST_REST_S", 0.1)
    Ledger(client).set_limits("acme", backlog_limit=3)
    url = simulator.portrait_url
    write_csv(folder / "rows.csv", [{"id": n, "init_image": url, "prompt": f"snow [[{n}]]"} for n in range(20)])
    ended = typed("batch", "rows.csv", "--tenant", "acme", "--json")
    assert ended.code == 0, ended.err
    assert ended.json["saved"] == 20
    assert {entry["posts"] for entry in simulator.books()["by_tag"].values()} == {1}


def test_two_batches_do_not_share_a_folder(folder: Path, queue: EditQueue, client: Any) -> None:
    """A second batch in the same folder is refused before anything is enqueued."""
    from retouch_producer.cli.batch.manifest import own_folder

    (folder / "rows.jsonl").write_text('{"init_image": "https://example.com/a.png", "prompt": "x"}')
    with own_folder(folder / "done"):
        ended = typed("batch", "rows.jsonl", "--out", "done")
    assert ended.code == 2
    assert "another `retouch batch` is running in 'done'" in ended.err
    assert work_in(client) == []


def test_a_damaged_manifest_is_reported(folder: Path, client: Any) -> None:
    """
    A batch with a damaged manifest exits with 2 and enqueues nothing, since it cannot know what an earlier run did.
    """
    (folder / "done").mkdir()
    (folder / "done" / "retouch-batch.json").write_text("{")
    (folder / "rows.jsonl").write_text('{"init_image": "https://example.com/a.png", "prompt": "x"}')
    ended = typed("batch", "rows.jsonl", "--out", "done")
    assert ended.code == 2
    assert "cannot be read as a manifest of `retouch batch`" in ended.err
    assert work_in(client) == []


@pytest.mark.chaos
def test_a_killed_batch_goes_on_where_it_was(folder: Path, simulator: Simulator, module_worker: object) -> None:
    """After two runs of a batch were killed, the third run saves all 300 rows, and each row is charged once."""
    rows: list[dict[str, object]] = [
        {"id": f"r{n}", "init_image": "photo.jpg" if n % 2 else simulator.portrait_url, "prompt": f"snow [[row-{n}]]"}
        for n in range(ROWS)
    ]
    write_csv(folder / "rows.csv", rows)
    for enough in (1, 100):
        with started_batch(folder) as batch:
            assert eventually(partial(_has_saved, folder / "done", enough))
            batch.kill()
            batch.wait()
        assert len(saved(folder / "done")) < ROWS, "it was done before it was killed"
    ended = typed("batch", "rows.csv", "--out", "done", "--json")
    assert ended.code == 0, ended.err + ended.out
    assert ended.json["saved"] == ROWS
    assert ended.json["possible_charges"] == ROWS
    assert saved(folder / "done") == sorted(f"r{n}.png" for n in range(ROWS))
    entries = simulator.books()["by_tag"]
    assert {tag: entry["charged"] for tag, entry in entries.items()} == {f"row-{n}": 1 for n in range(ROWS)}


def _has_saved(folder: Path, enough: int) -> bool:
    return len(saved(folder)) >= enough


def started_batch(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retouch_ops.cli", "batch", "rows.csv", "--out", "done"]
    return subprocess.Popen(command, cwd=folder, env=dict(os.environ), stdout=subprocess.DEVNULL)


def test_a_batch_killed_before_it_noted_its_jobs_finds_them(
    folder: Path, queue: EditQueue, simulator: Simulator, client: Any
) -> None:
    """If a run is killed before its manifest names its jobs, the next run finds exactly these jobs."""
    from retouch_producer.cli.batch.manifest import Manifest

    assert typed("pause").code == 0
    write_csv(folder / "rows.csv", [{"id": n, "init_image": "photo.jpg", "prompt": f"snow {n}"} for n in range(3)])
    with started_batch(folder) as batch:
        assert eventually(lambda: client.zcard("rt:jobs:default") == 3 and '"job"' in _manifest_text(folder))
        batch.kill()
        batch.wait()
    manifest = Manifest(folder / "done")
    for entry in manifest.entries.values():
        entry.job, entry.state = "", "planned"
    manifest.save()
    with started_batch(folder) as batch:
        assert eventually(lambda: '"job"' in _manifest_text(folder))
        batch.kill()
        batch.wait()
    assert client.zcard("rt:jobs:default") == 3
    jobs = set(client.zrange("rt:jobs:default", 0, -1))
    assert {entry.job for entry in Manifest(folder / "done").entries.values()} == jobs


def _manifest_text(folder: Path) -> str:
    path = folder / "done" / "retouch-batch.json"
    return path.read_text() if path.exists() else ""
