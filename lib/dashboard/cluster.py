"""The cluster, as the roles of this host see it: each writes what it knows into a mapped file."""

from __future__ import annotations

from pathlib import Path

from lib.clock import MICROSECOND_NS, SECOND_NS
from lib.cluster.status_file import STREAMS_OF, UNKNOWN, Activity, StreamStatus, read_status
from lib.dashboard.view import ClusterView, StreamView


def cluster_view(var_dir: Path, host: str, now_ns: int) -> ClusterView:
    """Return what is known now of each stream."""
    read = (
        read_status(var_dir, role, stream, now_ns)
        for role, streams in STREAMS_OF.items()
        for stream in streams
    )
    return ClusterView(host, [_view(status, now_ns) for status in read if status])


def _view(status: StreamStatus, now_ns: int) -> StreamView:
    figures = status.figures
    heard_ns = _known(figures.heard_ns)
    return StreamView(
        stream=status.stream,
        role=status.role,
        activity=Activity(figures.activity).name.lower().replace("_", " "),
        writer=status.writer,
        epoch=_known(figures.epoch),
        takeovers=_known(figures.takeovers),
        last=_known(figures.last),
        position=_known(figures.position),
        lag=_known(figures.lag),
        lag_s=_in(SECOND_NS, figures.lag_ns),
        heard_s=None if heard_ns is None else max(0, now_ns - heard_ns) / SECOND_NS,
        p50_us=_in(MICROSECOND_NS, figures.p50_ns),
        p99_us=_in(MICROSECOND_NS, figures.p99_ns),
    )


def _known(figure: int) -> int | None:
    return None if figure == UNKNOWN else figure


def _in(unit_ns: int, figure_ns: int) -> float | None:
    return None if figure_ns == UNKNOWN else figure_ns / unit_ns
