"""Tensors on the wire, to the byte."""

from __future__ import annotations

import numpy as np
import pytest
from ringyard_serving.tensors import FIELD, NUMPY, TensorError, decode_raw, decode_typed, encode_raw


@pytest.mark.parametrize("datatype", sorted(NUMPY))
def test_every_numeric_datatype_comes_back_from_raw_bytes_as_it_went(datatype: str) -> None:
    array = np.array([[0, 1], [2, 3], [1, 0]]).astype(NUMPY[datatype])
    raw = encode_raw(datatype, array)
    assert len(raw) == array.size * array.dtype.itemsize
    back = decode_raw("x", datatype, (3, 2), raw)
    assert back.dtype == array.dtype and np.array_equal(back, array)


@pytest.mark.parametrize("datatype", sorted(set(FIELD) - {"BYTES"}))
def test_typed_contents_become_the_same_array(datatype: str) -> None:
    back = decode_typed("x", datatype, (2, 1), {FIELD[datatype]: [1, 0]})
    assert back.dtype == NUMPY[datatype] and back.tolist() == [[1], [0]]


def test_bytes_keep_empty_and_non_utf8_elements() -> None:
    array = np.array([b"", b"\xff\x00", "\N{SNOWMAN}".encode()], dtype=object)
    assert decode_raw("x", "BYTES", (3,), encode_raw("BYTES", array)).tolist() == array.tolist()


def test_bf16_is_float32_rounded_to_nearest_even() -> None:
    exact = np.array([1.0, -2.5, 3.0e38, 0.0], dtype=np.float32)
    assert np.allclose(decode_raw("x", "BF16", (4,), encode_raw("BF16", exact)), exact, rtol=2**-8)
    odd = np.array([1.0 + 2**-8, 1.0 + 3 * 2**-8, np.nan, np.inf], dtype=np.float32)  # ties: down to even, up to even
    back = decode_raw("x", "BF16", (4,), encode_raw("BF16", odd))
    assert back[0] == 1.0 and back[1] == 1.0 + 2**-6 and np.isnan(back[2]) and np.isinf(back[3])


@pytest.mark.parametrize(
    ("datatype", "raw", "says"),
    [
        ("FP32", b"\0" * 28, "needs 32, got 28"),
        ("FP32", b"\0" * 36, "needs 32, got 36"),
        ("BYTES", b"\x01\0\0\0a\x05\0\0\0b", "says 5 bytes, 1 are left"),
        ("BYTES", b"\x01\0\0\0a\x05\0", "cut off"),
        ("BYTES", b"\x01\0\0\0a", "needs 8 BYTES elements, got 1"),
        ("BYTES", b"\0\0\0\0" * 9, "more than 8"),
    ],
)
def test_bytes_that_do_not_fit_their_shape_are_refused(datatype: str, raw: bytes, says: str) -> None:
    with pytest.raises(TensorError, match=says):
        decode_raw("x", datatype, (4, 2), raw)


@pytest.mark.parametrize(
    ("datatype", "contents", "says"),
    [
        ("FP32", {"int_contents": [1, 2]}, "belongs into fp32_contents, got int_contents"),
        ("FP32", {"fp32_contents": [1.0]}, "needs 2 elements"),
        ("FP16", {"fp32_contents": [1.0, 2.0]}, "no typed form"),
        ("INT8", {"int_contents": [1, 300]}, "does not fit INT8"),
        ("UINT8", {"uint_contents": [1, 256]}, "does not fit UINT8"),
    ],
)
def test_typed_contents_that_do_not_fit_are_refused(datatype: str, contents: dict[str, list[float]], says: str) -> None:
    with pytest.raises(TensorError, match=says):
        decode_typed("x", datatype, (2,), contents)


def test_a_shape_beyond_any_memory_is_refused_without_allocating() -> None:
    with pytest.raises(TensorError, match="got 4"):
        decode_raw("x", "FP32", (2**62, 64), b"\0" * 4)
