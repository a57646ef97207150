"""How far a role is with a stream, as the role says it."""

from __future__ import annotations

from typing import NamedTuple

from lib.cluster.acknowledgements import AcknowledgementTimes
from lib.cluster.status_file import Activity
from lib.cluster.stream_writer import Standing, StreamWriter


class Progress(NamedTuple):
    """How far a role is with a stream."""

    activity: Activity
    position: int | None = None
    """The last tick, sentiment or ledger entry that it has published, served or booked."""
    newest: int | None = None
    """The last one that there is, if the role knows more than the writer has said."""
    acknowledgements: AcknowledgementTimes | None = None


def writer_activity(writer: StreamWriter, *, has_claimed: bool) -> Activity:
    """Return what a role does that may write a stream, or does since it has claimed it."""
    if writer.standing in (Standing.RESOLVING, Standing.RESOLVED):
        return Activity.RESOLVING
    return Activity.WRITING if has_claimed else Activity.STANDING_BY
