"""Make the generated pages of docs/ again: `make docs`."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "platform"))

from conical.workbench.docs.settings_page import write_settings_page

if __name__ == "__main__":
    write_settings_page(ROOT / "docs" / "settings.md")
