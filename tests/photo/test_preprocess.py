from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, PngImagePlugin

from vegrt.errors import DataError
from vegrt.photo.contract import Contract
from vegrt.photo.preprocess import decode, decode_for, load_image, prepare, upright_rgb


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95, **options)
    return buffer.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, axis=1)
    return Image.fromarray(np.stack([across, down, 255 - across], axis=2).astype(np.uint8))


def test_rarer_formats_are_read_when_many_threads_meet_them_first(tmp_path: Path) -> None:
    for number, suffix in enumerate(("tif", "avif") * 3):
        gradient(40, 40).save(tmp_path / f"{number}.{suffix}")
    program = (
        "import sys; from concurrent.futures import ThreadPoolExecutor; from pathlib import Path;"
        "from PIL import Image; from vegrt.photo.preprocess import decode;"
        "files = sorted(Path(sys.argv[1]).iterdir()) * 4; before = set(Image.OPEN);"
        "right = sum(image.size == (40, 40) for image in ThreadPoolExecutor(8).map(decode, files));"
        "print(len(before), right, *set(Image.OPEN) - before)"
    )  # a process of its own: here the plugins are loaded already
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    loaded, right, *later = done.stdout.split()
    assert int(loaded) < 10
    assert int(right) == 24
    assert set(later) == {"TIFF", "AVIF"}


def test_an_image_of_the_right_size_is_left_alone() -> None:
    image = gradient(224, 224)
    assert np.array_equal(prepare(image, Contract()), np.asarray(image))


@pytest.mark.parametrize(("width", "height"), [(300, 200), (200, 300), (187, 224), (1000, 333)])
def test_resize_and_crop_match_torch_antialias(width: int, height: int) -> None:
    pixels = prepare(gradient(width, height), Contract(size=96, resize=128))
    scale = 128 / min(width, height)
    shape = max(128, round(height * scale)), max(128, round(width * scale))
    whole = torch.from_numpy(np.asarray(gradient(width, height)).copy()).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(whole, shape, mode="bilinear", antialias=True, align_corners=False)
    top, left = (shape[0] - 96) // 2, (shape[1] - 96) // 2
    expected = resized[0, :, top : top + 96, left : left + 96].permute(1, 2, 0).numpy()
    assert pixels.shape == (96, 96, 3)
    assert np.abs(pixels - expected).max() <= 1.0  # Pillow rounds after each of its two passes


def test_exif_orientation_is_applied() -> None:
    image = gradient(60, 40)
    exif = Image.Exif()
    exif[0x0112] = 6  # stored rotated: 90 degrees clockwise shows it upright
    upright = np.asarray(decode(jpeg(image, exif=exif)), dtype=int)
    expected = np.asarray(decode(jpeg(image)).transpose(Image.Transpose.ROTATE_270), dtype=int)
    assert upright.shape == (60, 40, 3)
    assert np.abs(upright - expected).max() == 0


def lab(image: Image.Image) -> Image.Image:
    srgb, target = (ImageCms.createProfile(name) for name in ("sRGB", "LAB"))
    converted = ImageCms.profileToProfile(image.convert("RGB"), srgb, target, outputMode="LAB")
    assert converted is not None
    return converted


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "YCbCr", "LAB", "1", "I;16", "F"])
def test_every_mode_becomes_rgb(mode: str, tmp_path: Path) -> None:
    grey = gradient(32, 32).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    image = deep if mode == "I;16" else lab(grey) if mode == "LAB" else grey.convert(mode)
    image = Image.fromarray(np.asarray(grey, np.float32) / 255) if mode == "F" else image
    path = tmp_path / ("x.tif" if mode in ("CMYK", "F", "YCbCr", "LAB") else "x.png")
    image.save(path)
    decoded = np.asarray(decode(path), dtype=int)
    assert decoded.shape == (32, 32, 3)
    if mode not in ("1", "P"):
        assert np.abs(decoded[..., 0] - np.asarray(grey, dtype=int)).max() <= 2


def test_a_palette_with_transparency_raises_no_warning(tmp_path: Path) -> None:
    image = gradient(16, 16).quantize(8)
    image.save(tmp_path / "x.png", transparency=b"\x00\x80\xff")
    assert decode(tmp_path / "x.png").mode == "RGB"


def test_draft_decoding_keeps_what_the_model_sees() -> None:
    data = jpeg(gradient(1600, 1200))
    fast = load_image(data, Contract()).astype(int)
    slow = prepare(decode(data), Contract()).astype(int)
    assert decode(data, shorter_side=224).size == (800, 600)
    assert np.abs(fast - slow).mean() < 1.0


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "not a photo"), (b"a text file", "not a photo but text"), (jpeg(gradient(64, 64))[:400], "damaged")],
)
def test_what_is_no_whole_image_is_one_data_error(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "broken.jpg"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"broken\.jpg: .*{message}"):
        load_image(path, Contract())


def test_missing_files_folders_and_bombs_are_data_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        decode(tmp_path / "none.jpg")
    with pytest.raises(DataError, match="not a regular file"):
        decode(tmp_path)
    small = io.BytesIO()
    Image.new("1", (8, 8)).save(small, "PNG")
    head = b"IHDR" + struct.pack(">II", 50_000, 50_000) + small.getvalue()[24:29]  # a small file that claims to be huge
    bomb = small.getvalue()[:12] + head + struct.pack(">I", zlib.crc32(head)) + small.getvalue()[33:]
    with pytest.raises(DataError, match="pixels"):
        decode(bomb)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pytest replaces the filter that vegrt.photo.preprocess sets
@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, 3000), value=st.integers(0, 255), cut=st.integers(1, 3000))
def test_a_damaged_jpeg_gives_an_image_or_a_data_error_and_nothing_else(position: int, value: int, cut: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = bytearray(jpeg(gradient(80, 60), exif=exif))
    data[position % len(data)] = value
    try:
        pixels = load_image(bytes(data[: len(data) - cut % 40]), Contract(size=32, resize=32))
    except DataError:
        return
    assert pixels.shape == (32, 32, 3)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("tag", "value"), [(0x011A, -3), (0x0111, "text"), (0x0112, "six"), (0x0112, 99)])
def test_odd_exif_does_not_cost_the_photo(tag: int, value: object) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = gradient(60, 40)
    data = jpeg(image, exif=exif)
    odd = Image.Exif()
    odd[tag] = value
    try:
        data = jpeg(image, exif=odd)
    except (ValueError, TypeError, struct.error):  # Pillow itself will not write this one: patch the written bytes
        data = data.replace(b"\x12\x01\x03\x00", b"\x11\x01\x02\x00", 1)
    assert decode(data).mode == "RGB"


WRITTEN: dict[str, tuple[str, dict[str, object]]] = {
    "jpeg": ("JPEG", {"quality": 95}),
    "png": ("PNG", {}),
    "webp": ("WEBP", {"lossless": True}),
    "avif": ("AVIF", {"quality": 95}),
    "tiff": ("TIFF", {}),
    "tiff lzw": ("TIFF", {"compression": "tiff_lzw"}),
    "tiff jpeg": ("TIFF", {"compression": "jpeg"}),
}


@pytest.mark.parametrize("kind", WRITTEN)
def test_all_eight_orientations_are_pillows_in_every_format(kind: str, tmp_path: Path) -> None:
    plugin, options = WRITTEN[kind]
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        buffer = io.BytesIO()
        gradient(60, 40).save(buffer, plugin, exif=exif, **options)
        with Image.open(io.BytesIO(buffer.getvalue())) as image:
            expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
        (tmp_path / "x").write_bytes(buffer.getvalue())
        assert np.array_equal(np.asarray(decode(buffer.getvalue())), expected), orientation
        assert np.array_equal(np.asarray(decode(tmp_path / "x")), expected), orientation
        with Image.open(tmp_path / "x") as image:
            assert np.array_equal(np.asarray(upright_rgb(image)), expected), orientation


def test_orientation_is_applied_to_what_is_decoded_smaller() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    small = decode(jpeg(gradient(1600, 1200), exif=exif), shorter_side=224)
    assert small.size == (600, 800)
    whole = decode(jpeg(gradient(1600, 1200), exif=exif)).resize((600, 800), Image.Resampling.BOX)
    assert np.abs(np.asarray(small, int) - np.asarray(whole, int)).mean() < 1.5


def test_nothing_of_the_file_comes_with_the_pixels() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    buffer = io.BytesIO()
    gradient(60, 40).save(buffer, "WEBP", lossless=True, exif=exif, xmp=xmp)
    upright = decode(buffer.getvalue())
    assert upright.info == {}
    copy = io.BytesIO()
    upright.save(copy, "WEBP", lossless=True)
    assert np.array_equal(np.asarray(decode(copy.getvalue())), np.asarray(upright))


@pytest.mark.parametrize(
    "error",
    [
        *(RuntimeError, NotImplementedError, OverflowError, SyntaxError, struct.error, AttributeError),
        *(ZeroDivisionError, AssertionError, RecursionError, UnicodeError, EOFError, OSError, KeyError),
    ],
)
def test_whatever_a_decoder_raises_costs_one_photo(error: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error("of two\nlines")

    buffer = io.BytesIO()
    gradient(8, 8).save(buffer, "PNG")
    for place in ("load", "_open"):
        with monkeypatch.context() as patched:
            patched.setattr(PngImagePlugin.PngImageFile, place, fail)
            with pytest.raises(DataError, match=r"x\.png: damaged image \(") as caught:
                load_image(buffer.getvalue(), Contract(), "x.png")
            assert len(str(caught.value).splitlines()) == 1
            assert place == "_open" or error.__name__ in str(caught.value)


def test_ctrl_c_is_not_a_damaged_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", interrupt)
    buffer = io.BytesIO()
    gradient(8, 8).save(buffer, "PNG")
    with pytest.raises(KeyboardInterrupt):
        decode(buffer.getvalue())


def test_a_line_that_resizing_would_blow_up_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("L", (1, 60_000)).save(buffer, "PNG")
    with pytest.raises(DataError, match=r"1x60000, resized: 224x13440000 pixels"):
        load_image(buffer.getvalue(), Contract())


def test_a_letterbox_of_a_line_is_small() -> None:
    contract = Contract(size=(32, 48), fit="letterbox", fill=(9, 8, 7))
    pixels = prepare(Image.new("RGB", (1, 60_000), (200, 100, 50)), contract)
    assert np.array_equal(pixels[:, 23], [[200, 100, 50]] * 32)
    assert (np.delete(pixels, 23, axis=1) == (9, 8, 7)).all()


@pytest.mark.parametrize(("position", "left"), [("center", 12), ("top-left", 0)])
def test_letterbox_keeps_the_whole_photo_and_its_aspect_ratio(position: str, left: int) -> None:
    contract = Contract(size=(32, 48), fit="letterbox", fill=(1, 2, 3), pad_position=position)  # type: ignore[arg-type]
    pixels = prepare(Image.new("RGB", (300, 400), (200, 100, 50)), contract)
    assert pixels.shape == contract.shape
    is_photo = (pixels == (200, 100, 50)).all(axis=2)
    assert is_photo[:, left : left + 24].all()
    assert is_photo.sum() == 32 * 24
    assert (pixels[~is_photo] == (1, 2, 3)).all()


def test_stretch_uses_the_whole_photo() -> None:
    pixels = prepare(gradient(400, 100), Contract(size=(32, 16), fit="stretch")).astype(int)
    assert np.abs(np.diff(pixels[0, :, 0]) - 16).max() <= 2
    assert pixels[0, 0, 0] < 16
    assert pixels[0, -1, 0] > 239


@pytest.mark.parametrize("fit", ["crop", "stretch", "letterbox"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_early_reduction_follows_the_fit_and_the_orientation(fit: str, orientation: int) -> None:
    contract = Contract(size=(30, 120), fit=fit)  # type: ignore[arg-type]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = jpeg(gradient(1000, 2600), exif=exif)
    image = decode_for(data, contract)
    scale = {
        (1, "crop"): 2,
        (1, "stretch"): 2,
        (6, "crop"): 4,
        (6, "stretch"): 4,
        (1, "letterbox"): 8,
        (6, "letterbox"): 8,
    }
    assert 2600 / max(image.size) == scale[orientation, fit]
    narrow = decode_for(data, Contract(size=(240, 60), fit="letterbox"))
    assert 2600 / max(narrow.size) == (4 if orientation == 1 else 8)
    whole = prepare(decode(data), contract).astype(int)
    assert np.abs(load_image(data, contract) - whole).mean() < 1.0


@pytest.mark.parametrize("change", [{"antialias": False}, {"interpolation": "nearest"}])
def test_single_pixels_are_read_from_the_whole_photo(change: dict[str, object]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (800, 900, 3), np.uint8)
    data = jpeg(Image.fromarray(noise))
    contract = Contract(32, 32, **change)  # type: ignore[arg-type]
    assert decode_for(data, contract).size == (900, 800)
    assert np.array_equal(load_image(data, contract), prepare(decode(data), contract))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB with a transparent colour"])
def test_transparent_pixels_get_the_background(mode: str) -> None:
    image = Image.new("RGBA", (8, 8), (200, 100, 50, 255))
    image.paste((10, 20, 30, 0), (0, 0, 4, 8))
    options: dict[str, object] = {}
    if mode == "RGB with a transparent colour":
        image, options = image.convert("RGB"), {"transparency": (10, 20, 30)}
    elif mode == "P":
        image = image.quantize(4)
    elif mode == "LA":
        image = image.convert("LA")
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    pixels = load_image(buffer.getvalue(), Contract(8, 8, background=(0, 255, 0)))
    assert (pixels[:, :4] == (0, 255, 0)).all()
    assert (load_image(buffer.getvalue(), Contract(8, 8))[:, 4:] == pixels[:, 4:]).all()
    assert (load_image(buffer.getvalue(), Contract(8, 8))[:, :4] != pixels[:, :4]).any()


def test_half_transparent_pixels_are_mixed() -> None:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (200, 100, 0, 128)).save(buffer, "PNG")
    pixels = load_image(buffer.getvalue(), Contract(8, 8, background=(0, 0, 255))).astype(int)
    assert np.abs(pixels - (100, 50, 127)).max() <= 1


def test_a_grey_network_gets_grey_images() -> None:
    pixels = prepare(gradient(64, 48), Contract(32, 32, (0.5,), (0.5,), network_color="L"))
    assert pixels.shape == (32, 32, 3)
    assert np.ptp(pixels, axis=2).max() == 0
    luma = np.asarray(gradient(64, 48).convert("L").resize((43, 32), Image.Resampling.BILINEAR))[:, 5:37]
    assert np.array_equal(pixels[..., 0], luma)
