"""The client of the pix2pix endpoint: it POSTs, polls and downloads, and returns outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import requests

from retouch.accounts import DEFAULT_ACCOUNT, Account
from retouch.egress.http import Answer, Trouble, download, make_session, send
from retouch.images.validation import ImageLimits
from retouch.outcomes import Failed, GenerationLost, Processing, Ready
from retouch.settings import Settings
from retouch.store.records import JobSpec
from retouch_worker.edits.classification import PostOutcome, classify, classify_poll, health_after
from retouch_worker.edits.credentials import Credentials, Holdings
from retouch_worker.edits.redaction import redacted

ANSWER_MOST_BYTES = 1_000_000
POLL_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 60.0
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The connections of all accounts, pooled by host: to addresses of the operator's choice, and to vetted ones."""

    trusted: requests.Session
    guarded: requests.Session


class Endpoint:
    """
    The pix2pix endpoint as one account sees it. Safe to share between threads, and never changed.

    The key is in no message, log line, error text or `repr`. If the endpoint repeats it in an answer, it is removed
    from the outcome, and every other key of this process from the outcome's message.
    """

    def __init__(self, account: Account, holdings: Holdings, settings: Settings, sessions: Sessions) -> None:
        self._settings, self._account, self._sessions = settings, account, sessions
        self._key, self._secrets = holdings.keys[account.id], holdings.secrets

    def post_edit(self, spec: JobSpec) -> tuple[PostOutcome, str]:
        """
        POST an edit; return the outcome, and the endpoint's health as `health_after` names it.

        This may cost money from the first byte sent, so the intent must already be on record.
        """
        # The order decides: no extra field replaces one of the edit, and nothing replaces the key.
        fields = {name: value for name, value in spec.edit.items() if name != "extra"}
        body = {**spec.edit.get("extra", {}), **fields, "key": self._key}
        timeout_s = self._settings.pix2pix_timeout_s
        answer = self._post(self._sessions.trusted, self._account.url, body, timeout_s)
        outcome = classify(answer, self._account.fetch_url, self._settings.spam_filter_s)
        outcome = redacted(outcome, spec.edit, self._key, self._secrets)
        return outcome, health_after(answer, outcome)

    def poll(self, checkpoint: Processing, spec: JobSpec, age_s: float) -> Ready | Processing | Failed | GenerationLost:
        """Ask whether a request is done; `spec` is what was POSTed. This generates nothing and costs nothing."""
        session = self._session_for(checkpoint.fetch_url)
        answer = self._post(session, checkpoint.fetch_url, {"key": self._key}, POLL_TIMEOUT_S)
        return redacted(classify_poll(answer, checkpoint, age_s), spec.edit, self._key, self._secrets)

    def _post(self, session: requests.Session, url: str, body: object, timeout_s: float) -> Answer | Trouble:
        return send(session, "POST", url, json=body, timeout_s=timeout_s, max_bytes=ANSWER_MOST_BYTES)

    def _session_for(self, url: str) -> requests.Session:
        """Return the trusted session for the account's hosts, and the one that vets addresses for all others."""
        ours = (self._account.url, self._account.fetch_url)
        return self._sessions.trusted if _origin(url) in map(_origin, ours) else self._sessions.guarded


class Endpoints:
    """One `Endpoint` for each account that this process holds a key of, over shared sessions."""

    def __init__(self, settings: Settings, credentials: Credentials, *, connections: int) -> None:
        self._settings, self._credentials = settings, credentials
        networks = settings.dangerous_allow_private_networks
        self._sessions = Sessions(make_session(None, connections), make_session(networks, connections))
        self._limits = ImageLimits()
        self._made = self._make(credentials.now)

    def of(self, account: str) -> Endpoint | None:
        """
        Return an account's endpoint with the key of this moment, or None where this process holds none.

        Jobs of a time without an accounts file are of `default`; where the file names one account, they are its.
        """
        return self._of_now().by_id.get(account)

    def download(self, url: str) -> Answer | Trouble:
        """
        Download an output; no key is sent.

        An address on a host that the accounts name is the operator's choice, such as that of a GPU in a private
        network. Any other one is vetted as what comes from outside, and so is where a redirect leads.
        """
        if _origin(url) in self._of_now().origins:
            limit = self._limits.max_bytes
            answer = send(self._sessions.trusted, "GET", url, timeout_s=DOWNLOAD_TIMEOUT_S, max_bytes=limit)
            if not (isinstance(answer, Answer) and answer.status in _REDIRECTS):
                return answer
        return download(self._sessions.guarded, url, timeout_s=DOWNLOAD_TIMEOUT_S, max_bytes=self._limits.max_bytes)

    def _of_now(self) -> _Made:
        made, now = self._made, self._credentials.now
        if made.holdings is not now:
            self._made = made = self._make(now)
        return made

    def _make(self, holdings: Holdings) -> _Made:
        held = holdings.held
        by_id = {one.id: Endpoint(one, holdings, self._settings, self._sessions) for one in held}
        if len(holdings.accounts) == 1 and held:
            by_id.setdefault(DEFAULT_ACCOUNT, by_id[held[0].id])
        origins = frozenset(_origin(url) for one in holdings.accounts for url in (one.url, one.fetch_url))
        return _Made(holdings, by_id, origins)


@dataclass(frozen=True, slots=True)
class _Made:
    """What was made of one reading of the accounts; swapped as a whole."""

    holdings: Holdings
    by_id: Mapping[str, Endpoint]
    origins: frozenset[str]


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3]).lower()
