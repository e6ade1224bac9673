"""Checks that Redis is reachable, new enough, persistent and fast, never evicts keys, and has a correct clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import redis

from retouch.settings import Settings
from retouch_producer.findings import Finding, bad, good, note

OLDEST = (6, 2)
PINGS = 11
SLOW_S, VERY_SLOW_S = 0.005, 0.1
SKEW_NOTED_S, SKEW_BAD_S = 0.5, 5.0
FULL = 0.8


def check_redis(settings: Settings) -> list[Finding]:
    """
    Return findings on the Redis of the store. If the broker has another URL, return findings on the broker's Redis too.
    """
    findings = _check_one("redis", settings.redis_url, settings.redis_timeout_s)
    if settings.broker != settings.redis_url:
        findings += _check_one("broker", settings.broker, settings.redis_timeout_s)
    return findings


def _check_one(check: str, url: str, timeout_s: float) -> list[Finding]:
    try:
        client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=timeout_s, socket_connect_timeout=timeout_s
        )
    except ValueError:
        do = "write it as redis://[:password@]host:port/db or rediss://…"
        return [bad(check, "its URL is not one", "nothing can connect", do)]
    try:
        info: Mapping[str, Any] = client.info()
        return [
            *(_version(check, info), _persistence(check, info), _eviction(check, info), _memory(check, info)),
            *(_latency(check, client), _skew(check, client)),
        ]
    except (redis.RedisError, OSError) as error:
        return [_unreachable(check, error)]
    finally:
        client.close()


def _unreachable(check: str, error: Exception) -> Finding:
    name = "RETOUCH_REDIS_URL" if check == "redis" else "RETOUCH_BROKER_URL"
    refused = isinstance(error, redis.AuthenticationError | redis.ResponseError)
    what = "it refuses us" if refused else "no answer"
    return bad(
        check,
        f"{what} ({type(error).__name__})",
        "nothing can be enqueued and no worker can claim; jobs that are in it are kept",
        f"start it, or correct {name}; `retouch up` runs an embedded one",
    )


def _version(check: str, info: Mapping[str, Any]) -> Finding:
    kind = "Valkey" if "valkey_version" in info else "Redis"
    text = str(info.get("valkey_version", info["redis_version"]))
    if tuple(int(part) for part in text.split(".")[:2]) >= OLDEST:
        return good(check, f"{kind} {text} answers")
    least = ".".join(map(str, OLDEST))
    return bad(
        check, f"{kind} {text}", f"the scripts need commands of {least}", f"run Redis {least} or later, or Valkey"
    )


def _persistence(check: str, info: Mapping[str, Any]) -> Finding:
    if not int(info.get("aof_enabled", 0)):
        why = "a restart loses every job since the last snapshot, and the record of what was paid"
        return bad(
            check, "append-only persistence is off", why, "start it with --appendonly yes --appendfsync everysec"
        )
    if info.get("aof_last_write_status", "ok") != "ok":
        return bad(check, "the last append-only write failed", "it takes no writes", "free its disk and read its log")
    return good(check, "append-only persistence is on")


def _eviction(check: str, info: Mapping[str, Any]) -> Finding:
    policy = str(info.get("maxmemory_policy", "unknown"))
    if policy == "noeviction":
        return good(check, "eviction policy noeviction")
    why = "when memory is short it deletes keys: jobs, slots and receivers vanish without a trace"
    return bad(check, f"eviction policy {policy}", why, "set maxmemory-policy noeviction")


def _memory(check: str, info: Mapping[str, Any]) -> Finding:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    what = f"{used / 2**20:.1f} MB used" + (f" of {most / 2**20:.1f} MB" if most else ", no limit set")
    if most and used > FULL * most:
        return bad(
            check, what, "a full Redis takes no jobs and stops workers", "raise maxmemory or shorten RETENTION_S"
        )
    return good(check, what)


def _latency(check: str, client: redis.Redis) -> Finding:
    took = []
    for _ in range(PINGS):
        begun_at = time.perf_counter()
        client.ping()
        took.append(time.perf_counter() - begun_at)
    median_s = statistics.median(took)
    what = f"answers in {median_s * 1000:.2f} ms"
    why = "each job takes a dozen round trips"
    do = "put workers and Redis into one network, and look for slow commands"
    if median_s > VERY_SLOW_S:
        return bad(check, what, why, do)
    return note(check, what, why, do) if median_s > SLOW_S else good(check, what)


def _skew(check: str, client: redis.Redis) -> Finding:
    before = time.time()
    seconds, micros = client.time()
    skew_s = seconds + micros / 1e6 - (before + time.time()) / 2
    what = f"its clock is {skew_s:+.3f} s from this machine's"
    why = "deadlines and signatures are reckoned on both clocks"
    do = "synchronise both machines by NTP"
    if abs(skew_s) > SKEW_BAD_S:
        return bad(check, what, why, do)
    return note(check, what, why, do) if abs(skew_s) > SKEW_NOTED_S else good(check, what)
