"""Tensors on the wire: raw bytes and typed contents to numpy and back, to the byte.

The servicer calls it with plain values; it knows no protobuf, no model and no gRPC. Rules: open-inference-protocol
§inference_grpc (row-major little-endian, no padding, byte size = shape x datatype, BYTES = uint32 length + bytes each,
FP16 and BF16 raw only). Nothing is allocated before sizes are checked. BF16 lives as float32 in numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

NUMPY: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMPY, "BF16", "BYTES")
FIELD: Mapping[str, str] = {  # where typed contents of a datatype belong; FP16 and BF16 have no such place
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}


class TensorError(ValueError):
    """The data of a tensor does not fit its datatype and shape: one sentence."""


def decode_raw(name: str, datatype: str, shape: Sequence[int], raw: bytes) -> Array:
    """The array of one entry of raw_input_contents; read-only, no copy, but for BF16 (float32) and BYTES (object)."""
    count = math.prod(shape)
    if datatype == "BYTES":
        return _shaped_bytes(_split_bytes(name, raw, count), shape)
    size = 2 if datatype == "BF16" else NUMPY[datatype].itemsize
    if len(raw) != count * size:
        expected = f"shape {list(shape)} x {datatype} needs {count * size}"
        raise TensorError(f"input '{name}': byte size mismatch: {expected}, got {len(raw)}")
    if datatype == "BF16":
        bits = np.frombuffer(raw, "<u2").astype("<u4") << 16
        return np.asarray(bits.view("<f4").reshape(shape))
    if datatype == "BOOL":
        return np.asarray(np.frombuffer(raw, "u1") != 0).reshape(shape)
    array: Array = np.frombuffer(raw, NUMPY[datatype])
    return array.reshape(shape)


def decode_typed(name: str, datatype: str, shape: Sequence[int], contents: Mapping[str, Sequence[Any]]) -> Array:
    """The array of typed contents, given as the fields that are not empty."""
    if datatype not in FIELD:
        raise TensorError(f"input '{name}': {datatype} has no typed form, send it in raw_input_contents")
    field = FIELD[datatype]
    for other in contents:
        if other != field:
            raise TensorError(f"input '{name}': {datatype} belongs into {field}, got {other}")
    values = contents.get(field, ())
    count = math.prod(shape)
    if len(values) != count:
        raise TensorError(f"input '{name}': shape {list(shape)} needs {count} elements in {field}, got {len(values)}")
    if datatype == "BYTES":
        return _shaped_bytes(list(values), shape)
    try:
        return np.array(values, dtype=NUMPY[datatype]).reshape(shape)
    except OverflowError:
        raise TensorError(f"input '{name}': {field} holds a value that does not fit {datatype}") from None


def encode_raw(datatype: str, array: Array) -> bytes:
    """The bytes of an output for raw_output_contents. `TensorError` for a datatype that nobody knows."""
    if datatype == "BYTES":
        return b"".join(_with_length(element) for element in array.reshape(-1))
    if datatype == "BF16":
        bits = np.ascontiguousarray(array, "<f4").view("<u4")
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # round to nearest, ties to even
        return np.where(np.isnan(array), 0x7FC0, rounded).astype("<u2").tobytes()
    if datatype not in NUMPY:
        raise TensorError(f"datatype {datatype} is none of {', '.join(DATATYPES)}")
    return array.astype(NUMPY[datatype], copy=False).tobytes()


def _with_length(element: bytes | str) -> bytes:
    data = element.encode() if isinstance(element, str) else bytes(element)
    return len(data).to_bytes(4, "little") + data


def _split_bytes(name: str, raw: bytes, count: int) -> list[bytes]:
    elements: list[bytes] = []
    at = 0
    while at < len(raw):
        if len(elements) == count:
            raise TensorError(f"input '{name}': more than {count} BYTES elements")
        if at + 4 > len(raw):
            raise TensorError(f"input '{name}': BYTES element {len(elements)} is cut off in its length")
        size = int.from_bytes(raw[at : at + 4], "little")
        at += 4
        if at + size > len(raw):
            raise TensorError(
                f"input '{name}': BYTES element {len(elements)} says {size} bytes, {len(raw) - at} are left"
            )
        elements.append(raw[at : at + size])
        at += size
    if len(elements) != count:
        raise TensorError(f"input '{name}': needs {count} BYTES elements, got {len(elements)}")
    return elements


def _shaped_bytes(elements: Sequence[bytes], shape: Sequence[int]) -> Array:
    array = np.empty(len(elements), dtype=object)
    array[:] = elements
    return array.reshape(shape)
