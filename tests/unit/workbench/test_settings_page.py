"""The page of settings says what the code says."""

from __future__ import annotations

from pathlib import Path

from conical.workbench.docs.settings_page import settings_page

ROOT = Path(__file__).resolve().parents[3]


def test_the_page_in_the_repository_is_up_to_date():
    assert (ROOT / "docs" / "settings.md").read_text() == settings_page(), "run: make docs"


def test_each_key_has_a_meaning():
    rows = [line for line in settings_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 60
    assert [row for row in rows if row.endswith("|  |")] == []


def test_a_row_shows_key_default_and_meaning():
    assert "| `loss.tau_tv` | `20.0` | scale of text to video" in settings_page()
