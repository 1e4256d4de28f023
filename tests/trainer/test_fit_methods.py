"""What the manifest's options do, against plain torch loops that do the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gang_in_threads import Member, train
from ringyard_trainer.errors import NotFinite
from ringyard_trainer.sampler import Sampler
from torch.nn import functional


def manifest(**changed: Any) -> str:
    """A job on the diabetes set, one linear layer, with some fields changed."""
    fit = {"steps": 12, "batchSize": 100, "precision": "fp64", "loss": "mse", "seed": 3, **changed.pop("fit", {})}
    data = {"uri": "sklearn://diabetes", "preprocess": [{"standardize": {}}], **changed.pop("data", {})}
    spec = {"model": {"factory": "ringyard_trainer.models:linear"}, "fit": fit, "data": data, **changed}
    head = {"apiVersion": "ringyard.dev/v1alpha1", "kind": "TrainingJob", "metadata": {"name": "methods"}}
    return json.dumps({**head, "spec": spec})


SGD = {"name": "sgd", "lr": 0.01, "momentum": 0.9, "weightDecay": 0.1}
ADAMW = {"name": "adamw", "lr": 0.5, "betas": [0.8, 0.9]}
CLIPPED = {"regularization": {"clipGradNorm": 1.0}}
OPTIMIZERS = [
    (SGD, {}, lambda p: torch.optim.SGD(p, 0.01, 0.9, weight_decay=0.1)),
    ({"name": "adam", "lr": 0.5, "weightDecay": 0.1}, {}, lambda p: torch.optim.Adam(p, 0.5, weight_decay=0.1)),
    (ADAMW, {}, lambda p: torch.optim.AdamW(p, 0.5, (0.8, 0.9), weight_decay=0)),
    ({"name": "sgd", "lr": 0.1}, CLIPPED, lambda p: torch.optim.SGD(p, 0.1)),
]


@pytest.mark.parametrize(("spec", "more", "make"), OPTIMIZERS, ids=["sgd", "adam", "adamw", "clipped"])
def test_a_gang_of_two_takes_the_steps_that_a_plain_torch_loop_takes(
    tmp_path: Path, spec: Any, more: Any, make: Any
) -> None:
    members = train(2, tmp_path, manifest(fit={"optimizer": spec, **more}))
    data = members[0].fit.data
    torch.manual_seed(3)
    model = torch.nn.Linear(10, 1).to(torch.float64)
    optimizer, sampler = make(model.parameters()), Sampler(samples=442, batch=100, seed=3)
    for step in range(12):
        rows = torch.from_numpy(sampler.global_batch(step).copy())
        optimizer.zero_grad()
        functional.mse_loss(model(data.inputs[rows]), data.targets[rows]).backward()
        if more:
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    wanted = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    np.testing.assert_allclose(members[0].parameters, wanted, rtol=1e-9)


def test_preprocessing_is_fitted_on_the_train_part_alone(tmp_path: Path) -> None:
    (member,) = train(1, tmp_path, manifest(data={"split": {"test": 0.3, "seed": 1}}))
    data = member.fit.data
    inputs = data.inputs.numpy()
    np.testing.assert_allclose(inputs[data.parts.train].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(inputs[data.parts.train].std(0), 1, atol=1e-12)
    assert np.abs(inputs[data.parts.test].mean(0)).max() > 1e-3


def test_a_loss_that_is_no_longer_finite_ends_the_run_of_every_member(tmp_path: Path) -> None:
    members = train(2, tmp_path, manifest(fit={"optimizer": {"name": "sgd", "lr": 1e200}}))
    for member in members:
        assert isinstance(member.ended, NotFinite) and member.ended.exit_code == 3
        assert "at step 2: lower spec.fit.optimizer.lr" in str(member.ended)


def test_early_stopping_ends_the_run_and_keeps_the_best_model(tmp_path: Path) -> None:
    fit = {
        "steps": None, "epochs": 200, "optimizer": {"name": "sgd", "lr": 0.9},
        "earlyStopping": {"metric": "val_mae", "patience": 2},
    }  # fmt: skip
    members = train(2, tmp_path, manifest(fit=fit, data={"split": {"validation": 0.3, "seed": 1}}))
    history = members[0].fit.state.history
    best = min(range(len(history)), key=lambda number: history[number]["val_mae"])
    assert len(history) == best + 3 < 200, "two validations without an improvement, then the end"
    assert members[0].fit.state.history == members[1].fit.state.history
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["stoppedEarly"] is True
    assert result["metrics"]["mae"] == pytest.approx(history[best]["val_mae"])
    assert json.loads((tmp_path / "model" / "model.json").read_text())["step"] == history[best]["step"]


@pytest.mark.parametrize(
    ("factory", "args"), [("linear", {}), ("mlp", {"hidden": [8], "dropout": 0.2}), ("cnn", {"channels": [4]})]
)
def test_each_preset_learns_digits(tmp_path: Path, factory: str, args: dict[str, Any]) -> None:
    members: list[Member] = train(
        1, tmp_path,
        manifest(
            model={"factory": f"ringyard_trainer.models:{factory}", "args": args},
            fit={"loss": "crossEntropy", "precision": "fp32", "optimizer": {"name": "adam", "lr": 0.02}, "steps": 40},
            data={"uri": "sklearn://digits", "split": {"test": 0.2}},
        ),
    )  # fmt: skip
    losses = [loss for _, loss in members[0].fit.state.curve.points]
    assert losses[-1] < losses[0] / 2


def test_checkpoints_come_every_so_many_steps_and_so_many_are_kept(tmp_path: Path) -> None:
    train(2, tmp_path, manifest(checkpoint={"everySteps": 2, "keep": 2}))
    names = sorted(path.stem for path in (tmp_path / "checkpoints").glob("*.json"))
    assert names == ["final", "step-000000010", "step-000000012"]
