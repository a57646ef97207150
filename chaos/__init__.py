"""Experiments that break the running stack, measure, and judge."""
