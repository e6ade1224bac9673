"""One run of a batch. It enqueues the rows that no earlier run enqueued, and saves results as jobs end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from retouch.batches import batched
from retouch.blobs import BlobMissing
from retouch.errors import QueueFull, UnknownJob
from retouch.options import JobOptions
from retouch.states import JobState
from retouch.store.records import JobError, JobRecord
from retouch_producer.cli.batch.manifest import Entry, Manifest
from retouch_producer.cli.batch.rows import Row
from retouch_producer.cli.context import CommandContext
from retouch_producer.cli.output_file import SUFFIXES, write_atomically

T = TypeVar("T")
_CHUNK = 500
_RECHECK_S = 15.0  # the feed reports the jobs that end; this covers events that were lost in an outage
_LEAST_REST_S, _MOST_REST_S = 0.5, 10.0
_SURE_S = 23 * 3600.0  # an idempotency key is kept for 24 h


class BatchRun:
    """
    One run over the rows of one file, until each row is saved or failed.

    `on_done` is called with the number of rows that were saved or failed since the last call.
    """

    def __init__(
        self,
        context: CommandContext,
        rows: Sequence[Row],
        manifest: Manifest,
        folder: Path,
        on_done: Callable[[int], None],
    ) -> None:
        self.context, self.rows, self.manifest, self.folder, self.on_done = context, rows, manifest, folder, on_done
        self.saved_before = 0
        self._stems = {row.stem.lower() for row in rows}
        self._open: dict[str, Row] = {}
        self._links: dict[str, str] = {}  # by blob: a picture that many rows share is stored once

    def entry(self, row: Row) -> Entry:
        """Return the manifest's entry of a row; a new row gets one in the state `planned`."""
        return self.manifest.entries.setdefault(row.key, Entry())

    def execute(self, options: JobOptions, *, retry_failed: bool) -> None:
        """
        Enqueue rows and save their results until every row is saved or failed. If a run is killed, the next run
        continues.

        Failure policy: if the enqueueing of a row was interrupted, the row is enqueued again with the same idempotency
        key. If the first request made a job, the second request finds that job. After 23 h, Redis may have dropped the
        key. Then the row fails, and a person decides.
        """
        # The cursor is read first, so that no end of a job is missed while rows are enqueued.
        cursor, _ = self.context.news(None)
        self._resume_rows(retry_failed=retry_failed)
        missing = [row for row in self.rows if self.entry(row).state == "planned"]
        for rows in batched(missing, _CHUNK):
            self._enqueue(rows, options)
        self._collect(cursor)

    def _resume_rows(self, *, retry_failed: bool) -> None:
        """
        Continue from the manifest: count the rows that are saved, and watch the jobs of the other rows.

        With `retry_failed`, replay the rows that failed.
        """
        for row in self.rows:
            entry = self.entry(row)
            if entry.state == "failed" and retry_failed:
                self._retry(entry)
            elif entry.state == "planned" and 0 < entry.planned_at < time.time() - _SURE_S:
                entry.fail(
                    "unsure",
                    "an interrupted run may have enqueued it; check `retouch jobs`, or use --retry-failed",
                )
            if entry.state == "saved" and self._is_saved(entry):
                self.saved_before += 1
                self.on_done(1)
            elif entry.job:
                self._open[entry.job] = row
            elif entry.state == "failed":
                self.on_done(1)

    def _retry(self, entry: Entry) -> None:
        entry.code = entry.message = ""
        try:
            if entry.job:
                self._wait_for_room(lambda: self.context.queue.replay(entry.job))
                entry.state = "open"
                return
        except UnknownJob:
            pass
        # Without a job on record the row is enqueued anew, with a new idempotency key.
        entry.state, entry.job, entry.link, entry.planned_at = "planned", "", "", 0.0
        entry.round += 1

    def _is_saved(self, entry: Entry) -> bool:
        files = {entry.file: entry.bytes, **entry.more}
        paths = {self.folder / name: size for name, size in files.items()}
        return all(path.is_file() and path.stat().st_size == size for path, size in paths.items())

    def _enqueue(self, rows: Sequence[Row], options: JobOptions) -> None:
        requests = []
        for row in rows:
            entry = self.entry(row)
            if row.picture.path is not None:
                if row.picture.blob not in self._links:
                    self._links[row.picture.blob] = self.context.store_input(row.picture, options["tenant"])
                # Each signing makes another link, but a repeated request must be the same, so the first link is reused.
                entry.link = entry.link or self._links[row.picture.blob]
            entry.planned_at = entry.planned_at or time.time()
            edit = row.edit.model_copy(update={"init_image": entry.link}) if entry.link else row.edit
            requests.append((edit, JobOptions(idempotency_key=f"batch-{row.key}-{entry.round}")))
        # Before enqueueing: a run that is killed after it must find the rows and their links.
        self.manifest.save()
        jobs = self._wait_for_room(lambda: self.context.queue.enqueue_many(requests, **options))
        for row, job in zip(rows, jobs, strict=True):
            entry = self.entry(row)
            entry.job, entry.state = job.id, "open"
            self._open[job.id] = row
        self.manifest.save()

    def _wait_for_room(self, work: Callable[[], T]) -> T:
        """
        Call `work`, which enqueues or replays jobs, and return its value. Raise `QueueFull` if the budget is spent.

        While the backlog is full, save results, wait, and call `work` again. Each call uses the same idempotency keys.
        """
        while True:
            try:
                return work()
            except QueueFull as full:
                # A spent budget lasts until the next day, too long to wait for.
                if full.reason != "backlog":
                    raise
                self._settle(list(self._open))
                time.sleep(min(max(full.retry_after_s, _LEAST_REST_S), _MOST_REST_S))

    def _collect(self, cursor: str) -> None:
        checked_at = 0.0
        while self._open:
            if time.monotonic() - checked_at > _RECHECK_S:
                self._settle(list(self._open))
                checked_at = time.monotonic()
            if self._open:
                cursor, jobs = self.context.news(cursor)
                self._settle(sorted(jobs & self._open.keys()))

    def _settle(self, jobs: Sequence[str]) -> None:
        """Read the given jobs, and record the end of each job that has ended."""
        for chunk in batched(dict.fromkeys(jobs), 200):
            records = {record.id: record for record in self.context.records(chunk)}
            for job in chunk:
                row = self._open.get(job)
                if row is not None and self._record_end(self.entry(row), row, records.get(job)):
                    del self._open[job]
                    self.on_done(1)
                    self.manifest.save_sometimes()

    def _record_end(self, entry: Entry, row: Row, record: JobRecord | None) -> bool:
        """
        Record the end of a row's job, and return True. Return False if the job has not ended.

        If the job has images, save them. If it has none, or is no longer on record, the row becomes `failed`.
        """
        if record is None:
            entry.fail("not_on_record", f"job {entry.job} is no longer on record, and its result was not saved")
        elif not JobState(record.state).is_final:
            entry.state = "open"
            return False
        elif record.images:
            self._save(entry, row, record)
        else:
            error = record.error or JobError(record.state, record.cancelled.replace("_", " "), retryable=False)
            entry.fail(error.code, error.message)
        return True

    def _save(self, entry: Entry, row: Row, record: JobRecord) -> None:
        """Write the images of a row's job to files. If an image is gone, the row becomes `failed`."""
        files: dict[str, int] = {}
        for index, image in enumerate(record.images):
            try:
                data = self.context.image(record, index)
            except BlobMissing as error:
                entry.fail("result_gone", str(error))
                return
            file = f"{self._stem(row, index)}.{SUFFIXES[image.format]}"
            write_atomically(self.folder / file, data)
            files[file] = len(data)
        # Set only once every file is written: if this run is killed before, the next run saves the row again.
        (entry.file, entry.bytes), *more = files.items()
        entry.state, entry.more, entry.code, entry.message = "saved", dict(more), "", ""

    def _stem(self, row: Row, index: int) -> str:
        """Return the file name of a row's image, without its suffix: `stem`, `stem-2` and so on."""
        stem = row.stem if index == 0 else f"{row.stem}-{index + 1}"
        # Another row may be named `stem-2`; some file systems ignore case.
        while index and stem.lower() in self._stems:
            stem += "_"
        return stem
