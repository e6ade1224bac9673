"""The client of the pix2pix endpoint: it POSTs, looks and downloads, and gives what came of it as an outcome."""

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
    The pix2pix endpoint, as one worker process sees it. Safe to share between threads.

    The key lives here alone: it is in no message, log line, error text or `repr`. Where the endpoint repeats it in an
    answer, it is taken out.
    """

    def __init__(self, settings: Settings, *, connections: int) -> None:
        self._settings = settings
        self._key = settings.pix2pix_key.get_secret_value()
        self._trusted = make_session(None, connections)
        self._guarded = make_session(settings.dangerous_allow_private_networks, connections)
        self._limits = ImageLimits()

    def post_edit(self, spec: JobSpec) -> tuple[PostOutcome, str]:
        """
        POST an edit; gives what came of it, and what that tells about the endpoint's health.

        From its first byte on this may cost money: the intent must be on record.
        """
        fields = {name: value for name, value in spec.edit.items() if name != "extra"}
        body = {**spec.edit.get("extra", {}), **fields, "key": self._key}
        timeout_s = self._settings.pix2pix_timeout_s
        answer = self._post(self._trusted, self._settings.pix2pix_url, body, timeout_s)
        outcome = classify(answer, self._settings.pix2pix_fetch_url, self._settings.spam_filter_s)
        outcome = redacted(outcome, spec.edit, self._key)
        return outcome, health_after(answer, outcome)

    def poll(self, checkpoint: Processing, spec: JobSpec, age_s: float) -> Ready | Processing | Failed | GenerationLost:
        """Look at a processing job, asked for as `spec` says. It generates nothing and costs nothing."""
        session = self._session_for(checkpoint.fetch_url)
        answer = self._post(session, checkpoint.fetch_url, {"key": self._key}, POLL_TIMEOUT_S)
        return redacted(classify_poll(answer, checkpoint, age_s), spec.edit, self._key)

    def download(self, url: str) -> Answer | Trouble:
        """Download an output, from an address that is vetted as any that comes from outside."""
        return download(self._guarded, url, timeout_s=DOWNLOAD_TIMEOUT_S, max_bytes=self._limits.max_bytes)

    def _post(self, session: requests.Session, url: str, body: object, timeout_s: float) -> Answer | Trouble:
        return send(session, "POST", url, json=body, timeout_s=timeout_s, max_bytes=ANSWER_MOST_BYTES)

    def _session_for(self, url: str) -> requests.Session:
        """The key goes to the configured hosts over a trusted session; a fetch link elsewhere is vetted first."""
        configured: Sequence[str] = (self._settings.pix2pix_url, self._settings.pix2pix_fetch_url)
        return self._trusted if _origin(url) in map(_origin, configured) else self._guarded


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3]).lower()
