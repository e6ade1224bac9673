"""
Every Redis key of Retouch: name, type, how long it is kept, and who writes it.

Retouch uses one Redis and no Cluster, since scripts build the names of the keys that they touch.

In the table, L is a lane: `edits` or `deliveries`. An item is a job (lane edits, id `ed_…`) or a delivery (lane
deliveries, id `dl_…`). A group is a tenant, or `~tenant` for its deliveries to targets that are not proven. A target is
a tenant's webhooks to one host, or its callbacks to one Celery task.

| key | type | life | what |
|---|---|---|---|
| `rt:L:spec:{item}` | string, JSON | set when the item is final | what was asked for; never changes |
| `rt:L:state:{item}` | hash | with spec | state, counters, last answer, approval; none before its first dispatch |
| `rt:L:backlog:{group}` | sorted set | empties itself | items that wait; score = age less priority, in seconds |
| `rt:L:ready` | sorted set | empties itself | groups that may run now; score = their pass (fairness) |
| `rt:L:resting` | sorted set | empties itself | pass of groups that cannot run now |
| `rt:deliveries:{ready, resting}:unproven` | sorted set | empties itself | the same for unproven groups |
| `rt:L:slots` | sorted set | empties itself | items that hold a slot; score = when rescue must look at them |
| `rt:L:timetable` | sorted set | empties itself | items that wait without a slot; score = when they are due |
| `rt:L:held` | hash | empties itself | slots held by each group; `~` counts those of all unproven groups |
| `rt:deliveries:shut` | sorted set | empties itself | targets whose breaker is open; score = until when |
| `rt:deliveries:target:{target}` | hash | 30 days | its window, whether it is proven, its breaker |
| `rt:deliveries:admitted:{target}` | sorted set | empties itself | its deliveries in the backlog or with a slot |
| `rt:deliveries:waiting:{target}` | sorted set | empties itself | its deliveries that wait for admission |
| `rt:deliveries:waiting_by_tenant` | hash | empties itself | how many deliveries of each tenant wait for admission |
| `rt:deliveries:workers` | sorted set | empties itself | each worker: lanes, version, threads; score = until when |
| `rt:L:gate` | hash | permanent | limit, ceiling, group_limit, rate, tokens, paused, clock … |
| `rt:edits:gate:{account}` | hash | permanent; 90 days once gone | the same for an account of a file; tier, price … |
| `rt:accounts` | set | as their gates | the accounts that accounts files named |
| `rt:edits:account_tenants` | hash | permanent | for tenants with own accounts: when they may use shared ones |
| `rt:edits:account_clocks` | hash | permanent | the pass at which each tier of accounts stands |
| `rt:edits:account_workers` | sorted set | a lease | which process serves which account; score = until when |
| `rt:edits:account_calls:{day}` | hash | 3 days | calls of each account on a UTC day |
| `rt:edits:held_by_account` | hash | empties itself | slots held by each account |
| `rt:edits:limit_steps:{account}` | list | 3 days | "instant limit" of each change of a learnt limit, newest first |
| `rt:L:limits`, `rt:L:weights` | hash | permanent | a group's own slot limit and weight |
| `rt:L:counts` | hash | permanent | items that ended, by state |
| `rt:L:dead` | sorted set | trimmed by retention | dead letters; score = when they failed |
| `rt:edits:deadlines:{n}` | list | swept after its time | jobs whose deadline falls into the n-th five seconds |
| `rt:jobs:{tenant}` | sorted set | trimmed by retention | a tenant's jobs; score = enqueued at |
| `rt:jobs_by_state:{tenant}:{state}` | sorted set | trimmed by retention | the same by state |
| `rt:jobs_by_code:{tenant}:{code}` | sorted set | trimmed by retention | the same by error code, of failed jobs |
| `rt:jobs_by_tag:{tenant}:{name=value}` | sorted set | trimmed by retention | the same by tag |
| `rt:jobs_by_receiver:{tenant}:{receiver}` | sorted set | trimmed by retention | the same by receiver |
| `rt:jobs_by_account:{tenant}:{account}` | sorted set | trimmed by retention | the same by account, without `default` |
| `rt:jobs_by_input:{tenant}:{digest}` | sorted set | trimmed by retention | the same by input picture, once claimed |
| `rt:job_indexes:{tenant}` | sorted set | with them | its indexes by all but state; score = last looked at |
| `rt:tenants` | set | permanent | every tenant that was ever seen |
| `rt:tenants_by_time` | sorted set | permanent | the same; score = when the tenant's latest job was enqueued |
| `rt:idem:{tenant}:{key}` | string | 24 h | job id and fingerprint of the first request with this idempotency key |
| `rt:shared:{tenant}:{hash}` | string | 24 h | the job that exact duplicates of a request share |
| `rt:timeline:{job}` | list, JSON | with spec | the job's events; the sequence of an event is its place, from 1 |
| `rt:feed` | stream | trimmed by age, 30 days | every event of every job, as pointers into timelines |
| `rt:deliveries_of:{job}` | list | 30 days | the job's deliveries |
| `rt:deliveries:recent` | sorted set | trimmed by retention | all deliveries; score = made at |
| `rt:deliveries_by_tenant:{tenant}` | sorted set | trimmed by retention | one tenant's deliveries; score = made at |
| `rt:deliveries:log:{item}` | list, JSON | 30 days | its attempts: time, status, latency, excerpt of the answer |
| `rt:deliveries:health:{receiver}` | hash | 30 days | a receiver that fails: since when, why, how often, next attempt |
| `rt:deliveries:failing` | sorted set | empties itself | receivers that fail; score = since when |
| `rt:deliveries:failing:{tenant}` | sorted set | empties itself | those of one tenant |
| `rt:receiver:{id}` | hash | permanent; trimmed by retention if jobs named it | url, tenant, secret, events, disabled |
| `rt:receivers` | sorted set | permanent | all receivers, by id; each score is 0 |
| `rt:receivers_disabled` | set | as its receivers | all receivers that are disabled |
| `rt:receivers_of_jobs` | sorted set | trimmed by retention, 90 days | receivers that jobs named; score = when last |
| `rt:receivers_by_tenant:{tenant}` | sorted set | as its receivers | all receivers of one tenant, by id |
| `rt:receivers:{tenant}` | set | permanent | receivers of events of all the tenant's jobs |
| `rt:edits:budgets`, `rt:edits:backlog_limits` | hash | permanent | a tenant's calls per day; most waiting jobs |
| `rt:budget:{tenant}:{day}` | hash | 3 days | calls spent and reserved on a UTC day |
| `rt:ledger:{tenant}` | hash | permanent | charges of each UTC day: useful, repeated, wasted, unknown |
| `rt:ledger_accounts:{tenant}` | hash | permanent | the same by day and account, where there are several |
| `rt:ledger:account:{account}` | hash | permanent | the same of one account; for a gone account, its last price |
| `rt:ledger_tags:{tenant}:{day}` | hash | 90 days | the same by tag, with calls by account; 1,000 tags, and `other` |
| `rt:api_key:{sha256}` | hash | permanent; 90 days once revoked | an API key: tenant, role, name, last used |
| `rt:api_keys` | set | permanent | hashes of all API keys |
| `rt:sharing` | hash | permanent | tenants whose exact duplicates become one job |
| `rt:console_session:{sha256}` | hash | an hour without a request, 12 h in all | a sign-in: API key (hash), begin |
| `rt:console_link:{sha256}` | string | an hour | a sign-in link, which works once: hash of the API key |
| `rt:console_wrong_keys:{address}` | string | a minute | how many wrong API keys came from this address |
| `rt:link_key` | string | permanent | signs links to images |
| `rt:blobs` | sorted set | trimmed by retention | images; score = until when a job or upload needs them |
| `rt:blobs:{tenant}` | sorted set | trimmed by retention | images a tenant owns; score = until when |
| `rt:history:open:{minute}` | hash | until rolled up | counts of a minute since 1970, by names, account, tenant |
| `rt:history:unrolled` | set | empties itself | the minutes that have such counts |
| `rt:history:minute:{minute}` | hash | 72 h | a minute that is over: all, each account, the 100 busiest tenants |
| `rt:history:hour:{hour}` | hash | 90 days | the same for an hour since 1970 |
| `rt:history:totals` | hash | permanent | the same since ever, with 1,000 tenants by name |
| `rt:audit` | stream | trimmed by age, 90 days | a line for each change by hand, and each account closed or opened |
| `rt:audit:count:{key}:{day}` | string | 2 days | lines of a producer's API key on a UTC day |
| `rt:bulk:{run}` | hash | 90 days | a bulk run: action, query, state, lease, progress, outcomes |
| `rt:bulk:chunk:{run}` | list | until the run is over | items of the present chunk that the run has not acted on yet |
| `rt:bulk:open` | sorted set | empties itself | runs that are not over; score = when a worker may take the run |
| `rt:bulk:open:{tenant}` | sorted set | empties itself | the same of one tenant; score = created at |
| `rt:bulk:runs`, `rt:bulk:runs:{tenant}` | sorted set | 90 days | all runs, those of one tenant; score = created at |
| `rt:rescue` | hash | permanent | when the last sweep ran, and when the next is due |
| `rt:trimmed` | string | 50 s | exists while the indexes need no trimming |

Only the scripts in `lua/` write keys, except for these:
- `receivers.py`: `rt:receiver…`
- `lanes.py`: `gate`, `limits` and `weights`; `accounts.py`: the gates of accounts
- `blob_retention.py`: `rt:blobs…`, `rt:trimmed` and `rt:tenants`
- `ledger.py`: budgets and limits of tenants, and `rt:tenants`
- `tenants.py`: API keys, sharing and `rt:tenants`
- `links.py`: `rt:link_key`; `audit.py`: `rt:audit…`; `console_sessions.py`: `rt:console_…`
- `erasure.py`: the keys of a tenant, which it deletes
"""

from __future__ import annotations

from typing import Literal

PERMANENT = (
    "rt:edits:gate",
    "rt:deliveries:gate",
    "rt:edits:account_tenants",
    "rt:edits:account_clocks",
    "rt:accounts",
    "rt:edits:limits",
    "rt:deliveries:limits",
    "rt:edits:weights",
    "rt:deliveries:weights",
    "rt:edits:counts",
    "rt:deliveries:counts",
    "rt:tenants",
    "rt:tenants_by_time",
    "rt:feed",
    "rt:audit",
    "rt:history:open:",
    "rt:history:unrolled",
    "rt:history:totals",
    "rt:rescue",
    "rt:blobs",
    "rt:receiver:",
    "rt:receivers",
    "rt:receivers_disabled",
    "rt:receivers_by_tenant:",
    "rt:edits:budgets",
    "rt:edits:backlog_limits",
    "rt:ledger:",
    "rt:ledger_accounts:",
    "rt:api_key",
    "rt:sharing",
    "rt:link_key",
)
"""Prefixes of keys that never expire."""

FEED = "rt:feed"
API_KEYS = "rt:api_keys"
SHARING = "rt:sharing"
LINK_KEY = "rt:link_key"
TENANTS = "rt:tenants"
TENANTS_BY_TIME = "rt:tenants_by_time"
KEPT = "rt:blobs"
AUDIT = "rt:audit"
BULK_RUNS = "rt:bulk:runs"
RECEIVERS = "rt:receivers"
RECEIVERS_DISABLED = "rt:receivers_disabled"
RECEIVERS_OF_JOBS = "rt:receivers_of_jobs"
TRIMMED = "rt:trimmed"
ACCOUNTS = "rt:accounts"
ACCOUNT_WORKERS = "rt:edits:account_workers"
HELD_BY_ACCOUNT = "rt:edits:held_by_account"

# A job is in `open` until it ends. Its states before the end change often, so they are read from the lane.
JOB_STATES_INDEXED = ("open", "retrying", "succeeded", "failed", "cancelled")


def spec(lane: str, item: str) -> str:
    """Return the key of an item's spec: the request as JSON, which never changes."""
    return f"rt:{lane}:spec:{item}"


def state(lane: str, item: str) -> str:
    """Return the key of an item's state and counters."""
    return f"rt:{lane}:state:{item}"


def lane(name: str, part: str) -> str:
    """Return the key of one part of a lane, such as `slots`, `timetable` or `gate`."""
    return f"rt:{name}:{part}"


def timeline(job: str) -> str:
    """Return the key of a job's timeline: its events, in order."""
    return f"rt:timeline:{job}"


def jobs(tenant: str) -> str:
    """Return the key of the index of all jobs of a tenant; the score is the time of enqueueing."""
    return f"rt:jobs:{tenant}"


def jobs_by(kind: Literal["state", "code", "tag", "receiver", "account", "input"], tenant: str, value: str) -> str:
    """
    Return the key of the index of a tenant's jobs with this value.

    The value is a state, an error code, a tag (as `name=value`), the id of a receiver or account, or the digest of an
    input picture.
    """
    return f"rt:jobs_by_{kind}:{tenant}:{value}"


def input_digest(name: str) -> str:
    """
    Return the first 20 hex digits of the SHA-256 in a blob's name. The keys of indexes by input contain these digits.
    """
    return name.partition("/")[2][:20]


def job_indexes(tenant: str) -> str:
    """Return the key of the sorted set that names a tenant's indexes of jobs, except those by state."""
    return f"rt:job_indexes:{tenant}"


def deliveries_of(job: str) -> str:
    """Return the key of the list of ids of a job's deliveries."""
    return f"rt:deliveries_of:{job}"


def deliveries_by_tenant(tenant: str) -> str:
    """Return the key of the index of a tenant's deliveries; the score is the time of creation."""
    return f"rt:deliveries_by_tenant:{tenant}"


def receivers_by_tenant(tenant: str) -> str:
    """Return the key of the index of all receivers of a tenant, including those that only jobs named."""
    return f"rt:receivers_by_tenant:{tenant}"


def delivery_log(item: str) -> str:
    """Return the key of the log of a delivery: its attempts, in order."""
    return f"rt:deliveries:log:{item}"


def receiver(identity: str) -> str:
    """Return the key of a receiver's URL, secret and settings."""
    return f"rt:receiver:{identity}"


def receivers(tenant: str) -> str:
    """Return the key of the set of receivers that get the events of every job of a tenant."""
    return f"rt:receivers:{tenant}"


def owned(tenant: str) -> str:
    """Return the key of the index of images that a tenant owns: those of its jobs and uploads."""
    return f"rt:blobs:{tenant}"


def api_key(digest: str) -> str:
    """Return the Redis key of the record of an API key; `digest` is the SHA-256 of the API key's secret, in hex."""
    return f"rt:api_key:{digest}"


def console_session(digest: str) -> str:
    """Return the key of a sign-in to the console; `digest` is the hash of its cookie."""
    return f"rt:console_session:{digest}"


def console_link(digest: str) -> str:
    """Return the key of a sign-in link, which works once; `digest` is the hash of its secret."""
    return f"rt:console_link:{digest}"


def console_wrong_keys(address: str) -> str:
    """Return the key of the number of wrong API keys that came from one address within the minute."""
    return f"rt:console_wrong_keys:{address}"


def ledger(tenant: str) -> str:
    """Return the Redis key of a tenant's ledger: its charges by day and class."""
    return f"rt:ledger:{tenant}"


def account_ledger(account: str) -> str:
    """Return the key of the ledger of an account: its charges by day and class."""
    return f"rt:ledger:account:{account}"


def ledger_accounts(tenant: str) -> str:
    """Return the key of a tenant's ledger by day and account; it is written only with several accounts."""
    return f"rt:ledger_accounts:{tenant}"


def account_gate(account: str) -> str:
    """Return the key of the gate of an account; the gate of `default` is the gate of lane `edits`."""
    return "rt:edits:gate" if account == "default" else f"rt:edits:gate:{account}"


def limit_steps(account: str) -> str:
    """Return the key of the list of changes of an account's learnt limit, newest first."""
    return f"rt:edits:limit_steps:{account}"


def account_calls(day: int) -> str:
    """Return the key of the hash that has the number of calls of each account on one UTC day."""
    return f"rt:edits:account_calls:{day}"


def ledger_tags(tenant: str, day: int) -> str:
    """Return the Redis key of a tenant's ledger by tag for one day (a number of days since 1970)."""
    return f"rt:ledger_tags:{tenant}:{day}"


def audit_count(key: str, day: int) -> str:
    """Return the key that counts the audit lines of one API key on a UTC day."""
    return f"rt:audit:count:{key}:{day}"


def bulk(run: str) -> str:
    """Return the key of one bulk run."""
    return f"rt:bulk:{run}"


def bulk_runs(tenant: str) -> str:
    """Return the key of the history of one tenant's bulk runs, or of all bulk runs if `tenant` is empty."""
    return f"{BULK_RUNS}:{tenant}" if tenant else BULK_RUNS


def idempotency(tenant: str, key: str) -> str:
    """Return the Redis key of the job id and fingerprint that are recorded for a tenant's idempotency key."""
    return f"rt:idem:{tenant}:{key}"
