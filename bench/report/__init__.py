"""The figures of the bench as the report shows them; the words are in `report/*.md.j2`.

In reading order: `recorded` (reads the recordings, and knows whether they are of today's plan and
roles), `comparison` (the stack beside the others), `targets`, `figures` (everything, by the name
that the templates use), `cluster` (the same of a cluster), `plots`. Must measure nothing, and must
not import `chaos`: `python -m report` combines the two.
"""
