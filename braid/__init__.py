"""The formats: Arrow shards of a DVID export in, sharded Neuroglancer volumes out.

Usable alone; it imports no other part of the product.
"""
