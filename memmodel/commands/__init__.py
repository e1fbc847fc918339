"""Commands of the memory model."""
