"""The whole training state as bytes: what a newcomer takes from a peer, and what a checkpoint holds.

Called by `loop`. Parameters, buffers, optimizer, best parameters under early stopping; as JSON in the header: step,
validations, curve, history. The sampler's cursor, the schedule and the random numbers of a step are functions of the
step's number, so they need no place here. Format: safetensors. It knows no file and no gang.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from ringyard_trainer.curve import LossCurve
from ringyard_trainer.errors import BadInput
from ringyard_trainer.optimizer import Optimizer
from ringyard_trainer.stopping import Watch

_HEADER = "ringyard"


@dataclass(kw_only=True)
class TrainingState:
    """What the loop changes. Two members with the same `tick` hold the same state, bit for bit.

    Attributes:
        data: digest of the data that made this state.
        step: completed optimizer steps.
        validated: whether the epoch that `step` completed has been validated.
        watch: early stopping's memory.
        best: parameters and buffers at the best validation, empty without early stopping.
        epoch_loss: sum over the running epoch of loss · samples.
        history: one entry an epoch: {"epoch", "step", "loss", "val_…"}.
    """

    model: torch.nn.Module
    optimizer: Optimizer
    data: str = ""
    step: int = 0
    validated: bool = False
    watch: Watch = field(default_factory=Watch)
    best: dict[str, torch.Tensor] = field(default_factory=dict)
    epoch_loss: float = 0.0
    curve: LossCurve = field(default_factory=LossCurve)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def tick(self) -> int:
        """Position in the run: rises with each step and with the validation after it."""
        return 2 * self.step + self.validated


def keep_best(state: TrainingState) -> None:
    """Copies the present parameters and buffers as the best."""
    state.best = {name: tensor.detach().clone() for name, tensor in state.model.state_dict().items()}


def to_bytes(state: TrainingState) -> bytes:
    """Everything, in safetensors' format."""
    tensors = {f"model/{name}": tensor for name, tensor in state.model.state_dict().items()}
    tensors |= {f"best/{name}": tensor for name, tensor in state.best.items()}
    tensors |= {f"optimizer/{name}": tensor for name, tensor in state.optimizer.memory.items()}
    header = {
        "data": state.data,
        "step": state.step,
        "validated": state.validated,
        "watch": asdict(state.watch),
        "epochLoss": state.epoch_loss,
        "curve": asdict(state.curve),
        "history": state.history,
    }
    # clone: tied parameters share memory, which safetensors refuses
    whole = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    return save_tensors(whole, metadata={_HEADER: json.dumps(header)})


def from_bytes(state: TrainingState, data: bytes) -> None:
    """Overwrites the state with what `to_bytes` gave.

    Raises:
        BadInput: it belongs to another model or other data (code or files changed between two runs, or are not the
            same in all workers): samples would be used twice and others never.
    """
    tensors = load_tensors(data)
    header = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"][_HEADER])
    if header["data"] != state.data:
        raise BadInput(
            "spec.data.uri",
            "the data is not that which this training began with, in this worker at least: "
            "give all workers the files as they were, or train anew under a new name",
        )
    try:
        state.model.load_state_dict(_below(tensors, "model/"))
    except RuntimeError as error:
        raise BadInput(
            "spec.model", "is not the model of the checkpoint: restore the code, or use a new name"
        ) from error
    memory = _below(tensors, "optimizer/")
    for name, tensor in state.optimizer.memory.items():
        tensor.copy_(memory[name])
    state.best = _below(tensors, "best/")
    state.step = int(header["step"])
    state.validated = bool(header["validated"])
    state.watch = Watch(**header["watch"])
    state.epoch_loss = float(header["epochLoss"])
    curve = header["curve"]
    state.curve = LossCurve(stride=curve["stride"], points=[(int(step), loss) for step, loss in curve["points"]])
    state.history = header["history"]


def _below(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
