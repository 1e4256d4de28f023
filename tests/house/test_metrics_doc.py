"""docs/metrics.md lists the metrics that exist, and their names follow Prometheus' conventions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "metrics.md"


def test_the_document_lists_exactly_the_metrics_of_the_three_services() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "hack" / "metrics_doc.py", "--check"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_names_say_whose_they_are_and_carry_base_units() -> None:
    rows = [line.split("|") for line in DOCUMENT.read_text().splitlines() if line.startswith("| `ringyard")]
    assert len(rows) > 20
    for _, name, kind, _, meaning, _ in rows:
        plain = name.strip(" `")
        assert (kind.strip() == "counter") == plain.endswith("_total"), plain
        assert not plain.endswith(("_ms", "_milliseconds", "_kb", "_mb", "_percent", "_count", "_sum", "_bucket")), (
            plain
        )
        assert meaning.strip().endswith("."), plain
        text = f"# TYPE {plain} gauge\n{plain} 1\n"
        assert [family.name for family in text_string_to_metric_families(text)] == [plain]
