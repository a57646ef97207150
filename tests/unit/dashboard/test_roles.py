"""Restarts are counted from supervisord's own log, as supervisord 4.3 writes it."""

from __future__ import annotations

from lib.dashboard.roles import Restarts

AT = "2026-11-27 10:00:00,123"


def test_a_start_after_the_first_one_is_a_restart():
    restarts = Restarts()
    for line in (
        f"{AT} INFO supervisord started with pid 7",
        f"{AT} INFO spawned: 'gateway' with pid 8",
        f"{AT} INFO spawned: 'orderbook' with pid 9",
        f"{AT} WARN exited: gateway (terminated by SIGKILL; not expected)",
        f"{AT} INFO spawned: 'gateway' with pid 10",
    ):
        restarts.take(line)

    assert (restarts.of("gateway"), restarts.of("orderbook"), restarts.of("strategy")) == (1, 0, 0)


def test_a_new_run_counts_from_the_beginning():
    restarts = Restarts()
    for pid in (8, 9):
        restarts.take(f"{AT} INFO spawned: 'gateway' with pid {pid}")
    restarts.take(f"{AT} INFO supervisord started with pid 10")
    restarts.take(f"{AT} INFO spawned: 'gateway' with pid 11")

    assert restarts.of("gateway") == 0
