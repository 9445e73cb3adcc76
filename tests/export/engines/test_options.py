from __future__ import annotations

import pytest

from vegrt.errors import EngineError
from vegrt.export.engines.options import PRESETS, BuildOptions, ExportOptions, Profile


def test_a_profile_must_be_in_order() -> None:
    assert Profile.parse("1,4,16") == Profile(1, 4, 16)
    for text in ("8", "1,x,3", "1,2,3,4"):
        with pytest.raises(EngineError, match="expected three numbers MIN,OPT,MAX"):
            Profile.parse(text)
    assert str(Profile(1, 4, 16)) == "b1-4-16"
    with pytest.raises(EngineError, match="expected 1 <= smallest"):
        Profile(4, 2, 16)


def test_the_presets_are_for_few_photos_and_for_many() -> None:
    assert (PRESETS["online"], PRESETS["offline"]) == (Profile(1, 8, 32), Profile(1, 64, 256))
    assert ExportOptions().profile == PRESETS["online"]


def test_a_profile_is_read_from_the_details_of_an_engine() -> None:
    assert Profile.of_engine("int8.engine", {"profile": "b1-64-256"}) == PRESETS["offline"]
    with pytest.raises(EngineError, match=r"int8\.engine: profile None; expected one such as b1-8-32"):
        Profile.of_engine("int8.engine", {})


def test_a_share_is_between_0_and_1() -> None:
    with pytest.raises(EngineError, match="expected a share between 0 and 1"):
        ExportOptions(min_int8=80)


def test_options_that_change_the_plan_are_in_the_name_of_the_folder() -> None:
    assert BuildOptions().suffix == ""
    build = BuildOptions(version_compatible=True, hardware_compatible=True, tf32=True)
    assert build.suffix == "-vc-hc-tf32"
