"""Experiments that break a running stack, measure its recovery, and judge the outcome."""
