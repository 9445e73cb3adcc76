"""The recipe: all settings of a training run, from defaults, a TOML file and flags. Imports no torch.

Help text, unit, range and choices of an entry are metadata of its field. The flags of `vegrt train` and `vegrt tune`, their help
and the checks of TOML files and values use that metadata.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, get_args

from vegrt.errors import VegrtError
from vegrt.files.text import printable
from vegrt.files.toml import read_toml
from vegrt.train import qat_defaults

Augment = Literal["none", "light", "full"]
FitChoice = Literal["auto", "crop", "stretch", "letterbox"]
InterpolationChoice = Literal["auto", "bilinear", "bicubic"]
HeadKind = Literal["gap", "classic"]
QatEncoding = Literal["int8", "int8-cpu"]
SCRATCH = "none"  # the value of `weights` for random ones
_MAX_INTEGER = 2**63  # some larger integers have no float


@dataclass(frozen=True, slots=True)
class Entry:
    """A recipe entry, without its type and default.

    help: one sentence without a full stop. bounds: smallest and largest allowed number. unit: of that number.
    choices: the allowed texts; empty for any text. has_flag: whether the user sets it.
    """

    help: str
    bounds: tuple[float, float] | None = None
    unit: str = ""
    choices: tuple[str, ...] = ()
    has_flag: bool = True

    def check(self, name: str, value: Any) -> None:
        """Raise VegrtError for a value that is out of range or not among the choices. Its type must be right."""
        if self.choices and value not in self.choices:
            raise VegrtError(f"recipe: {name} is {value!r}; expected one of {', '.join(self.choices)}")
        numbers = [int(side) for side in value.split("x")] if isinstance(value, str) and self.bounds else [value]
        if self.bounds and not all(self.bounds[0] <= number <= self.bounds[1] for number in numbers):
            raise VegrtError(f"recipe: {name} is {value!s:.40}; expected {self.range_text()}")

    def range_text(self) -> str:
        """Return the allowed range with its unit; an empty text when the entry is not a number."""
        return f"{self.bounds[0]} to {self.bounds[1]} {self.unit}".strip() if self.bounds else ""


def _entry(
    help_text: str,
    bounds: tuple[float, float] | None = None,
    unit: str = "",
    *,
    choices: tuple[str, ...] = (),
    has_flag: bool = True,
) -> dict[str, Entry]:
    return {"entry": Entry(help_text, bounds, unit, choices, has_flag)}


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings of a training. The defaults fine-tune pretrained weights; `make_recipe` has the defaults for other cases.

    Training has two phases. The first trains only the head, on features of the frozen backbone that are computed once. The second
    trains all layers that are not frozen.
    """

    backbone: str = field(
        default="resnet18",
        metadata=_entry(
            "Network: resnet18, resnet50, vgg16, efficientnet_b0, mobilenet_v2, or timm:NAME for a model of timm"
        ),
    )
    head: HeadKind = field(
        default="gap",
        metadata=_entry("Head of vgg16: gap (15 M parameters) or classic (138 M)", choices=get_args(HeadKind)),
    )
    weights: str = field(
        default="imagenet",
        metadata=_entry(
            "Initial weights: imagenet (torchvision's download), none (random), or a .safetensors or .pth file"
        ),
    )
    size: int | str = field(  # a text for HEIGHTxWIDTH
        default=224,
        metadata=_entry("Model input: the side of a square, or HEIGHTxWIDTH, such as 360x640", (32, 1024), "pixels"),
    )
    fit: FitChoice = field(
        default="auto",
        metadata=_entry(
            "How photos become the model input: crop (of the centre), stretch (aspect ratio lost), letterbox (padded), or auto "
            "(crop without a margin, or as a model of timm was trained)",
            choices=get_args(FitChoice),
        ),
    )
    interpolation: InterpolationChoice = field(
        default="auto",
        metadata=_entry(
            "Interpolation of the resize: bilinear, bicubic, or auto (bilinear, or as a model of timm was trained)",
            choices=get_args(InterpolationChoice),
        ),
    )
    epochs_head: int = field(
        default=20, metadata=_entry("Length of the first phase, which trains the head alone", (0, 10_000), "epochs")
    )
    epochs: int = field(
        default=4, metadata=_entry("Length of the second phase, which trains all layers", (0, 10_000), "epochs")
    )
    batch_size: int = field(default=32, metadata=_entry("Size of a training batch", (2, 65_536), "photos"))
    lr_head: float = field(default=2e-3, metadata=_entry("Peak learning rate of the first phase", (1e-9, 10)))
    lr: float = field(default=2e-4, metadata=_entry("Peak learning rate of the second phase", (1e-9, 10)))
    warmup: float = field(
        default=0.1,
        metadata=_entry(
            "Share of a phase's steps with a rising learning rate; a cosine then lowers it to zero", (0, 1)
        ),
    )
    weight_decay: float = field(default=0.02, metadata=_entry("Weight decay of AdamW, for matrices only", (0, 10)))
    label_smoothing: float = field(
        default=0.05, metadata=_entry("Share of the target probability that is spread over all classes", (0, 0.9))
    )
    class_weights: bool = field(default=False, metadata=_entry("Weight the loss by inverse class frequency"))
    clip_norm: float = field(
        default=1.0, metadata=_entry("Largest norm of the whole gradient; 0 turns clipping off", (0, 10**9))
    )
    ema: float = field(
        default=0.0, metadata=_entry("Decay of the averaged weights per step; 0 turns averaging off", (0, 0.99999))
    )
    patience: int = field(
        default=5,
        metadata=_entry(
            "Number of epochs without a lower validation loss after which training stops; 0 never stops",
            (0, 10_000),
            "epochs",
        ),
    )
    freeze_until: str = field(default="", metadata=_entry("Last stage whose weights stay frozen, such as layer2"))
    views: int = field(
        default=4,
        metadata=_entry(
            "Versions of each photo whose activations after the frozen stages are cached, the first one without augmentation; "
            "0 computes activations at every step",
            (0, 1000),
            "versions",
        ),
    )
    augment: Augment = field(
        default="full",
        metadata=_entry(
            "Augmentation: none, light (RandomResizedCrop and flip) or full (light and TrivialAugmentWide)",
            choices=get_args(Augment),
        ),
    )
    seed: int = field(
        default=0,
        metadata=_entry(
            "Seed of weights, order and augmentation; on a CPU, equal seeds give equal weights", (0, 2**31 - 1)
        ),
    )
    workers: int = field(
        default=-1,
        metadata=_entry(
            "Processes that decode and augment photos; -1 uses none where the photos fit in memory on a CPU, else up to 8",
            (-1, 256),
            "processes",
        ),
    )
    compile: bool = field(default=False, metadata=_entry("Compile the network with torch.compile"))
    qat: str = field(default="", metadata=_entry("Exported bundle to fine-tune with quantization-aware training"))
    qat_encoding: QatEncoding = field(
        default="int8",
        metadata=_entry("8-bit model whose rounding --qat simulates: int8 or int8-cpu", choices=get_args(QatEncoding)),
    )
    qat_sha256: str = field(
        default="", metadata=_entry("SHA-256 of the bundle in qat, filled in by vegrt", has_flag=False)
    )

    def __post_init__(self) -> None:
        for item in fields(self):
            entry: Entry = item.metadata["entry"]
            entry.check(item.name, getattr(self, item.name))
        if not self.epochs_head + self.epochs:
            raise VegrtError("recipe: epochs_head and epochs are both 0; expected at least one epoch")
        if self.freeze_until and self.weights == SCRATCH:
            raise VegrtError("recipe: freeze_until with weights 'none' would freeze random weights; omit one of them")
        if self.qat and (self.freeze_until or self.epochs_head):
            raise VegrtError("recipe: qat trains all layers at once; omit freeze_until and epochs_head")

    @property
    def sides(self) -> int | tuple[int, int]:
        """Return the size in the form of a contract: one number for a square, or (height, width)."""
        if isinstance(self.size, int):
            return self.size
        height, width = map(int, self.size.split("x"))
        return height, width

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return asdict(self)

    def to_toml(self) -> str:
        """Return the recipe as the text of a TOML file for `make_recipe`."""
        # JSON strings, numbers and booleans are valid TOML if only control characters are escaped
        lines = [f"{name} = {json.dumps(value, ensure_ascii=False)}\n" for name, value in asdict(self).items()]
        return "".join(lines).replace("\x7f", "\\u007F")


class Settings(TypedDict, total=False):
    """The entries of a recipe that a caller may set, as keywords of `vegrt.train`; None: not set."""

    backbone: str | None
    head: HeadKind | None
    weights: str | None
    size: int | str | None
    fit: FitChoice | None
    interpolation: InterpolationChoice | None
    epochs_head: int | None
    epochs: int | None
    batch_size: int | None
    lr_head: float | None
    lr: float | None
    warmup: float | None
    weight_decay: float | None
    label_smoothing: float | None
    class_weights: bool | None
    clip_norm: float | None
    ema: float | None
    patience: int | None
    freeze_until: str | None
    views: int | None
    augment: Augment | None
    seed: int | None
    workers: int | None
    compile: bool | None
    qat: str | None
    qat_encoding: QatEncoding | None


ENTRIES: dict[str, Entry] = {item.name: item.metadata["entry"] for item in fields(Recipe)}
TYPES: dict[str, type[Any]] = {item.name: type(item.default) for item in fields(Recipe)}  # str, int, float or bool
TYPES["size"] = str  # of its flag
_TYPE_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
_FROM_SCRATCH: dict[str, Any] = {"epochs_head": 0, "epochs": 30, "lr": 1e-3, "weight_decay": 0.05, "patience": 10}
# vgg16 has no batch normalisation: fine-tuned at 2e-4 it fell from 89 % (head only) to 51 %, at 3e-5 it did not
_LR_FACTORS = {"vgg16": 3e-5 / 2e-4}


def make_recipe(file: Path | None = None, **flags: Any) -> Recipe:
    """Return the defaults, overridden by the TOML `file`, overridden by `flags`; a flag of None was not given.

    With `qat`, opens the bundle, which determines the network; the defaults are few epochs and a low learning rate.
    With weights `none`, the defaults are no head phase, more epochs and a higher learning rate. vgg16 has a lower one.
    Raises VegrtError for a file that is not TOML, an unknown key, a value of the wrong type or out of range.
    """
    settings = read_toml(file, "recipe") if file is not None else {}
    settings |= {name: value for name, value in flags.items() if value is not None}
    values = _checked(settings)
    if values.get("qat"):
        return replace(Recipe(), **qat_defaults.completed(values))
    default = replace(Recipe(), **(_FROM_SCRATCH if values.get("weights") == SCRATCH else {}))
    lr_factor = _LR_FACTORS.get(values.get("backbone", default.backbone), 1.0)
    return replace(replace(default, lr=default.lr * lr_factor), **values)


def flag_help(name: str) -> str:
    """Return the help of the flag of an entry: what it sets, the allowed range with its unit, and the default."""
    range_text, default = ENTRIES[name].range_text(), getattr(Recipe(), name)
    special = [f"{_FROM_SCRATCH[name]} with --weights {SCRATCH}"] if name in _FROM_SCRATCH else []
    special += [f"{qat_defaults.DEFAULTS[name]} with --qat"] if name in qat_defaults.DEFAULTS else []
    special += [f"{default * factor:g} with {backbone}" for backbone, factor in _LR_FACTORS.items() if name == "lr"]
    default_text = "off" if default is False else default if default != "" else "none"
    facts = [*([range_text] if range_text else []), f"default: {', '.join([str(default_text), *special])}"]
    return f"{ENTRIES[name].help} ({'; '.join(facts)})."


def list_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the differences between two recipes as `lr 0.001 -> 0.002`, without `workers`, which changes no result."""
    names = sorted((old.keys() | new.keys()) - {"workers"})
    return [f"{name} {old.get(name)} -> {new.get(name)}" for name in names if old.get(name) != new.get(name)]


def _checked(settings: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := sorted(settings.keys() - TYPES.keys()):
        raise VegrtError(
            f"recipe: unknown key(s) {printable(', '.join(unknown)):.200}; expected some of {', '.join(TYPES)}"
        )
    return {name: _converted(TYPES[name], name, value) for name, value in settings.items()}


def _converted(kind: type[Any], name: str, value: Any) -> Any:
    """Return a value in the type of the entry; converts integers to float. Raises VegrtError for other types."""
    if name == "size":
        return _size(value)
    if kind is float and type(value) is int and abs(value) < _MAX_INTEGER:
        return float(value)
    if type(value) is not kind:
        raise VegrtError(f"recipe: {name} is {value!a:.80}; expected {_TYPE_NAMES[kind]}")
    if kind is str and not _is_text(value):
        raise VegrtError(f"recipe: {name} is {value!a:.80}; expected Unicode text without NUL")
    return value


def _size(value: Any) -> int | str:
    """Return the side of a square in pixels, or "HEIGHTxWIDTH". Raises VegrtError for any other value."""
    text = str(value) if type(value) in (int, str) else ""
    if not re.fullmatch(r"-?[0-9]{1,9}|[0-9]{1,5}x[0-9]{1,5}", text):
        raise VegrtError(
            f"recipe: size is {value!a:.80}; expected pixels, such as 224, or HEIGHTxWIDTH, such as 360x640"
        )
    height, _, width = text.partition("x")
    return int(height) if width in ("", height) else text


def _is_text(value: str) -> bool:
    """Return whether a text can be a file name and be stored as UTF-8: it has no NUL and no lone surrogate."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in value)
