"""The roles of the stack, one module each; started as `python -m daemons.ROLE`."""
