"""What an agent writes about itself into its worker's folder, so that whoever looks after it next can take over.

The agent (trainer) writes it, the local shell (operator) reads it and writes the first one before it starts the
agent. Both know the same fields from here. It opens no file. A process is known by pid, start time and boot, never
by its pid alone.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


def file_name(attempt: int) -> str:
    """Name of the record in the worker's folder: each attempt has its own, for an old one may still be leaving."""
    return f"agent-{attempt}.json"


@dataclass(frozen=True, kw_only=True)
class ProcessExit:
    """The end of one training process of this agent.

    Attributes:
        process_attempt: 0-based, of this incarnation of the worker.
        exit_code: 0 to 255; 128 + signal where a signal ended it.
        at: Unix seconds.
        out_of_memory: the kernel's out-of-memory killer ended it.
        last_lines: of its output, at most 5.
    """

    process_attempt: int
    exit_code: int
    at: float
    out_of_memory: bool = False
    last_lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AgentRecord:
    """One incarnation of a worker.

    Attributes:
        uid: incarnation, given by whoever started it.
        pid: of the agent, 0 while it has not said so; it leads a session of the same number.
        start_ticks: its start time, field 22 of /proc/PID/stat.
        boot: /proc/sys/kernel/random/boot_id, for ticks begin again with each boot.
        created_at: Unix seconds.
        child_pid: of the training process, 0 while none runs.
        exits: of training processes, oldest first, the newest 20.
        finished_at, exit_code: of the agent itself, once it knows.
        reason: why it ended, one sentence.
    """

    uid: str
    index: int
    attempt: int
    created_at: float
    pid: int = 0
    start_ticks: int = 0
    boot: str = ""
    process_attempt: int = 0
    child_pid: int = 0
    exits: tuple[ProcessExit, ...] = ()
    finished_at: float | None = None
    exit_code: int | None = None
    reason: str = ""

    def to_json(self) -> str:
        """The record as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> AgentRecord:
        """Reads a record back. Raises ValueError where it is not one; fields of a newer writer are passed over."""
        data = json.loads(text)
        if not isinstance(data, dict) or "uid" not in data:
            raise ValueError("not an agent's record")
        known = {name: data[name] for name in cls.__dataclass_fields__ if name in data}
        known["exits"] = tuple(
            ProcessExit(**{**item, "last_lines": tuple(item.get("last_lines", ()))}) for item in known.get("exits", ())
        )
        return cls(**known)
