"""The recipe: every choice of a training run in one place, from defaults, a TOML file and flags. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from vegrt.errors import VegrtError
from vegrt.files.toml import read_toml
from vegrt.train.qat_defaults import completed

Augment = Literal["none", "light", "full"]
HeadKind = Literal["gap", "classic"]
QatEncoding = Literal["int8", "int8-cpu"]
SCRATCH = "none"  # the value of `weights` that means random ones


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained. The defaults fine-tune ImageNet-like weights; see `make_recipe` for the others.

    weights: `imagenet` (torchvision's download), `none` (random), or a .safetensors or .pth file.
    size: of the square model input, in pixels; photos are resized to it by the shorter side.
    epochs_head: first only the head, on features of the frozen backbone computed once. epochs: then everything.
    lr_head, lr: AdamW's peak rates of these two phases.
    warmup: share of a phase's steps over which the rate rises linearly; a cosine then takes it to zero.
    class_weights: weigh the loss by inverse class frequency.
    clip_norm: largest norm of the whole gradient. ema: decay of averaged weights, per step. Both: 0 is off.
    patience: epochs without a lower validation loss after which training stops; 0 is never.
    freeze_until: the last stage that keeps its weights, such as `layer2`; empty is none.
    views: versions of each photo whose activations behind the frozen stages are kept, the first one without
        augmentation; 0 computes new ones at every step.
    augment: `light` is RandomResizedCrop and flip, `full` adds TrivialAugmentWide.
    workers: processes that decode and augment; -1 is none where the photos fit in memory on a CPU, else some.
    qat: an exported bundle whose network learns on, rounded as its model qat_encoding rounds it; empty is none.
        qat_sha256: that bundle's identity, filled in.
    """

    backbone: str = "resnet18"
    head: HeadKind = "gap"
    weights: str = "imagenet"
    size: int = 224
    epochs_head: int = 20
    epochs: int = 4
    batch_size: int = 32
    lr_head: float = 2e-3
    lr: float = 2e-4
    warmup: float = 0.1
    weight_decay: float = 0.02
    label_smoothing: float = 0.05
    class_weights: bool = False
    clip_norm: float = 1.0
    ema: float = 0.0
    patience: int = 5
    freeze_until: str = ""
    views: int = 4
    augment: Augment = "full"
    seed: int = 0
    workers: int = -1
    compile: bool = False
    qat: str = ""
    qat_encoding: QatEncoding = "int8"
    qat_sha256: str = ""

    def __post_init__(self) -> None:
        for name, choices in (
            ("head", get_args(HeadKind)),
            ("augment", get_args(Augment)),
            ("qat_encoding", get_args(QatEncoding)),
        ):
            if getattr(self, name) not in choices:
                raise VegrtError(f"recipe: {name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name, (low, high) in RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise VegrtError(f"recipe: {name} is {getattr(self, name)!s:.40}; expected {low} to {high}")
        if not self.epochs_head + self.epochs:
            raise VegrtError("recipe: epochs_head and epochs are both 0; nothing would be trained")
        if self.freeze_until and self.weights == SCRATCH:
            raise VegrtError("recipe: freeze_until with weights 'none' would keep random weights; drop one of them")
        if self.qat and (self.freeze_until or self.epochs_head):
            raise VegrtError("recipe: qat trains all layers at once; omit freeze_until and epochs_head")

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)

    def to_toml(self) -> str:
        """Return the recipe as the text of a file that `make_recipe` takes."""
        # JSON's strings, numbers and booleans are TOML's, once nothing but control characters is escaped
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in asdict(self).items()]
        return "".join(lines).replace("\x7f", "\\u007F")


RANGES: dict[str, tuple[float, float]] = {
    "size": (32, 1024),
    "epochs_head": (0, 10_000),
    "epochs": (0, 10_000),
    "batch_size": (2, 65_536),
    "lr_head": (1e-9, 10),
    "lr": (1e-9, 10),
    "warmup": (0, 1),
    "weight_decay": (0, 10),
    "label_smoothing": (0, 0.9),
    "clip_norm": (0, 1e9),
    "ema": (0, 0.99999),
    "patience": (0, 10_000),
    "views": (0, 1000),
    "seed": (0, 2**31 - 1),
    "workers": (-1, 256),
}
_MAX_INTEGER = 2**63  # beyond some larger ones there is no float
_FROM_SCRATCH: dict[str, Any] = {"epochs_head": 0, "epochs": 30, "lr": 1e-3, "weight_decay": 0.05, "patience": 10}
# vgg16 has no batch normalisation: fine-tuned at 2e-4 it fell from 89 % (head only) to 51 %, at 3e-5 it did not
_SLOWER = {"vgg16": 3e-5 / 2e-4}


def make_recipe(file: Path | None = None, **flags: Any) -> Recipe:
    """Return the defaults, overridden by the TOML `file`, overridden by `flags`; a flag of None was not given.

    With `qat` the bundle says which network it is, and there are few epochs at a low rate; it is opened.
    With weights `none` other defaults apply: no head phase, more epochs, a higher rate. vgg16 has lower rates.
    Raises VegrtError for a file that is not TOML, an unknown key, a value of the wrong type or out of range.
    """
    given = read_toml(file, "recipe") if file is not None else {}
    given |= {name: value for name, value in flags.items() if value is not None}
    values = _checked(given)
    if values.get("qat"):
        return replace(Recipe(), **completed(values))
    default = replace(Recipe(), **(_FROM_SCRATCH if values.get("weights") == SCRATCH else {}))
    slower = _SLOWER.get(values.get("backbone", default.backbone), 1.0)
    return replace(replace(default, lr=default.lr * slower), **values)


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what differs between two recipes as `lr 0.001 -> 0.002`; the number of workers changes no result."""
    names = sorted((old.keys() | new.keys()) - {"workers"})
    return [f"{name} {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def _checked(given: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name: type(field.default) for field in fields(Recipe)}
    if unknown := sorted(given.keys() - known.keys()):
        raise VegrtError(f"recipe: unknown key(s) {', '.join(unknown)}; known are {', '.join(known)}")
    return {name: _as(known[name], name, value) for name, value in given.items()}


def _as(kind: type[Any], name: str, value: Any) -> Any:
    if kind is float and type(value) is int and abs(value) < _MAX_INTEGER:
        return float(value)
    if type(value) is not kind:
        raise VegrtError(f"recipe: {name} is {value!a:.80}; expected a {kind.__name__}")
    if kind is str and not _is_text(value):
        raise VegrtError(f"recipe: {name} is {value!a:.80}; expected Unicode text without NUL")
    return value


def _is_text(value: str) -> bool:
    """Return whether a file may be named so and UTF-8 holds it: no NUL, no half of a surrogate pair."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
