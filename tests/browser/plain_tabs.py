"""
Tabs of Chromium that can be hidden. Playwright emulates focus in each page that it controls, so none of those is ever
hidden; it leaves the tabs of a window alone that was opened over the DevTools protocol.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_ANSWER_MOST_S = 15.0


class PlainWindow:
    """
    A window whose tabs hide each other: only the tab that was opened or shown last is visible.

    It has the cookies of `like`, a page that Playwright controls.
    """

    def __init__(self, browser: Browser, like: Page) -> None:
        self._session, self._like = browser.new_browser_cdp_session(), like
        self._id = self.send("Target.createBrowserContext")["browserContextId"]
        names = ("name", "value", "domain", "path", "httpOnly", "secure", "sameSite")
        cookies = [{name: cookie[name] for name in names} for cookie in map(dict, like.context.cookies())]
        self.send("Storage.setCookies", cookies=cookies, browserContextId=self._id)

    def send(self, method: str, **parameters: Any) -> Any:
        """Send a command to the browser, and return its answer."""
        return self._session.send(method, parameters)

    def open(self, url: str) -> PlainTab:
        """Open an address in a new tab, which becomes the visible one."""
        return PlainTab(self, self.send("Target.createTarget", url=url, browserContextId=self._id)["targetId"])

    def listen(self, heard: Any) -> None:
        """Call `heard` with each message of a tab."""
        self._session.on("Target.receivedMessageFromTarget", heard)

    def wait(self, seconds: float = 0.02) -> None:
        """Let time pass, and messages arrive."""
        self._like.wait_for_timeout(seconds * 1_000)

    def close(self) -> None:
        """Close the window with its tabs."""
        self.send("Target.disposeBrowserContext", browserContextId=self._id)


class PlainTab:
    """One tab of a `PlainWindow`."""

    def __init__(self, window: PlainWindow, target: str) -> None:
        self._window, self._target = window, target
        self._session = window.send("Target.attachToTarget", targetId=target, flatten=False)["sessionId"]
        self._numbers, self._answers = itertools.count(1), dict[int, Any]()
        window.listen(self._heard)

    def _heard(self, event: Any) -> None:
        message = json.loads(event["message"])
        if event["sessionId"] == self._session and "id" in message:
            self._answers[message["id"]] = message["result"]

    def evaluate(self, script: str) -> Any:
        """Return the value of a script in the tab."""
        number = next(self._numbers)
        parameters = {"expression": script, "returnByValue": True}
        message = json.dumps({"id": number, "method": "Runtime.evaluate", "params": parameters})
        self._window.send("Target.sendMessageToTarget", sessionId=self._session, message=message)
        until = time.monotonic() + _ANSWER_MOST_S
        while number not in self._answers:
            assert time.monotonic() < until, script
            self._window.wait()
        return self._answers[number]["result"].get("value")

    def show(self) -> None:
        """Make this the visible tab of its window."""
        self._window.send("Target.activateTarget", targetId=self._target)

    @property
    def visibility(self) -> str:
        """The tab's `document.visibilityState`."""
        return str(self.evaluate("document.visibilityState"))

    @property
    def requests(self) -> int:
        """How many requests the page has made after its own."""
        return int(self.evaluate("performance.getEntriesByType('resource').length"))

    def has(self, text: str) -> bool:
        """Return whether the main part of the page has a text."""
        return bool(self.evaluate(f"document.querySelector('main')?.innerText.includes({json.dumps(text)})"))
