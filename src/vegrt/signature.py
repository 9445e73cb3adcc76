"""Ed25519 signatures of bundles: of the manifest's bytes, which pin the SHA-256 of every other file.

signature.json lies beside the manifest. What it says besides the signature (key and manifest fingerprints) only makes a
better message; nothing of it is trusted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle import MANIFEST, SIGNATURE, locked, open_bundle
from vegrt.errors import BundleError, FormatError, require
from vegrt.files import write_json
from vegrt.schema import build, read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
_DIGITS = 12
_MAKE_PRIVATE = "make one: openssl genpkey -algorithm ed25519 -out key.pem"
_MAKE_PUBLIC = "make one: openssl pkey -in key.pem -pubout -out key.pub"


def sign(bundle: Path, key: Path) -> str:
    """Write signature.json into a bundle whose files are whole, and return the fingerprint of the public key.

    key: ed25519 private key, PEM, without a passphrase.
    """
    private = _private_key(key)
    open_bundle(bundle)
    with locked(bundle):
        manifest = (bundle / MANIFEST).read_bytes()
        body = {
            "algorithm": ALGORITHM,
            "public_key_sha256": _fingerprint(private.public_key()),
            "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
            "signature": base64.b64encode(private.sign(manifest)).decode("ascii"),
        }
        write_json(bundle / SIGNATURE, body)
    return body["public_key_sha256"][:_DIGITS]


def check_signature(bundle: Path, key: Path) -> str:
    """Return the fingerprint of the public key that signed the bundle's manifest; its files are the caller's to compare.

    key: ed25519 public key, PEM. Raises BundleError for a missing, foreign or false signature, and for a changed manifest.
    """
    public = _public_key(key)
    open_bundle(bundle, verify=False)  # finishes an interrupted change, and says so when this is no bundle
    manifest, said = (bundle / MANIFEST).read_bytes(), _signature(bundle / SIGNATURE)
    from cryptography.exceptions import InvalidSignature

    fingerprint = _fingerprint(public)
    try:
        public.verify(said["signature"], manifest)
    except InvalidSignature as error:
        raise BundleError(f"{bundle}: {_reason(said, manifest, fingerprint, key)}; do not trust it") from error
    return fingerprint[:_DIGITS]


def _reason(said: dict[str, Any], manifest: bytes, fingerprint: str, key: Path) -> str:
    if said.get("public_key_sha256") != fingerprint:
        return f"signed by another key ({str(said.get('public_key_sha256'))[:_DIGITS]}…) than {key} ({fingerprint[:_DIGITS]}…)"
    if said.get("manifest_sha256") != hashlib.sha256(manifest).hexdigest():
        return f"{MANIFEST} was changed after it was signed"
    return "the signature is false"


def _signature(file: Path) -> dict[str, Any]:
    """Return signature.json with the signature as bytes."""
    if not file.is_file():
        raise BundleError(
            f"{file.parent}: no signature in it; its maker adds one: vegrt bundle sign {file.parent} --key key.pem"
        )
    try:
        said = build(dict[str, str], read_json(file, limit_bytes=1 << 20))
        if said["algorithm"] != ALGORITHM:
            raise BundleError(f"{file}: algorithm {said['algorithm']!r:.40}; expected {ALGORITHM}")
        return said | {"signature": base64.b64decode(said["signature"], validate=True)}
    except (OSError, FormatError, ValueError, KeyError, binascii.Error) as error:
        raise BundleError(f"{file}: damaged signature ({error}); have the bundle signed again") from error


def _private_key(file: Path) -> Ed25519PrivateKey:
    require("cryptography", "sign")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_content(file), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{file}: no PEM private key without a passphrase; {_MAKE_PRIVATE}") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{file}: a private key, but not an ed25519 one; {_MAKE_PRIVATE}")
    return key


def _public_key(file: Path) -> Ed25519PublicKey:
    require("cryptography", "sign")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_content(file))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BundleError(f"{file}: no PEM public key; {_MAKE_PUBLIC}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{file}: a public key, but not an ed25519 one; {_MAKE_PUBLIC}")
    return key


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise BundleError(f"{file}: key cannot be read ({error.strerror})") from error


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()
