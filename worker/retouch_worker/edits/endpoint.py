"""The client of the pix2pix endpoint: it POSTs, polls and downloads, and returns outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import requests

from retouch.accounts import Account
from retouch.egress.http import Answer, Trouble, download, make_session, send
from retouch.images.validation import ImageLimits
from retouch.outcomes import Failed, GenerationLost, Outcome, Processing, Ready, Refused
from retouch.settings import Settings
from retouch.store.answers import RawAnswer
from retouch.store.records import JobSpec
from retouch.tracing import OFF, Span, Tracing
from retouch_worker.edits.classification import PostOutcome, classify, classify_poll, health_after, is_of_account
from retouch_worker.edits.credentials import Credentials, Holdings
from retouch_worker.edits.redaction import raw_answer, redacted

PollOutcome = Ready | Processing | Failed | GenerationLost
"""The outcomes of a poll."""

ANSWER_MOST_BYTES = 1_000_000
POLL_TIMEOUT_S = 30.0
DOWNLOAD_TIMEOUT_S = 60.0
_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True)
class Sessions:
    """The HTTP sessions that all accounts share. `trusted` is for configured addresses. `guarded` vets each address."""

    trusted: requests.Session
    guarded: requests.Session


class Endpoint:
    """
    The pix2pix endpoint as one account uses it. It is immutable, and threads may share it.

    No message, log line, error text or `repr` contains the key. The account's key is removed from every field of an
    outcome. All other keys of this process are removed from the outcome's message.
    """

    def __init__(
        self, account: Account, holdings: Holdings, settings: Settings, sessions: Sessions, tracing: Tracing = OFF
    ) -> None:
        self._settings, self._account, self._sessions, self._tracing = settings, account, sessions, tracing
        self._key, self._secrets = holdings.keys[account.id], holdings.secrets

    def post_edit(self, spec: JobSpec) -> tuple[PostOutcome, str, RawAnswer | None]:
        """
        POST an edit. Return the outcome, the word that `health_after` returns, and the raw answer, or None if there was
        no answer.

        The POST may cost money once one byte is sent, so the intent must already be on record.
        """
        # Later fields win: no extra field replaces one of the edit, and nothing replaces the key.
        fields = {name: value for name, value in spec.edit.items() if name != "extra"}
        body = {**spec.edit.get("extra", {}), **fields, "key": self._key}
        timeout_s = self._settings.pix2pix_timeout_s
        with self._tracing.endpoint_call("post", self._account.id) as span:
            answer = self._post(self._sessions.trusted, self._account.url, body, timeout_s)
            outcome = classify(answer, self._account.fetch_url, self._settings.spam_filter_s)
            note_answer(span, answer, outcome)
        if isinstance(outcome, Refused) and is_of_account(answer, outcome, spec.edit):
            outcome = replace(outcome, of_account=True)
        outcome = redacted(outcome, spec.edit, self._key, self._secrets)
        return outcome, health_after(answer, outcome), self._raw(answer)

    def poll(self, checkpoint: Processing, spec: JobSpec, age_s: float) -> tuple[PollOutcome, RawAnswer | None]:
        """
        Ask whether a request is done. Return the outcome, and the raw answer or None. This generates nothing and costs
        nothing.

        `spec` is the spec that was POSTed; its texts are removed from the outcome. `age_s` is the time since the POST,
        in seconds.
        """
        session = self._session_for(checkpoint.fetch_url)
        with self._tracing.endpoint_call("poll", self._account.id) as span:
            answer = self._post(session, checkpoint.fetch_url, {"key": self._key}, POLL_TIMEOUT_S)
            outcome = classify_poll(answer, checkpoint, age_s)
            note_answer(span, answer, outcome)
        return redacted(outcome, spec.edit, self._key, self._secrets), self._raw(answer)

    def _raw(self, answer: Answer | Trouble) -> RawAnswer | None:
        if isinstance(answer, Trouble):
            return None
        return raw_answer(answer.status, answer.body, (self._key, *self._secrets))

    def _post(self, session: requests.Session, url: str, body: object, timeout_s: float) -> Answer | Trouble:
        return send(session, "POST", url, json=body, timeout_s=timeout_s, max_bytes=ANSWER_MOST_BYTES)

    def _session_for(self, url: str) -> requests.Session:
        """Return the trusted session for a configured host, and the guarded session for any other host."""
        configured = (self._account.url, self._account.fetch_url)
        return self._sessions.trusted if _origin(url) in map(_origin, configured) else self._sessions.guarded


class Endpoints:
    """An `Endpoint` for each account whose key this process holds. They share their HTTP sessions."""

    def __init__(
        self, settings: Settings, credentials: Credentials, *, connections: int, tracing: Tracing = OFF
    ) -> None:
        self._settings, self._credentials, self._tracing = settings, credentials, tracing
        networks = settings.dangerous_allow_private_networks
        self._sessions = Sessions(make_session(None, connections), make_session(networks, connections))
        self._limits = ImageLimits()
        self._made = self._make(credentials.now)

    def of(self, account: str) -> Endpoint | None:
        """
        Return the endpoint of an account with its present key, or None if this process does not hold the key.

        Jobs that were dispatched without an accounts file belong to the account `default`.
        """
        return self._of_now().by_id.get(account)

    def for_new_post(self, account: str) -> Endpoint | None:
        """
        Return the endpoint of an account for a new POST. Return None if this process does not hold the account's key,
        or if the accounts file does not name the account.
        """
        made = self._of_now()
        return made.by_id.get(account) if account in made.holdings.served else None

    @property
    def claimable(self) -> tuple[str, ...]:
        """The ids of the accounts whose jobs this process can take now."""
        return self._credentials.now.claimable

    def download(self, url: str) -> Answer | Trouble:
        """
        Download an output without sending a key. Return the answer, or the `Trouble` that prevented it.

        An output on the host and port of an account's endpoint may have a private address, since the operator chose
        this host. All other addresses are vetted, even after a redirect.
        """
        with self._tracing.endpoint_call("download") as span:
            answer = self._download(url)
            note_answer(span, answer)
        return answer

    def _download(self, url: str) -> Answer | Trouble:
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
        ours = (*holdings.held, *holdings.leaving)
        by_id = {one.id: Endpoint(one, holdings, self._settings, self._sessions, self._tracing) for one in ours}
        known = (*holdings.accounts, *holdings.leaving)
        origins = frozenset(_origin(url) for one in known for url in (one.url, one.fetch_url))
        return _Made(holdings, by_id, origins)


@dataclass(frozen=True, slots=True)
class _Made:
    """The endpoints for one `Holdings`. After a reload it is replaced as a whole."""

    holdings: Holdings
    by_id: Mapping[str, Endpoint]
    origins: frozenset[str]


def note_answer(span: Span, answer: Answer | Trouble, outcome: Outcome | None = None) -> None:
    """Add an answer to the span of its call. `outcome` is the outcome of the call; a download has none."""
    if isinstance(answer, Answer):
        span.answered(outcome, answer.status, len(answer.body))
    else:
        span.answered(outcome, None, 0, answer.kind)


def _origin(url: str) -> str:
    return "/".join(url.split("/", 3)[:3]).lower()
