"""Calls a model without pause through tritonclient, in a process of its own, until told to stop; prints a tally.

`python triton_probe.py URL MODEL THREADS [OUTPUT]` asks for OUTPUT of a model of 4 features: prints "running" after the
first answer, ends when its stdin closes, and prints JSON {"answers": {"1/2": n, …}, "failures": ["…"]} where an answer
is counted by the number that the model gave and the version that it names.
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter

import numpy as np
import tritonclient.grpc as triton


def main(url: str, model: str, threads: int, output: str = "prediction") -> None:
    stop = threading.Event()
    answers: Counter[str] = Counter()
    failures: list[str] = []
    first = threading.Event()

    def call() -> None:
        with triton.InferenceServerClient(url) as client:
            tensor = triton.InferInput("input", [1, 4], "FP32")
            tensor.set_data_from_numpy(np.zeros((1, 4), dtype=np.float32))
            while not stop.is_set():
                try:
                    result = client.infer(model, [tensor], client_timeout=20)
                    number = result.as_numpy(output).item()
                    answers[f"{number:g}/{result.get_response().model_version}"] += 1
                except Exception as error:  # noqa: BLE001 - every failure of any kind is what this counts
                    failures.append(str(error))
                first.set()

    callers = [threading.Thread(target=call) for _ in range(threads)]
    for caller in callers:
        caller.start()
    first.wait()
    print("running", flush=True)
    sys.stdin.read()
    stop.set()
    for caller in callers:
        caller.join()
    print(json.dumps({"answers": answers, "failures": failures}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
