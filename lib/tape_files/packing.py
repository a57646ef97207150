"""The bytes of a file, unpacked if it is gzip or zstandard: block by block, in bounded memory."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

import zstandard

from lib.tapes.tape import TapeError

MAX_UNPACKED_BYTES: Final = 2**36
"""The most that may come out of a packed file: 64 GB."""
_BLOCK_BYTES: Final = 2**20
_MAX_ZSTD_WINDOW: Final = 2**27
"""The most memory, in bytes, that unpacking zstandard may take: more than `--ultra -22` wants."""
_ZSTD_FEED_BYTES: Final = 2**11
"""How much zstandard is fed at a time. Four bytes give up to 128 KB, so 64 MB come out at most."""


class Packing(NamedTuple):
    """A way to pack a file."""

    name: str
    magic: bytes
    blocks: Callable[[Path], Iterator[bytes]]
    """Yields what is packed. Raises EOFError if the file is cut."""


def packing_of(path: Path) -> Packing | None:
    """Return how a file is packed, by its first bytes; None if it is not."""
    with path.open("rb") as file:
        head = file.read(max(len(packing.magic) for packing in _PACKINGS))
    return next((packing for packing in _PACKINGS if head.startswith(packing.magic)), None)


def unpacked_blocks(path: Path) -> Iterator[bytes]:
    """Yield what is in a file. Raises TapeError if it is packed and cut, damaged or too large."""
    packing = packing_of(path)
    if packing is None:
        yield from plain_blocks(path)
        return
    size = 0
    try:
        for block in packing.blocks(path):
            size += len(block)
            if size > MAX_UNPACKED_BYTES:
                raise TapeError(
                    f"unpacks to more than {MAX_UNPACKED_BYTES >> 30} GB: "
                    "split it, or write it as Parquet"
                )
            yield block
    except EOFError:
        raise TapeError("is packed and cut off: download it again") from None
    except (gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
        raise TapeError(f"is packed and damaged ({error}): download it again") from None


def plain_blocks(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file."""
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _gunzip(path: Path) -> Iterator[bytes]:
    with gzip.open(path) as file:
        while block := file.read(_BLOCK_BYTES):
            yield block


def _unzstd(path: Path) -> Iterator[bytes]:
    """Yield what is in all frames."""
    new = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = new.decompressobj()
    with path.open("rb") as file:
        while packed := file.read(_ZSTD_FEED_BYTES):
            while packed:
                if frame.eof:
                    frame = new.decompressobj()
                yield frame.decompress(packed)
                packed = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError


_PACKINGS: Final = (
    Packing("gzip", b"\x1f\x8b", _gunzip),
    Packing("zstandard", b"\x28\xb5\x2f\xfd", _unzstd),
)
