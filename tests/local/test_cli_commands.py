"""The command line from outside: what it prints, where, and how it ends. Every call is a real process."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml
from ringyard_api.defaults import resolve
from ringyard_api.jobstatus import Condition, JobStatus
from ringyard_api.loading import load_job
from ringyard_operator.cli import ringyard as root_command
from ringyard_operator.cli.trouble import Trouble
from ringyard_operator.local.folders import StateDir
from ringyard_operator.local.submit import submit

RINGYARD = Path(sys.executable).parent / "ringyard"
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"
JOB = """\
apiVersion: ringyard.dev/v1alpha1
kind: TrainingJob
metadata: {name: iris}
spec:
  workers: {replicas: 2}
  model: {factory: "ringyard_trainer.models:mlp", args: {hidden: [8], classes: 3}}
  data: {uri: "sklearn://iris"}
  fit: {epochs: 1, batchSize: 32, loss: crossEntropy}
"""


def call(state: Path, *words: str, stdin: str = "", cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "XDG_STATE_HOME": str(state), "OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    environment.pop("RINGYARD_STATE_DIR", None)
    return subprocess.run(
        [str(RINGYARD), *words], input=stdin, capture_output=True, text=True, env=environment, cwd=cwd, timeout=60
    )


def stored(root: Path, status: JobStatus | None = None) -> StateDir:
    """A state folder that holds the job `iris`, which nothing runs."""
    state = StateDir(root / "ringyard")
    submit(state, resolve(load_job(JOB, "iris.yaml")))
    if status is not None:
        state.job("iris").write_status(status)
    return state


def ended(status: str, reason: str, message: str) -> JobStatus:
    condition = Condition(
        type="Succeeded",
        status=status,
        reason=reason,
        message=message,
        last_transition_time="2026-01-02T03:04:05Z",
        observed_generation=1,
    )
    return JobStatus(conditions=(condition,), step=7, total_steps=7)


def commands(group: click.Group = root_command, path: str = "ringyard") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


SHARED = ("--state-dir", "--debug", "--output", "--context", "--namespace", "--kubeconfig")  # told once for all


@pytest.mark.parametrize(("path", "command"), [pytest.param(*each, id=each[0]) for each in commands()])
def test_every_command_has_examples_and_stands_in_the_documentation(path: str, command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=path))
    examples = text.split("Examples:\n")[1].splitlines()
    assert len(examples) >= 1
    for example in examples:
        assert path in example
        words = shlex.split(example.split(path)[1].split("#")[0].split("|")[0].split(">")[0].replace(')"', ""))
        command.make_context(path, words, obj=Trouble())  # raises where an option or an argument is none
    documented = next(line for line in DOCS.read_text().splitlines() if line.startswith(f"| `{path}"))
    for parameter in command.params:
        for option in parameter.opts if isinstance(parameter, click.Option) else ():
            if option.startswith("--") and option not in SHARED:
                assert option in documented, f"docs/cli.md does not name {option} of {path}"
    if any(parameter.name == "output" for parameter in command.params):
        assert "[-o " in documented
    if any(parameter.name == "context" for parameter in command.params):
        assert path in DOCS.read_text().split("## On a cluster")[1], "docs/cli.md does not say that a cluster has it"


def test_help_answers_without_importing_what_is_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, ringyard_operator.cli as c\n"
        "try: c.main(['--help'])\n"
        "except SystemExit: print(sorted({'grpc', 'numpy', 'torch', 'rich', 'yaml', 'asyncio'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.endswith("[]\n"), done.stdout[-300:] + done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(tmp_path: Path, shell: str) -> None:
    done = call(tmp_path, "completion", shell)
    assert done.returncode == 0
    assert "_RINGYARD_COMPLETE" in done.stdout


def test_names_of_jobs_are_completed(tmp_path: Path) -> None:
    stored(tmp_path)
    words = {"_RINGYARD_COMPLETE": "bash_complete", "COMP_WORDS": "ringyard status i", "COMP_CWORD": "2"}
    done = subprocess.run(
        [str(RINGYARD)],
        capture_output=True,
        text=True,
        env={**os.environ, **words, "XDG_STATE_HOME": str(tmp_path)},
        timeout=60,
    )
    assert done.stdout.split() == ["plain,iris"]


def test_validate_says_that_a_manifest_is_valid_and_prints_it_resolved(tmp_path: Path) -> None:
    plain = call(tmp_path, "validate", "-", stdin=JOB)
    assert (plain.returncode, plain.stdout) == (0, "<stdin>: TrainingJob iris is valid\n")
    as_yaml = call(tmp_path, "validate", "-", "-o", "yaml", stdin=JOB)
    resolved = yaml.safe_load(as_yaml.stdout)
    assert resolved["spec"]["fit"]["precision"] == "fp32"
    as_json = call(tmp_path, "validate", "-", "-o", "json", stdin=JOB)
    assert json.loads(as_json.stdout) == resolved
    again = call(tmp_path, "validate", "-", "-o", "yaml", stdin=as_yaml.stdout)
    assert again.stdout == as_yaml.stdout, "a resolved manifest is a manifest, and resolves to itself"


BAD = [
    pytest.param(["frobnicate"], "", "there is no command 'frobnicate'", id="no such command"),
    pytest.param(["statsu", "x"], "", "did you mean `ringyard status`?", id="misspelt command"),
    pytest.param(["run"], "", "Missing argument 'FILE'", id="no file"),
    pytest.param(["run", "-", "--fast"], JOB, "--fast", id="unknown option"),
    pytest.param(["scale", "iris"], "", "--replicas", id="option missing"),
    pytest.param(["run", "nowhere.yaml"], "", "nowhere.yaml: No such file or directory", id="no such file"),
    pytest.param(["run", "/"], "", "/: Is a directory", id="a folder"),
    pytest.param(["run", "-"], "", "<stdin>", id="empty"),
    pytest.param(["run", "-"], JOB + "---\n" + JOB, "<stdin>", id="two documents"),
    pytest.param(["run", "-"], "a: [1,\nb: }", "line 2", id="not YAML"),
    pytest.param(["validate", "-"], "a: [1,\nb: }", "line 2", id="validate not YAML"),
    pytest.param(["run", "-"], JOB.replace("epochs", "epocs"), "spec.fit.epocs", id="misspelt field"),
    pytest.param(["run", "-"], JOB.replace("epochs", "epocs"), "epochs", id="nearest name"),
    pytest.param(["run", "-"], JOB.replace("replicas: 2", "replicas: 0"), "spec.workers.replicas", id="range"),
    pytest.param(["run", "-"], JOB.replace("epochs: 1", "epochs: many"), "spec.fit.epochs", id="type"),
    pytest.param(["run", "-", "--set", "fit.epocs=3"], JOB, "spec.fit.epocs", id="set unknown field"),
    pytest.param(["run", "-", "--set", "fit.epochs"], JOB, "must be path=value", id="set without value"),
    pytest.param(["run", "-", "--set", "fit.precision=bf16"], JOB, "not supported yet", id="not supported yet"),
    pytest.param(["run", "-", "--name", "No Name"], JOB, "metadata.name", id="bad name"),
    pytest.param(
        ["run", "-", "--set", "data.uri=no.csv", "--set", "data.label=y"],
        JOB,
        "spec.data.uri: no such file",
        id="no data file",
    ),
    pytest.param(["run", "-", "--set", "code.path=no"], JOB, "spec.code.path: no such folder", id="no code folder"),
    pytest.param(["status", "../iris"], "", "is no name of a job", id="a path for a name"),
    pytest.param(["wait", "iris", "--for", "Ready=maybe"], "", "--for Ready=maybe", id="bad condition"),
    pytest.param(["wait", "iris", "--for", "Ready"], "", "no job has a condition 'Ready'", id="unknown condition"),
    pytest.param(["predict", "x", "--timeout", "0"], "", "--timeout", id="bad timeout"),
]


@pytest.mark.parametrize(("words", "stdin", "sentence"), BAD)
def test_bad_input_is_one_sentence_on_stderr_and_exit_2(
    tmp_path: Path, words: list[str], stdin: str, sentence: str
) -> None:
    done = call(tmp_path, *words, stdin=stdin, cwd=tmp_path)
    assert sentence in done.stderr
    assert all(line.startswith("ringyard: ") for line in done.stderr.splitlines())
    assert done.returncode == 2
    assert StateDir(tmp_path / "ringyard").jobs() == [], "nothing was started"
    assert sentence in (tmp_path / "ringyard" / "ringyard.log").read_text(), "trouble goes to a file too"


def test_all_problems_of_all_files_are_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(JOB.replace("epochs", "epocs").replace("replicas: 2", "replicas: 0"))
    (tmp_path / "b.yaml").write_text(JOB.replace("batchSize: 32", "batchSize: no"))
    done = call(tmp_path, "validate", "a.yaml", "b.yaml", cwd=tmp_path)
    assert done.returncode == 2
    for place in ("a.yaml: spec.fit.epocs", "a.yaml: spec.workers.replicas", "b.yaml: spec.fit.batchSize"):
        assert place in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["status", "iriss"],
        ["logs", "iriss"],
        ["scale", "iriss", "--replicas", "3"],
        ["stop", "iriss"],
        ["delete", "iriss"],
        ["wait", "iriss", "--for", "Succeeded"],
    ],
    ids=lambda words: words[0],
)
def test_a_job_that_does_not_exist_is_exit_3_with_the_nearest_name(tmp_path: Path, words: list[str]) -> None:
    stored(tmp_path)
    done = call(tmp_path, *words)
    assert done.returncode == 3
    assert "no job 'iriss'" in done.stderr
    assert "did you mean 'iris'?" in done.stderr


@pytest.mark.parametrize("words", [["predict", "nobody"], ["endpoint", "delete", "nobody"]], ids=["predict", "delete"])
def test_an_endpoint_that_does_not_exist_is_exit_3(tmp_path: Path, words: list[str]) -> None:
    done = call(tmp_path, *words, stdin="[[1]]")
    assert (done.returncode, "no endpoint 'nobody'" in done.stderr) == (3, True)


def test_a_state_folder_that_cannot_be_written_is_one_sentence_and_exit_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = call(tmp_path, "run", "-", "--state-dir", str(tmp_path / "file" / "state"), stdin=JOB)
    assert done.returncode == 2
    assert done.stderr.startswith("ringyard: ")
    assert "--state-dir" in done.stderr
    assert done.stderr.count("\n") == 1


def test_nothing_there_is_said_and_is_no_failure(tmp_path: Path) -> None:
    for words, kind in ((["list"], "no jobs"), (["endpoints"], "no endpoints")):
        done = call(tmp_path, *words)
        assert (done.returncode, done.stdout) == (0, "")
        assert kind in done.stderr
        empty = call(tmp_path, *words, "-o", "json")
        assert json.loads(empty.stdout) == {"apiVersion": "v1", "kind": "List", "items": []}


def test_a_stored_job_is_shown_as_the_object_that_kubernetes_would_show(tmp_path: Path) -> None:
    stored(tmp_path, ended("False", "GateNotReached", "accuracy 0.5 is below 0.9"))
    shown = json.loads(call(tmp_path, "status", "iris", "-o", "json").stdout)
    assert (shown["apiVersion"], shown["kind"]) == ("ringyard.dev/v1alpha1", "TrainingJob")
    assert shown["metadata"]["uid"]
    assert shown["status"]["conditions"][0]["lastTransitionTime"] == "2026-01-02T03:04:05Z"
    assert json.loads(call(tmp_path, "list", "-o", "json").stdout)["items"] == [shown]
    assert yaml.safe_load(call(tmp_path, "status", "iris", "-o", "yaml").stdout) == shown
    screen = call(tmp_path, "status", "iris").stdout
    assert "GateNotReached" in screen and "accuracy 0.5 is below 0.9" in screen and "7/7" in screen
    head, row = call(tmp_path, "list").stdout.splitlines()
    assert head.split() == ["NAME", "STATE", "WORKERS", "STEP", "PROGRESS", "LOSS", "ENDPOINT", "AGE"]
    assert row.split()[:2] == ["iris", "GateNotReached"]


def test_a_job_that_nothing_runs_says_what_makes_it_go_on(tmp_path: Path) -> None:
    stored(tmp_path)
    assert "no supervisor runs it now" in call(tmp_path, "status", "iris").stdout
    stopped = call(tmp_path, "stop", "iris")
    assert stopped.returncode == 0
    assert "it was stopped: `ringyard run`" in call(tmp_path, "status", "iris").stdout


def test_wait_ends_with_0_when_it_holds_1_when_it_never_will_and_4_in_time(tmp_path: Path) -> None:
    stored(tmp_path, ended("True", "Completed", "all is done"))
    assert call(tmp_path, "wait", "iris", "--for", "condition=succeeded").returncode == 0
    never = call(tmp_path, "wait", "iris", "--for", "Failed")
    assert (never.returncode, "will not hold any more" in never.stderr) == (1, True)
    submit(StateDir(tmp_path / "ringyard"), resolve(load_job(JOB.replace("name: iris", "name: other"), "-")))
    late = call(tmp_path, "wait", "other", "--for", "Succeeded", "--timeout", "0.1")
    assert (late.returncode, "did not hold within 0.1 s" in late.stderr) == (4, True)
    assert call(tmp_path, "delete", "other").returncode == 0
    assert call(tmp_path, "status", "other").returncode == 3


def test_a_spoilt_job_hides_no_other_and_can_be_deleted(tmp_path: Path) -> None:
    state = stored(tmp_path, ended("True", "Completed", "all is done"))
    submit(state, resolve(load_job(JOB.replace("name: iris", "name: other"), "-")))
    state.job("other").spec_file.write_text("{")
    shown = call(tmp_path, "list")
    assert (shown.returncode, "iris" in shown.stdout, "spec.json is not JSON" in shown.stderr) == (0, True, True)
    assert call(tmp_path, "delete", "other").returncode == 0
    assert call(tmp_path, "list").stderr == ""


def test_what_has_ended_cannot_be_stopped(tmp_path: Path) -> None:
    stored(tmp_path, ended("True", "Completed", "all is done"))
    done = call(tmp_path, "stop", "iris")
    assert (done.returncode, "has already succeeded: there is nothing to stop" in done.stderr) == (2, True)


def test_what_does_not_leave_in_time_is_exit_4(tmp_path: Path) -> None:
    with stored(tmp_path).job("iris").lock():
        for command in ("stop", "delete"):
            late = call(tmp_path, command, "iris", "--timeout", "0.2")
            assert (late.returncode, "iris still has workers after 0.2 s" in late.stderr) == (4, True)


def test_scale_refuses_what_the_manifest_forbids(tmp_path: Path) -> None:
    state = stored(tmp_path)
    assert call(tmp_path, "scale", "iris", "--replicas", "3").returncode == 0
    assert state.job("iris").read().spec.workers.replicas == 3
    done = call(tmp_path, "scale", "iris", "--replicas", "0")
    assert (done.returncode, "spec.workers.replicas" in done.stderr) == (2, True)


def test_debug_adds_the_traceback_to_the_screen_and_the_file(tmp_path: Path) -> None:
    done = call(tmp_path, "status", "nobody", "--debug")
    assert done.returncode == 3
    assert "Traceback" in done.stderr
    assert "Traceback" in (tmp_path / "ringyard" / "ringyard.log").read_text()


def test_commands_of_this_machine_load_no_client_of_a_cluster(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom ringyard_operator.cli import main\ntry:\n    main(['list'])\n"
        "finally:\n    print({'aiohttp', 'kopf', 'ringyard_operator.kube'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        timeout=60,
    )
    assert done.stdout == "set()\n", done.stderr
