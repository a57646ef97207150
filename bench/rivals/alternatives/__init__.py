"""What a Python user would take instead of the stack, each used as its documentation recommends.

`zeromq` is the one to read first; then `multiprocessing_queue` and `textbook` (JSON over TCP with a
lock). Their work is in `bench.rivals.work`, and the same for all. Each is measured in two ways: one
message a tick, and with its best number of ticks a message (`BEST_BATCH`).
"""
