"""Reading and writing bytes: local files, objects in a bucket, byte ranges, checksums."""
