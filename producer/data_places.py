"""Places of a run's source, destination and workers, as far as they can be seen."""

from memmodel.bucket_places import BucketPlace, DataPlaces
from runtime import settings
from runtime.errors import ShardliftError
from runtime.storage.bucket_look import look_at_bucket
from runtime.urls import is_remote

_NO_REGION = "the workers' region is not known: set REGION"


def find_places(source: str | None, dest: str) -> DataPlaces:
    """Look at the buckets of a run; what cannot be seen is named, never an error.

    Args:
        source: the export; None if nothing is converted.
        dest: the volume.
    """
    remote = [url for url in (source, dest) if url is not None and is_remote(url)]
    seen: dict[str, BucketPlace] = {}
    unknown: list[str] = []
    for url in dict.fromkeys(remote):
        try:
            found = look_at_bucket(url)
        except ShardliftError as error:
            unknown.append(str(error))
        else:
            seen[url] = BucketPlace(found.location, found.regional, found.soft_delete_s)
    region = settings.get(settings.REGION)
    if remote and region is None:
        unknown.append(_NO_REGION)
    return DataPlaces(
        seen.get(source) if source else None, seen.get(dest), region, tuple(dict.fromkeys(unknown))
    )
