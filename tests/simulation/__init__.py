"""All four roles in one process, under virtual time, with seeded faults."""
