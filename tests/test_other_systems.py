"""macOS and Windows, as far as Linux can show: nothing is used that they lack, except with a fallback in a known place."""

from __future__ import annotations

import ast
import csv
import shutil
import subprocess
import sys
from pathlib import Path

from tests.other_system import LACKING, MODULES
from tests.test_imports import modules
from vegrt.bundle.bundle import Bundle

ROOT = Path(__file__).parents[1]
# Where a name that Windows lacks is used, behind hasattr, except ImportError or a check of the system
FALLBACKS = {
    "vegrt.evaluate.benchmark.noise": {"os.getloadavg", "os.sysconf"},
    "vegrt.files.locking": {"os.register_at_fork"},
    "vegrt.files.user_cache": {"os.geteuid"},
    "vegrt.infer.decode.shared_buffers": {"os.memfd_create"},
    "vegrt.infer.serve.listening": {"resource"},
    "vegrt.machine": {"os.sched_getaffinity"},
    "vegrt.terminal.interrupts": {
        *(
            "os.register_at_fork",
            "signal.SIG_BLOCK",
            "signal.SIG_SETMASK",
            "signal.SIG_UNBLOCK",
            "signal.pthread_sigmask",
        ),
    },
}


def unix_names(file: Path) -> set[str]:
    """Return what a file uses that Windows lacks: `module.name`, or a module that it imports."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names |= {f"{node.value.id}.{node.attr}"} if node.attr in LACKING.get(node.value.id, ()) else set()
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names} & set(MODULES)
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} & set(MODULES)
            names |= {
                f"{node.module}.{alias.name}"
                for alias in node.names
                if alias.name in LACKING.get(node.module or "", ())
            }
    return names


def test_what_windows_lacks_is_used_in_known_places_only() -> None:
    used = {name: unix_names(file) for name, file in modules().items()}
    assert {name: names for name, names in used.items() if names} == FALLBACKS


def test_infer_and_locks_work_without_what_windows_lacks(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    (tmp_path / "few").mkdir()
    for file in sorted(photos.rglob("*.jpg"))[:2]:
        shutil.copy(file, tmp_path / "few")
    command = [sys.executable, "-m", "tests.other_system", str(copied.path), str(tmp_path / "few"), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) > 250  # modules; those that need an extra are read, not imported
    with out.open(newline="") as rows:
        assert len(list(csv.DictReader(rows))) == 2
    assert not [path for root in (tmp_path, copied.path) for path in root.rglob("*.lock")]
    assert not list(tmp_path.rglob(".*.tmp*"))
