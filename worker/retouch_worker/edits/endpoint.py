"""The client of the pix2pix endpoint: it POSTs, polls and downloads, and returns outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import requests

from retouch.egress.http import Answer, Trouble, download, make_session, send
from retouch.images.validation import ImageLimits
from retouch.outcomes import Failed, GenerationLost, Processing, Ready
from retouch.settings import Settings
from retouch.store.records import JobSpec
from retouch_worker.edits.classification import PostOutcome, classify, classify_poll, health_after
from retouch_worker.edits.redaction import redacted

ANSWER_MOST_BYTES = 1_000_000
POLL_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 60.0


class Endpoint:
    """
    The pix2pix endpoint as one worker process uses it. Safe to share between threads.

    No other object holds the key: it is in no message, log line, error text or `repr`. If the endpoint repeats it in an
    answer, it is removed from the outcome.
    """

    def __init__(self, settings: Settings, *, connections: int) -> None:
        self._settings = settings
        self._key = settings.pix2pix_key.get_secret_value()
        self._trusted = make_session(None, connections)
        self._guarded = make_session(settings.dangerous_allow_private_networks, connections)
        self._limits = ImageLimits()

    def post_edit(self, spec: JobSpec) -> tuple[PostOutcome, str]:
        """
        POST an edit; return the outcome, and the endpoint's health as `health_after` names it.

        This may cost money from the first byte sent, so the intent must already be on record.
        """
        # The order decides: no extra field replaces one of the edit, and nothing replaces the key.
        fields = {name: value for name, value in spec.edit.items() if name != "extra"}
        body = {**spec.edit.get("extra", {}), **fields, "key": self._key}
        timeout_s = self._settings.pix2pix_timeout_s
        answer = self._post(self._trusted, self._settings.pix2pix_url, body, timeout_s)
        outcome = classify(answer, self._settings.pix2pix_fetch_url, self._settings.spam_filter_s)
        outcome = redacted(outcome, spec.edit, self._key)
        return outcome, health_after(answer, outcome)

    def poll(self, checkpoint: Processing, spec: JobSpec, age_s: float) -> Ready | Processing | Failed | GenerationLost:
        """Ask whether a request is done; `spec` is what was POSTed. This generates nothing and costs nothing."""
        session = self._session_for(checkpoint.fetch_url)
        answer = self._post(session, checkpoint.fetch_url, {"key": self._key}, POLL_TIMEOUT_S)
        return redacted(classify_poll(answer, checkpoint, age_s), spec.edit, self._key)

    def download(self, url: str) -> Answer | Trouble:
        """Download an output; its address is vetted, since it comes from outside."""
        return download(self._guarded, url, timeout_s=DOWNLOAD_TIMEOUT_S, max_bytes=self._limits.max_bytes)

    def _post(self, session: requests.Session, url: str, body: object, timeout_s: float) -> Answer | Trouble:
        return send(session, "POST", url, json=body, timeout_s=timeout_s, max_bytes=ANSWER_MOST_BYTES)

    def _session_for(self, url: str) -> requests.Session:
        """Return the trusted session for the configured hosts, and the one that vets addresses for all others."""
        configured: Sequence[str] = (self._settings.pix2pix_url, self._settings.pix2pix_fetch_url)
        return self._trusted if _origin(url) in map(_origin, configured) else self._guarded


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3]).lower()
