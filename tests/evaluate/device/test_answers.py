"""Answers files of every format and content become the same answers; what cannot be judged is refused in one line."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from numpy.typing import NDArray

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle
from vegrt.dataset.photos import Split, read_split
from vegrt.errors import DataError, VegrtError
from vegrt.evaluate.device.answers import DeviceAnswers, read_device, read_devices
from vegrt.infer.runtimes.candidates import Candidate
from vegrt.infer.runtimes.choice import choose
from vegrt.infer.runtimes.logits import softmax
from vegrt.infer.runtimes.open import open_candidate
from vegrt.photo.preprocess import load_image
from vegrt.report.facts.facts import load_facts
from vegrt.results.convert import from_dict, to_dict
from vegrt.results.evaluation import Evaluation, Predictions
from vegrt.results.evaluations import read_evaluation

Cells = list[list[Any]]


@dataclass(frozen=True)
class Subject:
    """The bundle's own logits (60, 3) for the test photos, to be written as another device would."""

    bundle: Bundle
    split: Split
    logits: NDArray[np.float32]
    folder: Path

    @property
    def names(self) -> list[str]:
        return [self.split.relative(photo) for photo in self.split.photos]

    @property
    def hashes(self) -> list[str]:
        return [hashlib.sha256(photo.path.read_bytes()).hexdigest() for photo in self.split.photos]

    def csv(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Path:
        file = self.folder / "orin.csv"
        with file.open("w", newline="", encoding="utf-8") as opened:
            csv.writer(opened).writerows([columns, *rows])
        return file

    def lines(self, *records: Any) -> Path:
        file = self.folder / "orin.jsonl"
        file.write_text("".join(json.dumps(record) + "\n" for record in records))
        return file

    def read(self, file: Path) -> DeviceAnswers:
        return read_device(file, "Orin", self.bundle, self.split)

    def refusal(self, file: Path) -> str:
        with pytest.raises(DataError) as caught:
            self.read(file)
        message = str(caught.value)
        assert "\n" not in message
        assert message.startswith(f"{file}: ")
        return message.removeprefix(f"{file}: ")


@pytest.fixture(scope="module")
def logits(bundle: Bundle, test_split: Split) -> NDArray[np.float32]:
    images = np.stack([load_image(photo.path, bundle.manifest.contract) for photo in test_split.photos])
    return open_candidate(bundle, Candidate("fp32", "onnxruntime")).logits(images)


@pytest.fixture
def subject(bundle: Bundle, test_split: Split, logits: NDArray[np.float32], tmp_path: Path) -> Subject:
    return Subject(bundle, test_split, logits, tmp_path)


def positional(subject: Subject) -> Path:
    rows = [[name, *row] for name, row in zip(subject.names, subject.logits.tolist(), strict=True)]
    return subject.csv(["photo", "logit_0", "logit_1", "logit_2"], rows[::-1])


def named(subject: Subject) -> Path:
    """The columns are in another order than the classes, and the photos have the folders of the device."""
    columns = ["path", "logit:Eggplant", "logit:Beet", "logit:Cress"]
    rows = zip(subject.names, subject.logits[:, [2, 0, 1]].tolist(), strict=True)
    return subject.csv(columns, [[f"C:\\jetson\\test\\{name}".replace("/", "\\"), *row] for name, row in rows])


def listed(subject: Subject) -> Path:
    rows = zip(subject.hashes, subject.logits.tolist(), strict=True)
    return subject.lines(*({"photo": f"sha256:{digest}", "logits": row} for digest, row in rows))


def reordered(subject: Subject) -> Path:
    rows = zip(subject.hashes, subject.logits[:, ::-1].tolist(), strict=True)
    records = [{"sha256": digest, "logits": row} for digest, row in rows]
    return subject.lines({"classes": list(subject.split.classes[::-1])}, *records)


def by_class(subject: Subject) -> Path:
    rows = zip(subject.names, subject.logits.tolist(), strict=True)
    return subject.lines(
        *({"photo": name, "logits": dict(zip(subject.split.classes, row, strict=True))} for name, row in rows)
    )


def parquet(subject: Subject) -> Path:
    table = pyarrow.table({"photo": subject.names, "logits": subject.logits[:, ::-1].tolist()})
    table = table.replace_schema_metadata({"vegrt.classes": json.dumps(subject.split.classes[::-1])})
    pyarrow.parquet.write_table(table, subject.folder / "orin.parquet")
    return subject.folder / "orin.parquet"


def npz(subject: Subject) -> Path:
    file = subject.folder / "orin.npz"
    np.savez(file, photo=np.array(subject.names), logits=subject.logits.astype(np.float64))
    return file


def compressed_npz(subject: Subject) -> Path:
    file, names = subject.folder / "orin.npz", np.array([name.encode() for name in subject.names])
    np.savez_compressed(file, path=names, logits=subject.logits[:, [1, 2, 0]], classes=["Cress", "Eggplant", "Beet"])
    return file


WRITERS = (positional, named, listed, reordered, by_class, parquet, npz, compressed_npz)


@pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)
def test_every_format_gives_the_same_logits(subject: Subject, write: Callable[[Subject], Path]) -> None:
    file = write(subject)
    device = subject.read(file)
    assert device.logits is not None
    np.testing.assert_allclose(device.logits, subject.logits, rtol=1e-6)
    assert device.top1.tolist() == subject.logits.argmax(axis=1).tolist()
    assert (device.record.kind, device.record.file) == ("logits", file.name)
    assert device.record.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_probabilities_give_the_figures_of_logits(subject: Subject) -> None:
    names = [f"probability_{place}" for place in range(3)]
    rows = zip(subject.names, softmax(subject.logits).round(6).tolist(), strict=True)
    device = subject.read(subject.csv(["photo", *names], [[name, *row] for name, row in rows]))
    assert device.logits is not None
    assert device.record.kind == "probabilities"
    np.testing.assert_allclose(softmax(device.logits), softmax(subject.logits), atol=1e-5)


@pytest.mark.parametrize(
    ("suffix", "options"), [(".csv", []), (".jsonl", ["--top-k", 3]), (".parquet", ["--top-k", 2])]
)
def test_what_infer_writes_is_an_answers_file(subject: Subject, suffix: str, options: list[Any]) -> None:
    file = subject.folder / f"answers{suffix}"
    words = ["infer", subject.split.root, "--bundle", subject.bundle.path, "--variant", "fp32", "-o", file]
    assert call(*words, "--runtime", "onnxruntime", *options).exit_code == 0
    device, probabilities = subject.read(file), np.sort(softmax(subject.logits), axis=1)
    assert device.top1.tolist() == subject.logits.argmax(axis=1).tolist()
    if suffix == ".jsonl":  # all three classes
        assert device.record.kind == "probabilities"
        return
    assert device.record.kind == "top1"
    assert device.probability is not None
    np.testing.assert_allclose(device.probability, probabilities[:, 2], atol=1e-5)
    assert (device.margin is None) == (suffix == ".csv")
    if device.margin is not None:
        np.testing.assert_allclose(device.margin, probabilities[:, 2] - probabilities[:, 1], atol=1e-5)


def test_labels_are_names_or_indices(subject: Subject) -> None:
    top1 = subject.logits.argmax(axis=1).tolist()
    for column, values in (("label", [subject.split.classes[place] for place in top1]), ("top1", top1)):
        device = subject.read(subject.csv(["photo", column], list(zip(subject.names, values, strict=True))))
        assert device.top1.tolist() == top1
        assert (device.record.kind, device.logits, device.probability) == ("top1", None, None)


def test_the_stated_speed_is_summed_up(subject: Subject) -> None:
    times = np.arange(1.0, 61.0)
    file = subject.folder / "orin.npz"
    np.savez(file, photo=subject.names, logits=subject.logits, latency_ms=times, images_per_s=np.float32(250))
    speed = subject.read(file).record.speed
    assert speed is not None
    assert (speed.photos, speed.p50_ms, speed.images_per_s) == (60, 30.5, 250)
    assert speed.p95_ms == pytest.approx(np.quantile(times, 0.95))


def rows_of(subject: Subject) -> Cells:
    return [[name, "Beet"] for name in subject.names]


def dropped(rows: Cells) -> Cells:
    return rows[2:]


def doubled(rows: Cells) -> Cells:
    return [*rows, rows[3], rows[3]]


def unknown(rows: Cells) -> Cells:
    return [*rows, ["Beet/other.jpg", "Beet"]]


def failed(rows: Cells) -> Cells:
    return [[*row, "out of memory" if number == 5 else ""] for number, row in enumerate(rows)]


def mislabelled(rows: Cells) -> Cells:
    return [[row[0], "Carrot" if number > 57 else "Beet"] for number, row in enumerate(rows)]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (dropped, "2 of 60 photos of {root} have no answer, such as 'Beet/000.jpg'; expected an answer to each"),
        (doubled, "2 of 62 rows repeat a photo, such as 'Beet/003.jpg'; expected one row for each photo"),
        (unknown, "1 of 61 rows are about photos that are not in {root}, such as 'Beet/other.jpg'; expected paths"),
        (failed, "1 of 60 photos of {root} have no answer, such as 'Beet/005.jpg' (out of memory); expected"),
        (mislabelled, "2 labels are no class of the bundle, such as 'Carrot' of 'Eggplant/018.jpg'; expected a class"),
    ],
)
def test_rows_that_cannot_be_judged_are_counted(
    subject: Subject, change: Callable[[Cells], Cells], expected: str
) -> None:
    rows = change(rows_of(subject))
    message = subject.refusal(subject.csv(["photo", "label", "error"][: len(rows[0])], rows))
    assert message.startswith(expected.format(root=subject.split.root))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_counted(subject: Subject, value: float) -> None:
    changed = replace(subject, logits=subject.logits.copy())
    changed.logits[[3, 7], 1] = value
    for write in (positional, listed, parquet, npz):
        assert subject.refusal(write(changed)).startswith(
            "answers of 2 photos are not finite, such as of 'Beet/003.jpg'"
        )


def test_scores_in_another_order_than_the_labels_are_refused(subject: Subject) -> None:
    labels = [subject.split.classes[place] for place in subject.logits.argmax(axis=1)]
    rows = zip(subject.names, labels, subject.logits[:, [1, 2, 0]].tolist(), strict=True)
    columns = ["photo", "label", "logit_0", "logit_1", "logit_2"]
    message = subject.refusal(subject.csv(columns, [[name, label, *row] for name, label, row in rows]))
    assert message.startswith(
        "60 labels are not the class with the highest score, such as of 'Beet/000.jpg': label Beet"
    )


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (["photo"], ["a"], "has no answers"),
        (["image", "label"], ["a", "Beet"], "has no column photo, path or sha256; its columns are image, label"),
        (["photo", "logit_0", "logit_1"], ["a", 1, 2], "has 2 columns logit_<index>; expected logit_0 to logit_2"),
        (["photo", "logit:Beet", "logit:Kale"], ["a", 1, 2], "has the class 'Kale', which the bundle does not have"),
        (["photo", "logit:Beet", "logit:Cress"], ["a", 1, 2], "has no class 'Eggplant'; expected all 3 of the bundle"),
        (["photo", "label", "label"], ["a", "Beet", "Beet"], "has the column 'label' twice"),
        (
            ["photo", "logit_0", "logit_1", "logit_2"],
            ["a", 1, "x", 2],
            "line 2: logit_0 has a cell that is not a number",
        ),
        (["photo", "label"], ["a", "Beet", "c"], "line 2 has 3 cells; expected 2"),
        (["photo", "probability_0", "probability_1", "probability_2"], ["Beet/000.jpg", 4, 1, 1], "59 of 60 photos"),
    ],
)
def test_columns_that_say_nothing_are_refused(
    subject: Subject, columns: list[str], row: list[Any], expected: str
) -> None:
    assert expected in subject.refusal(subject.csv(columns, [row]))


def test_probabilities_that_do_not_sum_to_one_are_counted(subject: Subject) -> None:
    rows = [[name, 4, 1, 1] for name in subject.names]
    columns = ["photo", "probability_0", "probability_1", "probability_2"]
    message = subject.refusal(subject.csv(columns, rows))
    assert message.startswith("probabilities of 60 photos are below 0 or do not sum to 1")


def zip_bomb(folder: Path) -> Path:
    """Little data that states an array of 8 TB."""
    file, head = folder / "orin.npz", io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("logits.npy", head.getvalue() + bytes(1000))
    return file


def pickled(folder: Path) -> Path:
    file = folder / "orin.npz"
    np.savez(file, photo=np.array(["a", None], dtype=object), label=np.array(["Beet", "Beet"]))
    return file


def endless_line(folder: Path) -> Path:
    (folder / "orin.csv").write_bytes(b"photo,label\n" + b"a" * (2 << 20))
    return folder / "orin.csv"


def open_quote(folder: Path) -> Path:
    (folder / "orin.csv").write_bytes(b'photo,label\n"a' + b"\n" * 1000)
    return folder / "orin.csv"


def many_rows(folder: Path) -> Path:
    (folder / "orin.csv").write_bytes(b"photo,label\n" + b"Beet/000.jpg,Beet\n" * 5000)
    return folder / "orin.csv"


def not_utf8(folder: Path) -> Path:
    (folder / "orin.jsonl").write_bytes(b'{"photo": "\xff"}\n')
    return folder / "orin.jsonl"


def deep(folder: Path) -> Path:
    (folder / "orin.jsonl").write_text('{"photo": ' + "[" * 5000 + "]" * 5000 + "}\n")
    return folder / "orin.jsonl"


def no_parquet(folder: Path) -> Path:
    (folder / "orin.parquet").write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    return folder / "orin.parquet"


def repeated_text(folder: Path) -> Path:
    """A file of 10 kB that is 20 MB of text when each row has its own."""
    table = pyarrow.table({"photo": pyarrow.array(["a" * 100_000] * 200).dictionary_encode(), "label": ["Beet"] * 200})
    pyarrow.parquet.write_table(table, folder / "orin.parquet")
    return folder / "orin.parquet"


def long_list(folder: Path) -> Path:
    table = pyarrow.table({"photo": ["Beet/000.jpg"], "logits": [np.zeros(1_000_000, np.float32)]})
    pyarrow.parquet.write_table(table, folder / "orin.parquet")
    return folder / "orin.parquet"


def no_zip(folder: Path) -> Path:
    (folder / "orin.npz").write_bytes(b"PK\3\4" + bytes(100))
    return folder / "orin.npz"


def folder_of_that_name(folder: Path) -> Path:
    (folder / "orin.csv").mkdir()
    return folder / "orin.csv"


def empty(folder: Path) -> Path:
    (folder / "orin.csv").write_text("")
    return folder / "orin.csv"


def no_rows(folder: Path) -> Path:
    (folder / "orin.csv").write_text("photo,label\n")
    return folder / "orin.csv"


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (zip_bomb, "'logits.npy' is not a plain array"),
        (pickled, "'photo.npy' is not a plain array"),
        (endless_line, "line 2 has 1,"),
        (open_quote, "has a row of more than 64 lines; a quote is not closed"),
        (many_rows, "has more than 1,240 rows; expected one for each of 60 photos"),
        (not_utf8, "line 1 is not UTF-8"),
        (deep, "line 1 is nested more than 64 levels deep"),
        (no_parquet, "its content is not Parquet"),
        (repeated_text, "photo has a text of more than 8,192 characters"),
        (long_list, "has 1,000,001 values in"),
        (no_zip, "its content is not an .npz file"),
        (folder_of_that_name, "not a regular file"),
        (empty, "has no column photo, path or sha256"),
        (no_rows, "has no rows; expected one for each of 60 photos"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_hostile_files_are_refused_in_one_line(subject: Subject, make: Callable[[Path], Path], expected: str) -> None:
    assert subject.refusal(make(subject.folder)).startswith(expected)


def test_unreadable_photos_need_no_answer_and_copies_share_one(bundle: Bundle, photos: Path, tmp_path: Path) -> None:
    root = tmp_path / "test"
    for name in bundle.manifest.classes:
        (root / name).mkdir(parents=True)
        for number in (0, 1):
            content = (photos / "test" / name / "000.jpg").read_bytes()
            (root / name / f"{number}.jpg").write_bytes(content)
    (root / "Beet/2.jpg").write_bytes(b"no photo")
    split = read_split(tmp_path, "test")
    digests = [hashlib.sha256((root / name / "0.jpg").read_bytes()).hexdigest() for name in split.classes]
    file = tmp_path / "orin.csv"
    file.write_text("photo,top1\n" + "".join(f"{digest},{place}\n" for place, digest in enumerate(digests)))
    assert read_device(file, "Orin", bundle, split).top1.tolist() == [0, 0, -1, 1, 1, 2, 2]


def test_names_of_devices_are_paired_in_order(subject: Subject) -> None:
    first, second = positional(subject), npz(subject)
    devices = read_devices([first, second], ["Nano"], subject.bundle, subject.split)
    assert [str(device) for device in devices] == ["Nano", "orin"]
    for names, taken in (
        (["a", "b", "c"], []),
        (["a", "a"], []),
        (["fp32/onnxruntime"], ["fp32/onnxruntime"]),
        (["a\n"], []),
    ):
        with pytest.raises(VegrtError, match="--device-name"):
            read_devices([first, second], names, subject.bundle, subject.split, taken)


def test_a_device_is_a_row_of_the_bundles_evaluation(copied: Bundle, photos: Path, subject: Subject) -> None:
    """With all logits it has all figures; with top-1 alone those of probabilities are absent, in the file too."""
    top1 = list(zip(subject.names, subject.logits.argmax(axis=1).tolist(), strict=True))
    files = [npz(subject), subject.csv(["photo", "top1"], top1)]
    words: list[object] = [
        "evaluate",
        copied.path,
        "--data",
        photos,
        "--variant",
        "int8-cpu",
        "--runtime",
        "onnxruntime",
    ]
    for file, name in zip(files, ("Orin Nano", "Xavier"), strict=True):
        words += ["--answers", file, "--device-name", name]
    body = answer(*words, exit_code=4)
    stored = from_dict(Evaluation, body)
    assert to_dict(stored) == body
    reference, _, orin, xavier = stored.candidates
    assert (orin.key, orin.device, orin.runtime) == ("Orin Nano", "Orin Nano", "answers")
    assert orin.artifact_sha256 == hashlib.sha256(files[0].read_bytes()).hexdigest()
    assert (orin.top1, orin.nll, orin.ece, orin.paired.flips) == (reference.top1, reference.nll, reference.ece, 0)
    assert (xavier.top1, xavier.nll, xavier.ece, xavier.paired.kl) == (reference.top1, None, None, None)
    assert body["candidates"][3].keys().isdisjoint({"nll", "ece", "top3"})
    assert isinstance(stored.predictions, Predictions)
    assert stored.predictions.candidates["Xavier"].probability is None
    shown = " ".join(call(*words).stdout.split())
    assert "not available: top-1 alone" in shown


def test_a_device_steers_nothing(copied: Bundle, photos: Path, subject: Subject) -> None:
    before = choose(copied).candidate
    words = ["evaluate", copied.path, "--data", photos, "--answers", npz(subject), "--device-name", "Orin"]
    answer(*words, exit_code=4)
    assert choose(copied).candidate == before
    facts = load_facts(copied, with_predictions=True)
    assert [row.key for row in facts.evaluated()] == ["fp32/onnxruntime", "Orin"]
    answer(*words, exit_code=4)  # the newer answers of a device replace the older ones
    merged, ignored = read_evaluation(copied, "test")
    assert merged is not None
    assert (len(merged.evaluation.candidates), ignored) == (2, [])


def test_other_errors_are_one_line_too(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    words = ["evaluate", copied.path, "--data", photos, "--answers"]
    assert "no such file" in failure(*words, tmp_path / "orin.csv")
    assert "suffix '.txt'; expected one of .csv, .jsonl, .parquet, .npz" in failure(*words, tmp_path / "orin.txt")
