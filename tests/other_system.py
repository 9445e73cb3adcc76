"""Takes from this process what Windows lacks, then imports the modules of the base install and runs commands in it.

This is no Windows: paths, terminals, the rules of open files and the packages' own code for it stay those of this system. What
it shows is that our code asks for nothing that is not there.

    python -m tests.other_system BUNDLE PHOTOS OUT      prints the number of modules that were imported
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import select
import signal
import sys
from pathlib import Path
from types import ModuleType

LACKING: dict[
    str, tuple[str, ...]
] = {  # by module: names whose availability the documentation of Python limits to Unix
    "os": (
        *("O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_NOCTTY", "O_SYNC", "O_DSYNC", "WNOHANG"),
        *(
            "chown",
            "confstr",
            "fchmod",
            "fchown",
            "fork",
            "forkpty",
            "fwalk",
            "getegid",
            "geteuid",
            "getgid",
            "getgroups",
        ),
        *(
            "getloadavg",
            "getpgid",
            "getpriority",
            "getsid",
            "getuid",
            "killpg",
            "lockf",
            "memfd_create",
            "mkfifo",
            "mknod",
        ),
        *("nice", "openpty", "pathconf", "pipe2", "posix_fadvise", "posix_spawn", "pread", "pwrite", "readv", "writev"),
        *("register_at_fork", "sched_getaffinity", "sched_setaffinity", "sched_yield", "sendfile", "setpgid", "setsid"),
        *("setuid", "statvfs", "sync", "sysconf", "uname", "wait", "wait3", "wait4", "waitid"),
    ),
    "signal": (
        *("SIGALRM", "SIGCHLD", "SIGCONT", "SIGHUP", "SIGKILL", "SIGPIPE", "SIGQUIT", "SIGSTOP", "SIGTSTP", "SIGUSR1"),
        *("SIGUSR2", "SIGXFSZ", "SIG_BLOCK", "SIG_SETMASK", "SIG_UNBLOCK", "alarm", "pause", "pthread_kill"),
        *("pthread_sigmask", "setitimer", "sigwait"),
    ),
    "select": ("epoll", "poll"),
    "time": ("clock_gettime", "tzset"),
    "socket": ("AF_UNIX",),
}
MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty")
PACKAGES = ("filelock", "numpy", "onnxruntime", "PIL.Image", "rich.progress", "typer", "typer.testing")  # loaded before
_EXTRAS = (
    "cuda",
    "fastapi",
    "onnx",
    "onnx_ir",
    "pyarrow",
    "ray",
    "safetensors",
    "scipy",
    "tensorrt",
    "torch",
    "torchvision",
)
_EXTRAS_OF_REPORTS = ("altair", "av", "jinja2", "MNN", "openvino", "optuna", "tensorrt_rtx", "uvicorn", "vl_convert")


def remove_what_windows_lacks() -> None:
    """Remove the names and modules; packages of others keep what they hold already."""
    for name in PACKAGES:
        importlib.import_module(name)
    for owner, names in {os: "os", signal: "signal", select: "select"}.items():
        for name in LACKING[names]:
            vars(owner).pop(name, None)
    sys.modules.update(dict.fromkeys(MODULES))  # type: ignore[arg-type]  # None makes an import fail
    sys.modules.update(dict.fromkeys((*_EXTRAS, *_EXTRAS_OF_REPORTS)))  # type: ignore[arg-type]


def import_all() -> int:
    """Import every module of the package that needs no extra, and return how many there are."""
    import vegrt

    count = 0
    for found in pkgutil.walk_packages(vegrt.__path__, "vegrt."):
        if not found.name.startswith("vegrt.export.deploy.kit.runtimes.") and _imported(found.name) is not None:
            count += 1
    return count


def _imported(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        lacking = (error.name or str(error).removeprefix("import of ").split()[0]).partition(".")[0]
        if lacking not in (*_EXTRAS, *_EXTRAS_OF_REPORTS):
            raise
        return None


def main(bundle: str, photos: str, out: str) -> None:
    """Import, infer twice into a CSV file, and lock the bundle as a command that changes it does."""
    remove_what_windows_lacks()
    count = import_all()
    from tests.command_line import call
    from vegrt.bundle.change import exclusive
    from vegrt.files.atomic import creating, write_text

    for more in ((), ("--overwrite",)):
        result = call("infer", photos, "--bundle", bundle, "--runtime", "onnxruntime", "-o", out, *more)
        assert result.exit_code == 0, result.output
    with exclusive(Path(bundle)):
        assert (Path(bundle) / ".lock").is_file()
    write_text(Path(f"{out}.txt"), "whole\n")
    with creating(Path(f"{out}.folder")) as folder:
        (folder / "file").touch()
    sys.stdout.write(f"{count}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
