"""Blobs in a folder if writing fails: a killed writer, a full disk, a folder without permission."""

from __future__ import annotations

import errno
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retouch.blobs import BlobError, content_name, open_blobs
from retouch.blobs.file import FileBlobs

DATA = b"\x89PNG\r\n" + bytes(range(256)) * 300


def visible(folder: Path) -> list[str]:
    """Return the names of the files that are blobs."""
    return [path.name for path in folder.glob("*/*") if path.parent.name != ".partial"]


def test_a_killed_writer_leaves_nothing_visible(tmp_path: Path) -> None:
    """
    A writer that is killed before it renames its file leaves no blob. More than an hour later, opening the store
    deletes the temporary file.
    """
    code = """
import os, signal, sys
from pathlib import Path
from retouch.blobs.file import FileBlobs
Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
FileBlobs(Path(sys.argv[1]), "").put(b"half", "png")
"""
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=False)
    assert child.returncode == -signal.SIGKILL
    assert visible(tmp_path) == []
    (rest,) = (tmp_path / ".partial").iterdir()
    FileBlobs(tmp_path, "")
    assert rest.exists()
    os.utime(rest, (time.time() - 7200,) * 2)
    FileBlobs(tmp_path, "")
    assert not rest.exists()


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, "the disk is full: free space"),
        (errno.EDQUOT, "the disk quota is used up"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EACCES, "this user may not write there"),
        (errno.EIO, "Input/output error: check the folder"),
    ],
)
def test_a_failed_write_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    """A failed write raises a `BlobError` with the reason and the remedy, and leaves no partial file."""
    blobs = FileBlobs(tmp_path, "")

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(BlobError, match=words):
        blobs.put(DATA, "png")
    assert visible(tmp_path) == []
    assert list((tmp_path / ".partial").iterdir()) == []


@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        ("resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))", "File too large"),
        ("os.chmod(folder / '.partial', 0o500); os.getuid() or os.setuid(65534)", "this user may not write there"),
    ],
)
def test_the_system_itself_refuses(tmp_path: Path, trouble: str, words: str) -> None:
    """If the kernel refuses a write, `put` raises a `BlobError` with the reason and leaves no partial file."""
    code = f"""
import os, resource, sys
from pathlib import Path
from retouch.blobs import BlobError
from retouch.blobs.file import FileBlobs
folder = Path(sys.argv[1])
blobs = FileBlobs(folder, "")
{trouble}
try:
    blobs.put(bytes(5000), "png")
except BlobError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    child = subprocess.run(command, timeout=60, capture_output=True, text=True, check=True)
    assert words in child.stdout
    assert visible(tmp_path) == []
    assert list((tmp_path / ".partial").iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """If a part of the store's path is a file, `open_blobs` raises an error that says this."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BlobError, match="a part of the path is a file"):
        open_blobs((tmp_path / "file" / "store").as_uri(), "")


def test_a_folder_that_went_away(tmp_path: Path) -> None:
    """After the folder of a store was deleted, `put` raises a `BlobError`."""
    blobs = FileBlobs(tmp_path / "store", "")
    (tmp_path / "store" / ".partial").rmdir()
    with pytest.raises(BlobError, match="the folder is gone"):
        blobs.put(DATA, "png")


@pytest.mark.parametrize("first", ["writer", "deleter"])
def test_bytes_that_come_while_a_blob_is_deleted_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """Bytes that are written again just before or after the deletion of the same blob are not lost."""
    blobs = FileBlobs(tmp_path, "")
    name = blobs.put(DATA, "png")
    os.utime(tmp_path / name, (1, 1))
    move = Path.rename

    def move_in_a_crowd(source: Path, target: Path) -> Path:
        if first == "writer":
            blobs.put(DATA, "png")
        moved = move(source, target)
        if first == "deleter":
            blobs.put(DATA, "png")
        return moved

    monkeypatch.setattr(Path, "rename", move_in_a_crowd)
    assert blobs.delete_idle(name, 3_600) is (first == "deleter")
    assert blobs.get(name) == DATA
    assert list((tmp_path / ".partial").iterdir()) == []


def test_flushing_can_be_left_to_the_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    By default, `put` flushes the file, its folder and the store's folder. With `durable=False`, `put` flushes nothing.
    """
    flushed: list[int] = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    FileBlobs(tmp_path / "a", "", durable=False).put(DATA, "png")
    assert flushed == []
    FileBlobs(tmp_path / "b", "").put(DATA, "png")
    assert len(flushed) == 3


def test_a_large_file_is_flushed_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A large file is flushed after each MiB, since a flush of another file waits until all written bytes are on disk.
    """
    unflushed: list[int] = []
    sizes = dict[int, int]()
    flush = os.fsync

    def note(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            unflushed.append(size - sizes.get(descriptor, 0))
            sizes[descriptor] = size
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    data = os.urandom(2_500_000)
    blobs = FileBlobs(tmp_path, "")
    assert blobs.get(blobs.put(data, "png")) == data
    assert sum(unflushed) == len(data)
    assert max(unflushed) <= 1_048_576


@pytest.mark.parametrize("url", ["", "/var/blobs", "http://example.com/", "file://host/x", "file:", "s3:///prefix"])
def test_other_stores_are_refused(url: str) -> None:
    """A store URL that is neither a folder nor a bucket is refused; the error shows an example of each."""
    with pytest.raises(BlobError, match=r"expected a store such as file:///folder or s3://bucket/prefix"):
        open_blobs(url, "")


def test_s3_without_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """If obstore is not installed, opening an s3:// store raises an error that names the extra to install."""
    monkeypatch.setitem(sys.modules, "retouch.blobs.s3", None)
    with pytest.raises(BlobError, match=r"pip install 'retouch\[s3\]'"):
        open_blobs("s3://bucket/prefix", "")


def test_names_come_from_bytes() -> None:
    """The name of a blob is the SHA-256 of its bytes. The first two digits are the name of its folder."""
    assert content_name(b"abc", "png") == "ba/ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad.png"
