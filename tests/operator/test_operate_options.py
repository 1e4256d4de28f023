"""What `python -m ringyard_operator operate` has to be told, and the sentence where it is not."""

from __future__ import annotations

import pytest
from ringyard_operator.__main__ import main

IMAGES = ("--trainer-image=t:1", "--serving-image=s:1")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "--trainer-image is missing: give it, or set $RINGYARD_TRAINER_IMAGE"),
        (("--trainer-image=t:1",), "--serving-image is missing: give it, or set $RINGYARD_SERVING_IMAGE"),
        (IMAGES, "--pod-ip is missing: give it (in a pod $POD_IP), or --coordinator-address HOST:PORT"),
        ((*IMAGES, "--pod-ip=10.0.0.1", "--kubeconfig=/nowhere/config"), "/nowhere/config"),
    ],
)
def test_what_is_missing_is_one_sentence_with_the_remedy(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RINGYARD_TRAINER_IMAGE", "RINGYARD_SERVING_IMAGE", "POD_IP", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    assert main(["operate", *words]) == 2
    told = capsys.readouterr().err
    assert told.startswith("ringyard: ") and sentence in told and told.count("\n") == 1
