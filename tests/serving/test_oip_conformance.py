"""The Open Inference Protocol as tritonclient, which none of us wrote, sees it; error cases with their status."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import served_models
import torch
import tritonclient.grpc as triton
from ringyard_api import preprocess
from ringyard_api.artifact import TensorSpec
from ringyard_api.protos import inference_pb2 as pb
from ringyard_api.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from ringyard_api.trainingjob import PreprocessStep
from served_process import Served, serving
from tritonclient.utils import InferenceServerException

MODEL = "toy"
F = served_models.FEATURES
DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A classifier as version 1."""
    folder = tmp_path_factory.mktemp("served")
    digest = served_models.softmax(folder / "model")
    with serving(folder / "state", MODEL, [served_models.version(1, folder / "model", digest)]) as server:
        server.wait_for("1", "READY")
        yield server


@pytest.fixture(scope="module")
def client(served: Served) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(served.url) as client:
        yield client


@pytest.fixture(scope="module")
def stub(served: Served) -> Iterator[GRPCInferenceServiceStub]:
    with grpc.insecure_channel(served.url, options=(("grpc.max_send_message_length", -1),)) as channel:
        yield GRPCInferenceServiceStub(channel)


def rows(count: int = 2) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).standard_normal((count, F)).astype(np.float32)


def given(array: np.ndarray[Any, Any], datatype: str = "FP32", name: str = "input") -> triton.InferInput:
    tensor = triton.InferInput(name, list(array.shape), datatype)
    tensor.set_data_from_numpy(array)
    return tensor


def expected(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    module = served_models.Softmax(seed=1).eval()
    with torch.inference_mode():
        return np.asarray(module(torch.tensor(array))[0].numpy())


def test_server_and_model_say_that_they_are_ready(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(MODEL) and client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready(MODEL, "99")
    assert not client.is_model_ready("nobody")
    assert client.get_server_metadata().name == "ringyard"


def test_metadata_gives_the_whole_signature(client: triton.InferenceServerClient) -> None:
    metadata = client.get_model_metadata(MODEL)
    assert list(metadata.versions) == ["1"] and metadata.platform == "torch.export"
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [("input", "FP32", [-1, F])]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("probabilities", "FP32", [-1, served_models.CLASSES]),
        ("label", "INT64", [-1]),
    ]


def test_raw_tensors_give_the_models_answer_and_the_id_back(client: triton.InferenceServerClient) -> None:
    result = client.infer(MODEL, [given(rows(5))], request_id="seventeen")
    assert result.get_response().id == "seventeen" and result.get_response().model_version == "1"
    np.testing.assert_allclose(result.as_numpy("probabilities"), expected(rows(5)), rtol=1e-5)
    assert result.as_numpy("label").tolist() == expected(rows(5)).argmax(axis=1).tolist()


def test_typed_contents_give_the_same_answer_as_raw_ones(stub: GRPCInferenceServiceStub) -> None:
    request = base()
    del request.raw_input_contents[:]
    request.inputs[0].contents.fp32_contents.extend(rows().reshape(-1).tolist())
    response = stub.ModelInfer(request)
    got = np.frombuffer(response.raw_output_contents[0], "<f4").reshape(2, -1)
    np.testing.assert_allclose(got, expected(rows()), rtol=1e-5)


def test_only_the_requested_outputs_come_in_the_order_asked(client: triton.InferenceServerClient) -> None:
    wanted = [triton.InferRequestedOutput("label"), triton.InferRequestedOutput("probabilities")]
    assert [o.name for o in client.infer(MODEL, [given(rows())], outputs=wanted).get_response().outputs] == [
        "label",
        "probabilities",
    ]
    only = client.infer(MODEL, [given(rows())], outputs=wanted[:1]).get_response()
    assert [o.name for o in only.outputs] == ["label"] and len(only.raw_output_contents) == 1


def base() -> pb.ModelInferRequest:
    """A request that is right."""
    request = pb.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="input", datatype="FP32", shape=[2, F])
    request.raw_input_contents.append(rows().tobytes())
    return request


def shaped(*shape: int, size: int | None = None) -> Callable[[pb.ModelInferRequest], None]:
    def change(request: pb.ModelInferRequest) -> None:
        request.inputs[0].shape[:] = shape
        request.raw_input_contents[0] = b"\0" * (4 * abs(int(np.prod(shape))) if size is None else size)

    return change


def no_inputs(request: pb.ModelInferRequest) -> None:
    del request.inputs[:], request.raw_input_contents[:]


def extra_input(request: pb.ModelInferRequest) -> None:
    request.inputs.add(name="other", datatype="FP32", shape=[2, F])
    request.raw_input_contents.append(rows().tobytes())


def doubled_input(request: pb.ModelInferRequest) -> None:
    request.inputs.add().CopyFrom(request.inputs[0])
    request.raw_input_contents.append(rows().tobytes())


def both(request: pb.ModelInferRequest) -> None:
    request.inputs[0].contents.fp32_contents.extend([0.0] * 2 * F)


def typed(field: str, count: int) -> Callable[[pb.ModelInferRequest], None]:
    def change(request: pb.ModelInferRequest) -> None:
        del request.raw_input_contents[:]
        getattr(request.inputs[0].contents, field).extend([0] * count)

    return change


def datatype(name: str) -> Callable[[pb.ModelInferRequest], None]:
    return lambda request: setattr(request.inputs[0], "datatype", name)


def outputs(*names: str) -> Callable[[pb.ModelInferRequest], None]:
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in names]
    return lambda request: request.outputs.extend(wanted)


WRONG: Mapping[str, tuple[Callable[[pb.ModelInferRequest], Any], grpc.StatusCode, str]] = {
    "unknown model": (
        lambda r: setattr(r, "model_name", "nobody"),
        grpc.StatusCode.NOT_FOUND,
        "unknown model 'nobody'",
    ),
    "path as model": (lambda r: setattr(r, "model_name", "../etc"), grpc.StatusCode.NOT_FOUND, "unknown model"),
    "unknown version": (lambda r: setattr(r, "model_version", "99"), grpc.StatusCode.NOT_FOUND, "has no version 99"),
    "version by word": (
        lambda r: setattr(r, "model_version", "latest"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "'latest' is not a number",
    ),
    "no inputs": (no_inputs, grpc.StatusCode.INVALID_ARGUMENT, "expects 1 inputs, got 0; missing 'input'"),
    "extra input": (extra_input, grpc.StatusCode.INVALID_ARGUMENT, "no input 'other'"),
    "input twice": (doubled_input, grpc.StatusCode.INVALID_ARGUMENT, "given twice"),
    "wrong datatype": (datatype("INT64"), grpc.StatusCode.INVALID_ARGUMENT, "is INT64, but the model expects FP32"),
    "no such datatype": (datatype("FP31"), grpc.StatusCode.INVALID_ARGUMENT, "'FP31' is none of"),
    "wrong width": (shaped(2, F - 1), grpc.StatusCode.INVALID_ARGUMENT, f"expected [-1, {F}], got [2, {F - 1}]"),
    "rank 1": (shaped(F), grpc.StatusCode.INVALID_ARGUMENT, "unexpected rank"),
    "rank 0": (shaped(), grpc.StatusCode.INVALID_ARGUMENT, "unexpected rank"),
    "batch 0": (shaped(0, F), grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape"),
    "negative batch": (shaped(-2, F), grpc.StatusCode.INVALID_ARGUMENT, "unexpected shape"),
    "overflow": (shaped(2**62, F, size=4), grpc.StatusCode.INVALID_ARGUMENT, "larger than any message"),
    "raw 4 bytes short": (shaped(2, F, size=8 * F - 4), grpc.StatusCode.INVALID_ARGUMENT, "byte size mismatch"),
    "raw 4 bytes long": (shaped(2, F, size=8 * F + 4), grpc.StatusCode.INVALID_ARGUMENT, "byte size mismatch"),
    "two raw entries": (
        lambda r: r.raw_input_contents.append(b"1234"),
        grpc.StatusCode.INVALID_ARGUMENT,
        "2 entries in raw_input_contents for 1 inputs",
    ),
    "raw and contents": (both, grpc.StatusCode.INVALID_ARGUMENT, "together with raw_input_contents"),
    "neither raw nor contents": (
        lambda r: r.raw_input_contents.pop(),
        grpc.StatusCode.INVALID_ARGUMENT,
        "unable to find data for input 'input'",
    ),
    "typed in the wrong field": (
        typed("int_contents", 2 * F),
        grpc.StatusCode.INVALID_ARGUMENT,
        "belongs into fp32_contents",
    ),
    "typed, one too few": (typed("fp32_contents", 2 * F - 1), grpc.StatusCode.INVALID_ARGUMENT, "needs 8 elements"),
    "unknown output": (outputs("NOPE"), grpc.StatusCode.INVALID_ARGUMENT, "no output 'NOPE'"),
    "output twice": (outputs("label", "label"), grpc.StatusCode.INVALID_ARGUMENT, "requested twice"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_gets_its_status_and_a_sentence(stub: GRPCInferenceServiceStub, case: str) -> None:
    change, status, says = WRONG[case]
    request = base()
    change(request)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=20)
    assert caught.value.code() is status and says in caught.value.details()  # type: ignore[attr-defined]
    stub.ModelInfer(base(), timeout=20)  # and hurts nobody after it


def test_parameters_that_are_not_known_do_no_harm(stub: GRPCInferenceServiceStub) -> None:
    request = base()
    request.parameters["priority"].int64_param = 3
    assert stub.ModelInfer(request).outputs


def test_a_request_that_does_not_parse_is_an_invalid_argument(served: Served) -> None:
    with grpc.insecure_channel(served.url) as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff\xff\xff", timeout=20)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]


def test_a_message_over_the_limit_is_resource_exhausted(stub: GRPCInferenceServiceStub) -> None:
    request = base()
    request.raw_input_contents[0] = bytes(65 * 1024 * 1024)
    with pytest.raises(grpc.RpcError) as caught:
        stub.ModelInfer(request, timeout=60)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # type: ignore[attr-defined]


def test_metadata_of_an_unknown_model_is_not_found(client: triton.InferenceServerClient) -> None:
    for arguments in (("nobody",), (MODEL, "99")):
        with pytest.raises(InferenceServerException) as caught:
            client.get_model_metadata(*arguments)
        assert caught.value.status() == "StatusCode.NOT_FOUND"
    with pytest.raises(InferenceServerException) as caught:
        client.is_model_ready(MODEL, "abc")
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_shared_memory_is_unimplemented(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.get_system_shared_memory_status()
    assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_metrics_count_requests_by_status_and_no_callers_words(served: Served, stub: GRPCInferenceServiceStub) -> None:
    stub.ModelInfer(base())
    with pytest.raises(grpc.RpcError):
        stub.ModelInfer(pb.ModelInferRequest(model_name="flood"))
    text = urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=10).read().decode()
    assert 'ringyard_server_requests_total{code="OK",model="toy",version="1"}' in text
    assert 'ringyard_server_requests_total{code="NOT_FOUND",model="toy",version=""}' in text
    assert 'ringyard_server_model_versions{model="toy",phase="ready"} 1.0' in text
    assert 'ringyard_server_request_seconds_bucket{le="0.001",model="toy",version="1"}' in text
    assert "flood" not in text


def test_every_datatype_makes_the_round_trip_through_a_model(tmp_path: Path) -> None:
    names = sorted(DTYPES)
    program = served_models.export(served_models.Echo(), *(torch.zeros(2, 3).to(DTYPES[name]) for name in names))
    inputs = [TensorSpec(name=name.lower(), datatype=name, shape=(-1, 3)) for name in names]
    answers = [TensorSpec(name=f"{name.lower()}_out", datatype=name, shape=(-1, 3)) for name in names]
    digest = served_models.write(tmp_path / "m", program, inputs, answers)
    values = {name: torch.tensor([[0, 1, 2], [3, 1, 0]]).to(DTYPES[name]).numpy() for name in names}
    with serving(tmp_path / "s", MODEL, [served_models.version(1, tmp_path / "m", digest)]) as served:
        served.wait_for("1", "READY")
        with triton.InferenceServerClient(served.url) as client:
            result = client.infer(MODEL, [given(values[n], n, n.lower()) for n in reversed(names)])
            for name in names:
                assert np.array_equal(result.as_numpy(f"{name.lower()}_out"), values[name])


def test_preprocessing_is_replayed_on_raw_features(tmp_path: Path) -> None:
    columns = {f"f{number}": rows(50)[:, number] * 9 + number for number in range(F)}
    raw = np.stack(list(columns.values()), axis=1)
    pipeline = preprocess.fit((PreprocessStep(name="standardize", args={}),), columns)
    digest = served_models.softmax(tmp_path / "m", preprocessing=pipeline.to_json())
    with serving(tmp_path / "s", MODEL, [served_models.version(1, tmp_path / "m", digest)]) as served:
        served.wait_for("1", "READY")
        with triton.InferenceServerClient(served.url) as client:
            got = client.infer(MODEL, [given(raw)]).as_numpy("probabilities")
            np.testing.assert_allclose(got, expected(pipeline.apply(raw).astype(np.float32)), rtol=1e-4)
            raw[3, 1] = np.nan
            with pytest.raises(InferenceServerException, match="column 'f1' has no value in row 3") as caught:
                client.infer(MODEL, [given(raw)])
            assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_class_labels_are_spelt_where_the_manifest_signs_for_text(tmp_path: Path) -> None:
    label = TensorSpec(name="label", datatype="BYTES", shape=(-1,))
    digest = served_models.softmax(tmp_path / "m", label=label, labels=("rose", "tulip", "élan"))
    with serving(tmp_path / "s", MODEL, [served_models.version(1, tmp_path / "m", digest)]) as served:
        served.wait_for("1", "READY")
        with triton.InferenceServerClient(served.url) as client:
            spelt = client.infer(MODEL, [given(rows(9))]).as_numpy("label")
    numbers = expected(rows(9)).argmax(axis=1)
    assert [text.decode() for text in spelt] == [("rose", "tulip", "élan")[number] for number in numbers]


def test_a_model_that_raises_is_internal_with_its_name_and_no_stack(tmp_path: Path) -> None:
    program = served_models.export(served_models.Lookup(), torch.zeros(2, dtype=torch.int64))
    index = TensorSpec(name="index", datatype="INT64", shape=(-1,))
    digest = served_models.write(
        tmp_path / "m", program, [index], [TensorSpec(name="row", datatype="FP32", shape=(-1, 2))]
    )
    with serving(tmp_path / "s", MODEL, [served_models.version(1, tmp_path / "m", digest)]) as served:
        served.wait_for("1", "READY")
        with triton.InferenceServerClient(served.url) as client:
            with pytest.raises(InferenceServerException) as caught:
                client.infer(MODEL, [given(np.array([3, 99]), "INT64", "index")])
            assert caught.value.status() == "StatusCode.INTERNAL"
            assert "model 'toy' version 1 failed" in caught.value.message()
            assert "Traceback" not in caught.value.message() and ".py" not in caught.value.message()
            assert client.infer(MODEL, [given(np.array([3]), "INT64", "index")]).as_numpy("row").shape == (1, 2)
