"""Makes the user's model: finds `module:attribute`, calls it with the manifest's args, and checks what came back.

Called by `fit`. User code runs here for the first time, so everything it can do wrong is told in one sentence; only
`SystemExit` passes through (the user's own exit code). It knows the width of the data, not the data.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ringyard_trainer import models
from ringyard_trainer.errors import BadInput, out_of_memory

PRESETS: Mapping[str, Callable[..., nn.Module]] = {"linear": models.linear, "mlp": models.mlp, "cnn": models.cnn}
_FACTORY = "spec.model.factory"
_ARGS = "spec.model.args"


def make(factory: str, args: Mapping[str, Any], code_path: str | None, known: Mapping[str, int]) -> nn.Module:
    """Calls the factory.

    Args:
        factory: a preset's name or `module:attribute`.
        args: keyword arguments from the manifest.
        code_path: folder put first on sys.path.
        known: `features` and `classes` or `outputs`: given to a factory that names them and whose args do not.

    Raises:
        BadInput: it cannot be imported, raises, or returns no torch.nn.Module.
    """
    function = find(factory, code_path)
    try:
        made = function(**_filled(function, args, known))
    except BadInput:
        raise
    except Exception as error:
        if out_of_memory(error):
            raise
        place = _ARGS if isinstance(error, TypeError) else _FACTORY
        raise BadInput(place, f"{factory} raised {_told(error)}") from error
    if not isinstance(made, nn.Module):
        raise BadInput(_FACTORY, f"{factory} returned {type(made).__name__}, not a torch.nn.Module")
    return made


def find(factory: str, code_path: str | None) -> Callable[..., Any]:
    """The callable behind a factory's name."""
    if factory in PRESETS:
        return PRESETS[factory]
    if code_path is not None:
        if not Path(code_path).is_dir():
            raise BadInput("spec.code.path", f"there is no folder {code_path}")
        if code_path not in sys.path:
            sys.path.insert(0, code_path)
    module_name, colon, attribute = factory.partition(":")
    if not colon or not attribute:
        raise BadInput(_FACTORY, f"{factory!r} is no preset ({', '.join(PRESETS)}) and not of the form module:function")
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except ModuleNotFoundError as error:
        remedy = "put it below spec.code.path" if code_path is None else f"is it in {code_path}?"
        raise BadInput(_FACTORY, f"{module_name} cannot be imported: {error}; {remedy}") from error
    except AttributeError as error:
        raise BadInput(_FACTORY, f"{module_name} has no {attribute!r}") from error
    except Exception as error:
        raise BadInput(_FACTORY, f"importing {module_name} raised {_told(error)}") from error
    if not callable(found):
        raise BadInput(_FACTORY, f"{factory} is not callable")
    return found


def _filled(function: Callable[..., Any], args: Mapping[str, Any], known: Mapping[str, int]) -> dict[str, Any]:
    filled = dict(args)
    try:
        wanted = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a callable without a signature
        return filled
    kind = {"classes", "outputs"}
    for name, value in known.items():
        if name in wanted and name not in filled and not (name in kind and kind & filled.keys()):
            filled[name] = value
    return filled


def try_out(model: nn.Module, rows: torch.Tensor, width: int | None, targets_shape: tuple[int, ...]) -> int:
    """Runs two rows through the model, so that a model that does not fit its data is told before the gang forms.
    Returns the width of its output.

    Args:
        rows: shape (2, features).
        width: classes of the data; None for a regression.
        targets_shape: shape of the two rows' labels.

    Raises:
        BadInput: the forward pass raises, or its output has another shape than the labels need.
    """
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            out = model(rows)
    except Exception as error:
        if out_of_memory(error):
            raise
        features = rows.shape[1]
        raise BadInput("spec.model", f"does not take rows of {features} features: {_told(error)}") from error
    finally:
        model.train(training)
    if not isinstance(out, torch.Tensor):
        raise BadInput("spec.model", f"gives a {type(out).__name__} where one tensor is wanted")
    shape = tuple(out.shape)
    if width is None:
        if shape != targets_shape and shape != (*targets_shape[:1],):
            raise BadInput(
                "spec.model", f"gives {shape} for two rows where the labels are {targets_shape}: set outputs"
            )
    elif shape[0:1] != (2,) or len(shape) != 2 or shape[1] < width:
        given = f"{shape[1]} classes" if len(shape) == 2 else f"{shape} for two rows"
        raise BadInput("spec.model", f"gives {given}, but the label has {width}: set args.classes: {width}")
    return int(out[0].numel())


def refuse_batch_norm(model: nn.Module, *, single: bool) -> None:
    """Batch normalisation sees one worker's part of the batch: the model would depend on the number of workers."""
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    if not single and any(isinstance(module, kinds) for module in model.modules()):
        raise BadInput(
            "spec.model",
            "has batch normalisation, whose synchronised form is not supported yet: "
            "use GroupNorm or LayerNorm, or set spec.workers.maxReplicas: 1",
        )


def _told(error: Exception) -> str:
    text = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
