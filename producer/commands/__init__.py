"""One file per command, its options beside its action; each has `register(app)`."""
