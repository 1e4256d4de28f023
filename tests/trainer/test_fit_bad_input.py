"""What a user can get wrong: one sentence with the place and the remedy as the last line, and a permanent exit code."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ringyard_api.defaults import resolve
from ringyard_api.launch import WorkerLaunch
from ringyard_api.loading import load_job, to_object
from ringyard_api.trainingjob import DataSpec, OptimizerSpec
from ringyard_trainer import checkpoint, dataset, state
from ringyard_trainer.__main__ import main
from ringyard_trainer.models import linear
from ringyard_trainer.optimizer import Optimizer

CSV = "a,b,y\n" + "".join(f"{n},{n % 3},{'yes' if n % 2 else 'no'}\n" for n in range(20))
MODEL = """
import sys
from torch import nn

def good(features, classes): return nn.Linear(features, classes)
def raises(features): raise ValueError("no luck")
def none(features): return None
def narrow(): return nn.Linear(7, 2)
def few(features): return nn.Linear(features, 1)
def leaves(): sys.exit(3)
def normed(features): return nn.Sequential(nn.Linear(features, 2), nn.BatchNorm1d(2))
text = "not callable"
"""


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """The entry point sets a signal handler; the test's own comes back."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Worker:
    """The entry point in this process, up to where the gang would form."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.folder, self._monkeypatch, self._capfd = folder, monkeypatch, capfd
        (folder / "code").mkdir()
        (folder / "code" / f"mine_{folder.name}.py").write_text(MODEL)
        (folder / "t.csv").write_text(CSV)

    def run(self, csv: str | None = None, **changed: Any) -> tuple[int, str]:
        """Exit code, and the last line on stderr."""
        if csv is not None:
            (self.folder / "t.csv").write_text(csv)
        spec: dict[str, Any] = {
            "model": {"factory": "ringyard_trainer.models:linear"},
            "code": {"path": str(self.folder / "code")},
            "data": {"uri": f"file://{self.folder}/t.csv", "label": "y"},
            "fit": {"steps": 1},
        }
        for path, value in changed.items():
            *parents, name = path.split("__")
            place = spec
            for parent in parents:
                place = place.setdefault(parent, {})
            place[name] = value
        manifest = {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "bad"}}
        job = resolve(load_job(json.dumps({**manifest, "spec": spec}), "test"))
        (self.folder / "spec.json").write_text(json.dumps(to_object(job)))
        launch = WorkerLaunch(
            job="bad", spec_file=f"{self.folder}/spec.json", worker_index=0, incarnation="u", attempt=0,
            coordinator_file=f"{self.folder}/coordinator", token_file=f"{self.folder}/token",
            run_dir=f"{self.folder}/run", worker_dir=str(self.folder), host="127.0.0.1",
        )  # fmt: skip
        for name, text in launch.environment().items():
            self._monkeypatch.setenv(name, text)
        code = main()
        lines = self._capfd.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        return code, lines[0]

    def factory(self, name: str) -> tuple[int, str]:
        return self.run(model__factory=f"mine_{self.folder.name}:{name}")


@pytest.fixture
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Worker:
    return Worker(tmp_path, monkeypatch, capfd)


def test_a_data_file_that_is_not_there(worker: Worker) -> None:
    code, says = worker.run(data__uri="file:///nowhere/t.csv")
    assert code == 2
    assert says.startswith("ringyard: spec.data.uri: there is no file /nowhere/t.csv: check the path")


def test_a_csv_without_the_label_column(worker: Worker) -> None:
    says = "ringyard: spec.data.label: there is no column 'z' in the data; there are a, b, y"
    assert worker.run(data__label="z") == (2, says)


def test_a_feature_that_is_text_suggests_one_hot(worker: Worker) -> None:
    code, says = worker.run("a,b,y\n1,red,0\n2,blue,1\n")
    assert code == 2
    assert says.startswith("ringyard: spec.data.features: 'b' holds text ('red'): add {oneHot: {columns: [b]}} to")


def test_rows_with_gaps_suggest_impute(worker: Worker) -> None:
    code, says = worker.run("a,b,y\n1,1,0\n2,,1\n3,,0\n")
    assert code == 2
    assert says.startswith("ringyard: spec.data.features: 'b' has no value in 2 rows (first: row 2): add {impute:")


def test_a_label_with_gaps(worker: Worker) -> None:
    code, says = worker.run("a,y\n1,0\n2,\n3,1\n")
    assert (code, says) == (
        2, "ringyard: spec.data.label: 'y' has no value in 1 row (first: row 2): remove those rows"
    )  # fmt: skip


def test_a_class_with_one_sample_under_stratify(worker: Worker) -> None:
    code, says = worker.run("a,y\n1,x\n2,x\n3,x\n4,rare\n", data__split={"test": 0.5, "stratify": True})
    assert code == 2
    assert says.startswith("ringyard: spec.data.split.stratify: class 'rare' has 1 sample, too few for 2 parts")


def test_fractions_as_classes_and_text_as_numbers(worker: Worker) -> None:
    assert "'y' holds fractions, which are no classes: use spec.fit.loss: mse" in worker.run("a,y\n1,0.5\n2,1.5\n")[1]
    assert "'y' holds text ('no'), which mse cannot predict: use crossEntropy" in worker.run(CSV, fit__loss="mse")[1]


@pytest.mark.parametrize(
    ("factory", "says"),
    [
        ("nowhere.at.all:f", "spec.model.factory: nowhere.at.all cannot be imported: No module named 'nowhere'"),
        ("json:f", "spec.model.factory: json has no 'f'"),
    ],
)
def test_a_factory_that_cannot_be_imported(worker: Worker, factory: str, says: str) -> None:
    code, found = worker.run(model__factory=factory)
    assert code == 2 and found.startswith(f"ringyard: {says}")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", "spec.model.factory: {} raised ValueError: no luck"),
        ("none", "spec.model.factory: {} returned NoneType, not a torch.nn.Module"),
        ("text", "spec.model.factory: {} is not callable"),
        ("narrow", "spec.model: does not take rows of 2 features: RuntimeError: "),
        ("few", "spec.model: gives 1 classes, but the label has 2: set args.classes: 2"),
        ("normed", "spec.model: has batch normalisation, whose synchronised form is not supported yet"),
    ],
)
def test_a_factory_that_gives_no_fitting_model(worker: Worker, name: str, says: str) -> None:
    code, found = worker.factory(name)
    assert code == 2
    assert found.startswith("ringyard: " + says.format(f"mine_{worker.folder.name}:{name}"))


def test_an_argument_that_the_factory_does_not_have(worker: Worker) -> None:
    code, says = worker.run(model__args={"hiden": [3]})
    assert code == 2
    assert says.startswith("ringyard: spec.model.args: ringyard_trainer.models:linear raised TypeError: linear()")


def test_an_exit_by_user_code_passes_through(worker: Worker) -> None:
    with pytest.raises(SystemExit) as ended:
        worker.factory("leaves")
    assert ended.value.code == 3


def test_a_checkpoint_of_another_model_is_refused(worker: Worker) -> None:
    other = linear(features=9, classes=9)
    spec = DataSpec(uri=f"file://{worker.folder}/t.csv", label="y")
    digest = dataset.load(spec, classify=True, dtype=torch.float32).digest
    held = state.TrainingState(
        model=other, optimizer=Optimizer(OptimizerSpec(), other.parameters()), data=digest, step=4
    )
    checkpoint.write(worker.folder / "run" / "checkpoints", checkpoint.name_of(4), 4, state.to_bytes(held), 3)
    code, says = worker.run()
    assert (code, says) == (
        2, "ringyard: spec.model: is not the model of the checkpoint: restore the code, or use a new name"
    )  # fmt: skip


def test_a_checkpoint_of_other_data_is_refused(worker: Worker) -> None:
    model = linear(features=2, classes=2)
    held = state.TrainingState(
        model=model, optimizer=Optimizer(OptimizerSpec(), model.parameters()), data="sha256:of yesterday", step=4
    )
    checkpoint.write(worker.folder / "run" / "checkpoints", checkpoint.name_of(4), 4, state.to_bytes(held), 3)
    code, says = worker.run()
    assert code == 2
    assert says.startswith("ringyard: spec.data.uri: the data is not that which this training began with"), says


def test_out_of_memory_is_an_ending_that_is_tried_again(worker: Worker) -> None:
    """2 PiB of parameters: the allocator refuses, and the exit code says so as the kernel's killer would."""
    code, says = worker.run(model__factory="ringyard_trainer.models:mlp", model__args={"hidden": [2**49]})
    assert code == 137 and says.startswith("ringyard: out of memory: "), says
