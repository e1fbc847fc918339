"""Types of fields that ledger objects share; a number out of range is damage."""

from typing import Annotated

from pydantic import Field

Count = Annotated[int, Field(ge=0, lt=2**63)]
"""Number of things or bytes."""

Seconds = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)]
"""Duration; at most some thousand years."""

Scale = Annotated[int, Field(ge=0, lt=1000)]
"""Scale of a volume, as shard keys can spell it."""
