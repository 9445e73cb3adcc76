"""Builds a release and checks it: source distribution, wheel and bill of materials.

    make release        or: python tests/slow/release.py [--out dist]

The wheel is built from the source distribution, twice, and must have the same bytes both times; twine checks both files; the
wheel with the extras of a device is installed from PyPI in a fresh environment, where base_install.py runs. The bill of
materials (CycloneDX 1.6) lists vegrt[cpu] and what pip installs for it, each with its version and SHA-256. Nothing is uploaded.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vegrt.bundle.sbom import numbered

ROOT = Path(__file__).parents[2]
ON_DEVICES, TRIED = "[cpu]", "[cpu,pack,sign,serve]"


def build(checkout: Path, out: Path, epoch: int) -> tuple[Path, Path]:
    """Return the source distribution of a checkout, and the wheel built from it. epoch: time of the wheel's files, in seconds."""
    shutil.rmtree(out, ignore_errors=True)
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(epoch)}
    run([sys.executable, "-m", "build", "--no-isolation", f"--outdir={out}", str(checkout)], environment)
    (source,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return source, wheel


def check_metadata(files: Sequence[Path]) -> None:
    """Raise SystemExit if PyPI would refuse a file or could not show its description."""
    run([sys.executable, "-m", "twine", "check", "--strict", *map(str, files)])


def check_version(wheel: Path, checkout: Path = ROOT) -> str:
    """Return the version in a wheel's name. Raises SystemExit if the program or the changelog has another one."""
    version = wheel.name.split("-")[1]
    for file, line in (("src/vegrt/version.py", f'__version__ = "{version}"'), ("CHANGELOG.md", f"## [{version}]")):
        if not re.search(rf"^{re.escape(line)}", (checkout / file).read_text(encoding="utf-8"), re.MULTILINE):
            sys.exit(f"release: {file} does not have {line}")
    return version


def check_installed(wheel: Path, folder: Path) -> None:
    """Install a wheel from PyPI in a new environment, and run base_install.py there."""
    run([sys.executable, "-m", "venv", str(folder)])
    python = str(folder / "bin/python")
    run([python, "-m", "pip", "install", "--quiet", f"{wheel}{TRIED}"])
    sys.stdout.write(run([python, "-I", str(ROOT / "tests/slow/base_install.py")]))


def bill_of_materials(wheel: Path, source: Path, version: str) -> dict[str, Any]:
    """Return the bill of materials of vegrt[cpu] as JSON values. pip says what it would install on this machine today."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.json")
        words = ["install", "--quiet", "--dry-run", "--ignore-installed", f"--report={report}", f"{wheel}{ON_DEVICES}"]
        run([sys.executable, "-m", "pip", *words])
        packages = json.loads(report.read_text())["install"]
    own = component("vegrt", version, sha256(wheel)) | {
        "externalReferences": [
            {
                "type": "source-distribution",
                "url": source.name,
                "hashes": [{"alg": "SHA-256", "content": sha256(source)}],
            }
        ]
    }
    others = [
        component(
            item["metadata"]["name"],
            item["metadata"]["version"],
            item["download_info"]["archive_info"]["hashes"]["sha256"],
        )
        for item in packages
        if item["metadata"]["name"] != "vegrt"
    ]
    content = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
        "components": sorted(others, key=lambda each: str(each["bom-ref"])),
        "dependencies": dependencies(packages),
    }
    return numbered(content, wheel.name)


def component(name: str, version: str, digest: str) -> dict[str, Any]:
    purl = f"pkg:pypi/{normalized(name)}@{version}"
    hashes = [{"alg": "SHA-256", "content": digest}]
    return {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl, "hashes": hashes}


def dependencies(packages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return which of the installed packages each one names as a requirement, optional ones that are installed included."""
    refs = {
        normalized(
            item["metadata"]["name"]
        ): f"pkg:pypi/{normalized(item['metadata']['name'])}@{item['metadata']['version']}"
        for item in packages
    }
    result = []
    for item in packages:
        named = {normalized(re.split(r"[^\w.-]", text)[0]) for text in item["metadata"].get("requires_dist", [])}
        own = refs[normalized(item["metadata"]["name"])]
        result.append({"ref": own, "dependsOn": sorted({refs[name] for name in named if name in refs} - {own})})
    return sorted(result, key=lambda each: str(each["ref"]))


def normalized(name: str) -> str:
    """Return a package's name as PyPI compares names (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def run(words: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Run a program and return its stdout. Raises SystemExit with what it said when it fails."""
    done = subprocess.run(
        words, capture_output=True, text=True, env=environment, cwd=tempfile.gettempdir(), check=False
    )
    if done.returncode:
        sys.exit(f"release: {' '.join(words)}: exit {done.returncode}\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    out = parser.parse_args().out.resolve()
    epoch = int(run(["git", "-C", str(ROOT), "log", "-1", "--format=%ct"]))
    with tempfile.TemporaryDirectory() as folder:
        # from a clone: what lies beside the sources, uncommitted or built earlier, is not released
        clone = Path(folder, "vegrt")
        run(["git", "clone", "--quiet", str(ROOT), str(clone)])
        source, wheel = build(clone, out, epoch)
        _, again = build(clone, Path(folder, "again"), epoch)
        if wheel.read_bytes() != again.read_bytes():
            sys.exit(f"release: {wheel.name} built twice is not the same file")
        version = check_version(wheel, clone)
        check_metadata([source, wheel])
        check_installed(wheel, Path(folder, "environment"))
    bill = out / f"vegrt-{version}.cdx.json"
    bill.write_text(json.dumps(bill_of_materials(wheel, source, version), indent=1) + "\n", encoding="utf-8")
    for file in (source, wheel, bill):
        sys.stdout.write(f"{sha256(file)}  {file.name}\n")


if __name__ == "__main__":
    main()
