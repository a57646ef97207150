"""Reads the result of a query as NumPy arrays, batch by batch, through Arrow's C stream interface.

DuckDB exports a result in that format without pyarrow; this reads the few types that we ask for.
The structs and who releases what: https://arrow.apache.org/docs/format/CStreamInterface.html and
CDataInterface.html. A stream is read by one thread at a time.
"""

from __future__ import annotations

import ctypes
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_int, c_int64, c_void_p
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_DTYPES: Final[dict[bytes, np.dtype[Any]]] = {
    b"c": np.dtype(np.int8),
    b"C": np.dtype(np.uint8),
    b"i": np.dtype(np.int32),
    b"l": np.dtype(np.int64),
    b"f": np.dtype(np.float32),
    b"g": np.dtype(np.float64),
}
_DECIMAL: Final = b"d:"
_RELEASE: Final = CFUNCTYPE(None, c_void_p)


class _Schema(Structure):
    pass


_Schema._fields_ = [
    ("format", c_char_p),
    ("name", c_char_p),
    ("metadata", c_void_p),
    ("flags", c_int64),
    ("n_children", c_int64),
    ("children", POINTER(POINTER(_Schema))),
    ("dictionary", c_void_p),
    ("release", c_void_p),
    ("private_data", c_void_p),
]


class _Array(Structure):
    pass


_Array._fields_ = [
    ("length", c_int64),
    ("null_count", c_int64),
    ("offset", c_int64),
    ("n_buffers", c_int64),
    ("n_children", c_int64),
    ("buffers", POINTER(c_void_p)),
    ("children", POINTER(POINTER(_Array))),
    ("dictionary", c_void_p),
    ("release", c_void_p),
    ("private_data", c_void_p),
]


class _Stream(Structure):
    _fields_ = (
        ("get_schema", CFUNCTYPE(c_int, c_void_p, POINTER(_Schema))),
        ("get_next", CFUNCTYPE(c_int, c_void_p, POINTER(_Array))),
        ("get_last_error", CFUNCTYPE(c_char_p, c_void_p)),
        ("release", c_void_p),
        ("private_data", c_void_p),
    )


class StreamError(Exception):
    """The query has failed on the way. Its text is the message of the database."""


class Numbers(NamedTuple):
    """A column of numbers: 128-bit decimals come as pairs of uint64, the low word first."""

    present: NDArray[np.bool_]
    """Where the cell is not NULL; the value of the others is arbitrary."""
    values: NDArray[Any]


Batch = list[Numbers]
"""The columns of a result, some rows of them. The arrays own their memory."""


class ArrowStream:
    """The result behind `capsule`, which something with `__arrow_c_stream__` gave.

    A type that we do not read raises TypeError. Close it when done: the connection is busy until
    then.
    """

    def __init__(self, capsule: object) -> None:
        pointer = _capsule_pointer(capsule, b"arrow_array_stream")
        self._capsule = capsule  # owns the struct
        self._stream = ctypes.cast(pointer, POINTER(_Stream)).contents
        self._address = pointer
        schema = _Schema()
        self._check(self._stream.get_schema(pointer, schema))
        self._formats = [schema.children[i].contents.format for i in range(schema.n_children)]
        _release(schema)

    def next_batch(self) -> Batch | None:
        """Return the next rows, None at the end. Waits for them; other Python threads run."""
        array = _Array()
        self._check(self._stream.get_next(self._address, array))
        if not array.release:
            return None
        try:
            return [
                _column(self._formats[number], array.children[number].contents)
                for number in range(array.n_children)
            ]
        finally:
            _release(array)

    def close(self) -> None:
        """Give up the rest of the result."""
        if self._stream.release:
            _RELEASE(self._stream.release)(self._address)

    def _check(self, error: int) -> None:
        if error:
            text = self._stream.get_last_error(self._address) or b"no reason given"
            raise StreamError(text.decode(errors="replace"))


def _capsule_pointer(capsule: object, name: bytes) -> int:
    pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
    pointer_of.restype, pointer_of.argtypes = c_void_p, [ctypes.py_object, c_char_p]
    address: int = pointer_of(capsule, name)
    return address


def _release(struct: _Schema | _Array) -> None:
    if struct.release:
        _RELEASE(struct.release)(ctypes.addressof(struct))


def _column(kind: bytes, array: _Array) -> Numbers:
    length, offset = array.length, array.offset
    present = _validity(array, length, offset)
    if kind.startswith(_DECIMAL):
        words = _buffer(array, 1, np.dtype(np.uint64), 2 * offset, 2 * length)
        return Numbers(present, words.reshape(-1, 2).copy())
    if kind not in _DTYPES:
        raise TypeError(f"a column of the Arrow type {kind!r}")
    return Numbers(present, _buffer(array, 1, _DTYPES[kind], offset, length).copy())


def _validity(array: _Array, length: int, offset: int) -> NDArray[np.bool_]:
    if not array.buffers[0] or array.null_count == 0:
        return np.ones(length, dtype=np.bool_)
    bits = _buffer(array, 0, np.dtype(np.uint8), 0, (offset + length + 7) // 8)
    return np.unpackbits(bits, bitorder="little")[offset : offset + length].astype(np.bool_)


def _buffer(
    array: _Array, number: int, dtype: np.dtype[Any], first: int, count: int
) -> NDArray[Any]:
    """Return a view of Arrow's memory: valid until the array is released."""
    address = array.buffers[number]
    if not address or not count:
        return np.zeros(count, dtype=dtype)
    size = count * dtype.itemsize
    memory = (ctypes.c_char * size).from_address(address + first * dtype.itemsize)
    return np.frombuffer(memory, dtype=dtype)  # type: ignore[call-overload, no-any-return]
