"""The house stands as ARCHITECTURE.md says: the `operator/` trap is closed, files keep to the size and names agreed.

What imports what is import-linter's business (`make lint`, and test_floors.py).
"""

from __future__ import annotations

import ast
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "api": "ringyard_api",
    "operator": "ringyard_operator",
    "trainer": "ringyard_trainer",
    "serving": "ringyard_serving",
}
SHELF_NAMES = {"utils", "util", "common", "helpers", "helper", "types", "constants", "misc", "base"}
LONGEST_FILE = 400
LONGEST_FUNCTION = 50

STDLIB = Path(sysconfig.get_path("stdlib"))
ASK = "import operator, pathlib, sys; print(pathlib.Path(operator.__file__).parent)"
SPAWNED = """
import multiprocessing, operator, pathlib
def tell(queue): import operator; queue.put(operator.__file__)
if __name__ == "__main__":
    context = multiprocessing.get_context("spawn"); queue = context.Queue()
    child = context.Process(target=tell, args=(queue,)); child.start()
    print(pathlib.Path(queue.get(timeout=60)).parent); child.join()
"""


def ours() -> Iterator[Path]:
    """Every Python file that we wrote."""
    for folder in PACKAGES.items():
        for path in sorted(ROOT.joinpath(*folder).rglob("*.py")):
            if not path.stem.endswith(("_pb2", "_pb2_grpc")):
                yield path


def written() -> Iterator[Path]:
    """The same, and tests, hack and bench."""
    yield from ours()
    for folder in ("tests", "hack", "bench"):
        yield from sorted((ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- the operator/ trap ---------------------------------------------------------------------------------------------


def run_python(*words: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, cwd=cwd, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_operator_is_the_standard_librarys_under_dash_c_in_the_checkout() -> None:
    assert Path(run_python("-c", ASK)) == STDLIB


def test_import_operator_is_the_standard_librarys_under_dash_m(tmp_path: Path) -> None:
    (tmp_path / "asks_for_operator.py").write_text(ASK)
    found = subprocess.run(
        [sys.executable, "-m", "asks_for_operator"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path)},
        timeout=60,
        check=True,
    )
    assert Path(found.stdout.strip()) == STDLIB


def test_import_operator_is_the_standard_librarys_under_pytest() -> None:
    import operator

    assert Path(operator.__file__).parent == STDLIB
    assert hasattr(operator, "itemgetter")


def test_import_operator_is_the_standard_librarys_in_a_spawned_process(tmp_path: Path) -> None:
    (tmp_path / "spawns.py").write_text(SPAWNED)
    assert Path(run_python(str(tmp_path / "spawns.py"))) == STDLIB


def test_our_packages_are_importable_outside_the_checkout_and_operator_stays_what_it_is(tmp_path: Path) -> None:
    told = run_python("-c", ASK + "; import " + ", ".join(PACKAGES.values()), cwd=tmp_path)
    assert Path(told) == STDLIB


def test_no_init_makes_a_package_of_a_top_level_folder_or_of_tests() -> None:
    wrong = [ROOT / folder / "__init__.py" for folder in PACKAGES if (ROOT / folder / "__init__.py").exists()]
    wrong += (ROOT / "tests").rglob("__init__.py")
    assert not [shown(path) for path in wrong]


def test_tests_stay_out_of_the_packages() -> None:
    wrong = [path for folder in PACKAGES for path in (ROOT / folder).rglob("*.py") if path.name.startswith("test_")]
    wrong += [path for folder in PACKAGES for path in (ROOT / folder).rglob("conftest.py")]
    assert not [shown(path) for path in wrong]


def test_names_of_test_files_are_unique_over_the_whole_tree() -> None:
    counted = Counter(path.name for path in (ROOT / "tests").rglob("*.py") if path.name != "conftest.py")
    assert not [name for name, count in counted.items() if count > 1]


def test_each_top_level_folder_holds_one_package_of_its_own_name() -> None:
    for folder, package in PACKAGES.items():
        held = [path.name for path in (ROOT / folder).iterdir() if path.name != "__pycache__"]
        assert held == [package], f"{folder}/ holds {held}"


# -- what a file may be ---------------------------------------------------------------------------------------------


def test_no_module_is_a_shelf_or_named_like_one_of_the_standard_library() -> None:
    wrong = [shown(p) for p in ours() if p.stem in SHELF_NAMES]
    assert not wrong, "name it after the one thing it does"


def test_files_are_short() -> None:
    sizes = {shown(path): len(path.read_text().splitlines()) for path in written()}
    assert not {path: lines for path, lines in sizes.items() if lines >= LONGEST_FILE}


def test_functions_are_short() -> None:
    wrong = {}
    for path in written():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= LONGEST_FUNCTION:
                    wrong[f"{shown(path)}:{node.lineno} {node.name}"] = lines
    assert not wrong


def test_every_module_says_why_it_exists() -> None:
    wrong = [shown(path) for path in ours() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert not wrong


def test_nothing_is_left_undone() -> None:
    marks = ("TO" + "DO", "FIX" + "ME", "XX" + "X:", "raise " + "NotImplemented")
    wrong = [
        f"{shown(path)}:{number}"
        for path in written()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(mark in line for mark in marks)
    ]
    assert not wrong


def test_no_test_mocks_anything() -> None:
    marks = ("unittest" + ".mock", "Magic" + "Mock", "monkeypatch" + ".setattr")
    wrong = [shown(path) for path in (ROOT / "tests").rglob("*.py") if any(mark in path.read_text() for mark in marks)]
    assert not wrong


def test_no_committed_file_names_a_registry_host() -> None:
    pins = (ROOT / "constraints.txt").read_text()
    assert "://" not in pins
    assert " @ " not in pins


@pytest.mark.parametrize("name", ["ringyard", "ringyard-worker"])
def test_every_installed_command_can_be_loaded(name: str) -> None:
    (entry,) = [point for point in distribution("ringyard").entry_points if point.name == name]
    assert callable(entry.load())
