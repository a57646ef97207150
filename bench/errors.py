"""What can go wrong with a measurement."""


class BenchError(Exception):
    """Something cannot be measured (one line for people). It becomes a gap of the recording."""
