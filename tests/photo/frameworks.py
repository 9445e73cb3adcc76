"""Lines of other frameworks that prepare photos, each with the contract that says the same.

The table of docs/contract.md. tests/slow/contract_differences.py measures all of them on real photos, and
tests/photo/test_frameworks.py those that differ by rounding alone on noise. A line takes a Pillow image and returns its pixels,
uint8 or float (H, W, 3), before any normalisation.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vegrt.photo.contract import Contract

_Step = tuple[str, tuple[Any, ...], dict[str, Any]]  # a class, its arguments and options
Prepare = Callable[[Image.Image], NDArray[Any]]
SIDE, WIDE = 96, (64, 96)  # (height, width)
GREY = (114, 114, 114)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a framework. name: of the row. module: that must be installed. code: as a user writes it.

    largest: the largest difference of a pixel, in steps of uint8, that is due to rounding. only_shrinks: whether it is only
    said of photos that are larger than the input.
    """

    name: str
    module: str
    code: str
    contract: Contract
    prepare: Prepare
    largest: float = 0
    only_shrinks: bool = False

    def covers(self, image: Image.Image) -> bool:
        """Return whether the contract is said to be equal for an image of that size."""
        contract = self.contract
        return not self.only_shrinks or (image.width >= contract.width and image.height >= contract.height)

    @property
    def is_installed(self) -> bool:
        """Whether the framework can be imported."""
        return importlib.util.find_spec(self.module) is not None


def _torchvision(*steps: _Step, tensor: bool = False) -> Prepare:
    """Return the v2 transforms of those names and arguments, on a Pillow image or on a uint8 tensor."""

    def prepare(image: Image.Image) -> NDArray[Any]:
        v2: Any = importlib.import_module("torchvision.transforms.v2")
        made = [getattr(v2, name)(*arguments, **options) for name, arguments, options in steps]
        pixels = v2.Compose([v2.PILToTensor(), *made] if tensor else [*made, v2.PILToTensor()])(image)
        result: NDArray[Any] = pixels.permute(1, 2, 0).numpy()
        return result

    return prepare


def _timm(size: int | tuple[int, int], **options: Any) -> Prepare:
    def prepare(image: Image.Image) -> NDArray[Any]:
        data: Any = importlib.import_module("timm.data")
        result: NDArray[Any] = (
            data.create_transform((3, *both_sides(size)), normalize=False, **options)(image).permute(1, 2, 0).numpy()
        )
        return result

    return prepare


def both_sides(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width."""
    return (size, size) if isinstance(size, int) else size


def _opencv(filter_name: str, size: tuple[int, int] = WIDE) -> Prepare:
    def prepare(image: Image.Image) -> NDArray[Any]:
        cv2: Any = importlib.import_module("cv2")
        result: NDArray[Any] = cv2.resize(np.asarray(image), size[::-1], interpolation=getattr(cv2, filter_name))
        return result

    return prepare


def _opencv_letterbox(image: Image.Image) -> NDArray[Any]:
    """Return what ultralytics' LetterBox does, with its arithmetic."""
    cv2: Any = importlib.import_module("cv2")
    pixels, (height, width) = np.asarray(image), WIDE
    ratio = min(height / pixels.shape[0], width / pixels.shape[1])
    new_width, new_height = round(pixels.shape[1] * ratio), round(pixels.shape[0] * ratio)
    across, down = (width - new_width) / 2, (height - new_height) / 2
    edges = [round(down - 0.1), round(down + 0.1), round(across - 0.1), round(across + 0.1)]
    if pixels.shape[:2] != (new_height, new_width):
        pixels = cv2.resize(pixels, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    result: NDArray[Any] = cv2.copyMakeBorder(pixels, *edges, cv2.BORDER_CONSTANT, value=GREY)
    return result


def _opencv_grey(image: Image.Image) -> NDArray[Any]:
    cv2: Any = importlib.import_module("cv2")
    grey = cv2.cvtColor(np.asarray(image)[..., ::-1].copy(), cv2.COLOR_BGR2GRAY)
    scaled = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
    return np.repeat(scaled[..., None], 3, axis=2)


def _tensorflow(method: str, *, antialias: bool = False) -> Prepare:
    def prepare(image: Image.Image) -> NDArray[Any]:
        tensorflow: Any = importlib.import_module("tensorflow")
        scaled: NDArray[Any] = tensorflow.image.resize(
            np.asarray(image), WIDE, method=method, antialias=antialias
        ).numpy()
        return scaled.clip(0, 255)

    return prepare


def _keras_load_img(interpolation: str) -> Prepare:
    """Return what keras.utils.load_img does with a decoded image, so that it can be compared without Keras."""

    def prepare(image: Image.Image) -> NDArray[Any]:
        return np.asarray(image.resize(WIDE[::-1], getattr(Image.Resampling, interpolation.upper())))

    return prepare


def _keras_smart_resize(image: Image.Image) -> NDArray[Any]:
    keras: Any = importlib.import_module("keras")
    return np.asarray(keras.preprocessing.image.smart_resize(np.asarray(image, np.float32), WIDE)).clip(0, 255)


_RESIZE: _Step = ("Resize", (110,), {})
_CROP: _Step = ("CenterCrop", (SIDE,), {})
_PLAIN_STRETCH = ("Resize", (WIDE,), {"antialias": False})
LINES = (
    Line(
        "torchvision-crop",
        "torchvision",
        "v2.Resize(110), v2.CenterCrop(96)",
        Contract(SIDE, 110, rounding="torchvision"),
        _torchvision(_RESIZE, _CROP),
    ),
    Line(
        "torchvision-crop-first-edition",
        "torchvision",
        "v2.Resize(110), v2.CenterCrop(96)",
        Contract(SIDE, 110),
        _torchvision(_RESIZE, _CROP),
        largest=255,  # the crop can be moved by half a pixel, see `rounding`
    ),
    Line(
        "torchvision-crop-tensor",
        "torchvision",
        "v2.PILToTensor(), v2.Resize(110), v2.CenterCrop(96)",
        Contract(SIDE, 110, rounding="torchvision"),
        _torchvision(_RESIZE, _CROP, tensor=True),
        largest=1,
    ),
    Line(
        "torchvision-stretch",
        "torchvision",
        "v2.Resize((64, 96))",
        Contract(WIDE, fit="stretch"),
        _torchvision(("Resize", (WIDE,), {})),
    ),
    Line(
        "torchvision-stretch-no-antialias",
        "torchvision",
        "v2.PILToTensor(), v2.Resize((64, 96), antialias=False)",
        Contract(WIDE, fit="stretch", antialias=False),
        _torchvision(_PLAIN_STRETCH, tensor=True),
        largest=1,
    ),
    Line(
        "torchvision-bicubic-no-antialias",
        "torchvision",
        "v2.PILToTensor(), v2.Resize((64, 96), interpolation=BICUBIC, antialias=False)",
        Contract(WIDE, fit="stretch", interpolation="bicubic", antialias=False),
        _torchvision(("Resize", (WIDE,), {"interpolation": 3, "antialias": False}), tensor=True),
        largest=255,  # torch clips to 0..255 between the two passes, which is seen at sharp edges
    ),
    Line(
        "timm-center",
        "timm",
        "create_transform(96, interpolation='bicubic', crop_pct=0.875)",
        Contract(SIDE, 109, interpolation="bicubic", rounding="torchvision"),
        _timm(SIDE, interpolation="bicubic", crop_pct=0.875),
    ),
    Line(
        "timm-center-wide",
        "timm",
        "create_transform((64, 96), interpolation='bicubic', crop_pct=0.9)",
        Contract(WIDE, (71, 106), interpolation="bicubic", rounding="torchvision"),
        _timm(WIDE, interpolation="bicubic", crop_pct=0.9),
    ),
    Line(
        "timm-squash",
        "timm",
        "create_transform((64, 96), crop_mode='squash', crop_pct=1.0)",
        Contract(WIDE, fit="stretch", rounding="torchvision"),
        _timm(WIDE, crop_mode="squash", crop_pct=1.0),
    ),
    Line(
        "timm-border",
        "timm",
        "create_transform((64, 96), crop_mode='border', crop_pct=1.0)",
        Contract(WIDE, fit="letterbox", fill=(124, 116, 104), rounding="torchvision"),
        _timm(WIDE, crop_mode="border", crop_pct=1.0),
    ),
    Line(
        "opencv-linear",
        "cv2",
        "cv2.resize(image, (96, 64))",
        Contract(WIDE, fit="stretch", antialias=False),
        _opencv("INTER_LINEAR"),
        largest=1,
    ),
    Line(
        "opencv-cubic",
        "cv2",
        "cv2.resize(image, (96, 64), interpolation=cv2.INTER_CUBIC)",
        Contract(WIDE, fit="stretch", interpolation="bicubic", antialias=False),
        _opencv("INTER_CUBIC"),
        largest=1,
    ),
    Line(
        "opencv-area",
        "cv2",
        "cv2.resize(image, (96, 64), interpolation=cv2.INTER_AREA)",
        Contract(WIDE, fit="stretch", interpolation="area"),
        _opencv("INTER_AREA"),
        largest=1,
        only_shrinks=True,  # it enlarges by another method
    ),
    Line(
        "opencv-nearest-exact",
        "cv2",
        "cv2.resize(image, (96, 64), interpolation=cv2.INTER_NEAREST_EXACT)",
        Contract(WIDE, fit="stretch", interpolation="nearest"),
        _opencv("INTER_NEAREST_EXACT"),
        largest=255,  # where two pixels are equally near
    ),
    Line(
        "opencv-nearest",
        "cv2",
        "cv2.resize(image, (96, 64), interpolation=cv2.INTER_NEAREST)",
        Contract(WIDE, fit="stretch", interpolation="nearest"),
        _opencv("INTER_NEAREST"),
        largest=255,  # takes the pixel at the corner
    ),
    Line(
        "opencv-letterbox",
        "cv2",
        "ultralytics' LetterBox((64, 96))",
        Contract(WIDE, fit="letterbox", antialias=False, fill=GREY),
        _opencv_letterbox,
        largest=1,
    ),
    Line(
        "opencv-grey",
        "cv2",
        "cv2.resize(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (96, 96))",
        Contract(SIDE, fit="stretch", antialias=False, network_color="L", mean=(0.5,), std=(0.5,)),
        _opencv_grey,
        largest=2,  # one step each of the grey value and of the interpolation
    ),
    Line(
        "keras-load-img",
        "PIL",
        "keras.utils.load_img(path, target_size=(64, 96))",
        Contract(WIDE, fit="stretch", interpolation="nearest"),
        _keras_load_img("nearest"),
    ),
    Line(
        "keras-load-img-bilinear",
        "PIL",
        "keras.utils.load_img(path, target_size=(64, 96), interpolation='bilinear')",
        Contract(WIDE, fit="stretch"),
        _keras_load_img("bilinear"),
    ),
    Line(
        "keras-smart-resize",
        "keras",
        "image_dataset_from_directory(..., image_size=(64, 96), crop_to_aspect_ratio=True)",
        Contract(WIDE, antialias=False),
        _keras_smart_resize,
        largest=255,  # crops before the resize, to whole pixels
    ),
    Line(
        "tensorflow-bilinear",
        "tensorflow",
        "tf.image.resize(image, (64, 96)), image_dataset_from_directory(..., image_size=(64, 96))",
        Contract(WIDE, fit="stretch", antialias=False),
        _tensorflow("bilinear"),
        largest=1,
    ),
    Line(
        "tensorflow-bilinear-antialias",
        "tensorflow",
        "tf.image.resize(image, (64, 96), antialias=True)",
        Contract(WIDE, fit="stretch"),
        _tensorflow("bilinear", antialias=True),
        largest=1.5,  # Pillow rounds after each of its two passes, TensorFlow not at all
    ),
    Line(
        "tensorflow-area",
        "tensorflow",
        "tf.image.resize(image, (64, 96), method='area')",
        Contract(WIDE, fit="stretch", interpolation="area"),
        _tensorflow("area"),
        largest=1,
    ),
    Line(
        "tensorflow-bicubic",
        "tensorflow",
        "tf.image.resize(image, (64, 96), method='bicubic')",
        Contract(WIDE, fit="stretch", interpolation="bicubic", antialias=False),
        _tensorflow("bicubic"),
        largest=255,  # coefficient -0.5 instead of -0.75
    ),
)
