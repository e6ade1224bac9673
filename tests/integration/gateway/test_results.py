"""Tests of a finished job over HTTP: image, thumbnail, timeline, events and deliveries."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from retouch.blobs import name_in
from retouch.store.links import LinkSigner
from retouch_ops.simulator.process import Simulator
from tests.conftest import Sink
from tests.gateway_process import Api, Callers, path_of, problem
from tests.process_watch import eventually

PHOTO = Path(__file__).parents[3] / "ops" / "retouch_ops" / "samples" / "portrait.jpg"
JPEG = {"Content-Type": "image/jpeg"}
pytestmark = pytest.mark.usefixtures("module_worker")


@pytest.fixture
def api(callers: Callers) -> Api:
    return callers()


@pytest.fixture
def done(api: Api, edit_body: Callable[..., Any]) -> dict[str, Any]:
    answer = api.post("/v1/edits", edit_body(), headers={"Prefer": "respond-async, wait=15"})
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    return job


def messages_of(stream: Any) -> list[tuple[int, str, dict[str, Any]]]:
    """Read server-sent events to the end of the stream. Return the id, name and data of each event."""
    messages = []
    for block in "".join(stream.iter_text()).split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            messages.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return messages


def test_waiting_for_the_end(api: Api, edit_body: Callable[..., Any]) -> None:
    """
    With `Prefer: wait` the answer is 200 with the finished job. A longer wait is cut to 60 s, as `Preference-Applied`
    shows.
    """
    answer = api.post("/v1/edits", edit_body(), headers={"Prefer": "wait=900"})
    assert answer.headers["preference-applied"] == "wait=60"
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    assert answer.json()["charges"]["certain"] == 1


def test_image_and_thumbnail(api: Api, callers: Callers, done: dict[str, Any]) -> None:
    """
    The image and its thumbnail are read by their routes and by their links. A request with the known ETag is answered
    304.
    """
    image = api.get(done["links"]["image"])
    nobody = callers.with_secret()
    assert nobody.get(path_of(done["result"]["url"])).content == image.content
    assert api.get(done["links"]["image"], headers={"If-None-Match": image.headers["etag"]}).status_code == 304
    thumbnail = nobody.get(path_of(done["result"]["thumbnail_url"]))
    assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/webp")
    assert api.get(done["links"]["thumbnail"]).content == thumbnail.content


def test_links_expire_and_cannot_be_changed(callers: Callers, done: dict[str, Any], client: Any) -> None:
    """Without its signature, a link needs an API key. A link that was changed or has expired is answered 403."""
    nobody, link = callers.with_secret(), path_of(done["result"]["url"])
    bare, _, query = link.partition("?")
    problem(nobody.get(bare), "unauthorized", 401)
    assert callers().get(bare).status_code == 200
    problem(nobody.get(f"{bare}?{query.replace('expires=', 'expires=9')}"), "forbidden", 403)
    problem(nobody.get(f"{bare}?{query}0"), "forbidden", 403)
    problem(nobody.get(bare.replace(".png", ".jpg") + "?" + query), "forbidden", 403)
    sign, name, now = LinkSigner(client), name_in(link), client.time()[0]
    statuses = [nobody.get(f"{bare}?expires={at}&signature={sign(name, at)}").status_code for at in (now + 60, now - 1)]
    assert statuses == [200, 403]


def test_a_name_alone_opens_only_ones_own(callers: Callers, done: dict[str, Any]) -> None:
    """If the link of an image or thumbnail has no signature, a key of another tenant gets 404."""
    result, stranger = done["result"], callers("globex")
    for link in (result["url"], result["thumbnail_url"]):
        bare = path_of(link).partition("?")[0]
        problem(stranger.get(bare), "not-found", 404)
        problem(stranger.get(bare, headers={"If-None-Match": f'"{bare.rpartition("/")[2]}"'}), "not-found", 404)
        assert callers().get(bare).status_code == callers("staff", "ops").get(bare).status_code == 200
        assert stranger.get(path_of(link)).status_code == 200


def test_one_picture_of_two_tenants(callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    Each tenant that uploaded a picture or used it as input can read it without a signature. Another tenant gets 404.
    """
    photo = PHOTO.read_bytes()
    uploads = [callers(tenant).post("/v1/uploads", content=photo, headers=JPEG) for tenant in ("acme", "globex")]
    bare = path_of(uploads[0].json()["url"]).partition("?")[0]
    assert [callers(tenant).get(bare).status_code for tenant in ("acme", "globex", "other")] == [200, 200, 404]
    job = callers("other").post("/v1/edits", edit_body(init_image=uploads[0].json()["url"]))
    assert job.status_code == 202
    assert callers("other").get(bare).status_code == 200


def test_our_own_links_as_input_are_checked(callers: Callers, edit_body: Callable[..., Any], client: Any) -> None:
    """
    As input, a signed link of ours is accepted from every tenant. A link without a signature is accepted only from the
    owner of the picture. A changed or expired link is refused.
    """
    acme, stranger = callers("acme"), callers("globex")
    link = acme.post("/v1/uploads", content=PHOTO.read_bytes(), headers=JPEG).json()["url"]
    bare, _, query = link.partition("?")
    over = f"{bare}?expires=1&signature={LinkSigner(client)(name_in(bare), 1)}"
    for bad in (f"{link}0", f"{bare}?{query.replace('expires=', 'expires=9')}", over):
        refusal = problem(acme.post("/v1/edits", edit_body(init_image=bad)), "input-unreadable", 422)
        assert "has expired or was altered" in refusal["faults"][0]["message"]
    refusal = problem(stranger.post("/v1/edits", edit_body(init_image=bare)), "input-unreadable", 422)
    assert "not found" in refusal["faults"][0]["message"]
    assert acme.post("/v1/edits", edit_body(init_image=bare)).status_code == 202
    assert stranger.post("/v1/edits", edit_body(init_image=link)).status_code == 202


def test_several_images_of_one_job(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    Each image and its thumbnail are read by `index` and by a link. The final event, in the stream and in the feed, has
    all images.
    """
    job = api.post("/v1/edits", edit_body(extra={"samples": 3}), headers={"Prefer": "wait=15"}).json()
    results, links, nobody = job["results"], job["links"], callers.with_secret()
    assert (len(results), job["result"]) == (3, results[0])
    for place, result in enumerate(results):
        image = api.get(links["image"], params={"index": place}).content
        assert hashlib.sha256(image).hexdigest() == result["sha256"]
        assert nobody.get(path_of(result["url"])).content == image
        thumbnail = api.get(links["thumbnail"], params={"index": place})
        assert nobody.get(path_of(result["thumbnail_url"])).content == thumbnail.content
        assert api.get(path_of(result["url"]).partition("?")[0]).status_code == 200
    assert api.get(links["image"]).content == api.get(links["image"], params={"index": 0}).content
    problem(api.get(links["image"], params={"index": 3}), "not-found", 404)
    problem(api.get(links["thumbnail"], params={"index": -1}), "invalid-request", 422)
    with api.stream(links["events"]) as stream:
        last = messages_of(stream)[-1][2]["data"]
    fed = api.get("/v1/events").json()["data"][-1]["data"]
    hashes = [result["sha256"] for result in results]
    assert [one["sha256"] for one in last["results"]] == [one["sha256"] for one in fed["results"]] == hashes


def test_the_drop_in_lists_several_images(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """For one image, `output` of the drop-in is one link. For several images, `output` is a list of links."""
    one = api.post("/api/v5/pix2pix", {"key": api.secret, **edit_body()}).json()
    several = api.post("/api/v5/pix2pix", {"key": api.secret, **edit_body(samples=2)}).json()
    assert one["output"].startswith("http")
    assert [callers.with_secret().get(path_of(link)).status_code for link in several["output"]] == [200, 200]
    assert len({*several["output"]}) == 2


def test_the_timeline(api: Api, edit_body: Callable[..., Any], sink: Sink) -> None:
    """A job's timeline has its events, its charges, the raw answer and its deliveries with their attempts."""
    job = api.post("/v1/edits", edit_body(webhook=sink.url), headers={"Prefer": "wait=15"}).json()
    sink.wait_for(1)
    timeline = api.get(job["links"]["timeline"]).json()
    assert [event["type"] for event in timeline["events"]][:2] == ["edit.queued", "edit.running"]
    assert timeline["events"][-1]["type"] == "edit.succeeded"
    assert [charge["class"] for charge in timeline["charges"]] == ["succeeded"]
    assert [one["receiver"] for one in timeline["deliveries"]] == job["receivers"]
    assert json.loads(timeline["raw_answer"]["text"])["status"] == "success"
    assert timeline["raw_answer"]["fence"] == timeline["charges"][0]["fence"]


def test_watching_from_the_start(api: Api, edit_body: Callable[..., Any], simulator: Simulator) -> None:
    """A stream returns every event once, in order, as it happens. When the job ends, the stream ends."""
    simulator.settings(latency_s=0.5)
    job = api.post("/v1/edits", edit_body()).json()
    streams: list[list[Any]] = []

    def watch() -> None:
        with api.stream(job["links"]["events"]) as stream:
            streams.append(messages_of(stream))

    watchers = [threading.Thread(target=watch) for _ in range(5)]
    for one in watchers:
        one.start()
    for one in watchers:
        one.join(20)
    assert len(streams) == 5
    for messages in streams:
        assert [sequence for sequence, _, _ in messages] == list(range(len(messages)))
        assert (messages[0][1], messages[-1][1]) == ("edit.queued", "edit.succeeded")
        assert messages[-1][2]["data"]["result"]["sha256"]


def test_watching_again_from_where_one_was(api: Api, done: dict[str, Any]) -> None:
    """With `Last-Event-ID` the stream begins after that event. After the last event the stream is empty."""
    with api.stream(done["links"]["events"], Last_Event_ID="1") as stream:
        messages = messages_of(stream)
    assert messages[0][0] == 2
    with api.stream(done["links"]["events"], Last_Event_ID=str(messages[-1][0])) as stream:
        assert messages_of(stream) == []
    with api.stream(done["links"]["events"], Last_Event_ID="nonsense") as stream:
        assert messages_of(stream)[0][0] == 0


def test_the_feed_goes_on_from_a_cursor(api: Api, callers: Callers, edit_body: Callable[..., Any], done: Any) -> None:
    """
    The feed returns each event of the tenant once, page by page. An empty page still has a cursor for the next read.
    """
    callers("globex").post("/v1/edits", edit_body(prompt="make it autumn"), headers={"Prefer": "wait=15"})
    seen, cursor = [], "0"
    while True:
        page = api.get("/v1/events", params={"after": cursor, "limit": 1}).json()
        seen += page["data"]
        cursor = page["next_cursor"]
        if not page["has_more"]:
            break
    assert {event["data"]["job_id"] for event in seen} == {done["id"]}
    assert seen[-1]["type"] == "edit.succeeded"
    assert seen[-1]["id"] == f"evt_{done['id'].removeprefix('ed_')}-{len(seen)}"
    nothing_new = {"data": [], "has_more": False, "next_cursor": cursor}
    assert api.get("/v1/events", params={"after": cursor}).json() == nothing_new
    everything = callers("staff", "ops").get("/v1/events", params={"limit": 1000}).json()["data"]
    assert len({event["data"]["job_id"] for event in everything}) == 2
    problem(api.get("/v1/events", params={"after": "yesterday"}), "invalid-request", 422)


def test_the_feed_waits_for_news(api: Api, callers: Callers, edit_body: Callable[..., Any]) -> None:
    """
    With `Prefer: wait`, a read of the feed waits for an event of the tenant. Events of other tenants do not end the
    wait.
    """
    cursor = api.get("/v1/events", params={"after": "latest"}).json()["next_cursor"]
    pages: list[Any] = []

    def wait() -> None:
        pages.append(api.get("/v1/events", params={"after": cursor}, headers={"Prefer": "wait=15"}))

    waiter = threading.Thread(target=wait)
    waiter.start()
    callers("globex").post("/v1/edits", edit_body(prompt="make it autumn"), headers={"Prefer": "wait=15"})
    assert pages == []
    job = callers().post("/v1/edits", edit_body()).json()
    waiter.join(20)
    assert {event["data"]["job_id"] for event in pages[0].json()["data"]} == {job["id"]}
    assert pages[0].headers["preference-applied"] == "wait=15"
    empty = callers("idle").get("/v1/events", params={"after": "latest"}, headers={"Prefer": "wait=1"}).json()
    assert (empty["data"], empty["has_more"]) == ([], False)


def test_jobs_are_read_by_their_ids(api: Api, callers: Callers, edit_body: Callable[..., Any], done: Any) -> None:
    """
    A list by ids has the tenant's jobs in the order of the ids. Unknown ids and jobs of other tenants are left out.
    """
    foreign = callers("globex").post("/v1/edits", edit_body(prompt="make it autumn")).json()
    other = api.post("/v1/edits", edit_body(prompt="make it spring")).json()
    wanted = [other["id"], "ed_000000000000000000000000", done["id"], foreign["id"]]
    page = api.get("/v1/edits", params={"id": wanted}).json()
    assert [job["id"] for job in page["data"]] == [other["id"], done["id"]]
    assert (page["has_more"], page["next_cursor"]) == (False, None)
    own = api.get("/v1/edits", params={"id": wanted, "state": "succeeded", "tag": "no=such"}).json()
    assert own["data"] == []
    problem(api.get("/v1/edits", params={"id": ["ed_x"] * 101}), "invalid-request", 422)


def test_usage_is_the_tenants_own(api: Api, callers: Callers, done: dict[str, Any]) -> None:
    """A key of role producer gets the usage of its tenant. A key of role ops gets the usage of all tenants."""
    assert done["state"] == "succeeded"
    assert [(row["key"], row["useful"]) for row in api.get("/v1/usage").json()["data"]] == [("acme", 1)]
    assert callers("globex").get("/v1/usage").json()["data"] == []
    by_day = callers("staff", "ops").get("/v1/usage", params={"by": "day"}).json()
    assert (by_day["by"], by_day["data"][0]["useful"]) == ("day", 1)
    problem(callers("globex").get("/v1/usage", params={"tenant": "acme"}), "not-found", 404)
    problem(api.get("/v1/usage", params={"since": "soon"}), "invalid-request", 422)


def test_deliveries_and_sending_again(api: Api, callers: Callers, edit_body: Callable[..., Any], sink: Sink) -> None:
    """
    A receiver that gets the events of all jobs gets the final event of a job. The delivery can be listed, read and sent
    again, alone or with all deliveries since an instant.
    """
    made = api.post("/v1/receivers", {"url": sink.url + "/all"})
    assert (made.status_code, made.json()["secret"][:6]) == (201, "whsec_")
    receiver = made.json()["id"]
    job = api.post("/v1/edits", edit_body(), headers={"Prefer": "wait=15"}).json()
    sink.wait_for(1)
    delivery = api.get("/v1/deliveries").json()["data"][0]
    assert (delivery["job_id"], delivery["receiver"], delivery["type"]) == (job["id"], receiver, "edit.succeeded")
    assert api.get(f"/v1/deliveries/{delivery['id']}").json()["id"] == delivery["id"]
    stranger = callers("globex")
    problem(stranger.get(f"/v1/deliveries/{delivery['id']}"), "not-found", 404)
    problem(stranger.post(f"/v1/deliveries/{delivery['id']}/redeliver"), "not-found", 404)
    assert stranger.get("/v1/deliveries").json()["data"] == []
    assert eventually(lambda: api.get(f"/v1/deliveries/{delivery['id']}").json()["state"] == "delivered")
    assert api.post(f"/v1/deliveries/{delivery['id']}/redeliver").json()["outcome"] == "redelivered"
    sink.wait_for(2)
    assert eventually(lambda: api.get(f"/v1/deliveries/{delivery['id']}").json()["state"] == "delivered")
    problem(api.post(f"/v1/receivers/{receiver}/redeliver"), "invalid-request", 422)
    again = api.post(f"/v1/receivers/{receiver}/redeliver?since=2020-01-01T00:00:00Z").json()
    assert (again["redelivered"], again["open"], again["gone"]) == (1, 0, 0)
    sink.wait_for(3)


def test_what_cannot_be_sent_again_says_so(
    api: Api, client: Any, done: dict[str, Any], edit_body: Callable[..., Any], sink: Sink
) -> None:
    """
    When the record of a job is gone, a redelivery of the job's delivery is answered 409. A redelivery of all events
    counts this delivery as `gone`.
    """
    receiver = api.post("/v1/receivers", {"url": sink.url + "/all"}).json()["id"]
    job = api.post("/v1/edits", edit_body(), headers={"Prefer": "wait=15"}).json()["id"]
    assert eventually(lambda: api.get("/v1/deliveries?state=delivered").json()["data"])
    (delivery,) = api.get("/v1/deliveries").json()["data"]
    assert delivery["job_id"] == job != done["id"]
    client.delete(f"rt:edits:spec:{job}")
    problem(api.post(f"/v1/deliveries/{delivery['id']}/redeliver"), "conflict", 409)
    again = api.post(f"/v1/receivers/{receiver}/redeliver?since=2020-01-01T00:00:00Z").json()
    assert again == {"redelivered": 0, "open": 0, "gone": 1}
