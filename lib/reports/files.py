"""Where the report is, and what one of its writers leaves for the other."""

from __future__ import annotations

from typing import Final

from lib.settings import PROJECT_ROOT

REPORT: Final = PROJECT_ROOT / "performance_report.md"
RELIABILITY_SUMMARY: Final = PROJECT_ROOT / "report" / "chaos" / "summary.txt"
"""One line about dropped connections, from the chaos lab, for the first page that the bench makes.
"""
