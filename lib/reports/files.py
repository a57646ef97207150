"""The paths of the report, and of the file that the chaos lab writes for the bench's page."""

from __future__ import annotations

from typing import Final

from lib.settings import PROJECT_ROOT

REPORT: Final = PROJECT_ROOT / "performance_report.md"
RELIABILITY_SUMMARY: Final = PROJECT_ROOT / "report" / "chaos" / "summary.txt"
"""One line about dropped connections, written by the chaos lab for the first page of the bench."""
