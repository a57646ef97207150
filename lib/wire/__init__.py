"""The protocol, byte by byte: the content of messages, not their transport. Pure.

In reading order: `framing` (where a message ends), `stream_messages` (HELLO, BATCH), `tick_codec`
with `symbol_table`, `ticks` and `tick_arrays` (prices and sentiments), `span` (missed numbers),
`order_fields` and `order_messages` (order entry). Errors are explained by `undelimited`,
`malformed_frames`, `symbol_hints`, `near_names` and `order_mistakes`. Used by most rooms above;
must import only `lib.prices`, `lib.clock`, `lib.errors` and `lib.text`.
"""
