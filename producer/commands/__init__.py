"""Commands: one module each, with its options and `register(app)`."""
