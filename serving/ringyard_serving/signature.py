"""Whether a request fits a model's signature, said in the caller's words.

The servicer calls it before any byte is decoded, so that a wrong request costs nothing. Pure: plain names, datatypes
and shapes in, `Refusal` of BAD_REQUEST out. Cases and wording follow Triton's L0_input_validation where it has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringyard_serving.errors import Refusal, Situation
from ringyard_serving.tensors import DATATYPES

MAX_ELEMENTS = 2**40  # beyond any message: a shape larger than this is refused before anything is computed from it


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """Name, datatype and shape of a tensor; -1 in a signature's shape is any length, the first being the batch."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def check_inputs(model: str, expected: Sequence[Tensor], given: Sequence[Tensor]) -> None:
    """Every expected input once, nothing else, each with the right datatype and shape, one batch for all."""
    known = {tensor.name: tensor for tensor in expected}
    seen: set[str] = set()
    for tensor in given:
        if tensor.name not in known:
            names = ", ".join(f"'{name}'" for name in known)
            raise _bad(f"model '{model}' has no input '{tensor.name}'; its inputs are {names}")
        if tensor.name in seen:
            raise _bad(f"model '{model}': input '{tensor.name}' is given twice")
        seen.add(tensor.name)
        _check_tensor(model, known[tensor.name], tensor)
    missing = [f"'{name}'" for name in known if name not in seen]
    if missing:
        raise _bad(f"model '{model}' expects {len(known)} inputs, got {len(given)}; missing {', '.join(missing)}")
    batches = {tensor.shape[0] for tensor in given if known[tensor.name].shape[:1] == (-1,)}
    if len(batches) > 1:
        raise _bad(f"model '{model}': all inputs must have one batch size, got {sorted(batches)}")


def check_outputs(model: str, offered: Sequence[str], requested: Sequence[str]) -> tuple[str, ...]:
    """The outputs to answer with, in the order asked; none asked = all."""
    for place, name in enumerate(requested):
        if name not in offered:
            names = ", ".join(f"'{known}'" for known in offered)
            raise _bad(f"model '{model}' has no output '{name}'; its outputs are {names}")
        if name in requested[:place]:
            raise _bad(f"model '{model}': output '{name}' is requested twice")
    return tuple(requested) or tuple(offered)


def _check_tensor(model: str, expected: Tensor, given: Tensor) -> None:
    where = f"model '{model}': input '{given.name}'"
    if given.datatype not in DATATYPES:
        raise _bad(f"{where}: datatype '{given.datatype}' is none of {', '.join(DATATYPES)}")
    if given.datatype != expected.datatype:
        raise _bad(f"{where}: datatype is {given.datatype}, but the model expects {expected.datatype}")
    shape = f"expected {list(expected.shape)}, got {list(given.shape)}"
    if len(given.shape) != len(expected.shape):
        raise _bad(f"{where}: unexpected rank: {shape}")
    elements = 1
    for want, got in zip(expected.shape, given.shape, strict=True):
        if got < 1 or (want != -1 and want != got):
            raise _bad(f"{where}: unexpected shape: {shape}")
        elements *= got
    if elements > MAX_ELEMENTS:
        raise _bad(f"{where}: shape {list(given.shape)} is larger than any message")


def _bad(message: str) -> Refusal:
    return Refusal(Situation.BAD_REQUEST, message)
