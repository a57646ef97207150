"""The error of a report that cannot be written."""


class ReportError(Exception):
    """Figures are missing or cannot be read (one human-readable line that says what to run)."""
