"""Checks the settings for misspelled names, and for unsafe values that may not be intended."""

from __future__ import annotations

import difflib
import ipaddress
import os

from retouch.errors import SettingsError
from retouch.settings import Settings
from retouch_ops.settings_table import PREFIX, variable
from retouch_producer.findings import Finding, bad, good, note

CHECK = "settings"


def load_settings() -> tuple[Settings | None, list[Finding]]:
    """
    Return the settings and an empty list. If settings are wrong, return None and a finding for each wrong setting.
    """
    try:
        return Settings.load(), []
    except SettingsError as error:
        return None, [bad(CHECK, fault, "no process of Retouch starts", "correct it") for fault in error.faults]


def check_settings(settings: Settings) -> list[Finding]:
    """Return findings on RETOUCH_ variables that are no settings, and on unsafe values."""
    findings = [*check_names(), *_networks(settings), *_flower(settings)]
    return findings or [good(CHECK, "every RETOUCH_ variable is a setting, and nothing is open that should not be")]


def check_names() -> list[Finding]:
    """
    Return a finding for each RETOUCH_ variable that is no setting. The finding suggests a setting with a similar name.
    """
    known = list(Settings.model_fields)
    names = [name for name in sorted(os.environ) if name.upper().startswith(PREFIX)]
    return [
        bad(
            CHECK,
            f"{name} is not a setting",
            "it has no effect, and what was meant has its default",
            f"did you mean {variable(near[0])}?"
            if (near := difflib.get_close_matches(bare, known, 1))
            else "remove it",
        )
        for name in names
        if (bare := name.upper().removeprefix(PREFIX).lower()) not in known
    ]


def _networks(settings: Settings) -> list[Finding]:
    networks = settings.dangerous_allow_private_networks
    if all(ipaddress.ip_network(network).is_loopback for network in networks):
        return []
    why = "whoever may enqueue can make workers call addresses inside your network"
    do = "leave RETOUCH_DANGEROUS_ALLOW_PRIVATE_NETWORKS empty in production, or name single hosts"
    return [note(CHECK, f"private networks are allowed: {', '.join(networks)}", why, do)]


def _flower(settings: Settings) -> list[Finding]:
    inside = settings.flower_address in {"127.0.0.1", "::1", "localhost"}
    if inside or settings.flower_basic_auth.get_secret_value():
        return []
    why = "anyone who reaches it sees workers and job ids; its /metrics and /healthcheck have no password at all"
    do = "bind it to 127.0.0.1 or a network of its own, and set RETOUCH_FLOWER_BASIC_AUTH"
    return [note(CHECK, f"Flower listens on {settings.flower_address} without a password", why, do)]
