"""Both blob stores keep the same promises: the same tests run on a folder and on a real process that speaks S3."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests

from retouch.blobs import BlobError, BlobMissing, BlobStore, content_name, open_blobs, thumbnail_name
from retouch.store.links import LinkSigner
from retouch_ops.demo import PHOTO
from tests.free_ports import free_port
from tests.gateway_process import LINK_KEY, Api, path_of, running_gateway

PUBLIC_URL = "https://retouch.example"
MISSING = f"ab/ab{'0' * 62}.png"
DATA = b"\x89PNG\r\n" + bytes(range(256)) * 300


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """
    Yield the URL of a real S3 server with a bucket `retouch`. The environment variables for S3 lead to this server.
    """
    port = free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    environment = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            make_bucket(environment["AWS_ENDPOINT_URL"])
            yield environment["AWS_ENDPOINT_URL"]
    finally:
        server.terminate()
        server.wait(20)


def make_bucket(url: str) -> None:
    for _ in range(600):
        with contextlib.suppress(requests.ConnectionError):
            requests.put(f"{url}/retouch", timeout=20).raise_for_status()
            return
        time.sleep(0.1)
    raise AssertionError("moto_server did not start")


@pytest.fixture(params=["file", "s3"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    """Return an empty blob store. Each test runs twice: with a folder, and with a bucket."""
    if request.param == "file":
        return open_blobs((tmp_path / "a folder").as_uri(), PUBLIC_URL)
    request.getfixturevalue("s3")
    return open_blobs(f"s3://retouch/{os.urandom(4).hex()}/deep", PUBLIC_URL)


def test_what_is_put_comes_back(blobs: BlobStore) -> None:
    """
    Stored bytes are read back unchanged. Their name is made from the bytes, and `size` returns the number of bytes.
    """
    name = blobs.put(DATA, "png")
    assert name == content_name(DATA, "png")
    assert blobs.get(name) == DATA
    assert blobs.size(name) == len(DATA)
    assert blobs.exists(name)


def test_putting_twice_keeps_one(blobs: BlobStore) -> None:
    """Equal bytes get one name. Other bytes, or another suffix, get another name. An empty blob can be stored too."""
    assert blobs.put(DATA, "png") == blobs.put(DATA, "png")
    assert len({blobs.put(DATA, "png"), blobs.put(DATA, "jpg"), blobs.put(DATA + b"x", "png")}) == 3
    assert blobs.get(blobs.put(b"", "bin")) == b""


def test_derived_blobs_stand_beside_the_original(blobs: BlobStore) -> None:
    """A thumbnail is stored under a name made from the original's name. A second thumbnail replaces the first."""
    name = blobs.put(DATA, "png")
    small = thumbnail_name(name)
    assert not blobs.exists(small)
    blobs.put_as(small, b"one")
    blobs.put_as(small, b"two")
    assert (blobs.get(small), blobs.get(name)) == (b"two", DATA)


def test_what_is_missing_says_so(blobs: BlobStore) -> None:
    """Reading a missing blob raises `BlobMissing` with the blob's name, and `exists` returns False."""
    for read in (blobs.get, blobs.size):
        with pytest.raises(BlobMissing, match=MISSING):
            read(MISSING)
    assert not blobs.exists(MISSING)


def test_deleting_may_be_repeated(blobs: BlobStore) -> None:
    """A blob can be deleted twice and is gone after the first time. The same bytes can then be stored again."""
    name = blobs.put(DATA, "png")
    blobs.delete(name)
    blobs.delete(name)
    assert not blobs.exists(name)
    assert blobs.put(DATA, "png") == name
    assert blobs.get(name) == DATA


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "ab/../../x.png", "ab/cd.png", "", MISSING + "\n", "\0"])
def test_no_name_leaves_the_store(blobs: BlobStore, name: str) -> None:
    """Every operation raises `ValueError` for a text that is not a blob name."""
    operations = [blobs.get, blobs.size, blobs.exists, blobs.delete]
    for operation in operations:
        with pytest.raises(ValueError, match="expected a blob name"):
            operation(name)
    with pytest.raises(ValueError, match="expected a blob name"):
        blobs.put_as(name, b"x")
    with pytest.raises(ValueError, match="expected a blob name"):
        blobs.link(name, 60)


@pytest.mark.parametrize("suffix", ["", ".png", "p/g", "../x", "PNG", "x" * 13])
def test_suffixes_are_checked(blobs: BlobStore, suffix: str) -> None:
    """A suffix that is not one to twelve lower-case letters and digits raises `ValueError`."""
    with pytest.raises(ValueError, match="expected a suffix"):
        blobs.put(DATA, suffix)


def test_many_writers_of_the_same_bytes(blobs: BlobStore) -> None:
    """While eight threads store the same bytes, readers never get only a part of them."""
    name = blobs.put(DATA, "png")
    with ThreadPoolExecutor(8) as threads:
        names = [threads.submit(blobs.put, DATA, "png") for _ in range(24)]
        reads = [threads.submit(blobs.get, name) for _ in range(24)]
        assert {one.result() for one in names} == {name}
        assert {one.result() for one in reads} == {DATA}


def test_file_links_go_through_the_gateway(tmp_path: Path) -> None:
    """The link to a blob in a folder is an address of the gateway: `/files/` and the name of the blob."""
    blobs = open_blobs(tmp_path.as_uri(), PUBLIC_URL + "/")
    name = blobs.put(DATA, "png")
    assert blobs.link(name, 60) == f"{PUBLIC_URL}/files/{name}"


def test_s3_links_are_presigned(s3: str) -> None:
    """
    A link to a blob in a bucket works without credentials. The link expires after the given seconds or after 7 days.
    """
    blobs = open_blobs("s3://retouch/prefix", PUBLIC_URL)
    name = blobs.put(DATA, "png")
    link = blobs.link(name, 60)
    assert link.startswith(s3)
    assert requests.get(link, timeout=20).content == DATA
    assert parse_qs(urlsplit(link).query)["X-Amz-Expires"] == ["60"]
    assert parse_qs(urlsplit(blobs.link(name, 1e9)).query)["X-Amz-Expires"] == ["604800"]
    assert name in requests.get(f"{s3}/retouch?prefix=prefix/", timeout=20).text


def test_a_thumbnail_of_an_image_in_s3_is_there_when_its_link_is(
    s3: str, worker_environment: dict[str, str], client: Any
) -> None:
    """When the link of a thumbnail is first requested, the gateway creates the thumbnail and stores it in S3."""
    client.set("rt:link_key", LINK_KEY)
    blobs = open_blobs("s3://retouch/small", PUBLIC_URL, LinkSigner(client))
    small = thumbnail_name(blobs.put(PHOTO.read_bytes(), "jpg"))
    link = blobs.link(small)
    assert link.startswith(f"{PUBLIC_URL}/files/")
    assert not blobs.exists(small)
    with running_gateway({**worker_environment, "RETOUCH_STORE_URL": "s3://retouch/small"}) as (url, _):
        nobody = Api(url, "")
        answers = [nobody.get(path_of(link)) for _ in range(2)]
        nobody.close()
    assert [(one.status_code, one.headers["content-type"]) for one in answers] == [(200, "image/webp")] * 2
    assert blobs.get(small) == answers[0].content == answers[1].content


def test_a_missing_bucket_is_named(s3: str) -> None:
    """Writing to a missing bucket raises a `BlobError` that names the bucket and the fault."""
    with pytest.raises(BlobError, match=r"s3://nowhere/.*there is no such bucket"):
        open_blobs("s3://nowhere/", PUBLIC_URL).put(DATA, "png")


def test_an_unreachable_s3_is_an_error_with_advice(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nothing listens at the address, every operation raises a `BlobError` with advice."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{probe.getsockname()[1]}")
    blobs = open_blobs("s3://retouch/", PUBLIC_URL)
    with pytest.raises(BlobError, match="check AWS_ENDPOINT_URL"):
        blobs.put(DATA, "png")
    with pytest.raises(BlobError, match="check AWS_ENDPOINT_URL"):
        blobs.exists(MISSING)
