"""JSON documents that the commands print with `--json`, and that the Python interface returns."""
