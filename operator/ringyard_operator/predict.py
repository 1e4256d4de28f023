"""A small client of the Open Inference Protocol v2: raw features in, predictions out.

The command line calls it for `ringyard predict`; any OIP server may answer. It asks the model for its signature,
checks the rows against it so that a mistake is named in the user's words, and sends them as raw tensors. It knows no
files and no jobs. Source: open-inference-protocol/specification/protocol/inference_grpc.md.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from numpy.typing import NDArray
from ringyard_api.protos import inference_pb2 as pb
from ringyard_api.protos.inference_pb2_grpc import GRPCInferenceServiceStub

ROWS_PER_REQUEST = 256  # well under every server's message limit; all requests after the first pin its version
MESSAGE_BYTES = 256 * 1024 * 1024

_NUMPY: Mapping[str, str] = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}


class Fault(StrEnum):
    """Who has to act: it decides the exit code."""

    ROWS = "rows"  # the rows do not fit the model
    UNKNOWN = "unknown"  # no such model or version there
    SERVER = "server"  # nothing answers, or not with a prediction
    TIMEOUT = "timeout"


class PredictionError(Exception):
    """One sentence that says why there is no prediction, and whose fault it is."""

    def __init__(self, message: str, fault: Fault) -> None:
        super().__init__(message)
        self.fault = fault


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One input of a model's signature. `shape[0]` is the batch, -1 = any length."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Values that one row holds of this tensor."""
        return int(np.prod([abs(size) for size in self.shape[1:]], dtype=np.int64))


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The answer: which version gave it, and for each row the outputs by name (a value, or a list of values)."""

    model: str
    version: str
    rows: tuple[Mapping[str, Any], ...]


class Client:
    """One connection to a model server. Use it as a context; every call raises `PredictionError` only."""

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        """Dials `address` (host:port) at the first call; `timeout` is in seconds, for each request."""
        options = [("grpc.max_receive_message_length", MESSAGE_BYTES), ("grpc.enable_http_proxy", 0)]
        self._address, self._timeout = address, timeout
        self._channel = grpc.insecure_channel(address, options=options)
        self._stub = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._channel.close()

    def predict(self, model: str, rows: Sequence[Any], *, version: str = "") -> Prediction:
        """Predicts rows (each a list of raw features, or an object by feature name), in order.

        All rows are answered by one version.
        """
        inputs, features = self._signature(model, version)
        matrix = [flatten(row, at, inputs, features) for at, row in enumerate(rows, start=1)]
        answers: list[Mapping[str, Any]] = []
        for start in range(0, len(matrix), ROWS_PER_REQUEST):
            request = _request(model, version, inputs, matrix[start : start + ROWS_PER_REQUEST])
            try:
                response = self._stub.ModelInfer(request, timeout=self._timeout)
            except grpc.RpcError as error:
                raise self._translated(error, model, version) from error
            version = response.model_version
            answers.extend(_rows(response))
        return Prediction(model=model, version=version, rows=tuple(answers))

    def _signature(self, model: str, version: str) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        """The inputs, and the names of a single input's columns if the server tells them (a Ringyard does)."""
        try:
            about = self._stub.ModelMetadata(
                pb.ModelMetadataRequest(name=model, version=version), timeout=self._timeout
            )
        except grpc.RpcError as error:
            raise self._translated(error, model, version) from error
        inputs = tuple(Tensor(name=x.name, datatype=x.datatype, shape=tuple(x.shape)) for x in about.inputs)
        return inputs, _names(about.properties.get("features", ""))

    def _translated(self, error: grpc.RpcError, model: str, version: str) -> PredictionError:
        code, details = error.code(), " ".join(str(error.details()).split())
        what = f"{model} version {version}" if version else model
        if code is grpc.StatusCode.INVALID_ARGUMENT:
            return PredictionError(f"the model server refused the rows for {what}: {details}", Fault.ROWS)
        if code is grpc.StatusCode.NOT_FOUND:
            return PredictionError(
                f"the model server at {self._address} does not know {what}: {details}", Fault.UNKNOWN
            )
        if code is grpc.StatusCode.DEADLINE_EXCEEDED:
            return PredictionError(
                f"the model server at {self._address} did not answer within {self._timeout:g} s", Fault.TIMEOUT
            )
        return PredictionError(
            f"the model server at {self._address} gave no answer ({code.name}): {details}", Fault.SERVER
        )


def _names(text: str) -> tuple[str, ...]:
    """A JSON list of names; anything else is of another server's making, and means something else."""
    try:
        names = json.loads(text or "[]")
    except ValueError:
        return ()
    return tuple(names) if isinstance(names, list) and all(isinstance(each, str) for each in names) else ()


def parse_rows(text: str) -> list[Any]:
    """Rows from text: a JSON list of rows, one row, or JSON lines. Raises `PredictionError` with the line at fault."""
    if not text.strip():
        raise PredictionError("there are no rows: give a JSON list of rows, or one row a line", Fault.ROWS)
    try:
        value = json.loads(text)
    except ValueError as whole:
        return list(_lines(text, whole))
    if isinstance(value, dict):
        return [value]
    if not isinstance(value, list):
        raise PredictionError(f"rows must be a JSON list of rows, got {_kind(value)}", Fault.ROWS)
    if not value:
        raise PredictionError("the list of rows is empty: give at least one row", Fault.ROWS)
    return value if isinstance(value[0], list | dict) else [value]


def _lines(text: str, whole: ValueError) -> Iterator[Any]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), start=1) if line.strip()]
    for number, line in lines:
        try:
            row = json.loads(line)
        except ValueError as error:
            if number == lines[0][0]:
                raise PredictionError(f"the rows are not JSON: {whole}", Fault.ROWS) from error
            raise PredictionError(f"the rows are not JSON: line {number}: {error}", Fault.ROWS) from error
        if not isinstance(row, list | dict):
            raise PredictionError(f"line {number} must be a list or an object, got {_kind(row)}", Fault.ROWS)
        yield row


def flatten(row: Any, number: int, inputs: Sequence[Tensor], features: Sequence[str] | None) -> list[Any]:
    """One row as the flat list of values of all inputs in order. `number` counts from 1, for messages."""
    names = list(features) if features and len(inputs) == 1 else [tensor.name for tensor in inputs]
    if isinstance(row, dict):
        row = _by_name(row, number, names)
    if not isinstance(row, list):
        raise PredictionError(f"row {number} must be a list or an object, got {_kind(row)}", Fault.ROWS)
    flat, wanted = list(_leaves(row)), sum(tensor.width for tensor in inputs)
    if len(flat) != wanted:
        raise PredictionError(f"row {number} has {len(flat)} values, the model takes {wanted} features", Fault.ROWS)
    at = 0
    for tensor in inputs:
        _check(flat[at : at + tensor.width], tensor, number)
        at += tensor.width
    return flat


def _check(values: Sequence[Any], tensor: Tensor, number: int) -> None:
    if tensor.datatype == "BYTES":
        return
    whole = "INT" in tensor.datatype
    for value in values:
        if value is None and not whole:
            continue  # a missing value, which the model may impute
        if not isinstance(value, int | float):
            raise PredictionError(f"row {number}: {value!r} is not a number, as input {tensor.name} needs", Fault.ROWS)
        if whole and value != value // 1:
            raise PredictionError(f"row {number}: {value!r} is not whole, as input {tensor.name} needs", Fault.ROWS)


def _by_name(row: Mapping[str, Any], number: int, names: Sequence[str]) -> list[Any]:
    for key in row:
        if key not in names:
            near = difflib.get_close_matches(key, names, n=1)
            hint = f"did you mean {near[0]!r}" if near else f"the model takes {', '.join(names[:8])}"
            raise PredictionError(f"row {number}: unknown feature {key!r}, {hint}", Fault.ROWS)
    missing = [name for name in names if name not in row]
    if missing:
        raise PredictionError(f"row {number}: feature {missing[0]!r} is missing", Fault.ROWS)
    return [row[name] for name in names]


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _request(model: str, version: str, inputs: Sequence[Tensor], rows: Sequence[Sequence[Any]]) -> pb.ModelInferRequest:
    request = pb.ModelInferRequest(model_name=model, model_version=version)
    start = 0
    for tensor in inputs:
        values = [row[start : start + tensor.width] for row in rows]
        start += tensor.width
        shape = [len(rows), *(abs(size) for size in tensor.shape[1:])]
        request.inputs.add(name=tensor.name, datatype=tensor.datatype, shape=shape)
        request.raw_input_contents.append(_encode(tensor, values))
    return request


def _encode(tensor: Tensor, rows: Sequence[Sequence[Any]]) -> bytes:
    if tensor.datatype == "BYTES":
        texts = ["" if value is None else str(value) for row in rows for value in row]
        return b"".join(len(data).to_bytes(4, "little") + data for data in (text.encode() for text in texts))
    kind = _NUMPY.get(tensor.datatype)
    if kind is None:
        raise PredictionError(
            f"input {tensor.name} has datatype {tensor.datatype}, which rows cannot give", Fault.SERVER
        )
    filled = [[float("nan") if value is None else value for value in row] for row in rows]
    try:
        return np.array(filled, dtype=kind).tobytes()
    except (ValueError, OverflowError) as error:
        raise PredictionError(f"the rows do not fit {tensor.datatype}: {error}", Fault.ROWS) from error


def _rows(response: pb.ModelInferResponse) -> list[Mapping[str, Any]]:
    if not response.outputs or len(response.raw_output_contents) != len(response.outputs):
        raise PredictionError("the model server answered without raw outputs", Fault.SERVER)
    columns: dict[str, list[Any]] = {}
    for output, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        columns[output.name] = _decode(output.datatype, tuple(output.shape), raw)
    count = min(len(values) for values in columns.values())
    return [{name: values[at] for name, values in columns.items()} for at in range(count)]


def _decode(datatype: str, shape: tuple[int, ...], raw: bytes) -> list[Any]:
    if datatype == "BYTES":
        array: NDArray[Any] = np.array(list(_strings(raw)), dtype=object)
    elif datatype in _NUMPY:
        array = np.frombuffer(raw, dtype=_NUMPY[datatype])
    else:
        raise PredictionError(f"the model server answered with datatype {datatype}, which is unknown", Fault.SERVER)
    values: list[Any] = array.reshape(shape).tolist()
    if len(shape) == 2 and shape[1] == 1:
        return [row[0] for row in values]  # one value a row needs no list around it
    return values


def _strings(raw: bytes) -> Iterator[str]:
    at = 0
    while at < len(raw):
        size = int.from_bytes(raw[at : at + 4], "little")
        yield raw[at + 4 : at + 4 + size].decode("utf-8", "replace")
        at += 4 + size


def _kind(value: Any) -> str:
    return {type(None): "null", bool: "a boolean", str: "a string", dict: "an object"}.get(type(value), "a number")
