"""Many hosts (`docs/cluster.md`). Only `nats_broker` imports the library of the brokers.

`broker` (what is asked, and heard), `connection`, `credentials`, `broker_check`. Streams: `streams`
(their shape), `stream_writer`, `takeover` with `writer_watch`, `stream_follower`. Ticks: `uplink`
with `publisher`, `downlink` with `received_stream`, `clock_watch`. Orders: `order_host`,
`ledger_journal`, `ledger_check`; from other hosts: `local_clients`, `relay_session`,
`remote_clients`. What is seen: `status`, `status_file`, `progress`, `acknowledgements`,
`lag_meter`, `majority_watch`.
"""
