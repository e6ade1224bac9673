"""
Checks of accounts in the documentation.

The table in `docs/accounts.md` has the fields of `Account`. The accounts files on that page and in the README of the
GPU example are valid.
"""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from retouch.accounts import Account, _account, read_accounts
from retouch.settings import Settings
from tests.docs.pages import DOCS, ROOT, Block, blocks, table

PAGE = DOCS / "accounts.md"
FILES = [block for page in (PAGE, ROOT / "examples" / "selfhosted" / "README.md") for block in blocks(page, "toml")]
OF_SETTINGS = {
    "url": "pix2pix_url",
    "fetch_url": "pix2pix_fetch_url",
    "limit": "in_flight_limit",
    "rate_per_s": "rate_per_s",
    "price_per_call": "price_per_call",
}


def test_the_table_has_every_field_with_its_default() -> None:
    """The table has one row for each field of an account, in the order of the dataclass, with the field's default."""
    bare = _account("main", {}, Path("/"), Settings.load())
    defaults = {
        field.name: f"RETOUCH_{OF_SETTINGS[field.name].upper()}"
        if field.name in OF_SETTINGS
        else f"{getattr(bare, field.name) or 0:g}"
        if isinstance(field.default, int | float)
        else field.default or "none"
        for field in fields(Account)
        if field.name != "id"
    }
    assert {row["field"]: row["default"] for row in table(PAGE, "field")} == defaults
    assert [row["field"] for row in table(PAGE, "field")] == list(defaults)
    settings = Settings.load()
    assert {name: getattr(bare, name) for name in OF_SETTINGS} == {
        name: getattr(settings, setting) for name, setting in OF_SETTINGS.items()
    }


def test_the_page_names_the_settings_that_make_the_default_account() -> None:
    """The page names the setting of the key, and each setting that gives the account `default` a value."""
    intro = PAGE.read_text().split("\n## ")[0]
    named = set(re.findall(r"RETOUCH_(\w+)", intro))
    assert named == {setting.upper() for setting in OF_SETTINGS.values()} | {"PIX2PIX_KEY"}


@pytest.mark.parametrize("block", FILES, ids=str)
def test_accounts_files_are_valid(block: Block, tmp_path: Path) -> None:
    """Each accounts file on the pages can be read unchanged."""
    path = tmp_path / "accounts.toml"
    path.write_text(block.code)
    assert read_accounts(path, Settings.load())
