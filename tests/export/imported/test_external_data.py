"""External data of an ONNX file: put into the bundle, and only read from the folder of the model."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.command_line import call
from vegrt.bundle.bundle import open_bundle
from vegrt.bundle.entries import COMMIT, MANIFEST
from vegrt.errors import BundleError, ModelError, VegrtError
from vegrt.export.imported import external_data as external
from vegrt.export.imported.onnx_file import ImportedRunner, read_imported
from vegrt.export.imported.source import SOURCE, import_onnx, importing, load_imported
from vegrt.photo.contract import Contract

SIZE = 16
CONTRACT = Contract(SIZE, SIZE, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
TOML = "size = 16\nresize = 16\nmean = [0.5, 0.5, 0.5]\nstd = [0.2, 0.2, 0.2]\n"


Weights = tuple[NDArray[np.float32], NDArray[np.float32]]


def random_weights() -> Weights:
    random = np.random.default_rng(0)
    head = random.normal(size=(3, 8)).astype(np.float32)
    return random.normal(size=(8, 3, 3, 3)).astype(np.float32), head


def misordered_weights() -> Weights:
    """Return weights that know the class of a photo, its strongest colour, and give it to the class after."""
    kernels = np.zeros((8, 3, 3, 3), np.float32)
    kernels[range(3), range(3), 1, 1] = 1
    return kernels, np.roll(np.eye(3, 8, dtype=np.float32), 1, axis=0)


def network(file: Path, *, external_data: bool = True, weights: Weights | None = None) -> onnx.ModelProto:
    """Write a convolution, a pool and a classifier, its weights in `model.onnx.data`, one of them in a Constant node."""
    kernels, head = weights or random_weights()
    constant = numpy_helper.from_array(head, "fc")
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv"),
        helper.make_node("GlobalAveragePool", ["c"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Constant", [], ["fc"], "fc_weight", value=constant),
        helper.make_node("Gemm", ["f", "fc"], ["y"], "gemm", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(kernels, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    if external_data:
        onnx.save(
            model,
            file,
            save_as_external_data=True,
            location=f"{file.name}.data",
            size_threshold=0,
            convert_attribute=True,
        )
    else:
        onnx.save(model, file)
    return onnx.load(file, load_external_data=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "classes.txt").write_text("Beet\nCress\nEggplant\n")
    (tmp_path / "contract.toml").write_text(TOML)
    return tmp_path


def given(folder: Path) -> tuple[Path, Path, Path]:
    return folder / "model.onnx", folder / "classes.txt", folder / "contract.toml"


def test_a_bundle_is_complete_without_the_other_file(folder: Path) -> None:
    proto = network(folder / "model.onnx")
    assert len(external.external_tensors(proto)) == 2
    bundle = import_onnx(folder / "out", *given(folder))
    assert bundle.manifest == import_onnx(folder / "out", *given(folder)).manifest  # the same once more changes nothing
    (folder / "model.onnx.data").unlink()
    images = np.random.default_rng(1).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    network(folder / "same.onnx", external_data=False)
    want = read_imported(folder / "same.onnx", 3, CONTRACT)
    source = load_imported(open_bundle(folder / "out"))
    assert not want.embedded
    np.testing.assert_array_equal(source.reference.logits(images), ImportedRunner(want, CONTRACT).logits(images))
    assert {file.name for file in (folder / "out").iterdir()} == {SOURCE, "manifest.json"}


def entry(proto: onnx.ModelProto, key: str, value: str) -> None:
    tensor = proto.graph.initializer[0]
    unchanged = [(stored.key, stored.value) for stored in tensor.external_data if stored.key != key]
    del tensor.external_data[:]
    for name, text in [*unchanged, (key, value)]:
        tensor.external_data.add(key=name, value=text)


Spoil = Callable[[Path, onnx.ModelProto], None]


def moved(to: str) -> Spoil:
    def spoil(folder: Path, proto: onnx.ModelProto) -> None:
        target = folder / to
        target.parent.mkdir(exist_ok=True)
        if not target.exists():
            shutil.copy(folder / "model.onnx.data", target)
        entry(proto, "location", to)

    return spoil


def linked(folder: Path, _: onnx.ModelProto) -> None:
    (folder / "model.onnx.data").rename(folder / "elsewhere")
    (folder / "model.onnx.data").symlink_to(folder / "elsewhere")


def piped(folder: Path, _: onnx.ModelProto) -> None:
    (folder / "model.onnx.data").unlink()
    os.mkfifo(folder / "model.onnx.data")


def cut(folder: Path, _: onnx.ModelProto) -> None:
    os.truncate(folder / "model.onnx.data", 100)


def huge(_: Path, proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[0] = 2**40


def said(key: str, value: str) -> Spoil:
    return lambda _, proto: entry(proto, key, value)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda folder, _: (folder / "model.onnx.data").unlink(),
            "No such file or directory.; copy that file into the model's folder",
        ),
        (moved("sub/model.onnx.data"), "is in 'sub/model.onnx.data'; expected the name of a file"),
        (said("location", "../model.onnx.data"), r"is in '\.\./model\.onnx\.data'; expected the name of a file"),
        (said("location", "/etc/passwd"), "is in '/etc/passwd'; expected the name of a file"),
        (said("location", ".."), r"is in '\.\.'; expected the name of a file"),
        (said("location", ""), "is in ''; expected the name of a file"),
        (said("location", "."), r"is in '\.'; expected the name of a file"),
        (linked, r"is in .*model\.onnx\.data \(a link\)"),
        (piped, "which is not a regular file; refused"),
        (cut, "model.onnx.data ends after 0 of its 864 bytes"),
        (said("offset", "9" * 30), "ends after 0 of its 864 bytes"),
        (said("offset", "-4"), "864 bytes at -4 in"),
        (said("offset", "many"), "is not a number"),
        (said("length", "12"), "12 bytes at 0 in model.onnx.data; expected 864"),
        (huge, "GiB of data in other files"),
    ],
)
def test_data_is_only_read_from_the_folder_of_the_model(spoil: Spoil, message: str, folder: Path) -> None:
    proto = network(folder / "model.onnx")
    spoil(folder, proto)
    (folder / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match=message) as refused:
        import_onnx(folder / "out", *given(folder))
    assert "\n" not in str(refused.value)
    assert not (folder / "out").exists()


def test_an_import_that_was_killed_amid_its_commit_is_finished_by_its_repetition(folder: Path) -> None:
    network(folder / "model.onnx")
    first = import_onnx(folder / "out", *given(folder))
    (folder / "out" / COMMIT).mkdir()
    for name in (MANIFEST, SOURCE):
        (folder / "out" / name).rename(folder / "out" / COMMIT / name)
    assert import_onnx(folder / "out", *given(folder)).manifest == first.manifest
    assert sorted(file.name for file in (folder / "out").iterdir()) == [MANIFEST, SOURCE]


def test_a_bundle_whose_source_names_other_files_is_refused(folder: Path) -> None:
    """The manifest covers none of them."""
    proto = network(folder / "model.onnx")
    import_onnx(folder / "out", *given(folder))
    shutil.copy(folder / "model.onnx.data", folder / "out")
    (folder / "out" / SOURCE).write_bytes(proto.SerializeToString())
    with pytest.raises(BundleError, match="reads another file, which the manifest does not cover"):
        load_imported(open_bundle(folder / "out", verify=False))


def test_a_failed_export_of_an_imported_model_leaves_no_files(folder: Path, photos: Path) -> None:
    network(folder / "model.onnx", weights=misordered_weights())
    words = ["export", folder / "out", "--data", photos, "--no-engine", "--from-onnx", folder / "model.onnx"]
    words += ["--classes", folder / "classes.txt", "--contract", folder / "contract.toml"]
    result = call(*words)
    assert (result.exit_code, "no better than chance" in result.stderr) == (1, True), result.output
    assert not (folder / "out").exists()


def test_only_the_files_of_the_import_are_removed(folder: Path) -> None:
    network(folder / "model.onnx")
    (folder / "out").mkdir()
    (folder / "out/notes.txt").write_text("mine")
    with pytest.raises(VegrtError, match="later"), importing(folder / "out", *given(folder)):
        raise VegrtError("later")
    assert [file.name for file in (folder / "out").iterdir()] == ["notes.txt"]
    before = import_onnx(folder / "out", *given(folder)).manifest
    with pytest.raises(VegrtError, match="later"), importing(folder / "out", *given(folder)):
        raise VegrtError("later")
    assert open_bundle(folder / "out").manifest == before  # it was there before
    with pytest.raises(KeyboardInterrupt), importing(folder / "other", *given(folder)):
        raise KeyboardInterrupt
    assert open_bundle(folder / "other").has("source")  # an interrupted calibration goes on there
