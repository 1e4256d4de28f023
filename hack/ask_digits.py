"""Asks a served digits model through NVIDIA's Triton client: `ask_digits.py HOST:PORT [MODEL] [COUNT]`.

`hack/demo.py` runs it in a process of its own. It takes images of the test part only, which training never saw, sends
their raw pixels, and prints what was predicted beside what is true. Exit 0 if most are right, 1 if not.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from ringyard_api.loading import load_job
from ringyard_trainer.sources import read
from ringyard_trainer.split import split

MANIFEST = Path(__file__).resolve().parents[1] / "examples" / "digits.yaml"
SHADES = " .:-=+*#%@"


def unseen() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (n, 64) and labels (n,) of the digits that training never saw."""
    data = load_job(MANIFEST.read_text(), str(MANIFEST)).spec.data
    assert data is not None
    table = read(data.uri)
    pixels = np.stack([column for name, column in table.columns.items() if name != table.label], axis=1)
    labels = table.columns[table.label or ""].astype(int)
    cut = data.split
    test = split(labels, validation=cut.validation, test=cut.test, seed=cut.seed, stratify=cut.stratify).test
    return pixels[test], labels[test]


def drawn(pixels: np.ndarray) -> list[str]:
    """An 8 x 8 image in characters, line by line."""
    return [
        "".join(SHADES[min(int(value) * len(SHADES) // 17, 9)] * 2 for value in row) for row in pixels.reshape(8, 8)
    ]


def main(url: str, model: str = "digits", count: str = "8") -> int:
    """Sends `count` digits spread over the test part in one request."""
    pixels, labels = unseen()
    chosen = np.linspace(0, len(labels) - 1, int(count)).astype(int)
    client = triton.InferenceServerClient(url)
    assert client.is_server_live(), f"{url} does not say that it is live"
    assert client.is_model_ready(model), f"{url} does not say that {model} is ready"
    (signature,) = client.get_model_metadata(model).inputs
    tensor = triton.InferInput(signature.name, [len(chosen), 64], signature.datatype)
    tensor.set_data_from_numpy(pixels[chosen].astype(np.float32))
    answer = client.infer(model, [tensor])
    predicted, probabilities = answer.as_numpy("label"), answer.as_numpy("probabilities")
    pictures = [drawn(pixels[index]) for index in chosen[:4]]
    print("\n".join("  ".join(lines) for lines in zip(*pictures, strict=True)))
    print("true       " + "".join(f"{label:>6}" for label in labels[chosen]))
    print("predicted  " + "".join(f"{int(label):>6}" for label in predicted))
    print("sure       " + "".join(f"{row.max():>6.2f}" for row in probabilities))
    right = int((predicted.astype(int) == labels[chosen]).sum())
    print(f"{right} of {len(chosen)} right, answered by version {answer.get_response().model_version}")
    client.close()
    return 0 if right > len(chosen) // 2 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
