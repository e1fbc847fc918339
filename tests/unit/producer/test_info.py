"""`info` at the destination: kept, merged, and plain UTF-8 for every viewer."""

import codecs
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from braid.precomputed.volume_spec import VolumeSpec
from producer.info import find_info_faults, plain_info, write_info
from producer.synthetic_export import sample_spec
from runtime.errors import UsageError
from runtime.storage import open_storage

SPEC: dict[str, Any] = sample_spec((256, 256, 256), 2) | {"made by": "Müller"}
TEXT = json.dumps(SPEC, ensure_ascii=False)
ENCODED = {
    "utf-16": TEXT.encode("utf-16"),
    "utf-16-le": TEXT.encode("utf-16-le"),
    "utf-32": TEXT.encode("utf-32"),
    "bom": codecs.BOM_UTF8 + TEXT.encode(),
}
VOLUME = VolumeSpec.parse(SPEC)


@pytest.mark.parametrize("encoding", ENCODED)
def test_an_equal_info_is_kept_in_plain_utf_8(tmp_path: Path, encoding: str) -> None:
    """What we read and viewers do not is a finding, and is written anew with its foreign keys."""
    dest, info = open_storage(str(tmp_path)), tmp_path / "info"
    info.write_bytes(ENCODED[encoding])
    (fault,) = find_info_faults(dest, VOLUME)
    assert "not all viewers" in fault
    assert json.loads(plain_info(ENCODED[encoding]).decode("utf-8")) == SPEC
    assert write_info(dest, VOLUME)
    assert json.loads(info.read_bytes().decode("utf-8")) == SPEC
    assert find_info_faults(dest, VOLUME) == []
    assert not write_info(dest, VOLUME)


def test_an_equal_info_in_utf_8_stays_as_it_is(tmp_path: Path) -> None:
    """However it is laid out."""
    dest, info = open_storage(str(tmp_path)), tmp_path / "info"
    info.write_text(TEXT, encoding="utf-8")
    assert not write_info(dest, VOLUME)
    assert info.read_text(encoding="utf-8") == TEXT
    assert plain_info(TEXT.encode()) == TEXT.encode()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (gzip.compress(TEXT.encode()), "compressed with gzip"),
        (TEXT.encode("latin-1"), "another encoding than UTF-8"),
        (b"", "not valid JSON"),
        (b"<html>", "not valid JSON"),
    ],
)
def test_an_info_that_cannot_be_read_is_named(tmp_path: Path, data: bytes, said: str) -> None:
    """As what it is, not as another volume's, with the way on."""
    dest = open_storage(str(tmp_path))
    (tmp_path / "info").write_bytes(data)
    with pytest.raises(UsageError, match=said) as caught:
        write_info(dest, VOLUME)
    assert str(tmp_path / "info") in str(caught.value)
    assert "--force" in str(caught.value.hint)
    assert said in find_info_faults(dest, VOLUME)[0]
    assert plain_info(data) == data
    assert write_info(dest, VOLUME, force=True)
    assert find_info_faults(dest, VOLUME) == []


def test_an_info_that_is_missing_or_anothers_is_a_fault(tmp_path: Path) -> None:
    """Nothing reads a volume without it, and with another one what it reads is wrong."""
    dest = open_storage(str(tmp_path))
    assert len(find_info_faults(dest, VOLUME)) == 1
    (tmp_path / "info").write_text(json.dumps(sample_spec((512, 256, 256), 2)))
    assert "size" in find_info_faults(dest, VOLUME)[0]
