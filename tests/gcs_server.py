"""The fake Google storage server at its former place, for scripts kept outside this repository."""

from tests.support.gcs_server import *  # noqa: F403 - every public name, as before
