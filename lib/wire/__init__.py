"""The protocol, byte by byte: what stands in a message, and nothing of how it gets there. Pure.

In reading order: `framing` (where a message ends), `stream_messages` (HELLO, BATCH), `tick_codec`
with `symbol_table` and `tick_arrays` (prices and sentiments), `order_fields` and `order_messages`
(order entry). Errors are explained by `undelimited`, `malformed_frames`, `symbol_hints`,
`near_names` and `order_mistakes`. Used by every room above; must import nothing but `lib.prices`,
`lib.clock`, `lib.errors` and `lib.text`.
"""
