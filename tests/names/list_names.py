"""Write the public names of a TensorRT module to a JSON file beside this one, for machines where it is not installed.

    pip install --target LEAN --no-deps tensorrt-lean-cu13-bindings==11.4.0.106 tensorrt-lean-cu13-libs==11.4.0.106
    PYTHONPATH=LEAN python tests/names/list_names.py tensorrt_lean_bindings
    PYTHONPATH=BINDINGS python tests/names/list_names.py cuda.bindings.runtime 12.9.1      # pip install cuda-bindings==12.9.1
    python tests/names/list_names.py stubs/tensorrt_bindings/tensorrt.pyi 10.13.0.35        # unpacked from tensorrt-stubs

Nothing of the module is called or constructed: without a GPU a Runtime of tensorrt-lean crashes the process at exit.
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

Names = dict[str, list[str]]


def names_of(module: ModuleType) -> Names:
    """Return every public name of a module, with the public members of those that are classes."""
    values = {name: getattr(module, name) for name in _public(dir(module))}
    return {name: _public(dir(value)) if inspect.isclass(value) else [] for name, value in values.items()}


def names_in_stub(source: str) -> Names:
    """Return the same from the lines of a .pyi file (that of 10.13 is no valid Python); a class has its bases' members too."""
    names: Names = {}
    current = ""
    for line in source.splitlines():
        if opened := re.match(r"class (\w+)(?:\((.*)\))?:", line):
            current = opened[1]
            bases = re.findall(r"\w+", opened[2] or "")
            names[current] = [name for base in bases for name in names.get(base, [])]
        elif current and (member := re.match(r"    (?:def |class )?(\w+)\s*[(:=]", line)):
            names[current].append(member[1])
    return {name: _public(set(members)) for name, members in names.items()}


def _public(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if not name.startswith("_"))


def main(subject: str, version: str = "") -> None:
    if subject.endswith(".pyi"):
        name, names = "tensorrt-stubs", names_in_stub(Path(subject).read_text(encoding="utf-8"))
    else:
        module = importlib.import_module(subject)
        name, version = subject.removesuffix("_bindings"), version or module.__version__
        names = names_of(module)
    text = json.dumps({"module": name, "version": version, "names": names}, indent=0, sort_keys=True)
    Path(__file__).with_name(f"{name}-{version}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
