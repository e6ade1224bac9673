"""Reads and checks the rows of a batch. Computes a key for each row, by which a later run recognises the row."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TextIO

from retouch.admission import ResolvedOptions, admit
from retouch.edit import Edit
from retouch.errors import InvalidEdit
from retouch_producer.cli.edit_request import NUMBERS, edit_of
from retouch_producer.cli.errors import UsageError
from retouch_producer.cli.input_image import InputImage, find_input_image
from retouch_producer.cli.output_file import safe_name

COLUMNS = ("init_image", "prompt", "id", "name", "samples", *NUMBERS)
_NAME_MOST = 80

Values = Mapping[str, object]
"""The cells of one row by the names of their columns, as read from the file."""
LineFault = tuple[int, str]
"""The number of a line in the file, counted from 1, and a message about the fault in that line."""


@dataclass(frozen=True, slots=True)
class Row:
    """
    One checked row. `key` is a hash of the row's content, so the key stays the same if the row moves to another line.

    `stem` is the file name of the result without its suffix. `label` names the row in reports.
    """

    line: int
    label: str
    stem: str
    key: str
    edit: Edit
    picture: InputImage


class RowsRefused(UsageError):
    """Some rows are invalid, so nothing was enqueued. `faults` has a line number and a message for each fault."""

    def __init__(self, faults: list[LineFault]) -> None:
        self.faults = faults
        lines = "".join(f"\n  line {line}: {message}" for line, message in faults)
        count = len({line for line, _ in faults})
        super().__init__(f"{count} row{' is' if count == 1 else 's are'} invalid; nothing was enqueued:{lines}")


def read_rows(file: Path, terms: ResolvedOptions, link: Callable[[str], str]) -> list[Row]:
    """
    Return all rows of a file. Raises `RowsRefused` with the faults of all invalid rows, or `UsageError` if there is no
    row.

    Paths of local pictures are relative to the file's folder. `terms` are the options of all rows. `link` returns the
    link for the name of a blob.
    """

    # A picture is decoded once, even if thousands of rows name it.
    @cache
    def picture(text: str) -> InputImage | InvalidEdit:
        try:
            return find_input_image(text, file.parent)
        except InvalidEdit as error:
            return error

    faults: list[LineFault] = []
    occurrences: Counter[str] = Counter()
    rows: list[Row] = []
    for line, values in _values(file, faults):
        try:
            picture_of_row = picture(_text(values.get("init_image")))
            if isinstance(picture_of_row, InvalidEdit):
                raise picture_of_row
            edit = edit_of(
                values.get("prompt"),
                picture_of_row.link(link),
                {name: values.get(name) for name in NUMBERS},
                values.get("samples"),
            )
            admit(edit, terms)
            rows.append(_row(line, values, edit, picture_of_row, terms, occurrences))
        except InvalidEdit as error:
            faults.append((line, str(error)))
    faults += _same_names(rows)
    if faults:
        raise RowsRefused(sorted(faults, key=lambda fault: fault[0]))
    if not rows:
        raise UsageError(f"{str(file)!r} has no rows; nothing was enqueued")
    return rows


def _row(
    line: int, values: Values, edit: Edit, picture: InputImage, terms: ResolvedOptions, occurrences: Counter[str]
) -> Row:
    name = _text(values.get("id")) or _text(values.get("name"))
    if len(name) > _NAME_MOST:
        raise InvalidEdit([("id", f"expected at most {_NAME_MOST} characters, got {len(name)}")])
    content = {**edit.fields(), "init_image": picture.identity, "name": name, "tenant": terms.spec.tenant}
    text = json.dumps(content, sort_keys=True)
    occurrences[text] += 1  # the second of two equal rows gets another key, and so a job of its own
    key = hashlib.sha256(f"{text}{occurrences[text]}".encode()).hexdigest()[:32]
    stem = safe_name(name) if name else f"{safe_name(picture.stem)}-{key[:8]}"
    return Row(line, name or f"line {line}", stem, key, edit, picture)


def _same_names(rows: list[Row]) -> list[LineFault]:
    first: dict[str, int] = {}
    faults = []
    for row in rows:
        # Some file systems ignore case in names.
        first_line = first.setdefault(row.stem.lower(), row.line)
        if first_line != row.line:
            faults.append((row.line, f"id: {row.label!r} names the same file as line {first_line}"))
    return faults


def _values(file: Path, faults: list[LineFault]) -> Iterator[tuple[int, Values]]:
    """Yield the line number and the values of each valid row. Append a fault to `faults` for each other line."""
    readers = {".csv": _csv_rows, ".jsonl": _json_rows, ".ndjson": _json_rows}
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise UsageError(f"expected a file named .csv or .jsonl, got {file.name!r}")
    try:
        # Spreadsheets put a byte order mark before UTF-8 text.
        with file.open(encoding="utf-8-sig", newline="") as lines:
            for line, values in reader(lines, faults):
                if unknown := sorted(str(name) for name in values.keys() - set(COLUMNS)):
                    faults.append((line, f"unknown column {unknown[0][:40]!r}; expected {', '.join(COLUMNS)}"))
                else:
                    yield line, values
    except OSError as error:
        raise UsageError(f"{str(file)!r} could not be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{str(file)!r} is not UTF-8 text") from None


def _csv_rows(lines: TextIO, faults: list[LineFault]) -> Iterator[tuple[int, Values]]:
    reader = csv.DictReader(lines, strict=True)
    try:
        if unknown := [name for name in reader.fieldnames or () if name not in COLUMNS]:
            faults.append((1, f"unknown column {unknown[0][:40]!r}; expected {', '.join(COLUMNS)}"))
            return
        for values in reader:
            if None in values or None in values.values():
                expected = len(reader.fieldnames or ())
                faults.append((reader.line_num, f"expected {expected} cells as in the header, got more or fewer"))
            else:
                # An empty cell means the default.
                yield reader.line_num, {name: text for name, text in values.items() if text.strip()}
    except csv.Error as error:
        faults.append((reader.line_num, f"not valid CSV: {error}"))


def _json_rows(lines: TextIO, faults: list[LineFault]) -> Iterator[tuple[int, Values]]:
    for line, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            yield line, values
        else:
            faults.append((line, "expected a JSON object"))


def _text(value: object) -> str:
    return "" if value is None else str(value)
