"""Guess the contracts of ten classifiers whose contracts are known, and print the rank of the right one.

    python tests/slow/contract_guess.py DATA WORK --resnet18 BUNDLE --mobilenet-v2 BUNDLE [--case NAME] [--photos N]

DATA: a data set of 224x224 photos, that the two trained bundles were made from. WORK: a folder for photos and models, which are
reused.

Each case is a contract. Its classifier is the bundle's network; the contract's normalisation and channels are put in front, as an
exact change of the network's first step. Its photos are larger, 4:3 or 16:9, noisy, and made so that this contract, and no
other, gives back a photo of DATA, thus the kind of pixels that the network was trained with: by iterated back-projection (Irani
and Peleg, CVGIP 53, 1991). What the contract does not show is of a photo of another class. For the letterbox, the network's last
block is trained further on letterboxed photos. The command is run as a user would, in a process of its own, and timed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from vegrt.bundle.bundle import open_bundle
from vegrt.dataset.photos import read_split
from vegrt.networks import load_network
from vegrt.photo import geometry
from vegrt.photo.contract import IMAGENET_MEAN, IMAGENET_STD, Contract
from vegrt.photo.preprocess import decode, prepare

PHOTOS, TRAINED = 36, 120  # of a class
EPOCHS = 3
SHAPES = ((640, 480), (640, 360), (480, 640), (360, 640))  # width and height of photos, times 0.9 to 1.1
NOISE, SPECKS = 50.0, 0.3  # standard deviation in steps of uint8; share of pixels that have a random colour
STEPS = 8  # of the back-projection
HALF, ONES = (0.5, 0.5, 0.5), (1.0, 1.0, 1.0)
ZERO, UNIT = (0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
CAFFE_MEAN = (123.68 / 255, 116.779 / 255, 103.939 / 255)


@dataclass(frozen=True, slots=True)
class Case:
    """A classifier: its network, the contract that it was made for, and whether its input is (N, H, W, 3)."""

    name: str
    backbone: str
    contract: Contract
    nhwc: bool = False


PLAIN, BYTES = (ZERO, ONES), (ZERO, UNIT)  # mean and std
CASES = (
    Case("torchvision", "resnet18", Contract(224, 256, rounding="torchvision")),
    Case("keras-255", "mobilenet_v2", Contract(224, 0, *BYTES, fit="stretch", antialias=False), nhwc=True),
    Case(
        "keras-caffe",
        "resnet18",
        Contract(224, 0, CAFFE_MEAN, UNIT, fit="stretch", interpolation="nearest", network_color="BGR"),
    ),
    Case("opencv-bgr", "resnet18", Contract(224, 0, *PLAIN, fit="stretch", antialias=False, network_color="BGR")),
    Case("letterbox", "resnet18", Contract(224, 0, *PLAIN, fit="letterbox", antialias=False, fill=(114, 114, 114))),
    Case("keras-tf", "mobilenet_v2", Contract(224, 0, HALF, HALF, fit="stretch", antialias=False), nhwc=True),
    Case(
        "clip", "mobilenet_v2", Contract(224, 0, CLIP_MEAN, CLIP_STD, interpolation="bicubic", rounding="torchvision")
    ),
    Case("timm-bicubic", "mobilenet_v2", Contract(224, 256, interpolation="bicubic", rounding="torchvision")),
    Case("opencv-area", "mobilenet_v2", Contract(224, 0, *PLAIN, fit="stretch", interpolation="area")),
    Case(
        "bgr-by-mistake",
        "mobilenet_v2",
        Contract(224, 0, IMAGENET_MEAN[::-1], IMAGENET_STD[::-1], fit="stretch", network_color="BGR"),
    ),
)


def make_photos(data: Path, case: Case, out: Path) -> None:
    """Write photos that the case's contract turns into those of `data`, as PNG files: validation/<Class>/."""
    random = np.random.default_rng(0)
    split = read_split(data, "validation")
    for label, class_name in enumerate(split.classes):
        folder = out / "validation" / class_name
        folder.mkdir(parents=True)
        own, others = ([photo.path for photo in split.photos if (photo.label == label) == own] for own in (True, False))
        for number, index in enumerate(random.choice(len(own), PHOTOS, replace=False)):
            around = decode(others[random.integers(len(others))])
            original_of(wanted_pixels(own[index], case.contract), around, case.contract, random).save(
                folder / f"{number:03d}.png", compress_level=1
            )


def wanted_pixels(path: Path, contract: Contract) -> NDArray[np.uint8]:
    """Return what the contract is to give, (H, W, 3): the photo, for the letterbox its middle three quarters on the colour."""
    pixels = np.asarray(decode(path).resize((224, 224)))
    if contract.fit != "letterbox":
        return pixels
    boxed = np.empty_like(pixels)
    boxed[:] = contract.fill
    boxed[28:196] = pixels[28:196]
    return boxed


def original_of(
    wanted: NDArray[np.uint8], around: Image.Image, contract: Contract, random: np.random.Generator
) -> Image.Image:
    """Return a larger photo that the contract turns into the wanted pixels. around: what it shows beyond them."""
    sides = SHAPES[0] if contract.fit == "letterbox" else SHAPES[random.integers(len(SHAPES))]
    size = (round(sides[0] * (scale := random.uniform(0.9, 1.1))), round(sides[1] * scale))
    left, top, right, bottom = shown_part(size, contract)
    pixels = np.asarray(around.resize(size), np.float64)
    visible = wanted[28:196] if contract.fit == "letterbox" else wanted
    pixels[top:bottom, left:right] = resized(visible.astype(np.float64), right - left, bottom - top)
    pixels += random.normal(0, NOISE, pixels.shape)
    specks = random.random(pixels.shape[:2]) < SPECKS
    pixels[specks] = random.uniform(0, 255, (int(specks.sum()), 3))
    for _ in range(STEPS):
        image = Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8))
        error = wanted.astype(np.float64) - prepare(image, contract)
        error = error[28:196] if contract.fit == "letterbox" else error
        pixels[top:bottom, left:right] += resized(error, right - left, bottom - top)
    return Image.fromarray(np.rint(pixels.clip(0, 255)).astype(np.uint8))


def shown_part(size: tuple[int, int], contract: Contract) -> tuple[int, int, int, int]:
    """Return left, top, right and bottom of the part of a photo of that width and height that the contract shows."""
    new = geometry.resized(size, contract)
    box = geometry.clipped(geometry.window(new, contract), new)
    factors = (size[0] / new[0], size[1] / new[1]) * 2
    left, top, right, bottom = (round(edge * factor) for edge, factor in zip(box, factors, strict=True))
    return left, top, right, bottom


def resized(values: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    """Return (H, W, 3) values at another size."""
    tensor = torch.from_numpy(np.ascontiguousarray(values)).permute(2, 0, 1)[None]
    larger = nn.functional.interpolate(tensor, (height, width), mode="bicubic", align_corners=False)
    return larger[0].permute(1, 2, 0).numpy()


class Folded(nn.Module):
    """A network behind the inverse of a contract's normalisation: float pixels of the contract to (N, K) logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, case: Case) -> None:
        super().__init__()
        self.network, self.nhwc, self.bgr = network, case.nhwc, case.contract.network_color == "BGR"
        mean, std, own_mean, own_std = (
            torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1)
            for values in (case.contract.mean, case.contract.std, IMAGENET_MEAN, IMAGENET_STD)
        )
        self.register_buffer("scale", (std / own_std).float())
        self.register_buffer("shift", ((mean - own_mean) / own_std).float())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits of (N, 3, H, W) or (N, H, W, 3) pixels."""
        pixels = pixels.permute(0, 3, 1, 2) if self.nhwc else pixels
        pixels = pixels[:, [2, 1, 0]] if self.bgr else pixels
        logits: Tensor = self.network(pixels * self.scale + self.shift)
        return logits


def make_model(case: Case, bundle: Path, data: Path, file: Path) -> None:
    """Write the case's classifier as an ONNX file."""
    network = load_network(open_bundle(bundle))
    if case.contract.fit == "letterbox":
        train_last_block(network, data, case.contract)
    example = torch.rand(2, 224, 224, 3) if case.nhwc else torch.rand(2, 3, 224, 224)
    torch.onnx.export(
        Folded(network, case).eval(),
        (example,),
        file,
        dynamo=False,
        input_names=["pixels"],
        output_names=["scores"],
        dynamic_axes={"pixels": {0: "N"}},
    )


def train_last_block(network: nn.Module, data: Path, contract: Contract) -> None:
    """Train the last block and the last layer of a ResNet further, on the wanted pixels of training photos."""
    split = read_split(data, "train")
    photos = split.photos[:: len(split.photos) // len(split.classes) // TRAINED]
    labels = torch.tensor([photo.label for photo in photos])
    layers = [layer for name, layer in network.named_children() if name not in ("layer4", "avgpool", "fc")]
    images = np.stack([wanted_pixels(photo.path, contract) for photo in photos])
    features = torch.cat(list(features_of(nn.Sequential(*layers), images))).clone()
    last = nn.Sequential(
        network.get_submodule("layer4"), nn.AdaptiveAvgPool2d(1), nn.Flatten(), network.get_submodule("fc")
    )
    optimizer = torch.optim.AdamW(last.parameters(), lr=1e-4)
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(labels)).split(32):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(last(features[rows]), labels[rows])
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()


@torch.inference_mode()
def features_of(network: nn.Module, images: NDArray[np.uint8]) -> Iterator[Tensor]:
    """Yield the features of (N, H, W, 3) pixels, normalised as the network was trained."""
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    for start in range(0, len(images), 32):
        pixels = torch.from_numpy(images[start : start + 32]).permute(0, 3, 1, 2).float() / 255
        yield network((pixels - mean) / std)


def guess(case: Case, file: Path, photos: Path, count: int | None) -> tuple[dict[str, Any], float]:
    """Return the JSON that the command prints, and its seconds."""
    words = ["contract", "guess", "--from-onnx", str(file), "--data", str(photos), "--json"]
    words += ["--photos", str(count)] if count else []
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "vegrt.cli", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{case.name}: {done.stderr}")
    return json.loads(done.stdout), time.perf_counter() - start


def rank_of(right: Contract, guessed: dict[str, Any]) -> str:
    """Return the place of the right contract, or of one with the same pixels; a dash if it was dropped before the last round."""
    for place, row in enumerate(guessed["ranking"], 1):
        if right in [Contract.from_dict(contract) for contract in (row["contract"], *row["same_pixels"])]:
            return f"{place}{' (tie)' if place > 1 and not row['worse'] else ''}"
    return "-"


def main() -> int:
    """Make what is missing, guess, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", metavar="DATA", type=Path)
    parser.add_argument("work", metavar="WORK", type=Path)
    parser.add_argument("--resnet18", type=Path, required=True, help="Trained bundle.")
    parser.add_argument("--mobilenet-v2", type=Path, required=True, help="Trained bundle.")
    parser.add_argument("--case", choices=[case.name for case in CASES], help="Guess this one alone.")
    parser.add_argument("--photos", type=int, help="Number of photos (default: that of the command).")
    parser.add_argument("--only-make", action="store_true", help="Make photos and models, guess nothing.")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    say("| case | network | right one is | first | photos | tied with | seconds |\n|---|---|---|---|---|---|---|")
    firsts, ties, cases = 0, 0, [case for case in CASES if arguments.case in (None, case.name)]
    for case in cases:
        file, photos = arguments.work / case.name / "model.onnx", arguments.work / case.name / "photos"
        if not photos.exists():
            make_photos(arguments.data, case, photos)
        if not file.exists():
            make_model(case, getattr(arguments, case.backbone), arguments.data, file)
        if arguments.only_make:
            continue
        guessed, seconds = guess(case, file, photos, arguments.photos)
        place, best = rank_of(case.contract, guessed), guessed["ranking"][0]
        firsts += place == "1"
        ties += place.endswith("(tie)")
        others = sum(not row["worse"] for row in guessed["ranking"]) - 1
        say(
            f"| {case.name} | {case.backbone} | {place} | {best['name']} | {best['photos']} | {others} | {seconds:.1f} |"
        )
    say(f"\nfirst in {firsts} of {len(cases)}, not told apart from the first in {ties} more")
    return 0 if firsts >= 0.9 * len(cases) else 1


def say(line: str) -> None:
    """Print one line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
