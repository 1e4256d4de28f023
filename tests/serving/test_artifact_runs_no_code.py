"""Loading an artifact runs nothing that came with it: no pickle, no eval, no function by name."""

from __future__ import annotations

import json
import pickle
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import served_models
import torch
from ringyard_api.artifact import PROGRAM
from ringyard_serving.archive import read_archive
from ringyard_serving.errors import ArtifactError
from ringyard_serving.program import Program

_watch: list[list[str]] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch and event in ("pickle.find_class", "compile", "exec"):
        _watch[-1].append(f"{event} {arguments!r:.200}")


class Evil:
    """Pickles into a call that leaves a trace."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return open, (str(self.trace), "w")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    served_models.softmax(folder)
    return folder / PROGRAM


def rewritten(source: Path, target: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """The archive with members changed."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            new.writestr(info.filename, change(info.filename, old.read(info)))
    return target


def test_loading_and_calling_unpickles_and_evaluates_nothing(program: Path) -> None:
    Program(read_archive(program))(torch.zeros(1, served_models.FEATURES))  # imports of torch itself are done now
    sys.addaudithook(_hook)
    _watch.append([])
    try:
        Program(read_archive(program))(torch.zeros(1, served_models.FEATURES))
    finally:
        seen = _watch.pop()
    assert seen == []


def test_a_pickle_hidden_among_the_sample_inputs_is_never_opened(program: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def poison(name: str, data: bytes) -> bytes:
        return pickle.dumps(Evil(trace)) if "sample_inputs" in name else data

    Program(read_archive(rewritten(program, tmp_path / "x.pt2", poison)))
    assert not trace.exists()


def test_a_weight_stored_as_a_pickle_is_refused_and_not_run(program: Path, tmp_path: Path) -> None:
    trace = tmp_path / "trace"

    def poison(name: str, data: bytes) -> bytes:
        if name.endswith("model_weights_config.json"):
            config = json.loads(data)
            next(iter(config["config"].values()))["use_pickle"] = True
            return json.dumps(config).encode()
        return pickle.dumps(Evil(trace)) if "data/weights/weight_" in name else data

    with pytest.raises(ArtifactError, match="stored as a pickle, which is never loaded"):
        read_archive(rewritten(program, tmp_path / "x.pt2", poison))
    assert not trace.exists()


def test_an_expression_in_a_shape_is_not_evaluated(program: Path, tmp_path: Path) -> None:
    """`torch.export.load` would: it hands the string to sympify, which calls eval."""
    trace = tmp_path / "trace"

    def poison(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        return data.replace(b"Symbol(", f"open('{trace}', 'w') or Symbol(".encode())

    Program(read_archive(rewritten(program, tmp_path / "x.pt2", poison)))
    assert not trace.exists()


@pytest.mark.parametrize(
    "target",
    [
        "torch.os.system",
        "torch.load",
        "torch.ops.load_library",
        "torch.ops.aten.save.default",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.set_.source_Tensor",
        "torch.ops.aten._print.default",
        "torch.ops.aten.relu.__class__",
        "torch.ops.higher_order.cond",
        "_operator.attrgetter",
        "math.factorial",
        "os.system",
    ],
)
def test_a_program_may_call_tensor_arithmetic_only(program: Path, tmp_path: Path, target: str) -> None:
    def poison(name: str, data: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return data
        document = json.loads(data)
        document["graph_module"]["graph"]["nodes"][0]["target"] = target
        return json.dumps(document).encode()

    with pytest.raises(ArtifactError, match="which the server does not run"):
        Program(read_archive(rewritten(program, tmp_path / "x.pt2", poison)))


def test_a_tensor_that_reaches_beyond_its_file_is_refused(program: Path, tmp_path: Path) -> None:
    def cut(name: str, data: bytes) -> bytes:
        return data[:-4] if name.endswith("weight_0") else data

    with pytest.raises(ArtifactError, match="reaches beyond its file"):
        read_archive(rewritten(program, tmp_path / "x.pt2", cut))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 rubbish", b"\x80\x04."])
def test_a_file_that_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pt2").write_bytes(content)
    with pytest.raises(ArtifactError, match="not a readable"):
        read_archive(tmp_path / "x.pt2")
