#!/usr/bin/env bash
# `make verify`: makes every generated file anew, elsewhere or in memory, and names those that differ from what is committed.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=0
made=$(mktemp -d)
trap 'rm -rf "$made"' EXIT

OUT=$made env -u PYTHON hack/protos.sh || failed=1
while read -r file; do
  cmp -s "$made/$file" "$file" || { echo "stale: $file (make protos)"; failed=1; }
done < <(cd "$made" && find . -type f | sed 's|^\./||' | sort)
.venv/bin/python hack/generate.py --check || failed=1
.venv/bin/python hack/metrics_doc.py --check || failed=1
[ "$failed" = 0 ] && echo "verify: every generated file is what its source makes"
exit "$failed"
