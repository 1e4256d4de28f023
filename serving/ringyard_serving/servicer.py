"""The Open Inference Protocol on one side, the repository on the other: a translator and nothing more.

Every RPC turns messages into plain values, asks a core, and turns the answer or the `Refusal` back. The server's shell
mounts `handlers`. Spec: open-inference-protocol/specification/protocol/inference_grpc.md; where it is silent, Triton.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from ringyard_api.protos import inference_pb2 as pb

from ringyard_serving import tensors
from ringyard_serving.compute import Compute
from ringyard_serving.errors import STATUS, Refusal, Situation
from ringyard_serving.metrics import ServerMetrics
from ringyard_serving.repository import Model, Phase, Repository
from ringyard_serving.signature import Tensor, check_inputs, check_outputs

_log = logging.getLogger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]
Array = NDArray[Any]


class InferenceServicer:
    """Answers for one model."""

    def __init__(self, repository: Repository, compute: Compute, metrics: ServerMetrics, build: str) -> None:
        """`build` is the version of this software, for ServerMetadata."""
        self.draining = False  # set by the shell: not ready, but every call is still answered
        self._build = build
        self._repository = repository
        self._compute = compute
        self._metrics = metrics

    @property
    def ready(self) -> bool:
        """Whether callers should be sent here."""
        return self._repository.ready and not self.draining

    async def server_live(self, request: pb.ServerLiveRequest, context: Context) -> pb.ServerLiveResponse:
        """The process answers."""
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, request: pb.ServerReadyRequest, context: Context) -> pb.ServerReadyResponse:
        """A version answers, and the server is not draining."""
        return pb.ServerReadyResponse(ready=self.ready)

    async def model_ready(self, request: pb.ModelReadyRequest, context: Context) -> pb.ModelReadyResponse:
        """False for what does not exist, as Triton says it."""
        known = request.name == self._repository.name
        return pb.ModelReadyResponse(ready=known and self._repository.is_ready(request.version) and not self.draining)

    async def server_metadata(self, request: pb.ServerMetadataRequest, context: Context) -> pb.ServerMetadataResponse:
        """Who answers."""
        return pb.ServerMetadataResponse(name="ringyard", version=self._build, extensions=[])

    async def model_metadata(self, request: pb.ModelMetadataRequest, context: Context) -> pb.ModelMetadataResponse:
        """The signature of the version named, or of the one that would answer."""
        self._check_model(request.name)
        with self._repository.lease(request.version) as (version, model):
            ready = [slot.want.version for slot in self._repository.slots if slot.phase is Phase.READY]
            return pb.ModelMetadataResponse(
                name=request.name,
                versions=[version] if request.version else ready,
                platform=model.platform,
                inputs=[_metadata(tensor) for tensor in model.inputs],
                outputs=[_metadata(tensor) for tensor in model.outputs],
                properties={"features": json.dumps(list(model.features))} if model.features else {},
            )

    async def model_infer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Raw or typed tensors in, raw tensors out."""
        started = time.monotonic()
        version, code = "", grpc.StatusCode.CANCELLED  # what stands if the caller leaves before the end
        try:
            self._check_model(request.model_name)
            with self._repository.lease(request.model_version) as (version, model):
                response = await self._infer(request, context, version, model)
            code = grpc.StatusCode.OK
            return response
        except Refusal as refusal:
            code = grpc.StatusCode[STATUS[refusal.situation]]
            raise
        finally:
            self._metrics.answered(self._repository.name, version, code.name, time.monotonic() - started)

    async def _infer(
        self, request: pb.ModelInferRequest, context: Context, version: str, model: Model
    ) -> pb.ModelInferResponse:
        name = request.model_name
        given = [Tensor(name=i.name, datatype=i.datatype, shape=tuple(i.shape)) for i in request.inputs]
        check_inputs(name, model.inputs, given)
        wanted = check_outputs(name, [t.name for t in model.outputs], [output.name for output in request.outputs])
        inputs = _decode(request, given)
        try:
            outputs, seconds = await self._compute.run(model, inputs, context.time_remaining())
        except Refusal:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a model raises is one status, without its stack
            _log.exception("model '%s' version %s raised", name, version)
            said = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise Refusal(
                Situation.MODEL_FAILED, f"model '{name}' version {version} failed on this request: {said}"
            ) from None
        self._metrics.computed(name, version, seconds)
        return _response(request, version, [(t, outputs[t.name]) for o in wanted for t in model.outputs if t.name == o])

    def _check_model(self, name: str) -> None:
        if name != self._repository.name:
            raise Refusal(Situation.UNKNOWN, f"unknown model '{name}'; this server serves '{self._repository.name}'")


def handlers(servicer: InferenceServicer) -> grpc.GenericRpcHandler:
    """The service as gRPC takes it. A request that does not parse is INVALID_ARGUMENT, not UNKNOWN."""
    table: Mapping[str, tuple[Any, Callable[[Any, Context], Awaitable[Any]]]] = {
        "ServerLive": (pb.ServerLiveRequest, servicer.server_live),
        "ServerReady": (pb.ServerReadyRequest, servicer.server_ready),
        "ModelReady": (pb.ModelReadyRequest, servicer.model_ready),
        "ServerMetadata": (pb.ServerMetadataRequest, servicer.server_metadata),
        "ModelMetadata": (pb.ModelMetadataRequest, servicer.model_metadata),
        "ModelInfer": (pb.ModelInferRequest, servicer.model_infer),
    }
    return grpc.method_handlers_generic_handler(
        "inference.GRPCInferenceService", {name: _handler(*entry) for name, entry in table.items()}
    )


def _handler(message: Any, method: Callable[[Any, Context], Awaitable[Any]]) -> grpc.RpcMethodHandler[Any, Any]:
    def parse(data: bytes) -> Any:
        try:
            return message.FromString(data)
        except DecodeError:
            return None

    async def answer(request: Any, context: Context) -> Any:
        try:
            if request is None:
                raise Refusal(Situation.BAD_REQUEST, f"the request is not a {message.DESCRIPTOR.full_name}")
            return await method(request, context)
        except Refusal as refusal:
            await context.abort(grpc.StatusCode[STATUS[refusal.situation]], str(refusal))

    return grpc.unary_unary_rpc_method_handler(answer, parse, lambda response: response.SerializeToString())


def _metadata(tensor: Tensor) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)


def _decode(request: pb.ModelInferRequest, given: Sequence[Tensor]) -> dict[str, Array]:
    raw = request.raw_input_contents
    typed = [tensor.name for tensor in request.inputs if tensor.HasField("contents")]
    if raw and typed:
        raise Refusal(
            Situation.BAD_REQUEST, f"input '{typed[0]}': contents must not be given together with raw_input_contents"
        )
    if raw and len(raw) != len(given):
        raise Refusal(Situation.BAD_REQUEST, f"{len(raw)} entries in raw_input_contents for {len(given)} inputs")
    if not raw and len(typed) != len(given):
        missing = next(tensor.name for tensor in given if tensor.name not in typed)
        raise Refusal(Situation.BAD_REQUEST, f"unable to find data for input '{missing}': neither raw nor contents")
    try:
        if raw:
            return {
                t.name: tensors.decode_raw(t.name, t.datatype, t.shape, data)
                for t, data in zip(given, raw, strict=True)
            }
        return {
            t.name: tensors.decode_typed(
                t.name, t.datatype, t.shape, {f.name: v for f, v in message.contents.ListFields()}
            )
            for t, message in zip(given, request.inputs, strict=True)
        }
    except tensors.TensorError as error:
        raise Refusal(Situation.BAD_REQUEST, str(error)) from None


def _response(
    request: pb.ModelInferRequest, version: str, outputs: Sequence[tuple[Tensor, Array]]
) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
    for tensor, array in outputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=array.shape)
        response.raw_output_contents.append(tensors.encode_raw(tensor.datatype, array))
    return response
