"""Columns that DuckDB reads where they lie: the C data interface of Apache Arrow, in its smallest form.

Binding lists costs a microsecond for each value, and holds the interpreter meanwhile. DuckDB takes any
object with the two methods of `Table` (https://arrow.apache.org/docs/format/CDataInterface) instead, and
reads its buffers at once. Only what the writer needs is here: one record batch of integers, floating
points and texts, none of them null.
"""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Sequence
from itertools import accumulate, chain
from typing import Any

_POINTER = ctypes.POINTER


class _Schema(ctypes.Structure):
    pass


class _Array(ctypes.Structure):
    pass


class _Stream(ctypes.Structure):
    pass


_ReleaseSchema = ctypes.CFUNCTYPE(None, _POINTER(_Schema))
_ReleaseArray = ctypes.CFUNCTYPE(None, _POINTER(_Array))
_GetSchema = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER(_Stream), _POINTER(_Schema))
_GetNext = ctypes.CFUNCTYPE(ctypes.c_int, _POINTER(_Stream), _POINTER(_Array))
_GetError = ctypes.CFUNCTYPE(ctypes.c_char_p, _POINTER(_Stream))
_ReleaseStream = ctypes.CFUNCTYPE(None, _POINTER(_Stream))

_Schema._fields_ = [
    ("format", ctypes.c_char_p),
    ("name", ctypes.c_char_p),
    ("metadata", ctypes.c_char_p),
    ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("children", _POINTER(_POINTER(_Schema))),
    ("dictionary", _POINTER(_Schema)),
    ("release", _ReleaseSchema),
    ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64),
    ("null_count", ctypes.c_int64),
    ("offset", ctypes.c_int64),
    ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64),
    ("buffers", _POINTER(ctypes.c_void_p)),
    ("children", _POINTER(_POINTER(_Array))),
    ("dictionary", _POINTER(_Array)),
    ("release", _ReleaseArray),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", _GetSchema),
    ("get_next", _GetNext),
    ("get_last_error", _GetError),
    ("release", _ReleaseStream),
    ("private_data", ctypes.c_void_p),
]

_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


# The memory belongs to the table, which outlives every reader: a release only marks its structure.
def _released(kind: Any) -> Any:
    def release(structure: Any) -> None:
        structure.contents.release = kind()

    return kind(release)


_release_schema = _released(_ReleaseSchema)
_release_array = _released(_ReleaseArray)
_release_stream = _released(_ReleaseStream)


class Table:
    """Columns of one length, by name. It must live until the statement that reads it has ended."""

    def __init__(self, **columns: array[int] | array[float] | Sequence[str]) -> None:
        """Take arrays of typecode `q` or `d`, and sequences of texts."""
        self._kept: list[Any] = []
        schemas, arrays = [], []
        length = 0
        for name, column in columns.items():
            length = len(column)
            form, buffers = _buffers(column)
            schemas.append(self._schema(form, name, []))
            arrays.append(self._array(length, buffers, []))
        self._top = self._schema(b"+s", "", schemas)
        self._stream = _Stream()
        self._callbacks = _callbacks(self._top, self._array(length, [None], arrays))

    def __arrow_c_schema__(self) -> Any:
        """Return the capsule of the columns' types."""
        copy = _Schema()
        ctypes.pointer(copy)[0] = self._top
        self._kept.append(copy)
        return _new_capsule(ctypes.addressof(copy), b"arrow_schema", None)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Return the capsule of a stream of one batch, from its beginning."""
        stream = self._stream
        stream.private_data = None
        stream.get_schema, stream.get_next, stream.get_last_error = self._callbacks
        stream.release = _release_stream
        return _new_capsule(ctypes.addressof(stream), b"arrow_array_stream", None)

    def _schema(self, form: bytes, name: str, children: list[_Schema]) -> _Schema:
        kept = (name.encode(), (_POINTER(_Schema) * len(children))(*map(ctypes.pointer, children)))
        self._kept += kept
        return _Schema(form, kept[0], None, 0, len(children), kept[1], None, _release_schema, None)

    def _array(self, length: int, buffers: list[Any], children: list[_Array]) -> _Array:
        addresses = [None if part is None else part.buffer_info()[0] for part in buffers]
        places = (ctypes.c_void_p * len(buffers))(*addresses)
        pointers = (_POINTER(_Array) * len(children))(*map(ctypes.pointer, children))
        self._kept += (buffers, places, pointers)
        return _Array(length, 0, 0, len(buffers), len(children), places, pointers, None, _release_array, None)


def _callbacks(schema: _Schema, batch: _Array) -> tuple[Any, Any, Any]:
    """Return what a stream of one batch is asked by.

    It knows no table, so that a table is freed without waiting for a collection.
    """

    def get_schema(stream: Any, out: Any) -> int:
        out[0] = schema
        return 0

    def get_next(stream: Any, out: Any) -> int:
        if stream.contents.private_data:
            out.contents.release = _ReleaseArray()  # the end
        else:
            out[0] = batch
            stream.contents.private_data = 1  # that it was read is all there is to know
        return 0

    return _GetSchema(get_schema), _GetNext(get_next), _GetError(_no_error)


def _buffers(column: Any) -> tuple[bytes, list[Any]]:
    """Return Arrow's name of a column's type, and its buffers: no mask of nulls, then the values."""
    if isinstance(column, array):
        return (b"l" if column.typecode == "q" else b"g"), [None, column]
    texts = [text.encode() for text in column]
    offsets = array("i", chain((0,), accumulate(map(len, texts))))
    return b"u", [None, offsets, array("b", b"".join(texts) or b"\0")]


def _no_error(stream: Any) -> None:
    return None
