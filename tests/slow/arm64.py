"""The wheel in an aarch64 Debian under QEMU: its answers on two emulated processors, compared with those on this machine.

python tests/slow/arm64.py BUNDLE... --photos DATA/test [--count 90] [--fewer 6] [--root build/arm64] [--resume]

Needs root and Debian's packages debootstrap and qemu-user-static. The root file system is made once and used again; vegrt is
installed anew each time, from the wheel of this checkout. All mounts belong to this process and end with it. Only answers are
compared, never times.
"""

from __future__ import annotations

import argparse
import csv
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

QEMU = "qemu-aarch64-static"
PYTHON = "3.11"  # of Debian 12
# Raspberry Pi 4: no dot product. max: everything that QEMU knows, with dot product and i8mm. Values of MIDR_EL1.
CPUS = {"cortex-a72": ("0x41", "0xd08"), "max": ("0x00", "0x051")}
CANDIDATES = (("fp32", "onnxruntime"), ("int8-cpu", "onnxruntime"), ("fp32", "mnn"), ("int8", "onnxruntime"))
# Fewer photos suffice where 8 bits are not computed in 8 bits; at 224 px float16 alone takes half a minute for each on `max`.
ON_FEWER = (("fp32", "mnn"), ("int8", "onnxruntime"))
# Names of the bits of AT_HWCAP and AT_HWCAP2, in order (linux/arch/arm64/kernel/cpuinfo.c).
HWCAP = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm jscvt fcma lrcpc dcpop sha3 sm3 sm4 "
    "asimddp sha512 sve asimdfhm dit uscat ilrcpc flagm ssbs sb paca pacg"
)
HWCAP2 = (
    "dcpodp sve2 sveaes svepmull svebitperm svesha3 svesm4 flagm2 frint svei8mm svef32mm svef64mm svebf16 i8mm bf16"
)
BINFMT = Path("/proc/sys/fs/binfmt_misc")
HANDLER = f"vegrt-aarch64-{os.getpid()}"
# ELF of 64 bits, little-endian, for AArch64. F: the interpreter is opened now, so the new root need not hold it.
_MAGIC = (
    r"\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00",
    r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff",
)
CLONE_NEWNS = 0x00020000


@dataclass(frozen=True, slots=True)
class Row:
    """The answers of a candidate on an emulated processor, compared with x86.

    flips, largest: photos with another class, and the largest difference of a logit, to the same candidate on x86. fp32_flips: to
    fp32 in ONNX Runtime on x86. verdict: of `vegrt evaluate --answers`.
    """

    bundle: str
    cpu: str
    variant: str
    runtime: str
    photos: int
    flips: int
    largest: float
    fp32_flips: int
    verdict: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundles", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path, required=True, help="folder with a folder for each class")
    parser.add_argument("--count", type=int, default=90)
    parser.add_argument("--fewer", type=int, default=6, help="fp32 on MNN, and int8, get one of so many photos")
    parser.add_argument("--root", type=Path, default=Path("build/arm64"))
    parser.add_argument(
        "--resume", action="store_true", help="keep wheel and answers of the last run, and add what is missing"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the kernel forgets the interpreter
    refuse_without_tools()
    work = options.root.resolve()
    root = work / "root"
    make_root(work)
    with emulation(root, work):
        if not options.resume:
            for folder in ("answers", "data"):
                shutil.rmtree(root / folder, ignore_errors=True)
            install(root, work)
        (root / "answers").mkdir(exist_ok=True)
        say(f"| {' | '.join(Row.__slots__)} |")
        rows = [row for bundle in options.bundles for row in check_bundle(bundle, options, root, work)]
    (work / "arm64.json").write_text(
        json.dumps([{name: getattr(row, name) for name in Row.__slots__} for row in rows], indent=1)
    )
    raise SystemExit(any(row.flips for row in rows if row.variant == "fp32"))


def refuse_without_tools() -> None:
    """Exit with one line where this cannot run."""
    if os.geteuid() != 0:
        sys.exit("arm64: not run as root, and it mounts and changes the root folder; run it with sudo")
    missing = [tool for tool in ("debootstrap", "dpkg-deb", QEMU) if shutil.which(tool) is None]
    if missing:
        sys.exit(
            f"arm64: {', '.join(missing)} not found; apt-get install debootstrap qemu-user-static, on Debian or Ubuntu"
        )


def make_root(work: Path) -> None:
    """Unpack a Debian for aarch64 with Python into `work`/root, unless it is there. No package's scripts run: they take long."""
    if (work / ".ready").exists():
        return
    say("debootstrap: a Debian for aarch64")
    packages, root = work / "packages", work / "root"
    for folder in (packages, root):
        shutil.rmtree(folder, ignore_errors=True)
    bootstrap = ["debootstrap", "--arch=arm64", "--foreign", "--variant=minbase", "--include=python3,libgomp1"]
    run([*bootstrap, "bookworm", str(packages), "http://deb.debian.org/debian"])
    for package in sorted((packages / "var/cache/apt/archives").glob("*.deb")):
        run(["dpkg-deb", "-x", str(package), str(root)])
    shutil.rmtree(packages)
    (work / ".ready").touch()


@contextmanager
def emulation(root: Path, work: Path) -> Iterator[None]:
    """Let the kernel start aarch64 programs, and mount what they need, in a mount namespace of this process alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS):
        sys.exit(
            f"arm64: no mount namespace ({os.strerror(ctypes.get_errno())}); it needs the capability CAP_SYS_ADMIN"
        )
    run(["mount", "--make-rprivate", "/"])
    if not (BINFMT / "register").exists():
        run(["mount", "-t", "binfmt_misc", "none", str(BINFMT)])
    unregister()
    magic, mask = _MAGIC
    (BINFMT / "register").write_text(f":{HANDLER}:M::{magic}:{mask}:{shutil.which(QEMU)}:F")
    try:
        for kind, place in (("proc", "proc"), ("sysfs", "sys")):
            run(["mount", "-t", kind, kind, str(root / place)])
        for folder in (work / "wheels", root / "wheels"):
            folder.mkdir(exist_ok=True)
        (work / "cpuinfo").touch()
        for source, place in ((Path("/dev"), "dev"), (work / "wheels", "wheels"), (work / "cpuinfo", "proc/cpuinfo")):
            run(["mount", "--bind", str(source), str(root / place)])
        yield
    finally:
        unregister()


def unregister() -> None:
    if (BINFMT / HANDLER).exists():
        (BINFMT / HANDLER).write_text("-1")


def install(root: Path, work: Path) -> None:
    """Build the wheel and install `vegrt[cpu,mnn]` from it and PyPI's wheels for aarch64, by pip on the emulated processor."""
    say("wheels")
    wheels = work / "wheels"
    for file in wheels.iterdir():
        file.unlink()
    checkout = Path(__file__).parents[2]
    shutil.rmtree(checkout / "build/lib", ignore_errors=True)  # setuptools would pack modules that are gone
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={wheels}", str(checkout)], quiet=True)
    (wheel,) = wheels.iterdir()
    tags = [f"--platform=manylinux_2_{number}_aarch64" for number in (28, 27, 17)]
    wanted = [*tags, "--platform=manylinux2014_aarch64", "--implementation=cp", f"--python-version={PYTHON}"]
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary=:all:", f"--dest={wheels}", *wanted]
    run([*download, f"{wheel}[cpu,mnn]", "pip"])
    (pip,) = wheels.glob("pip-*.whl")
    say("pip install, emulated")
    chroot(root, "max", "rm", "-rf", "/opt/vegrt")
    chroot(root, "max", "python3", "-m", "venv", "--without-pip", "/opt/vegrt")
    offline = ["--quiet", "--no-index", "--no-compile", "--find-links=/wheels", "vegrt[cpu,mnn]"]
    chroot(root, "max", "/opt/vegrt/bin/python", f"/wheels/{pip.name}/pip", "install", *offline)


def check_bundle(bundle: Path, options: argparse.Namespace, root: Path, work: Path) -> Iterator[Row]:
    copy, inside = root / "bundles" / bundle.name, f"/bundles/{bundle.name}"
    if not options.resume or not copy.exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(bundle, copy)
    sets = {
        True: copy_photos(options.photos, root, "fewer", options.count // options.fewer),
        False: copy_photos(options.photos, root, "all", options.count),
    }
    for cpu in CPUS:
        show_processor(root, work, cpu)
        run_vegrt(root, cpu, "verify", inside)
        for variant, runtime in CANDIDATES:
            if not (copy / (f"{variant}.mnn" if runtime == "mnn" else f"{variant}.onnx")).exists():
                continue
            data = sets[(variant, runtime) in ON_FEWER]
            answers = [infer(root, where, copy, data, variant, runtime) for where in (cpu, "")]
            exact = infer(root, "", copy, data, "fp32", "onnxruntime")
            device = f"{cpu} {variant} {runtime}"
            row = compare(
                bundle.name,
                cpu,
                variant,
                runtime,
                [read(file) for file in (*answers, exact)],
                judge(copy, data, answers[0], device),
            )
            say(f"| {' | '.join(str(getattr(row, name)) for name in Row.__slots__)} |")
            yield row


def copy_photos(source: Path, root: Path, name: str, count: int) -> Path:
    """Return a data folder of this name inside the root, whose test split has `count` photos, the same number of each class."""
    data = root / "data" / name
    classes = sorted(folder for folder in source.iterdir() if folder.is_dir())
    for folder in classes:
        target = data / "test" / folder.name
        target.mkdir(parents=True, exist_ok=True)
        for photo in sorted(folder.iterdir())[: max(1, count // len(classes))]:
            shutil.copy(photo, target)
    return data


def show_processor(root: Path, work: Path, cpu: str) -> None:
    """Give the root a /proc/cpuinfo of the emulated processor, as newer QEMUs do themselves, and print what vegrt makes of it.

    With that of x86, the library cpuinfo, which ONNX Runtime asks, crashes.
    """
    probe = "import ctypes; c = ctypes.CDLL(None).getauxval; c.restype = ctypes.c_ulong; print(c(16), c(26))"
    words = [int(word) for word in chroot(root, cpu, "python3", "-c", probe).split()]
    names = [
        name
        for word, table in zip(words, (HWCAP, HWCAP2), strict=True)
        for bit, name in enumerate(table.split())
        if word >> bit & 1
    ]
    implementer, part = CPUS[cpu]
    lines = {
        "Features": " ".join(names),
        "CPU implementer": implementer,
        "CPU architecture": "8",
        "CPU variant": "0x0",
        "CPU part": part,
    }
    core = "\n".join(f"{key}\t: {value}" for key, value in {**lines, "CPU revision": "3"}.items())
    text = "\n".join(f"processor\t: {number}\n{core}\n" for number in range(os.cpu_count() or 1))
    (work / "cpuinfo").write_text(text)
    diagnosis = json.loads(run_vegrt(root, cpu, "doctor", "--json"))
    machine = diagnosis["machine"]
    say(f"{cpu}: {machine['architecture']} {machine['cpu']['model']}: {' '.join(machine['cpu']['features'])}")


def infer(root: Path, cpu: str, bundle: Path, data: Path, variant: str, runtime: str) -> Path:
    """Return the file with the logits of a data folder's photos. cpu: empty for this machine, which is not emulated."""
    out = root / "answers" / f"{bundle.name}-{cpu or 'x86'}-{variant}-{runtime}-{data.name}.csv"
    top = len(json.loads((bundle / "manifest.json").read_text())["classes"])
    words = ["infer", "--variant", variant, "--runtime", runtime, "--scores", "logits", "--top-k", str(top)]
    words += ["--decode", "threads", "--batch", "6", "--resume"]
    if cpu:
        paths = [f"/{path.relative_to(root)}" for path in (bundle, out, data / "test")]
        run_vegrt(root, cpu, *words, "--bundle", paths[0], "-o", paths[1], paths[2])
    else:
        run(
            [sys.executable, "-m", "vegrt.cli", *words, "--bundle", str(bundle), "-o", str(out), str(data / "test")],
            quiet=True,
        )
    return out


def judge(bundle: Path, data: Path, answers: Path, device: str) -> str:
    """Return the verdict of `vegrt evaluate` about answers. The margin is the smallest that this number of photos can decide."""
    words = [
        "evaluate",
        str(bundle),
        "--data",
        str(data),
        "--name",
        f"arm64-{data.name}",
        "--margin",
        "auto",
        "--no-torch",
        "--json",
    ]
    words += ["--overwrite", "--answers", str(answers), "--device-name", device]
    stdout = run([sys.executable, "-m", "vegrt.cli", *words], quiet=True, codes=(0, 3, 4))
    rows: list[dict[str, Any]] = json.loads(stdout)["candidates"]
    return next(str(row["gate"]["verdict"]) for row in rows if row["key"] == device)


def read(answers: Path) -> dict[str, dict[str, float]]:
    """Return the logits of each photo by class, the best class first."""
    photos = {}
    with answers.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            ranks = ["", *(f"_{rank}" for rank in range(2, sum(key.startswith("label") for key in row) + 1))]
            photos["/".join(Path(row["path"]).parts[-2:])] = {
                row[f"label{rank}"]: float(row[f"logit{rank}"]) for rank in ranks
            }
    return photos


def compare(
    bundle: str, cpu: str, variant: str, runtime: str, answers: Sequence[dict[str, dict[str, float]]], verdict: str
) -> Row:
    """answers: of the emulated processor, of the same candidate on x86, of fp32 on x86."""
    here, there, exact = answers
    differences = [abs(here[photo][name] - there[photo][name]) for photo in here for name in here[photo]]
    flips, fp32_flips = (
        sum(next(iter(here[photo])) != next(iter(other[photo])) for photo in here) for other in (there, exact)
    )
    return Row(bundle, cpu, variant, runtime, len(here), flips, round(max(differences), 6), fp32_flips, verdict)


def run_vegrt(root: Path, cpu: str, *words: str) -> str:
    return chroot(root, cpu, "/opt/vegrt/bin/vegrt", *words)


def chroot(root: Path, cpu: str, *words: str) -> str:
    """Run a program of the new root on an emulated processor, in an environment of its own, and return its stdout."""
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LANG": "C.UTF-8", "QEMU_CPU": cpu}
    return run(["chroot", str(root), *words], quiet=True, environment=environment)


def run(
    words: Sequence[str], *, quiet: bool = False, codes: Sequence[int] = (0,), environment: dict[str, str] | None = None
) -> str:
    """Run a program and return its stdout, which is shown unless quiet. Exits with what it said when it fails."""
    captured = subprocess.PIPE if quiet else None
    done = subprocess.run(words, stdout=captured, stderr=captured, text=True, env=environment, check=False)
    if done.returncode not in codes:
        sys.exit(f"arm64: {' '.join(words)}: exit {done.returncode}\n{(done.stderr or '')[-2000:]}")
    return done.stdout or ""


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
