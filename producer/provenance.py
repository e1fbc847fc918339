"""Provenance of the shards of a destination: what each was made from, over all its runs."""
