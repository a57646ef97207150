"""The parts that the roles are made of; `chaos`, `bench` and `main.py` use them too.

A user opens `signals`, `settings` and `shared_memory_utils` first. The packages are the rooms of
the README; imports run down the layers in `pyproject.toml`, from what looks at a whole stack to
what is pure. Must not import `daemons`, `chaos`, `bench` or `video`.
"""
