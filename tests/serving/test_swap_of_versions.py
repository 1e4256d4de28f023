"""A new version takes over without a failed request; one that must not be served changes nothing."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import served_models
import tritonclient.grpc as triton
from served_models import version
from served_process import Served, serving
from tritonclient.utils import InferenceServerException

MODEL = "toy"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[int, tuple[Path, str]]:
    """Models 1, 2 and 3, each of which answers with its own number: folder and digest."""
    root = tmp_path_factory.mktemp("models")
    return {number: (root / str(number), served_models.constant(root / str(number), number)) for number in (1, 2, 3)}


class Probe:
    """A tritonclient in a process of its own that never pauses."""

    def __init__(self, url: str) -> None:
        script = Path(__file__).with_name("triton_probe.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), url, MODEL, "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None and self._process.stdout.readline() == "running\n"

    def tally(self) -> dict[str, Any]:
        out, _ = self._process.communicate()
        return dict(json.loads(out))


@contextmanager
def probing(served: Served) -> Iterator[Probe]:
    probe = Probe(served.url)
    try:
        yield probe
    finally:
        probe._process.kill()
        probe._process.wait()


def ask(url: str, pinned: str = "") -> str:
    """'number/version' of one answer."""
    with triton.InferenceServerClient(url) as client:
        tensor = triton.InferInput("input", [1, 4], "FP32")
        tensor.set_data_from_numpy(np.ones((1, 4), dtype=np.float32))
        result = client.infer(MODEL, [tensor], model_version=pinned)
        return f"{result.as_numpy('prediction').item():g}/{result.get_response().model_version}"


def test_two_swaps_under_load_fail_no_request(tmp_path: Path, models: dict[int, tuple[Path, str]]) -> None:
    with serving(tmp_path, MODEL, [version(1, *models[1])]) as served:
        served.wait_for("1", "READY")
        with probing(served) as probe:
            for number in (2, 3):
                served.apply(number, [version(number, *models[number])])
                served.wait_for(str(number), "READY")
                served.wait_for(str(number - 1), "absent")
                assert ask(served.url) == f"{number}/{number}"
            tally = probe.tally()
        assert tally["failures"] == []
        assert set(tally["answers"]) == {"1/1", "2/2", "3/3"}  # every answer came from the version it names


def damaged(source: Path, target: Path, digest: str, damage: str) -> str:
    """A copy of an artifact that is not to be served, and the digest to ask for."""
    shutil.copytree(source, target)
    program, manifest = target / "model.pt2", target / "model.json"
    if damage == "tampered":
        data = bytearray(program.read_bytes())
        data[len(data) // 2] ^= 1
        program.write_bytes(data)
    elif damage == "manifest":
        manifest.write_text(manifest.read_text() + " ")
    elif damage == "missing":
        program.unlink()
    else:  # correctly signed, but a pickle
        program.write_bytes(b"\x80\x04cos\nsystem\n(S'true'\ntR.")
        return served_models.sign(target, (served_models.ROWS,), (served_models.NUMBER,))
    return digest


REASONS = {
    "tampered": "model.json: digest mismatch of model.pt2",
    "manifest": "model.json: digest mismatch: wanted sha256:",
    "missing": "No such file",
    "pickle": "model.pt2: not a readable torch.export archive",
}


def test_an_artifact_that_is_not_as_signed_is_refused_and_the_old_version_goes_on(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    with serving(tmp_path / "state", MODEL, [version(1, *models[1])]) as served:
        served.wait_for("1", "READY")
        for number, (damage, says) in enumerate(REASONS.items(), start=2):
            bad = tmp_path / damage
            served.apply(number, [version(number, bad, damaged(models[2][0], bad, models[2][1], damage))])
            state = served.wait_for(str(number), "FAILED")
            assert says in next(entry.reason for entry in state.versions if entry.version == str(number))
            assert state.ready and ask(served.url) == "1/1" and "Traceback" not in served.log()
        served.apply(9, [version(9, *models[3])])
        served.wait_for("9", "READY")
        assert ask(served.url) == "3/9"


def test_weights_split_requests_exactly_and_a_caller_may_pin(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    both = [version(1, *models[1], 90), version(2, *models[2], 10)]
    with serving(tmp_path, MODEL, both) as served:
        served.wait_for("1", "READY")
        served.wait_for("2", "READY")
        assert Counter(ask(served.url) for _ in range(100)) == {"1/1": 90, "2/2": 10}
        assert {ask(served.url, "2") for _ in range(5)} == {"2/2"}


def test_a_restart_serves_from_the_local_copy_when_the_store_is_gone(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    store = tmp_path / "store"
    shutil.copytree(models[1][0], store)
    with serving(tmp_path / "state", MODEL, [version(1, store, models[1][1])]) as served:
        served.wait_for("1", "READY")
    shutil.rmtree(store)
    (tmp_path / "state" / "address.json").unlink()
    with serving(tmp_path / "state", MODEL, [version(1, store, models[1][1])]) as served:
        served.wait_for("1", "READY")
        assert ask(served.url) == "1/1"


def test_an_artifact_that_the_store_shows_late_is_served_once_it_does(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    late = tmp_path / "late"
    with serving(tmp_path / "state", MODEL, [version(1, late, models[1][1])], "--store-seconds=60") as served:
        while "looking again" not in (said := served.state().versions[0].reason):
            assert served.phase("1") == "LOADING"
        assert "No such file" in said
        shutil.copytree(models[1][0], tmp_path / "whole").rename(late)
        served.wait_for("1", "READY")
        assert ask(served.url) == "1/1" and served.state().versions[0].reason == ""


def test_a_stale_list_is_ignored_and_a_number_never_changes_its_model(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    with serving(tmp_path, MODEL, [version(1, *models[1])]) as served:
        served.wait_for("1", "READY")
        served.apply(5, [version(1, *models[1])])
        assert [entry.version for entry in served.apply(4, [version(2, *models[2])]).versions] == ["1"]
        with pytest.raises(grpc.RpcError) as caught:
            served.apply(6, [version(1, *models[2])])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT  # type: ignore[attr-defined]
        assert "a number never changes its model" in caught.value.details()  # type: ignore[attr-defined]
        with pytest.raises(grpc.RpcError) as caught:
            served.apply(7, [version(2, *models[2])], token="wrong")
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]
        assert ask(served.url) == "1/1"


def test_a_server_that_knows_only_the_digest_of_the_token_obeys_who_shows_the_token(
    tmp_path: Path, models: dict[int, tuple[Path, str]]
) -> None:
    with serving(tmp_path, MODEL, [version(1, *models[1])]) as served:
        digest = "sha256:" + hashlib.sha256(b"shown").hexdigest()
        (tmp_path / "token").write_text(f"{digest}\n")
        assert served.apply(5, [version(1, *models[1])], token="shown").generation == 5
        for wrong in (digest, "hidden"):
            with pytest.raises(grpc.RpcError) as caught:
                served.apply(6, [version(1, *models[1])], token=wrong)
            assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED  # type: ignore[attr-defined]


def test_before_its_first_version_a_model_is_unavailable_and_says_why(tmp_path: Path) -> None:
    with serving(tmp_path, MODEL, []) as served:
        with triton.InferenceServerClient(served.url) as client:
            assert client.is_server_live() and not client.is_server_ready() and not client.is_model_ready(MODEL)
        with pytest.raises(InferenceServerException, match="no version that is ready") as caught:
            ask(served.url)
        assert caught.value.status() == "StatusCode.UNAVAILABLE"
