"""The Neuroglancer side: volume specs, chunk ids, shard files and chunk encodings."""
