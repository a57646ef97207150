"""The faults that can be injected into a stack, one short class each.

`role_faults` end and freeze processes, `cluster_faults` hosts, their roles, and brokers;
`connection_faults` act on the bytes of a connection, in a `proxy`; `hostile_gateway` corrupts the
price stream; `stalled_client` stops reading; `second_user` plants `planted_files`. Used by the
experiments and by `chaos.storms`. Must not measure or judge.
"""
