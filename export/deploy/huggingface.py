"""Writes a folder that is a repository of the Hugging Face Hub: the bundle itself, with its model card as README.md.

The Hub shows README.md with its metadata header (https://huggingface.co/docs/hub/model-cards); `.gitattributes` names the files
of git LFS (https://huggingface.co/docs/hub/repositories-getting-started). What is downloaded from there is a bundle.
"""

from __future__ import annotations

from pathlib import Path

from vegrt.bundle.bundle import Bundle
from vegrt.export.deploy.folder import Deployed, copy_files, deploying, write_files, written

_LARGE = ("*.onnx", "*.mnn", "*.engine", "*.safetensors", "*.parquet")
_ATTRIBUTES = "".join(f"{pattern} filter=lfs diff=lfs merge=lfs -text\n" for pattern in _LARGE)


def deploy_huggingface(bundle: Bundle, out: Path, card: str, *, overwrite: bool = False) -> Deployed:
    """Write the repository to `out`, atomically. card: content of README.md.

    Raises VegrtError for an `out` that may not be replaced.
    """
    with deploying(bundle, out, "huggingface", overwrite=overwrite) as folder:
        copy_files(bundle, folder)
        write_files(folder, {"README.md": card, ".gitattributes": _ATTRIBUTES})
    return written(out, f"hf upload USER/{bundle.manifest.name} {out}")
