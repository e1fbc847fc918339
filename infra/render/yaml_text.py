"""YAML as people write it: no anchors, fields in their order."""

from collections.abc import Sequence
from typing import Any

import yaml


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ANN401, ARG002 - as PyYAML has it
        """Whether a value gets no anchor."""
        return True


def yaml_text(documents: Sequence[Any]) -> str:
    """Documents, parted by `---`."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=100)
