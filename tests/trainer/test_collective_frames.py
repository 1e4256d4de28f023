"""A frame's bytes are the protobuf message of collective.proto, in both directions, and nothing else passes for one."""

from __future__ import annotations

import pytest
from ringyard_trainer.collective.frames import BadFrame, Header, decode, encode_header
from ringyard_trainer.protos import collective_pb2 as pb

HEADERS = [
    Header(1, 1, 0, 0),
    Header(3, 200, 7, 2**40, 13, 6, 129),
    Header(2**63, 2**64 - 1, 2**32 - 1, 0, 0, 2**31, 2**32 - 1),
]


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000])
def test_protobuf_reads_what_we_write(header: Header, data: bytes) -> None:
    frame = pb.Frame.FromString(encode_header(header, len(data)) + data)
    assert (frame.term, frame.number, frame.sender, frame.op) == (header.term, header.number, header.sender, header.op)
    assert (frame.phase, frame.segment, frame.chunk) == (header.phase, header.segment, header.chunk)
    assert frame.data == data


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("data", [b"", b"x", bytes(range(256)) * 1000])
def test_we_read_what_protobuf_writes(header: Header, data: bytes) -> None:
    frame = pb.Frame(
        term=header.term,
        number=header.number,
        sender=header.sender,
        op=header.op,
        phase=header.phase,
        segment=header.segment,
        chunk=header.chunk,
        data=data,
    )
    read, payload = decode(frame.SerializeToString())
    assert read == header
    assert bytes(payload) == data


def test_fields_of_a_later_version_are_passed_over() -> None:
    later = b"\x78\x05" + b"\x82\x01\x03abc" + b"\x8d\x01\x00\x00\x00\x00" + b"\x91\x01" + bytes(8)
    header, payload = decode(later + encode_header(Header(1, 2, 3, 4, 5, 6, 7), 2) + b"ok" + later)
    assert header == Header(1, 2, 3, 4, 5, 6, 7)
    assert bytes(payload) == b"ok"


@pytest.mark.parametrize("length", [1, -1, -2, -3])
def test_a_frame_that_is_cut_off_is_refused(length: int) -> None:
    whole = encode_header(Header(1, 2, 3, 4, 5, 6, 7), 2) + b"ok"
    with pytest.raises(BadFrame):
        decode(whole[:length])


def test_noise_is_refused() -> None:
    with pytest.raises(BadFrame):
        decode(b"\xff" * 20)
