"""The limit of open files, and the clients that a role has room for under it."""

from __future__ import annotations

import resource

import pytest
from structlog.testing import capture_logs

from lib.net.listener import RESERVED_PLACES
from lib.process.limits import FEWEST_DESCRIPTORS, client_places


@pytest.fixture
def limited(monkeypatch):
    """Let the limit of open files be this one."""

    def _limited(limit: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))

    return _limited


@pytest.mark.parametrize(("servers", "further"), [(1, 0), (2, 0), (1, 120)])
def test_a_full_server_with_all_of_its_own_run_and_its_own_files_is_within_the_limit(
    limited, servers, further
):
    for limit in range(FEWEST_DESCRIPTORS + further + servers * RESERVED_PLACES, 2000):
        limited(limit)
        with capture_logs() as lines:
            places = client_places(400, servers, further)
        room = limit - FEWEST_DESCRIPTORS - further - servers * RESERVED_PLACES
        assert servers * places <= room
        # Not one fewer than there is room for, and every shortage is logged.
        assert places == 400 or servers * (places + 1) > room
        logged = [(line["event"], line["limit"], line["places"], line["of"]) for line in lines]
        assert logged == ([("few_descriptors", limit, places, 400)] if places < 400 else [])


def test_without_a_limit_or_without_room_it_is_a_number_of_clients(limited):
    limited(resource.RLIM_INFINITY)
    assert client_places(400) == 400
    limited(FEWEST_DESCRIPTORS)
    assert client_places(400) == 0
