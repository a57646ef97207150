"""What the report pages of `chaos` and `bench` share, since these do not import each other.

`files` (the paths), `machine` (what figures were taken on), `units`, `markdown` (tables, generated
sections), `plotting` (the plots' style; needs matplotlib). Must not be imported by a role.
"""
