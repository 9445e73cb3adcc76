"""Every text of a report has a Korean translation with the same places, and no translation is unused."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from string import Formatter

from vegrt.evaluate import wording
from vegrt.report import write
from vegrt.report.language.korean import KOREAN
from vegrt.report.language.korean_card import CARD
from vegrt.report.language.korean_charts import CHARTS
from vegrt.report.language.language import present_language, translate, using_language

FOLDER = Path(write.__file__).parent
SHARED = Path(wording.__file__)  # sentences for the terminal and the report
HANGUL = re.compile("[가-힣]")
SAME_IN_BOTH = {"ms", "{key}: ECE {ece}"}


def translatable() -> dict[str, str]:
    """The literals passed to `translate` and `mark`, with the file of each."""
    texts: dict[str, str] = {}
    for file in [SHARED, *sorted(FOLDER.rglob("*.py"))]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            named = (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("translate", "mark")
            )
            if named and isinstance(node, ast.Call) and isinstance(node.args[0], ast.Constant):
                texts[str(node.args[0].value)] = file.name
    return texts


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def test_every_text_has_a_translation_and_no_translation_is_unused() -> None:
    texts = translatable()
    assert len(texts) > 200
    assert {text: file for text, file in texts.items() if text not in KOREAN} == {}
    assert sorted(set(KOREAN) - set(texts)) == []


def test_no_text_is_translated_twice() -> None:
    keys = [
        key.value
        for file in FOLDER.rglob("korean*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant)
    ]
    assert len(keys) == len(set(keys)) == len(KOREAN)
    assert not set(CARD) & set(CHARTS)


def test_translations_have_the_places_of_the_english() -> None:
    assert {key for key, korean in KOREAN.items() if places(key) != places(korean)} == set()


def test_translations_are_korean() -> None:
    english = {
        key for key, korean in KOREAN.items() if not HANGUL.search(korean) and re.search("[a-z]{2}", places_out(key))
    }
    names = {
        "top-1 %",
        "top-3 %",
        "top-5 %",
        "p50 ms",
        "p99 ms",
        "F1 %, {key}",
        "KL, nats",
        "NLL, nats",
    }
    names |= {"{value} ({low} to {high})", "{low} to {high}", "{figure}, {first} and {second}."}
    assert english - names - SAME_IN_BOTH == set()


def places_out(text: str) -> str:
    return re.sub(r"\{\w+\}", "", text)


def test_speaks_a_language_inside_the_block_only() -> None:
    assert (translate("Contents"), present_language()) == ("Contents", "en")
    with using_language("ko"):
        assert (translate("Contents"), present_language()) == ("목차", "ko")
        assert translate("batch of {batch}", batch=3) == "batch of 3", "a text without a translation stays English"
    assert translate("Contents") == "Contents"


def test_a_value_with_braces_is_not_filled_in_again() -> None:
    assert translate("photo {name}", name="{name}") == "photo {name}"
