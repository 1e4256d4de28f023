"""Runs an exported program node by node: an interpreter of ATen graphs, because loading one executes code.

Why not `torch.export.load(...).module()`: it evaluates strings from the file (see `archive`), takes seconds of imports,
and costs more per call. Here a graph becomes a flat list of steps over numbered slots; operations are looked up by the
names that `operations` lets through. The predictor calls it; it knows nothing of requests, files or versions.
Source of the format: torch/_export/serde/schema.py, schema version 8.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ringyard_serving import operations
from ringyard_serving.archive import SCALAR_TYPES, Archive
from ringyard_serving.errors import ArtifactError

SCHEMA_MAJOR = 8
_POSITIONAL = 1
_MEMORY_FORMATS = {
    1: torch.contiguous_format,
    2: torch.channels_last,
    3: torch.channels_last_3d,
    4: torch.preserve_format,
}
_PLAIN = ("as_int", "as_ints", "as_string", "as_strings", "as_bool", "as_bools", "as_int_lists")
_SYMBOLIC_VALUES = ("as_sym_int", "as_sym_float", "as_sym_bool")
_SYMBOLIC_LISTS = ("as_sym_ints", "as_sym_floats", "as_sym_bools")


@dataclass(frozen=True, kw_only=True)
class ProgramInput:
    """A tensor that the program takes: its datatype, and its sizes with None where any length will do."""

    name: str
    dtype: torch.dtype
    sizes: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class _Step:
    """One call: the slots (or lists of slots) of its arguments, and where its result goes."""

    call: Callable[..., Any]
    args: tuple[int | list[int], ...]
    kwargs: tuple[tuple[str, int | list[int]], ...]
    single: int  # slot of the only result, or -1
    several: tuple[int, ...]


class Program:
    """A callable made of an archive. Thread safe: each call has slots of its own, and weights are never written."""

    def __init__(self, archive: Archive) -> None:
        """Raises `ArtifactError` if the graph holds anything that is not plain tensor arithmetic."""
        builder = _Builder(archive)
        self.inputs = tuple(builder.inputs)
        self.outputs = len(builder.outputs)
        self._slots = builder.slots
        self._places = tuple(builder.places)
        self._steps = tuple(builder.steps)
        self._outputs = tuple(builder.outputs)

    def __call__(self, *tensors: torch.Tensor) -> list[Any]:
        """The outputs for these inputs, in the program's order. Whatever an operation raises comes through."""
        slots = self._slots.copy()
        for place, tensor in zip(self._places, tensors, strict=True):
            slots[place] = tensor
        for step in self._steps:
            args = [slots[a] if type(a) is int else [slots[i] for i in a] for a in step.args]  # type: ignore[union-attr]
            if step.kwargs:
                named = {k: slots[a] if isinstance(a, int) else [slots[i] for i in a] for k, a in step.kwargs}
                result = step.call(*args, **named)
            else:
                result = step.call(*args)
            if step.single >= 0:
                slots[step.single] = result
            else:
                for slot, value in zip(step.several, result, strict=False):
                    slots[slot] = value
        return [slots[slot] for slot in self._outputs]


class _Builder:
    """Turns the serialized graph into slots and steps."""

    def __init__(self, archive: Archive) -> None:
        self.slots: list[Any] = []
        self.steps: list[_Step] = []
        self.inputs: list[ProgramInput] = []
        self.places: list[int] = []
        self.outputs: list[int] = []
        self._by_name: dict[str, int] = {}
        self._held: set[str] = set()  # names of weights and inputs, which no operation may write to
        try:
            if archive.document["schema_version"]["major"] != SCHEMA_MAJOR:
                raise ArtifactError(
                    f"model.pt2: schema {archive.document['schema_version']['major']} of torch.export, "
                    f"the server reads schema {SCHEMA_MAJOR}; export it again with the server's torch"
                )
            module = archive.document["graph_module"]
            self._graph = module["graph"]
            self._take_inputs(module["signature"]["input_specs"], archive)
            self._held = set(self._by_name)
            for node in self._graph["nodes"]:
                self._take_node(node)
            self._take_outputs(module["signature"]["output_specs"])
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise ArtifactError(f"model.pt2: the program's graph is broken: {error!r}") from None

    def _constant(self, value: Any) -> int:
        self.slots.append(value)
        return len(self.slots) - 1

    def _define(self, name: str, value: Any = None) -> int:
        self._by_name[name] = self._constant(value)
        return self._by_name[name]

    def _take_inputs(self, specs: Sequence[Mapping[str, Any]], archive: Archive) -> None:
        for spec in specs:
            ((kind, value),) = spec.items()
            if kind == "parameter":
                self._define(value["arg"]["name"], archive.weights[value["parameter_name"]])
            elif kind == "buffer":
                held = archive.weights if value["buffer_name"] in archive.weights else archive.constants
                self._define(value["arg"]["name"], held[value["buffer_name"]])
            elif kind == "tensor_constant":
                self._define(value["arg"]["name"], archive.constants[value["tensor_constant_name"]])
            elif kind == "user_input" and "as_tensor" in value["arg"]:
                name = value["arg"]["as_tensor"]["name"]
                meta = self._graph["tensor_values"][name]
                sizes = tuple(size.get("as_int") for size in meta["sizes"])
                self.inputs.append(ProgramInput(name=name, dtype=SCALAR_TYPES[meta["dtype"]], sizes=sizes))
                self.places.append(self._define(name))
            else:
                raise ArtifactError(
                    f"model.pt2: the program takes a {kind} that is no tensor; export it with tensors only"
                )

    def _take_outputs(self, specs: Sequence[Mapping[str, Any]]) -> None:
        for spec in specs:
            ((kind, value),) = spec.items()
            if kind != "user_output":
                raise ArtifactError(f"model.pt2: the program changes its own state ({kind}); export it in eval mode")
            if "as_tensor" not in value["arg"]:
                raise ArtifactError("model.pt2: an output of the program is no tensor")
            self.outputs.append(self._by_name[value["arg"]["as_tensor"]["name"]])

    def _take_node(self, node: Mapping[str, Any]) -> None:
        if operations.skipped(node["target"]):
            return
        call = _operation(node["target"])
        _keep_weights(call, node, self._held)
        positional = [given for given in node["inputs"] if given.get("kind") in (_POSITIONAL, None)]
        keyword = [given for given in node["inputs"] if given.get("kind") not in (_POSITIONAL, None)]
        args = tuple(self._argument(given["arg"]) for given in positional)
        kwargs = tuple((given["name"], self._argument(given["arg"])) for given in keyword)
        single, several = -1, []
        names = [_result_names(output) for output in node["outputs"]]
        if len(names) == 1 and isinstance(names[0], str):
            single = self._define(names[0])
        elif len(names) == 1:
            several = [self._define(name) for name in names[0]]
        else:
            several = [self._define(name if isinstance(name, str) else f"#{len(self.slots)}") for name in names]
        self.steps.append(_Step(call, args, kwargs, single, tuple(several)))

    def _argument(self, arg: Mapping[str, Any]) -> int | list[int]:
        ((kind, value),) = arg.items()
        if kind == "as_tensor":
            return self._by_name[value["name"]]
        if kind == "as_tensors":
            return [self._by_name[item["name"]] for item in value]
        if kind == "as_optional_tensors":
            return [self._optional(item) for item in value]
        if kind == "as_optional_tensor":
            return self._optional(value)
        if kind in _SYMBOLIC_VALUES:
            return self._symbolic(value)
        if kind in _SYMBOLIC_LISTS:
            return [self._symbolic(item) for item in value]
        return self._constant(_literal(kind, value))

    def _optional(self, item: Mapping[str, Any]) -> int:
        return self._by_name[item["as_tensor"]["name"]] if "as_tensor" in item else self._constant(None)

    def _symbolic(self, item: Mapping[str, Any]) -> int:
        if "as_name" in item:
            return self._by_name[item["as_name"]]
        ((_, value),) = item.items()
        return self._constant(value)


def _keep_weights(call: Callable[..., Any], node: Mapping[str, Any], held: set[str]) -> None:
    """Refuses an operation that writes into a weight or an input: the next request would see it."""
    if not isinstance(call, torch._ops.OpOverload):
        return
    written = {a.name for a in call._schema.arguments if a.alias_info is not None and a.alias_info.is_write}
    for given in node["inputs"]:
        tensor = given["arg"].get("as_tensor")
        if given["name"] in written and tensor is not None and tensor["name"] in held:
            raise ArtifactError(f"model.pt2: the program writes into '{tensor['name']}'; export it in eval mode")


def _literal(kind: str, value: Any) -> Any:
    """A value that stands in the graph itself. Floats may be spelt 'Infinity', '-Infinity', 'NaN'."""
    if kind == "as_none":
        return None
    if kind in _PLAIN:
        return value
    if kind == "as_float":
        return float(value)
    if kind == "as_floats":
        return [float(item) for item in value]
    if kind == "as_scalar_type":
        return SCALAR_TYPES[value]
    if kind == "as_memory_format":
        return _MEMORY_FORMATS[value]
    if kind == "as_layout":
        return torch.strided
    if kind == "as_device":
        return torch.device("cpu")  # wherever it was trained, it is served here
    raise ArtifactError(f"model.pt2: the program uses an argument of kind {kind}, which the server does not run")


def _result_names(output: Mapping[str, Any]) -> str | list[str]:
    ((kind, value),) = output.items()
    if kind == "as_tensor":
        return str(value["name"])
    if kind == "as_tensors":
        return [str(item["name"]) for item in value]
    if kind in _SYMBOLIC_VALUES:
        return str(value["as_name"])
    if kind == "as_none":
        return ["#"]
    raise ArtifactError(f"model.pt2: an operation of the program returns {kind}, which the server does not run")


def _operation(target: str) -> Callable[..., Any]:
    """The function behind a name that `operations` lets through; `ArtifactError` for any other."""
    if target in operations.SYMBOLIC:
        owner, _, name = target.rpartition(".")
        module: Any = {"_operator": operator, "math": math, "torch": torch}[owner]
        function: Callable[..., Any] = getattr(module, name)
        return function
    allowed = operations.aten(target)
    if allowed is None:
        raise ArtifactError(
            f"model.pt2: the program calls {target}, which the server does not run: tensor arithmetic only"
        )
    packet = getattr(torch.ops.aten, allowed[0], None)
    overload = getattr(packet, allowed[1], None)
    if not isinstance(overload, torch._ops.OpOverload):
        raise ArtifactError(
            f"model.pt2: the program calls {target}, which this torch {torch.__version__} does not have"
        )
    return overload
