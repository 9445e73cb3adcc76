"""Photos sorted into one folder per predicted class: hard links where possible, else copies."""

from __future__ import annotations

import io
import os
import shutil
from functools import partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
from PIL import Image

from vegrt.errors import VegrtError
from vegrt.infer.decode.item import Item
from vegrt.infer.outputs.placing import file_name, write_unique


def sort_into(folder: Path, item: Item, label: str) -> Path:
    """Put the item's photo into `folder`/<label>/ under its own name and return where it is. A frame of a video becomes a PNG.

    Raises VegrtError when it cannot be written, OSError when the photo is gone.
    """
    target = folder / folder_name(label)
    if target.is_symlink():
        raise VegrtError(f"{target}: a link; photos are sorted into real folders of {folder} only")
    name = file_name(item) + (".png" if isinstance(item.content, np.ndarray) else "")
    return write_unique(target, name, item.name, partial(_write, item))


def folder_name(label: str) -> str:
    """Return a class's name as that of one folder, whatever is in it: `a/b` is a%2Fb, `..` is %2E%2E."""
    name = "".join(quote(char, safe="") if char in "/\\%\0" or ord(char) < 32 else char for char in label)
    return name.replace(".", "%2E", 1) if name.startswith(".") else name or "%"


def _write(item: Item, target: Path) -> None:
    content = item.content
    if isinstance(content, Path):
        real = content.resolve(strict=True)  # a link to a link would break when the first is moved
        try:
            os.link(real, target)
        except FileNotFoundError:
            raise
        except OSError:  # another disk, too many links, or a system that forbids links to others' files
            shutil.copyfile(real, target)
    elif isinstance(content, bytes):
        target.write_bytes(content)
    elif isinstance(content, np.ndarray):
        encoded = io.BytesIO()  # not into the file: there an encoder hides which error was the system's
        Image.fromarray(content).save(encoded, "PNG")
        target.write_bytes(encoded.getbuffer())
