"""The repository for the Hugging Face Hub is a bundle, and its card is one that the Hub's own parser reads."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import ModelCard

from tests.command_line import answer, call, failure
from vegrt.bundle.bundle import Bundle, open_bundle


def test_the_repository_is_a_bundle_with_a_card(copied: Bundle, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "hub"
    assert (
        "Run: vegrt evaluate" in (missing := failure("deploy", "huggingface", copied.path, out)) or "vegrt" in missing
    )
    evaluated = call("evaluate", copied.path, "--data", photos, "--runtime", "onnxruntime", "--inconclusive", "pass")
    assert evaluated.exit_code in (0, 3)
    written = answer("deploy", "huggingface", copied.path, out, "--card-license", "mit", "--card-dataset", "me/greens")
    assert {"README.md", ".gitattributes", "manifest.json", "fp32.onnx"} <= {*written["files"]}
    assert written["command"] == f"hf upload USER/small {out}"
    card = ModelCard.load(out / "README.md")
    assert card.data.license == "mit"
    assert card.data.datasets in ("me/greens", ["me/greens"])
    assert card.data.eval_results
    assert card.data.pipeline_tag == "image-classification"
    assert open_bundle(out).sha256() == copied.sha256()
    assert answer("verify", out)["status"] == "ok"
    assert "--overwrite" in failure("deploy", "huggingface", copied.path, out)
    assert call("deploy", "huggingface", copied.path, out, "--overwrite").exit_code == 0
