"""A run's end: the leader keeps the final state, evaluates, exports, writes the report, and last of all result.json.

Called by `loop` when no step is left. If the leader dies the next one does it all again: every file is replaced whole,
and a result that stands is only handed in once more (TRAININGJOB.md §A job's end). It knows no step.
"""

from __future__ import annotations

import copy
import hashlib
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from ringyard_api import artifact, gate, launch, loading

from ringyard_trainer import checkpoint, evaluate, export, result, state, stopping, summary
from ringyard_trainer.collective.gang import Gang
from ringyard_trainer.errors import StorageFailed
from ringyard_trainer.fit import Fit


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """How good the model is. `part` names where it was measured, "" where nothing was held out."""

    metrics: Mapping[str, float]
    part: str
    gate: gate.GateResult | None


def stands(fit: Fit) -> bool:
    """Whether the result is written already: then nothing is left to do but to hand it in."""
    return result.read(fit.run_dir) is not None


def finish(fit: Fit, gang: Gang) -> None:
    """Does all of it, or only hands the result in. Gives up quietly when a newer view is known: its leader does it.

    Raises:
        StorageFailed: the run's folder takes no more.
        BadInput: the model cannot be exported.
    """
    text = result.read(fit.run_dir)
    try:
        text = text if text is not None else _finish(fit, gang)
    except OSError as error:
        raise StorageFailed(
            f"spec.storage.uri: the result cannot be written to {fit.run_dir} ({error.strerror}): free some space, "
            "then run the job again"
        ) from error
    if text is not None:
        gang.send_result(text.encode())


def _finish(fit: Fit, gang: Gang) -> str | None:
    begun = time.monotonic()
    gang.report(phase="CHECKPOINTING", step=fit.state.step, total_steps=fit.total_steps)
    keep = fit.spec.checkpoint.keep
    checkpoint.write(fit.checkpoints, checkpoint.FINAL, fit.state.step, state.to_bytes(fit.state), keep)
    gang.report(phase="EVALUATING")
    model = _best(fit)
    verdict = judge(fit, model)
    if _overtaken(gang):
        return None  # told to go, or somebody was lost: the state is kept, and the rest costs seconds
    gang.report(phase="EXPORTING")
    program = export.program(model, fit.data)
    if _overtaken(gang):
        return None
    if (stood := result.read(fit.run_dir)) is not None:
        return stood  # we were frozen, and the next leader has done it all: its model must stay as its result says
    model_dir = fit.run_dir / "model"
    manifest = _manifest(fit, verdict, program).to_json().encode()
    export.store(model_dir, {artifact.PROGRAM: program, artifact.MODEL_JSON: manifest})
    facts = _facts(fit, verdict, seconds=time.monotonic() - begun)
    uri = launch.model_uri(os.environ, model_dir.absolute().as_uri())
    facts["model"] = {"uri": uri, "digest": artifact.digest(manifest)}
    curve = [{"step": step, "loss": loss} for step, loss in fit.state.curve.points]
    more = {"job": fit.job, "part": verdict.part, "history": fit.state.history, "curve": curve}
    summary.write(fit.run_dir / "report", {**more, **facts, "modelStep": _model_step(fit)})
    return result.write(fit.run_dir, facts)


def _overtaken(gang: Gang) -> bool:
    """Whether a newer view or an order to go is known by now: it may come at any moment."""
    return gang.pending


def judge(fit: Fit, model: torch.nn.Module) -> Verdict:
    """Measures on the test part, else on the validation part, and holds the gate against it."""
    part = "test" if len(fit.data.parts.test) else "validation" if len(fit.data.parts.validation) else ""
    spec, found = fit.spec.evaluate, {}
    if part:
        samples = fit.data.parts.test if part == "test" else fit.data.parts.validation
        found = dict(evaluate.metrics(fit, evaluate.sums(fit, model, samples)))
        wanted = {*spec.metrics, "loss", *(each.metric for each in spec.gate)} if spec.metrics else set(found)
        # what is not finite is no JSON, and no gate lets a missing metric pass
        found = {name: value for name, value in found.items() if name in wanted and math.isfinite(value)}
    return Verdict(metrics=found, part=part, gate=gate.judge(spec.gate, found) if spec.gate else None)


def _best(fit: Fit) -> torch.nn.Module:
    """A copy of the model as it is to be served: with early stopping the best one seen, else the last."""
    model = copy.deepcopy(fit.state.model)
    if fit.how.early_stopping is not None and fit.state.best:
        model.load_state_dict(fit.state.best)
    return model.eval()


def _model_step(fit: Fit) -> int:
    return fit.state.watch.best_step if fit.state.best else fit.state.step


def _facts(fit: Fit, verdict: Verdict, *, seconds: float) -> dict[str, Any]:
    return {
        "metrics": dict(verdict.metrics),
        "gate": loading.to_object(verdict.gate) if verdict.gate is not None else None,
        "step": fit.state.step,
        "epochs": int(fit.state.history[-1]["epoch"]) if fit.state.history else 0,
        "stoppedEarly": stopping.stopped(fit.state.watch, fit.how.early_stopping) and fit.state.step < fit.total_steps,
        "seconds": round(seconds, 3),
    }


def _manifest(fit: Fit, verdict: Verdict, program: bytes) -> artifact.ModelManifest:
    data, spec = fit.data, fit.spec
    outputs: tuple[artifact.TensorSpec, ...]
    if data.classes:
        text = isinstance(data.labels[0], str)
        outputs = (
            artifact.TensorSpec(name=artifact.PROBABILITIES, datatype="FP32", shape=(-1, data.classes)),
            artifact.TensorSpec(name=artifact.LABEL, datatype="BYTES" if text else "INT64", shape=(-1,)),
        )
    else:
        outputs = (artifact.TensorSpec(name=artifact.PREDICTION, datatype="FP32", shape=(-1, data.targets.shape[1])),)
    raw = artifact.TensorSpec(
        name=artifact.INPUT, datatype="BYTES" if data.text else "FP32", shape=(-1, len(data.features))
    )
    return artifact.ModelManifest(
        name=spec.serve.endpoint if spec.serve is not None else fit.job,
        format="torch.export",
        inputs=(raw,),
        outputs=outputs,
        labels=_names(data.labels),
        features=data.features,
        preprocessing=data.pipeline.to_json() if data.pipeline.steps else None,
        metrics=dict(verdict.metrics),
        gate=loading.to_object(verdict.gate) if verdict.gate is not None else None,
        files={artifact.PROGRAM: hashlib.sha256(program).hexdigest()},
        data_digest=data.digest,
        code_digest=export.code_digest(spec.code.path if spec.code is not None else None),
        versions=export.versions(),
        job=fit.job,
        created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        step=_model_step(fit),
    )


def _names(labels: tuple[int | str, ...]) -> tuple[str, ...]:
    """Empty where the classes are 0, 1, 2 … anyway."""
    return () if labels == tuple(range(len(labels))) else tuple(map(str, labels))
