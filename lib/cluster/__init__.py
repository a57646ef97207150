"""Many hosts: what the daemons of a cluster do, over streams that brokers keep (`docs/cluster.md`).

`broker` (what is asked of the brokers, and what is heard), `stream_writer` (the one writer of a
stream), `stream_follower` (all messages of a stream, in order), `writer_watch` (when to take over).
Only the module that speaks to the brokers imports their library.
"""
