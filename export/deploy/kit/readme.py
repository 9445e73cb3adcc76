"""The README of a device kit: its files, the format of each compiler with its source, and the round trip.

We have run none of these compilers: the formats are those of their documentation, which the README links.
"""

from __future__ import annotations

from dataclasses import dataclass

from vegrt.export.deploy.kit.inputs import FORMS, NORMALIZED_NCHW, PIXELS_NCHW, UINT8_NHWC
from vegrt.export.deploy.kit.photos import ARRAYS, LISTS, RAW
from vegrt.photo.contract import Contract
from vegrt.version import __version__

_MODELS = {
    "fp32.onnx": (UINT8_NHWC, "the bundle's own: pixels in, everything else is in the graph; any batch"),
    "fp32-pixels.onnx": (PIXELS_NCHW, "the normalisation is in the graph; batch 1"),
    "fp32-normalized.onnx": (NORMALIZED_NCHW, "nothing of the contract is in the graph; batch 1"),
    "int8.onnx": (UINT8_NHWC, "Q/DQ by TensorRT's rules: signed, symmetric; scales in float16"),
    "int8-cpu.onnx": (UINT8_NHWC, "Q/DQ with unsigned activations and 7-bit weights; scales in float32"),
    "fp32.mnn": (UINT8_NHWC, "fp32.onnx, converted by MNN"),
}
_README = """\
# {name} for a device

Written by vegrt {version} from bundle `{name}`, manifest SHA-256 {sha256}.
Input: {height} x {width} pixels. Output: `logits`, {classes} numbers in the order of `classes` in kit.json.
**We have run none of the compilers below:** their formats are those of the linked documents. `classify.py` was run with
ONNX Runtime, OpenVINO and MNN.

| file | content |
|---|---|
| `models/` | the network, with several kinds of input: see below |
| `calibration/` | {calibration_photos} photos to calibrate on, prepared, in several formats: see below. None is a test photo |
| `test/` | {test_photos} test photos: `photos.csv` has name and SHA-256 of each{test_files} |
| `golden/` | photos with fp32's logits, as JPEG and JSON and as .npy: the device must come close to these logits |
| `classify.py`, `runtimes/`, `vegrt/` | the program, its slots for runtimes, and the parts of vegrt that it uses |
| `kit.json` | classes, contract, and what each model takes |
{listing_row}
## Models

The input is called `images`, the output `logits`.

| model | input | |
|---|---|---|
{models}

## Calibration photos

{arrays}
- `png/`: the same pixels as files.
- `{nhwc_raw}/`, `{nchw_raw}/`: one float32 file for each photo, little-endian, without a header, normalised.

Every list has paths that are relative to `calibration/`: run the compiler there.

**RKNN-Toolkit2** (Rockchip): `dataset.txt`, one image file on each line.

{rknn}
    rknn.build(do_quantization=True, dataset="dataset.txt")

Source: RKNN SDK User Guide, "Model conversion", and the examples of https://github.com/airockchip/rknn-toolkit2

**Hailo Dataflow Compiler**: one array (N, H, W, C). The model script gives it the normalisation:

{hailo}

Source: Hailo Dataflow Compiler User Guide, "Model Optimization Tutorial" (https://hailo.ai/developer-zone/documentation, needs an
account); model scripts: https://developer.ridgerun.com/wiki/index.php/Hailo/Hailo-8/AI_Software_and_Tools/Hailo_Model_Scripts

**QNN and SNPE** (Qualcomm): a text file with one .raw file on each line. The files have the layout of the converted model's
input: qairt-converter keeps the layout of the ONNX model, the older converters change it to NHWC.

    qairt-converter --input_network ../models/fp32-normalized.onnx --output_path fp32.dlc
    qairt-quantizer --input_dlc fp32.dlc --input_list {nchw_list} --output_dlc int8.dlc

    qnn-onnx-converter --input_network ../models/fp32-normalized.onnx --input_list {nhwc_list} -o int8.cpp

    snpe-onnx-to-dlc --input_network ../models/fp32-normalized.onnx --output_path fp32.dlc
    snpe-dlc-quantize --input_dlc fp32.dlc --input_list {nhwc_list} --output_dlc int8.dlc

Sources:

- https://docs.qualcomm.com/doc/80-63442-10/topic/qairt_quantizer.html, and "Qairt Converter", "Input/Output Layouts"
- https://docs.qualcomm.com/doc/80-63442-50/topic/converters.html
- https://docs.qualcomm.com/doc/80-63442-10/topic/model_conversion.html, "Input data for quantization"
- https://developer.qualcomm.com/sites/default/files/docs/snpe/image_input.html

## On the device

Needs Python 3.8 or later, numpy, Pillow 10.3 or later, and the runtime.

    python3 classify.py models/fp32.onnx --runtime onnxruntime --check       # or openvino; mnn with models/fp32.mnn
    python3 classify.py models/fp32.onnx --runtime onnxruntime --answers answers.csv
    python3 classify.py models/fp32.onnx --runtime onnxruntime photo.jpg

For another runtime, fill in `open_model` in runtimes/example.py, and say what the compiled model takes:

    python3 classify.py model.rknn --runtime example --input uint8-nhwc --check

{forms}

`--check` compares pixels and logits with those of the golden photos, and exits with 1 if pixels differ or a cosine is too small:
for float32 models below 0.9999, for others below 0.9 (`--min-cosine`). Swapped colours may pass at 0.9: judge the answers.
Pixels differ if the JPEG decoder of the device's Pillow is another one.

## Judge the answers

Copy the answers file to the machine with the bundle and the photos:

    {evaluate}

Exit code: 0 PASS, 3 FAIL, 4 INCONCLUSIVE. If the gate fails, the likely cause is named: another class order, or
pixels that are prepared in another way.
"""


@dataclass(frozen=True, slots=True)
class KitFacts:
    """What the README is about. sha256: of the manifest. classes: their number. models: names. evaluate: the command."""

    name: str
    sha256: str
    classes: int
    contract: Contract
    models: tuple[str, ...]
    calibration_photos: int
    test_photos: int
    test_as: str
    evaluate: str


def kit_readme(facts: KitFacts) -> str:
    """Return README.md."""
    contract = facts.contract
    rows = [
        f"| `{name}` | {FORMS[form]} | {words} |" for name, (form, words) in _MODELS.items() if name in facts.models
    ]
    files = {
        "files": "; `photos/` has the files",
        "arrays": "; `images-uint8-nhwc.npy` has the pixels",
        "both": "; `photos/` has the files, `images-uint8-nhwc.npy` the pixels",
    }
    is_part = "judge.csv" in facts.evaluate
    return _README.format(
        name=facts.name,
        version=__version__,
        sha256=facts.sha256,
        height=contract.height,
        width=contract.width,
        classes=facts.classes,
        calibration_photos=facts.calibration_photos,
        test_photos=facts.test_photos,
        test_files=files[facts.test_as],
        listing_row="| `judge.csv` | the test photos with their classes, for the machine that judges |\n"
        if is_part
        else "",
        models="\n".join(rows),
        arrays="\n".join(f"- `{name}`: {FORMS[form]}" for form, name in ARRAYS.items()),
        nhwc_raw=RAW["normalized-nhwc"],
        nchw_raw=RAW["normalized-nchw"],
        nhwc_list=LISTS["normalized-nhwc"],
        nchw_list=LISTS["normalized-nchw"],
        rknn=_rknn(contract),
        hailo=_hailo(contract),
        forms="\n".join(f"- `--input {form}`: {words}" for form, words in FORMS.items()),
        evaluate=facts.evaluate,
    )


def _rknn(contract: Contract) -> str:
    """Return the lines that configure and load a model: the normalisation is the compiler's, where it can be."""
    model, mean, std = "fp32-normalized.onnx", *_of_255(contract)
    if contract.network_color != "RGB":
        model, mean, std = "fp32-pixels.onnx", [0.0] * 3, [1.0] * 3
    return (
        f"    rknn.config(mean_values=[{mean}], std_values=[{std}], target_platform=PLATFORM)\n"
        f'    rknn.load_onnx(model="../models/{model}")'
    )


def _hailo(contract: Contract) -> str:
    array = ARRAYS[UINT8_NHWC]
    mean, std = _of_255(contract)
    script = f"    echo 'normalization1 = normalization({mean}, {std})' > kit.alls\n"
    model, option = "fp32-normalized.onnx", " --model-script kit.alls"
    if contract.network_color != "RGB":
        model, script, option = "fp32-pixels.onnx", "", ""
    return (
        f"{script}"
        f"    hailo parser onnx ../models/{model} --net-name kit --har-path kit.har\n"
        f"    hailo optimize kit.har --calib-set-path {array}{option}"
    )


def _of_255(contract: Contract) -> tuple[list[float], list[float]]:
    """Return mean and std of pixels from 0 to 255, per channel."""
    return [round(255 * value, 4) for value in contract.mean], [round(255 * value, 4) for value in contract.std]
