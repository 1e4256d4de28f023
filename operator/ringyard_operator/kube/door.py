"""Whether workers of a job can be made at all: the manifest, the claims, the template, what the API server last said.

Asked by `jobkeeper` before each decision; the answer is the `Refusal` of `Observed`. It asks the API server rarely: a
template once a generation, a claim until it is known, a refused pod again after 1, 2, 4 … 60 s.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringyard_api import claims
from ringyard_api.problems import Problem
from ringyard_api.reasons import Reason
from ringyard_api.trainingjob import TrainingJob

from ringyard_operator.errors import KubeError, KubeExists, KubeForbidden, KubeInvalid, KubeNotFound
from ringyard_operator.kube.api import Api, Json
from ringyard_operator.kube.children import foreign
from ringyard_operator.kube.desk import Desk, Refused
from ringyard_operator.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PODS
from ringyard_operator.observed import Refusal
from ringyard_operator.refusal import refusal_of, refusal_of_answer
from ringyard_operator.resources.owner import is_ours
from ringyard_operator.resources.setting import Setting
from ringyard_operator.resources.worker import worker_pod

_ASK_AGAIN_SECONDS = 15.0
_LONGEST_BACKOFF = 60.0


class Door:
    """One for all jobs of a term."""

    def __init__(self, api: Api, setting: Setting) -> None:
        self._api, self._setting = api, setting

    async def refusal(self, job: TrainingJob, problems: Sequence[Problem], desk: Desk, now: float) -> Refusal | None:
        """Why no worker may be made now, or None."""
        return (
            refusal_of(problems)
            or await self._claims(job, desk, now)
            or await self._template(job, desk)
            or await self._refused(job, desk, now)
        )

    def note(self, desk: Desk, refusal: Refusal, index: int, attempt: int, now: float) -> None:
        """A pod was refused. The next try is a dry one, of that very pod."""
        if desk.refused is not None and now < desk.refused.retry_at:
            return  # another one of the same turn
        failures = desk.refused.failures + 1 if desk.refused is not None else 1
        pause = min(_LONGEST_BACKOFF, 2.0 ** min(failures - 1, 10))
        desk.refused = Refused(refusal=refusal, index=index, attempt=attempt, failures=failures, retry_at=now + pause)

    async def _claims(self, job: TrainingJob, desk: Desk, now: float) -> Refusal | None:
        for path, uri in _places(job):
            claim = claims.parse(uri).claim
            if "ReadWriteOncePod" in await self._access_modes(job.metadata.namespace, claim, desk, now):
                sentence = (
                    f"{path}: claim {claim} is ReadWriteOncePod, so only one worker could mount it: "
                    "use ReadWriteMany, or ReadWriteOnce for workers on one node"
                )
                return Refusal(reason=Reason.NOT_SUPPORTED, sentence=sentence, final=True)
        return None

    async def _access_modes(self, namespace: str, claim: str, desk: Desk, now: float) -> tuple[str, ...]:
        """Empty while there is no such claim: the pod that waits for it says so."""
        asked_at, modes = desk.claims.get(claim, (0.0, ()))
        if modes or now - asked_at < _ASK_AGAIN_SECONDS:
            return modes
        try:
            found = await self._api.get(PERSISTENT_VOLUME_CLAIMS, claim, namespace)
            modes = tuple((found.get("spec") or {}).get("accessModes") or ())
        except (KubeNotFound, KubeForbidden):
            modes = ()
        desk.claims[claim] = (now, modes)
        return modes

    async def _template(self, job: TrainingJob, desk: Desk) -> Refusal | None:
        """What the API server says of a pod of this generation; strictly, so that a misspelt field is told."""
        if desk.shown is not None and desk.shown[0] == job.metadata.generation:
            return desk.shown[1]
        pod = worker_pod(job, 0, 0, self._setting)
        try:
            await self._api.create(PODS, pod, dry_run=True, strict=True)
            answer = None
        except KubeInvalid as error:
            answer = refusal_of_answer(error.status, error.message, namespace=job.metadata.namespace)
        except (KubeExists, KubeForbidden, KubeNotFound):
            answer = None  # it is well-formed; whether there is room is another question
        desk.shown = (job.metadata.generation, answer)
        return answer

    async def _refused(self, job: TrainingJob, desk: Desk, now: float) -> Refusal | None:
        if desk.refused is not None and desk.refused.index >= job.spec.workers.replicas:
            desk.refused = None  # nobody wants that worker any more
        refused = desk.refused
        if refused is None or now < refused.retry_at:
            return None if refused is None else refused.refusal
        pod = worker_pod(job, refused.index, refused.attempt, self._setting)
        answer = await self.why_not(pod, desk.uid)
        if answer is None:
            desk.refused = None
            return None
        self.note(desk, answer, refused.index, refused.attempt, now)
        return answer

    async def why_not(self, pod: Json, uid: str) -> Refusal | None:
        """Whether the pod could be made now. Raises KubeError where nobody can tell."""
        metadata = pod["metadata"]
        try:
            await self._api.create(PODS, pod, dry_run=True)
        except KubeExists:
            found = await self._api.get(PODS, metadata["name"], metadata["namespace"])
            return None if is_ours(found, uid) else foreign("Pod", metadata["name"])
        except KubeError as error:
            answer = refusal_of_answer(error.status, error.message, namespace=metadata["namespace"])
            if answer is None:
                raise
            return answer
        return None


def _places(job: TrainingJob) -> list[tuple[str, str]]:
    found = []
    if job.spec.storage is not None and claims.is_claim(job.spec.storage.uri):
        found.append(("spec.storage.uri", job.spec.storage.uri))
    if job.spec.data is not None and claims.is_claim(job.spec.data.uri):
        found.append(("spec.data.uri", job.spec.data.uri))
    return found
