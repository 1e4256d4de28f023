#!/usr/bin/env bash
# Makes .venv in the checkout: what `make venv` calls, and so every other task. Needs Python 3.11+ with its venv module.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

command -v "$PYTHON" >/dev/null || { echo "ringyard: there is no $PYTHON: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 2; }
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "ringyard: $("$PYTHON" --version) is too old: install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11" >&2; exit 2; }

started=$(date +%s)
if [ ! -x .venv/bin/python ]; then
  echo "making .venv with $("$PYTHON" --version)"
  "$PYTHON" -m venv .venv || { rm -rf .venv; echo "ringyard: $PYTHON has no venv module: on Debian or Ubuntu apt install python3-venv" >&2; exit 2; }
fi
if [ ! -x .venv/bin/uv ]; then
  .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
  .venv/bin/python -m pip install -q --disable-pip-version-check -c constraints.txt uv
fi
echo "installing into .venv (PyTorch is large: minutes on a slow line, once)"
.venv/bin/uv pip install -q --python .venv/bin/python -c constraints.txt --group dev -e '.[local]'
echo $(($(date +%s) - started)) >.venv/.ready     # seconds: `make demo` prints them
