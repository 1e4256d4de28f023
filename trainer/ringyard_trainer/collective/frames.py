"""What one frame between members says, and its bytes: the protobuf message `ringyard.collective.v1.Frame`, by hand.

By hand because a parsed protobuf copies its bytes field once more on each side, and the payload is most of the work.
`encode_header` + payload is the canonical encoding but for zeros, which it writes (legal proto3); `decode` reads any
valid encoding. `session` decodes, `engine` encodes. It knows no transport.
"""

from __future__ import annotations

from dataclasses import dataclass

_FIELDS = 7  # 1–7 are varints (collective.proto), 8 is the payload
_DATA_TAG = 8 << 3 | 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class BadFrame(ValueError):
    """Not a frame."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where a payload belongs. `op` counts the operations of one view from 0, the same on all ranks."""

    term: int
    number: int
    sender: int
    op: int
    phase: int = 0
    segment: int = 0
    chunk: int = 0


def encode_header(header: Header, length: int) -> bytes:
    """The bytes in front of a payload of `length` bytes."""
    out = bytearray()
    values = (header.term, header.number, header.sender, header.op, header.phase, header.segment, header.chunk)
    for field, value in enumerate(values, start=1):
        out.append(field << 3)
        _put(out, value)
    out.append(_DATA_TAG)
    _put(out, length)
    return bytes(out)


def decode(message: bytes) -> tuple[Header, memoryview]:
    """Header and payload of one frame; the payload is a view into `message`. Raises `BadFrame`."""
    values = [0] * (_FIELDS + 1)
    data = memoryview(b"")
    position, end = 0, len(message)
    try:
        while position < end:
            tag, position = _take(message, position)
            field, kind = tag >> 3, tag & 7
            if kind == _VARINT:
                value, position = _take(message, position)
                if 1 <= field <= _FIELDS:
                    values[field] = value
            elif kind == _BYTES:
                length, position = _take(message, position)
                if field == _FIELDS + 1:
                    data = memoryview(message)[position : position + length]
                position += length
            elif kind in (_FIXED32, _FIXED64):
                position += 4 if kind == _FIXED32 else 8
            else:
                raise BadFrame(f"wire type {kind} at byte {position}")
    except IndexError:
        raise BadFrame("cut off") from None
    if position != end:
        raise BadFrame("cut off")
    return Header(*values[1:]), data


def _put(out: bytearray, value: int) -> None:
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def _take(message: bytes, position: int) -> tuple[int, int]:
    byte = message[position]
    if byte < 0x80:
        return byte, position + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        position += 1
        byte = message[position]
        value |= (byte & 0x7F) << shift
        shift += 7
        if shift > 70:
            raise BadFrame("a number of more than 10 bytes")
    return value, position + 1
