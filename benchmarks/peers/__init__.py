"""Other schedulers beside ours: one module a contender, and the comparison in `__main__`."""
