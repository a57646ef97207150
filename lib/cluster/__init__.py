"""Many hosts (`docs/cluster.md`). Only `nats_broker`, with `connection`, imports the brokers' library.

`broker` (what is asked and heard), `credentials`, `broker_check`. Streams: `streams` (their shape),
`stream_writer`, `takeover` with `writer_watch`, `stream_follower`. Ticks: `uplink` with `publisher`,
`downlink` with `received_stream`. Orders: `order_host`, `ledger_journal`, `ledger_check`; relayed by
`local_clients`, `relay_session`, `remote_clients`. Seen from outside: `status`, `status_file`,
`acknowledgements`, `lag_meter`, `majority_watch`. Not imported where there is no [cluster].
"""
