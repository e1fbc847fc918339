"""Former name of `producer.file_server`, which programs of others import."""

from producer.file_server import FileServer, ServedRequest

__all__ = ["FileServer", "ServedRequest"]
