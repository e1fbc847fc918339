"""Publish markers: notes that dependents were published, which only suppress duplicates."""

from pydantic import AliasChoices, AwareDatetime, BaseModel, ConfigDict, Field


class PublishMarker(BaseModel):
    """Note that a dependent was published.

    Attributes:
        inputs_digest: of the inputs it was published for; formerly stored as `occasion`.
    """

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    tier: str = ""
    inputs_digest: str = Field(
        default="", validation_alias=AliasChoices("inputs_digest", "occasion")
    )
