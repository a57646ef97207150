"""What a Python user would take instead of the stack, each used as its documentation recommends.

The work and the frame are in `bench.rivals.rival`, and the same for all. Each is measured in two
ways: one message a tick, and with its best number of ticks a message (`BEST_BATCH`).
"""
