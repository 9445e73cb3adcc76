"""The TensorRT and CUDA names that our own sources use, found by walking their syntax trees: nobody keeps a list by hand.

What counts as foreign: the module names in ROOTS, parameters annotated `Any`, and whatever is assigned from either.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOTS = {"trt": "tensorrt", "cudart": "cuda"}


@dataclass
class Uses:
    """chains: from the module down, as MemoryPoolType.WORKSPACE. members: of an object whose class the source does not say."""

    chains: set[str] = field(default_factory=set)
    members: set[str] = field(default_factory=set)


def uses_in(source: str) -> dict[str, Uses]:
    """Return what a source uses of each library, `tensorrt` and `cuda`; an Any parameter belongs to the only library in it."""
    tree = ast.parse(source)
    libraries = {ROOTS[node.id] for node in ast.walk(tree) if isinstance(node, ast.Name) and node.id in ROOTS}
    uses = {library: Uses() for library in libraries}
    owners: dict[str, str] = {name: library for name, library in ROOTS.items() if library in libraries}
    aliases: dict[str, str] = dict.fromkeys(owners, "")  # name -> its chain from the module, where it is known
    for function in _functions(tree) if libraries else ():
        _collect(function, dict(owners), dict(aliases), uses, (owners, aliases))
    return uses


def _functions(tree: ast.Module) -> Iterator[ast.FunctionDef]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return iter(sorted(nodes, key=lambda node: node.name != "__init__"))  # it says what self holds


def _collect(
    function: ast.FunctionDef,
    owners: dict[str, str],
    aliases: dict[str, str],
    uses: dict[str, Uses],
    lasting: tuple[dict[str, str], dict[str, str]],
) -> None:
    """Note what a function uses. lasting: owners and aliases for the functions after it, which get those of self."""
    library = "tensorrt" if "tensorrt" in uses else "cuda"
    for argument in [*function.args.args, *function.args.kwonlyargs]:
        if isinstance(argument.annotation, ast.Name) and argument.annotation.id == "Any":
            owners.setdefault(argument.arg, library)
    for node in _in_order(function):
        if isinstance(node, ast.Assign):
            for target, value in _pairs(node):
                name, root = _dotted(target), _root(value)
                if not name or root not in owners or ("." in name and not name.startswith("self.")):
                    continue
                owners[name] = owners[root]
                chain = _chain(value, aliases)
                if chain is not None:
                    aliases[name] = chain
                if name.startswith("self."):
                    lasting[0][name] = owners[root]
                    lasting[1].update({name: chain} if chain is not None else {})
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load | ast.Store):
            _note(node, owners, aliases, uses)


def _note(node: ast.Attribute, owners: dict[str, str], aliases: dict[str, str], uses: dict[str, Uses]) -> None:
    root = _root(node.value)
    if root not in owners or node.attr.startswith("__") or _dotted(node) in owners:
        return
    if (
        isinstance(node.value, ast.Attribute)
        and _chain(node.value, aliases) is None
        and _dotted(node.value) not in owners
    ):
        return  # of a plain value that a member holds: properties.name.decode
    chain = _chain(node, aliases)
    if chain:
        uses[owners[root]].chains.add(chain)
    else:
        uses[owners[root]].members.add(node.attr)


def _in_order(function: ast.FunctionDef) -> list[ast.AST]:
    nodes = [node for statement in function.body for node in ast.walk(statement)]
    placed = [node for node in nodes if hasattr(node, "lineno")]
    return sorted(placed, key=lambda node: (node.lineno, not isinstance(node, ast.Assign)))


def _pairs(node: ast.Assign) -> Iterator[tuple[ast.expr, ast.expr]]:
    """Yield each target with the value that it takes; of `a, b = c, d` two, of `a, b = f()` f() twice."""
    for target in node.targets:
        parts = target.elts if isinstance(target, ast.Tuple) else [target]
        values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value] * len(parts)
        yield from zip((part.value if isinstance(part, ast.Starred) else part for part in parts), values, strict=False)


def _root(node: ast.expr) -> str:
    """Return the name that an expression begins with, `self.x` for an attribute of ours; of `_checked(lib, lib.f())` nothing."""
    while True:
        if isinstance(node, ast.Attribute) and _dotted(node).startswith("self.") and _dotted(node).count(".") == 1:
            return _dotted(node)
        if isinstance(node, ast.Attribute | ast.Subscript):
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        else:
            return node.id if isinstance(node, ast.Name) else ""


def _chain(node: ast.expr, aliases: dict[str, str]) -> str | None:
    """Return the path from the module down to a name, or None when a call or an object lies between."""
    dotted = _dotted(node)
    for name in sorted(aliases, key=len, reverse=True):
        if dotted == name or dotted.startswith(f"{name}."):
            return ".".join(part for part in (aliases[name], dotted[len(name) + 1 :]) if part)
    return None


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id
    inner = _dotted(node.value) if isinstance(node, ast.Attribute) else ""
    return f"{inner}.{node.attr}" if inner and isinstance(node, ast.Attribute) else ""


def uses_of(folder: Path) -> dict[str, Uses]:
    """Return what all sources of a stage use of each library."""
    total: dict[str, Uses] = {"tensorrt": Uses(), "cuda": Uses()}
    for path in sorted(folder.rglob("*.py")):
        for library, uses in uses_in(path.read_text(encoding="utf-8")).items():
            total[library].chains |= uses.chains
            total[library].members |= uses.members
    return total
