"""What a Python user would pick instead of the stack, written as its own documentation recommends.

The work and the frame are in `bench.rivals.rival`, and the same for all. Each is measured in two
ways: one message a tick, and with as many ticks in a message as are best for it (`BEST_BATCH`).
"""
