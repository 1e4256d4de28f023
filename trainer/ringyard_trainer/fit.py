"""A declared fit, put together from its manifest: data, model, optimizer, and the state that the loop changes.

Called by `__main__`; read by `loop`, `step`, `evaluate`, `finish`. Everything that the user's input can spoil is tried
here, before the gang forms. It starts nothing and knows no gang.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from ringyard_api.trainingjob import FitSpec, TrainingJob, TrainingJobSpec

from ringyard_trainer import dataset, factory, loss
from ringyard_trainer.dataset import Dataset
from ringyard_trainer.errors import BadInput
from ringyard_trainer.gradients import Gradients
from ringyard_trainer.optimizer import Optimizer
from ringyard_trainer.sampler import Sampler
from ringyard_trainer.state import TrainingState

_PRECISIONS = {"fp32": torch.float32, "fp64": torch.float64}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """What stays the same through a run, and `state`, which does not.

    Attributes:
        how: `spec.fit`.
        run_dir: `<storage>/<job>-<uid8>`: checkpoints, report, model and result.json go below it.
        loss: its name in the manifest.
        width: of the model's output: logits, or predicted values.
        total_steps: optimizer steps of the whole run, early stopping aside.
    """

    job: str
    spec: TrainingJobSpec
    how: FitSpec
    run_dir: Path
    data: Dataset
    loss: str
    width: int
    sampler: Sampler
    total_steps: int
    state: TrainingState
    gradients: Gradients

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints."""
        return self.run_dir / "checkpoints"


def prepare(job: TrainingJob, run_dir: Path) -> Fit:
    """Loads the data, makes the model and tries it on two rows.

    Raises:
        BadInput: see `dataset`, `factory`.
    """
    spec = job.spec
    if spec.model is None or spec.data is None or spec.fit is None:
        raise BadInput("spec", "a declared fit needs model, data and fit")
    loss.check(spec.fit.loss)
    dtype = _PRECISIONS.get(spec.fit.precision)
    if dtype is None:
        raise BadInput("spec.fit.precision", f"{spec.fit.precision} is not supported yet: use fp32 or fp64")
    torch.manual_seed(spec.fit.seed)
    data = dataset.load(spec.data, classify=spec.fit.loss == "crossEntropy", dtype=dtype)
    model, width = _model(spec, data, dtype)
    sampler = Sampler(samples=len(data.parts.train), batch=spec.fit.batch_size, seed=spec.fit.seed)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise BadInput("spec.model.factory", f"{spec.model.factory} has no parameter to train")
    return Fit(
        job=job.metadata.name,
        spec=spec,
        how=spec.fit,
        run_dir=run_dir,
        data=data,
        loss=spec.fit.loss,
        width=width,
        sampler=sampler,
        total_steps=spec.fit.steps or (spec.fit.epochs or 1) * sampler.steps_per_epoch,
        state=TrainingState(model=model, optimizer=Optimizer(spec.fit.optimizer, parameters), data=data.digest),
        gradients=Gradients(parameters),
    )


def _model(spec: TrainingJobSpec, data: Dataset, dtype: torch.dtype) -> tuple[torch.nn.Module, int]:
    assert spec.model is not None
    outputs = {"classes": data.classes} if data.classes else {"outputs": data.targets.shape[1]}
    known = {"features": data.inputs.shape[1], **outputs}
    code_path = spec.code.path if spec.code is not None else None
    model = factory.make(spec.model.factory, spec.model.args, code_path, known).to(dtype)
    rows = data.inputs[:1].expand(2, -1)
    width = factory.try_out(model, rows, data.classes or None, (2, *data.targets.shape[1:]))
    factory.refuse_batch_norm(model, single=spec.workers.max_replicas == 1)
    model.train()
    return model, width
