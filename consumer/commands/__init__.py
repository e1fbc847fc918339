"""Commands that make shards: one worker, or a fleet of them."""

import os

from consumer.heap import NO_LIBRARY_THREADS

# Before any library is imported: a worker forks, which it can only without threads.
for _name, _value in NO_LIBRARY_THREADS.items():
    os.environ.setdefault(_name, _value)
