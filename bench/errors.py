"""What can go wrong with a measurement."""


class BenchError(Exception):
    """Something cannot be measured (one human-readable line). It becomes a gap of the recording."""
