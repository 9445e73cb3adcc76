"""SIGKILL at five random moments of `vegrt export`: the bundle is the old or the new one each time, and `vegrt verify` says so.

python tests/slow/kill_export.py BUNDLE DATA        BUNDLE stays as it is: a copy is exported. Writes to stdout.
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.entries import COMMIT

BLOWS = 5


def export_of(bundle: Path, data: Path) -> list[str]:
    return [sys.executable, "-m", "vegrt.cli", "-q", "export", str(bundle), "--data", str(data), "--overwrite"]


def state(bundle: Path) -> str:
    """Return the bundle's identity after whoever opens it finished a commit, having checked every file's hash."""
    return open_bundle(bundle).sha256()


def main(source: Path, data: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bundle = Path(folder, source.name)
        shutil.copytree(source, bundle)
        start = time.monotonic()
        subprocess.run(export_of(bundle, data), check=True)
        seconds = time.monotonic() - start
        old, bad = state(bundle), 0
        for blow in range(BLOWS):
            process = subprocess.Popen(export_of(bundle, data), stdout=subprocess.DEVNULL)
            after = random.uniform(0.05, 1.0) * seconds
            time.sleep(after)
            process.kill()
            process.wait()
            place = (
                "in a commit" if (bundle / COMMIT).is_dir() else "with files staged" if _staged(bundle) else "elsewhere"
            )
            verified = subprocess.run(
                [sys.executable, "-m", "vegrt.cli", "verify", str(bundle)], capture_output=True, text=True
            )
            new = state(bundle)
            bad += verified.returncode != 0
            which = "old" if new == old else "new"
            verdict = f"vegrt verify: exit {verified.returncode}, {verified.stdout.count('ok  ')} checks passed"
            sys.stdout.write(
                f"blow {blow + 1} after {after:.1f} of {seconds:.1f} s, {place}: the {which} bundle; {verdict}\n"
            )
            old = new
        subprocess.run(export_of(bundle, data), check=True)
        unfinished = _staged(bundle)
        sys.stdout.write(f"after a last export nothing unfinished is left: {not unfinished}\n")
        raise SystemExit(bool(bad or unfinished))


def _staged(bundle: Path) -> list[Path]:
    return list(bundle.glob(".staging-*"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
