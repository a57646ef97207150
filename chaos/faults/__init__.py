"""What can be done to a stack: one short class a fault.

`role_faults` ends and freezes processes; `connection_faults` are done to bytes on their way, by
`proxy` in a `proxied_stack`; `hostile_gateway` lies, `stalled_client` does not read. Used by the
experiments and by `chaos.storms`; must not measure or judge.
"""
