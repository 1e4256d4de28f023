"""The worker launch contract: how a shell (Kubernetes, local processes) tells a worker who it is.

`resources` writes it, the agent and the training process read it. It knows names and exit codes only: it opens no file.
Every variable is set by the shell; a user who sets one by hand in `workers.template` is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

JOB = "RINGYARD_JOB"  # name of the TrainingJob
SPEC_FILE = "RINGYARD_SPEC_FILE"  # resolved TrainingJob as JSON (the part that never changes)
WORKER_INDEX = "RINGYARD_WORKER_INDEX"
INCARNATION = "RINGYARD_INCARNATION"  # pod UID; locally the uid that the supervisor gave this attempt
ATTEMPT = "RINGYARD_ATTEMPT"  # of the worker index, only grows
PROCESS_ATTEMPT = "RINGYARD_PROCESS_ATTEMPT"  # set by the agent: in-place restarts within this incarnation
COORDINATOR_FILE = "RINGYARD_COORDINATOR_FILE"  # host:port, read again at each dial
TOKEN_FILE = "RINGYARD_TOKEN_FILE"  # bearer token, read again at each dial
RUN_DIR = "RINGYARD_RUN_DIR"  # <storage.uri>/<job>-<uid8>
WORKER_DIR = "RINGYARD_WORKER_DIR"  # scratch of this worker: agent.json, log
HOST = "RINGYARD_HOST"  # address that peers reach this worker at; locally 127.0.0.1
MODEL_DIR = "RINGYARD_MODEL_DIR"  # where a `command` job puts what is to be published
RUN_URI = "RINGYARD_RUN_URI"  # how others name the run's folder; absent: by its path
TERMINATION_FILE = "RINGYARD_TERMINATION_FILE"  # where PID 1 leaves its last words; absent locally
GRACE = "RINGYARD_GRACE_SECONDS"  # from SIGTERM until the worker is killed; absent: 30
OWNER_TIMEOUT = "RINGYARD_OWNER_TIMEOUT"  # seconds without a coordinator until the worker gives up; 0 = never

RESULT_JSON = "result.json"  # in RUN_DIR: that it stands means that the run is over

SCRIPT_VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "RANK", "WORLD_SIZE", "LOCAL_RANK")
RESERVED_PREFIXES = ("PET_", "RINGYARD_")

EXIT_RESULT_STANDS = 0
EXIT_TERMINATED = 143  # after any SIGTERM, and for a fenced incarnation
EXIT_BAD_INPUT = 2  # the user's data, code or manifest is at fault: permanent
EXIT_NOT_FINITE = 3  # the loss is no longer a finite number: permanent
EXIT_PERMANENT = range(1, 128)


def model_uri(environment: Mapping[str, str], here: str) -> str:
    """How others name the run's model folder, which is `here` on this machine."""
    run_uri = environment.get(RUN_URI, "")
    return f"{run_uri}/model" if run_uri else here


def reserved(name: str) -> bool:
    """Whether a user may not set this environment variable because the launch contract owns it."""
    return name in SCRIPT_VARIABLES or name.startswith(RESERVED_PREFIXES)


@dataclass(frozen=True, kw_only=True)
class WorkerLaunch:
    """What one worker is told at its start."""

    job: str
    spec_file: str
    worker_index: int
    incarnation: str
    attempt: int
    coordinator_file: str
    token_file: str
    run_dir: str
    worker_dir: str
    host: str
    process_attempt: int = 0

    def environment(self) -> dict[str, str]:
        """The variables to set, by name."""
        return {
            JOB: self.job,
            SPEC_FILE: self.spec_file,
            WORKER_INDEX: str(self.worker_index),
            INCARNATION: self.incarnation,
            ATTEMPT: str(self.attempt),
            PROCESS_ATTEMPT: str(self.process_attempt),
            COORDINATOR_FILE: self.coordinator_file,
            TOKEN_FILE: self.token_file,
            RUN_DIR: self.run_dir,
            WORKER_DIR: self.worker_dir,
            HOST: self.host,
            MODEL_DIR: f"{self.run_dir}/model",
        }

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> WorkerLaunch:
        """Reads the contract back. A missing variable is a `KeyError` with its name: the shell broke the contract."""
        return cls(
            job=environment[JOB],
            spec_file=environment[SPEC_FILE],
            worker_index=int(environment[WORKER_INDEX]),
            incarnation=environment[INCARNATION],
            attempt=int(environment[ATTEMPT]),
            coordinator_file=environment[COORDINATOR_FILE],
            token_file=environment[TOKEN_FILE],
            run_dir=environment[RUN_DIR],
            worker_dir=environment[WORKER_DIR],
            host=environment[HOST],
            process_attempt=int(environment.get(PROCESS_ATTEMPT, "0")),
        )
