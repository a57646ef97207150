"""The errors of a failed measurement."""


class BenchError(Exception):
    """A measurement failed (one human-readable line). It becomes a gap of the recording."""


class RoleEndedError(BenchError):
    """A daemon ended while it was measured, or does not run."""
