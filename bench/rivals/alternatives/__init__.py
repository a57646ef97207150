"""What a Python user would take instead of the stack, each used as its documentation recommends.

`zeromq` is the one to read first; then `zeromq_arrays`, `multiprocessing_queue`, `nats_core` and
`textbook` (JSON over TCP with a lock). `bench.rivals.rival` has their work and their frame, which
are the same for all. Each is measured in two ways: one message a tick, and with its best number of
ticks a message (`BEST_BATCH`).
"""
