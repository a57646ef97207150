"""The limits of a process, and how many clients that of open files leaves room for.

Each client is an open file. A server whose clients took all of them could accept none of its own
run, and its role could not open the ledger or the price book again. So a server takes no more
clients than the limit leaves room for, beside what its role needs itself.
"""

from __future__ import annotations

import resource
from typing import Final

import structlog

from lib.net.listener import MAX_ACCEPTS_A_PASS, RESERVED_PLACES
from lib.process.log_events import FewDescriptors, log_event

OWN_DESCRIPTORS: Final = 64
"""The most open files of a role beside its clients: some 30 are usual."""
FEWEST_DESCRIPTORS: Final = OWN_DESCRIPTORS + MAX_ACCEPTS_A_PASS
"""What a role needs before it can keep a client: a full server accepts clients to refuse them."""


def raise_to_hard_limit(kind: int) -> int:
    """Raise a soft limit (`resource.RLIMIT_…`) to the hard one, and return that."""
    _soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (hard, hard))
    return hard


def client_places(most: int, servers: int = 1, further: int = 0) -> int:
    """Return how many clients each of a role's servers may take: `most`, if there is room.

    Otherwise it is logged how many. `further` is how many files the role may open itself beside
    OWN_DESCRIPTORS.
    """
    limit, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return most
    room = limit - FEWEST_DESCRIPTORS - further
    places = min(most, max(0, room // servers - RESERVED_PLACES))
    if places < most:
        log_event(structlog.get_logger(), FewDescriptors(limit=limit, places=places, of=most))
    return places
