"""The fixtures of the browser's tests: a gateway and a worker with jobs of every kind, and visits in Chromium."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from retouch import Settings
from retouch.outcomes import Fail
from retouch.store import keys
from retouch.store.console_sessions import ConsoleSessions
from retouch.store.redis_client import connect
from retouch.store.tenants import TenantStore
from retouch_ops.simulator.process import Simulator
from tests.browser.routes import PAGE_ROUTES, template_of
from tests.browser.watched_gateway import MODULE
from tests.conftest import ENDPOINT_KEY, RunningWorker
from tests.gateway_process import LINK_KEY, Api, running_gateway
from tests.lane_kit import LaneKit
from tests.process_watch import Spoken, eventually
from tests.served_http import served
from tests.store_accounts import account, close, open_accounts

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Request

CHROMIUM = "/usr/bin/chromium"
OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
AXE = Path(__file__).parent / "vendored/axe.min.js"
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
PROMPTS = ("turn it into an oil painting", "make it winter", "a pencil sketch", "golden sunset light", "sepia", "night")
SETTLED_S = 30.0
VIEWS = {"wide": (1440, 900), "narrow": (390, 844)}


@dataclass
class Site:
    """A running gateway, the API keys of its visitors by role, and the paths of its pages by name."""

    url: str
    ops: Api
    keys: dict[str, str]
    client: Any
    simulator: Simulator
    gateway: Spoken
    pages: dict[str, str] = field(default_factory=dict)

    def edit(self, prompt: str, **more: Any) -> str:
        """Enqueue an edit of the tenant acme, and return the id of its job."""
        body = {"prompt": prompt, "init_image": self.simulator.portrait_url, "tenant": "acme", **more}
        answer = self.ops.post("/v1/edits", body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def state(self, job: str) -> str:
        return str(self.ops.get(f"/v1/edits/{job}").json()["state"])

    def reaches(self, job: str, *states: str) -> bool:
        return eventually(lambda: self.state(job) in states, SETTLED_S)


class Hook(BaseHTTPRequestHandler):
    """A receiver that answers 200 to every event, with markup in the body."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(MARKUP)))
        self.end_headers()
        self.wfile.write(MARKUP.encode())

    def log_message(self, *_: object) -> None:
        """Print nothing."""


@pytest.fixture(scope="session")
def hook_url() -> Iterator[str]:
    """The address of a receiver that answers 200 to every event."""
    with served(Hook) as url:
        yield f"{url}/hook"


@pytest.fixture(scope="session")
def site(
    worker_environment: dict[str, str],
    running_simulator: Simulator,
    hook_url: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    """A gateway and a worker for all tests, with jobs of every kind on record."""
    from tests.conftest import start_worker

    client: Any = connect(Settings.load(redis_url=worker_environment["RETOUCH_REDIS_URL"]))
    client.flushdb()
    client.set("rt:link_key", LINK_KEY)
    running_simulator.reset()
    worker = start_worker(
        {**worker_environment, "RETOUCH_PIX2PIX_KEY": ENDPOINT_KEY}, tmp_path_factory.mktemp("w") / "log"
    )
    tenants = TenantStore(client)
    keys = {role: tenants.create_key("acme", role, f"{role}'s key {MARKUP}")[1] for role in ("producer", "ops")}
    with running_gateway(worker_environment, MODULE) as (url, gateway):
        made = Site(url, Api(url, keys["ops"]), keys, client, running_simulator, gateway)
        _fill(made, hook_url, refused_job(made, worker))
        yield made
        made.ops.close()
    worker.kill()
    client.close()


def refused_job(site: Site, worker: RunningWorker) -> str:
    """
    Return the id of a job whose error from the endpoint contains markup.

    The worker is stopped meanwhile, so that it does not run the job.
    """
    worker.process.send_signal(signal.SIGSTOP)
    job = site.edit("the endpoint refuses it")
    LaneKit(site.client).finish(job, Fail("invalid_request", f"the endpoint said {MARKUP}", retryable=False))
    worker.process.send_signal(signal.SIGCONT)
    return job


def _fill(site: Site, hook_url: str, refused: str) -> None:
    """Put jobs on record for the pages: images, a failure with markup, a receiver that fails, a job that waits."""
    receiver = site.ops.post("/v1/receivers", {"url": f"{site.simulator.url}/<b>nowhere</b>", "tenant": "acme"}).json()[
        "id"
    ]
    done = [site.edit(prompt, tags={"order": str(place)}) for place, prompt in enumerate(PROMPTS)]
    failed = site.edit(MARKUP, tags={"order": MARKUP}, max_attempts=1, webhook=hook_url)
    assert all(site.reaches(job, "succeeded") for job in done)
    assert site.reaches(failed, "succeeded", "failed")
    assert eventually(lambda: _delivered(site), SETTLED_S)
    site.ops.post("/v1/pause")
    waiting = site.edit("it waits for the lane", tags={"order": "late"})
    site.pages |= {
        "overview": "/console",
        "jobs": "/console/jobs",
        "sheet": "/console/jobs?view=sheet",
        "filters": "/console/jobs?tenant=acme&tag=order%3D0",
        "job": f"/console/jobs/{done[0]}",
        "markup": f"/console/jobs/{failed}",
        "refused": f"/console/jobs/{refused}",
        "waiting": f"/console/jobs/{waiting}",
        "deliveries": "/console/deliveries",
        "delivery": f"/console/deliveries/{_delivered(site)[0]}",
        "receivers": "/console/receivers",
        "receiver": f"/console/receivers/{receiver}",
        "tenants": "/console/tenants",
        "tenant": "/console/tenants/acme",
        "workers": "/console/workers",
        "accounts": "/console/accounts",
        "account": "/console/accounts/default",
        "bill": "/console/bill",
        "tables": "/console?range=days&view=table",
        "audit": "/console/audit",
        "bulk": "/console/bulk",
        "bulk-preview": "/console/bulk/preview?action=replay&q=since:1d",
        "bulk-run": f"/console/bulk/{_bulk_run(site)}",
        "sign-in": "/console/sign-in",
        "problem": "/console/jobs/ed_nothing",
        "link": f"/console/enter/{ConsoleSessions(site.client).make_link(site.keys['ops'])}",
    }


def _bulk_run(site: Site) -> str:
    """Make a bulk run that cancels three jobs, wait until it is done, and return its id."""
    for _ in range(3):
        site.edit("it is cancelled with others", tags={"campaign": "spring"})
    run = site.ops.post("/v1/bulk", {"action": "cancel", "query": "tag:campaign=spring"}).json()["id"]
    assert eventually(lambda: site.ops.get(f"/v1/bulk/{run}").json()["state"] == "done", SETTLED_S)
    return str(run)


def _delivered(site: Site) -> list[str]:
    found = site.ops.get("/v1/deliveries", params={"state": "delivered"}).json()["data"]
    return [delivery["id"] for delivery in found]


PAGES = tuple(PAGE_ROUTES)
OUTSIDE = ("sign-in", "link")
"""Pages that are open to people who are not signed in."""


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


class Visit:
    """
    One person's browser window.

    `complaints` has the console messages, errors and dialogs of its pages. `outside` has the URLs that its pages
    requested from other hosts, and `asked` all routes that they requested.
    """

    def __init__(self, context: BrowserContext, site: Site) -> None:
        self.context, self.site = context, site
        self.complaints: list[str] = []
        self.outside: list[str] = []
        self.asked: set[str] = set()
        context.on("console", self._heard)
        context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        context.on("dialog", self._interrupted)
        context.on("request", self._asked)
        self.page: Page = context.new_page()

    def _heard(self, message: ConsoleMessage) -> None:
        # Chromium itself notes what was meant: a page that is answered 404 or 422, the cache that a sign-out cleared.
        if not re.search("responded with a status of 4(04|22)|Clear-Site-Data header", message.text):
            self.complaints.append(f"{message.type}: {message.text}")

    def _interrupted(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _asked(self, request: Request) -> None:
        self.asked.add(f"{request.method} {template_of(request.method, request.url.removeprefix(self.site.url))}")
        if not request.url.startswith((self.site.url, "data:", "blob:")):
            self.outside.append(request.url)

    def sign_in(self, role: str = "ops") -> None:
        self.page.goto(f"{self.site.url}/console/sign-in")
        self.page.get_by_label("API key").fill(self.site.keys[role])
        self.page.get_by_label("API key").press("Enter")
        self.page.wait_for_url(f"{self.site.url}/console")

    def open(self, name: str) -> Page:
        """Open a page by its name or its address."""
        self.page.goto(self.site.url + self.site.pages.get(name, name), wait_until="load")
        return self.page

    def assert_quiet(self) -> None:
        assert self.complaints == []
        assert self.outside == []


Visits = Callable[..., Visit]


@pytest.fixture
def visits(chromium: Browser, site: Site, request: pytest.FixtureRequest) -> Iterator[Visits]:
    """
    Yield a function that opens a signed-in window: `visits("narrow", "dark", javascript=False)`.

    A test with the mark `does` fails if its visits have not requested all routes that the mark names.
    """
    contexts: list[BrowserContext] = []
    asked: list[set[str]] = []

    def make(
        view: str = "wide",
        theme: str = "light",
        *,
        javascript: bool = True,
        role: str = "ops",
        url: str = "",
    ) -> Visit:
        width, height = VIEWS[view]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if theme == "dark" else "light",
            java_script_enabled=javascript,
        )
        contexts.append(context)
        visit = Visit(context, replace(site, url=url) if url else site)
        asked.append(visit.asked)
        if role:
            visit.sign_in(role)
        return visit

    yield make
    for context in contexts:
        context.close()
    done = request.node.get_closest_marker("does")
    assert set(done.args if done else ()) <= set().union(*asked)


@pytest.fixture
def several(site: Site) -> Iterator[None]:
    """Add three accounts for one test: one learns its limit, one is closed, and one belongs to a tenant."""
    own = ("learns", "refused", "mine")
    open_accounts(site.client, account("learns", limit="auto"), account("refused"), account("mine", tenants=("acme",)))
    close(site.client, "refused")
    for age, limit in ((300, 6), (200, 3), (100, 5)):
        site.client.lpush(keys.limit_steps("learns"), f"{time.time() - age} {limit}")
    yield
    site.client.delete(*map(keys.account_gate, own), keys.limit_steps("learns"))
    site.client.srem(keys.ACCOUNTS, *own)
    site.client.hdel("rt:edits:gate", "accounts")


def wait_until(condition: Callable[[], object], within_s: float = 15.0) -> bool:
    """Return whether a condition becomes true within `within_s` seconds; it is checked often."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        if condition():
            return True
        time.sleep(0.05)
    return False
