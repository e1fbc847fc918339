"""What the commands do, each imported when it runs."""

import os

from consumer.heap import NO_LIBRARY_THREADS

# Before any library is imported: a worker forks, which it can only without threads.
os.environ.update({**NO_LIBRARY_THREADS, **os.environ})
