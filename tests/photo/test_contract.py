from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given

from tests.photo.contracts import contracts
from vegrt.errors import BundleError
from vegrt.photo.contract import Contract


@given(contracts())
def test_a_contract_survives_json(contract: Contract) -> None:
    stored = json.loads(json.dumps(contract.to_dict()))
    assert Contract.from_dict(stored) == contract
    assert len(stored) == (7 if contract.edition == 1 else 15) - (contract.edition == 1 and contract.icc == "ignore")


def test_what_the_first_edition_can_express_is_written_as_it_was() -> None:
    assert json.dumps(Contract(96, 112, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)).to_dict()) == (
        '{"size": 96, "resize": 112, "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "icc": "srgb", '
        '"layout": "NHWC", "color": "RGB"}'
    )
    assert json.dumps(Contract(icc="ignore").to_dict()) == (
        '{"size": 224, "resize": 224, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], '
        '"layout": "NHWC", "color": "RGB"}'
    )
    assert Contract((96, 96), (112, 112)) == Contract(96, 112)
    assert Contract((96, 96), (112, 112)).edition == 1


@pytest.mark.parametrize(
    "change",
    [
        {"size": (96, 112)},
        {"resize": (112, 120)},
        {"fit": "stretch"},
        {"interpolation": "bicubic"},
        {"antialias": False},
        {"background": (255, 255, 255)},
        {"fit": "letterbox", "fill": (114, 114, 114)},
        {"rounding": "torchvision"},
        {"network_color": "BGR"},
        {"network_color": "L", "mean": (0.5,), "std": (0.5,)},
    ],
)
def test_what_it_cannot_express_is_the_second_edition(change: dict[str, Any]) -> None:
    contract = Contract(**{"size": 96, "resize": 112, **change})
    assert contract.edition == 2
    assert contract.to_dict().keys() >= {"fit", "interpolation", "antialias", "icc", *change}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size <= resize"),
        ({"resize": 200}, "size <= resize"),
        ({"size": (224, 9000), "resize": (224, 9000)}, "size <= resize <= 8192"),
        ({"fit": "pad"}, "fit 'pad'; expected crop or stretch or letterbox"),
        ({"interpolation": "lanczos"}, "interpolation 'lanczos'; expected bilinear or bicubic or nearest or area"),
        ({"fit": "letterbox", "fill": (0, 0, 256)}, "fill .* expected three numbers, 0 to 255"),
        ({"background": (1, 2)}, "background .* expected three numbers"),
        ({"fit": "letterbox", "pad_position": "top-left", "resize": 256}, "expected resize 224, as size"),
        ({"fill": (114, 114, 114)}, "fill .* with fit crop; expected fit letterbox"),
        ({"fit": "stretch", "pad_position": "top-left"}, "top-left with fit stretch; expected fit letterbox"),
        ({"network_color": "L"}, "expected one mean and one positive std"),
        ({"mean": (0.5,)}, "expected 3 means and 3 positive stds"),
    ],
)
def test_impossible_contracts_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Contract(**change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"color": "BGR"}, "BGR"),
        ({"icc": "p3"}, "icc is 'p3'; expected one of srgb, ignore"),
        ({"size": [224]}, "size is a list of 1"),
        ({"fill": [0, 0, 0.5]}, "fill"),
        ({"antialias": 1}, "antialias is 1; expected true or false"),
    ],
)
def test_unknown_stored_values_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Contract.from_dict(Contract().to_dict() | change)
    with pytest.raises(BundleError, match="missing"):
        Contract.from_dict({"size": 3})
