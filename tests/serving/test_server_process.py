"""The server as a process: deadlines, cancels, health, drain, ports, its owner's silence."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import served_models
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from ringyard_api.protos import inference_pb2 as pb
from ringyard_api.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from served_models import version
from served_process import Served, serving

MODEL = "toy"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A model that takes its time."""
    folder = tmp_path_factory.mktemp("slow")
    program = served_models.export(served_models.Slow(12), served_models.torch.zeros(2, served_models.FEATURES))
    return folder, served_models.write(folder, program, (served_models.ROWS,), (served_models.NUMBER,))


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("quick")
    return folder, served_models.constant(folder, 7)


@pytest.fixture(scope="module")
def slow_served(slow: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One request at a time, at most 4 wait or run."""
    state = tmp_path_factory.mktemp("state")
    with serving(state, MODEL, [version(1, *slow)], "--threads", "1", "--queue", "4") as served:
        served.wait_for("1", "READY")
        yield served


def request() -> pb.ModelInferRequest:
    made = pb.ModelInferRequest(model_name=MODEL)
    made.inputs.add(name="input", datatype="FP32", shape=[1, served_models.FEATURES])
    made.raw_input_contents.append(np.zeros(served_models.FEATURES, dtype=np.float32).tobytes())
    return made


def code(call: grpc.Future) -> grpc.StatusCode:
    """The status that a call ends with."""
    return call.code()  # type: ignore[attr-defined, no-any-return]


def computed(served: Served) -> float:
    """How often the model has run for a request, by the server's own count."""
    import urllib.request

    text = urllib.request.urlopen(f"http://{served.metrics}/metrics", timeout=10).read().decode()
    lines = [line for line in text.splitlines() if line.startswith("ringyard_server_inference_seconds_count")]
    return float(lines[0].split()[-1]) if lines else 0.0


def test_a_deadline_that_passes_in_the_queue_is_never_computed(slow_served: Served) -> None:
    with grpc.insecure_channel(slow_served.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        before = computed(slow_served)
        first = stub.ModelInfer.future(request())
        time.sleep(0.02)
        late = stub.ModelInfer.future(request(), timeout=0.05)
        assert code(late) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert code(first) is grpc.StatusCode.OK
        assert code(stub.ModelInfer.future(request())) is grpc.StatusCode.OK  # comes after whatever was queued
        assert computed(slow_served) - before == 2


def test_cancelled_requests_hurt_nobody(slow_served: Served) -> None:
    with grpc.insecure_channel(slow_served.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        calls = [stub.ModelInfer.future(request()) for _ in range(4)]
        time.sleep(0.05)
        for call in calls[::2]:
            call.cancel()
        assert [code(call) for call in calls[1::2]] == [grpc.StatusCode.OK] * 2


def test_more_requests_than_the_queue_holds_are_resource_exhausted(slow_served: Served) -> None:
    with grpc.insecure_channel(slow_served.url) as channel:
        stub = GRPCInferenceServiceStub(channel)
        codes = [code(call) for call in [stub.ModelInfer.future(request()) for _ in range(12)]]
        assert set(codes) == {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert codes.count(grpc.StatusCode.OK) >= 4


def test_sigterm_says_not_ready_at_once_answers_on_and_ends_with_0(slow: tuple[Path, str], tmp_path: Path) -> None:
    with serving(tmp_path, MODEL, [version(1, *slow)], "--drain-seconds", "1.5") as served:
        served.wait_for("1", "READY")
        with grpc.insecure_channel(served.url) as channel:
            stub, health = GRPCInferenceServiceStub(channel), HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service=MODEL))
            gone = health.Watch(health_pb2.HealthCheckRequest(service=MODEL))
            assert next(gone).status == SERVING
            gone.cancel()  # a watcher that leaves must not silence the others
            assert next(watch).status == SERVING
            assert health.Check(health_pb2.HealthCheckRequest()).status == SERVING
            with pytest.raises(grpc.RpcError) as caught:
                health.Check(health_pb2.HealthCheckRequest(service="nobody"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND  # type: ignore[attr-defined]
            with ThreadPoolExecutor(1) as caller:
                flying = caller.submit(stub.ModelInfer, request())
                served.terminate()
                assert next(watch).status == NOT_SERVING
                assert not stub.ServerReady(pb.ServerReadyRequest()).ready
                assert not stub.ModelReady(pb.ModelReadyRequest(name=MODEL)).ready
                assert stub.ServerLive(pb.ServerLiveRequest()).live
                assert stub.ModelInfer(request()).model_version == "1"  # drained callers are still answered
                assert flying.result().model_version == "1"
        assert served.process.wait(timeout=60) == 0


def test_a_server_that_nobody_looks_after_ends_by_itself(quick: tuple[Path, str], tmp_path: Path) -> None:
    with serving(tmp_path, MODEL, [version(1, *quick)], "--owner-timeout", "5") as served:
        served.wait_for("1", "READY")
        for _ in range(6):  # looked after, it lives on
            served.state()
            time.sleep(1)
        assert served.process.poll() is None
        assert served.process.wait(timeout=60) == 0
        assert "nobody has looked after this server" in served.log()


def start(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ringyard_serving", "--endpoint", MODEL, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("option", ["--port", "--metrics-port"])
def test_a_taken_port_is_exit_2_and_one_sentence(quick: tuple[Path, str], option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ended = start("--artifact", str(quick[0]), option, str(taken.getsockname()[1]))
    assert ended.returncode == 2
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ringyard-serving: {option}: ") and "in use" in last and "free" in last
    assert "Traceback" not in ended.stderr


def test_a_wanted_file_that_cannot_be_followed_is_exit_2_and_one_sentence(tmp_path: Path) -> None:
    ended = start("--wanted", str(tmp_path / "nothing.json"))
    assert ended.returncode == 2 and "--wanted: cannot read" in ended.stderr
    (tmp_path / "wanted.json").write_text('{"model": "other", "versions": []}')
    ended = start("--wanted", str(tmp_path / "wanted.json"))
    assert ended.returncode == 2 and "is for model 'other', but --endpoint is 'toy'" in ended.stderr


def test_a_bare_folder_is_served_as_version_1(quick: tuple[Path, str], tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "ringyard_serving", "--endpoint", MODEL, "--artifact", str(quick[0])),
        *("--address-file", str(tmp_path / "address.json"), "--drain-seconds", "0"),
    ]
    process = subprocess.Popen(command, stderr=(tmp_path / "log").open("w"))
    try:
        (tmp_path / "wanted.json").write_text("")
        served = Served(process, tmp_path, MODEL)  # type: ignore[arg-type]
        served.wait_for("1", "READY")
        with grpc.insecure_channel(served.url) as channel:
            response = GRPCInferenceServiceStub(channel).ModelInfer(request())
        assert np.frombuffer(response.raw_output_contents[0], "<f4").tolist() == [7.0]
        served.terminate()
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
