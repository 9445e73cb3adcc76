"""The folder of a downloaded data set: it appears complete, or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vegrt.errors import VegrtError
from vegrt.files.atomic import share


@contextmanager
def placing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder next to `out`; on success it becomes `out`, on failure it is removed.

    Its files are not flushed to disk one by one, which takes minutes for a data set. Raises VegrtError for an OSError in
    the block.
    """
    temporary = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        yield temporary
        share(temporary)
        temporary.replace(out)
    except OSError as error:
        raise VegrtError(f"{out}: cannot be written ({error.strerror}); choose another folder") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
