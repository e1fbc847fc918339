"""The promise of every run, whatever happened: byte-identical, or ended with what is missing."""

from pathlib import Path

from delivery.ledger.run import list_runs
from runtime.storage.checksum import crc32c, encode
from tests.support.commands import CommandResult

UNSAID = ("Traceback", "a bug;")


def shard_files(volume: Path) -> dict[str, bytes]:
    """The files of a volume, by their paths in it; temporaries left out."""
    return {
        path.relative_to(volume).as_posix(): path.read_bytes()
        for path in sorted(volume.rglob("*"))
        if path.is_file() and ".tmp-" not in path.as_posix()
    }


def check_receipts(volume: Path, state: Path) -> int:
    """Each receipt has its whole shard; the number of receipts."""
    number = 0
    for run in list_runs(str(state)):
        for key in run.receipts.list():
            receipt = run.receipts.get(key)
            assert receipt is not None
            scale, shard = key.removeprefix("s").split("/")
            folder = run.info.volume["scales"][int(scale)]["key"]
            file = volume / folder / f"{shard}.shard"
            if receipt.empty:
                assert not file.exists(), key
            else:
                assert file.is_file(), f"a receipt without its shard: {key}"
                assert encode(crc32c(file.read_bytes())) == receipt.crc32c, key
            number += 1
    return number


def check_end(done: CommandResult, volume: Path, reference: dict[str, bytes]) -> bool:
    """Exit code 0 and the bytes of the reference, or another with a plain error; which of both."""
    said = done.stdout + done.stderr
    assert not any(word in said for word in UNSAID), said
    if done.returncode == 0:
        found = shard_files(volume)
        assert found.keys() == reference.keys(), (found.keys() ^ reference.keys(), said)
        assert [path for path in found if found[path] != reference[path]] == []
        return True
    assert "error: " in done.stderr, (done.returncode, said)
    return False
