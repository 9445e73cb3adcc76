"""Keys in PEM files, of any kind: each kind of signature checks for itself that it gets its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from vegrt.errors import BundleError


def load_private_key(file: Path, cure: str) -> Any:
    """Return the private key of a PEM file without a passphrase; needs the package cryptography.

    cure: how to make one. Raises BundleError for a file that cannot be read or is none.
    """
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    def load(content: bytes) -> Any:
        return load_pem_private_key(content, password=None)

    return _loaded(file, load, f"not a PEM private key without a passphrase; {cure}")


def load_public_key(file: Path, cure: str) -> Any:
    """Return the public key of a PEM file; otherwise as `load_private_key`."""
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    return _loaded(file, load_pem_public_key, f"not a PEM public key; {cure}")


def _loaded(file: Path, load: Callable[[bytes], Any], fault: str) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return load(file.read_bytes())
    except OSError as error:
        raise BundleError(f"{file}: key cannot be read ({error.strerror}); make it readable") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{file}: {fault}") from error
