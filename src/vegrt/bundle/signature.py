"""Ed25519 signatures of bundles: over the manifest, which holds the SHA-256 of every other file, and over the result files.

signature.json is next to manifest.json. Its fingerprints of key and manifest only serve to explain a failure; they are not
trusted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle, Signed, open_bundle
from vegrt.bundle.change import exclusive
from vegrt.bundle.entries import MANIFEST, RESULT, SIGNATURE, is_regular, result_names
from vegrt.bundle.pem_keys import load_private_key, load_public_key
from vegrt.errors import BundleError, FormatError, require
from vegrt.files.atomic import write_json
from vegrt.files.hashing import sha256_of
from vegrt.schema import read_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

ALGORITHM = "ed25519"
FORMAT_VERSION = 2  # format 1 did not cover results and had no format_version
_DIGITS = 12
_MAX_BYTES = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_MAKE_PRIVATE = "make one with: openssl genpkey -algorithm ed25519 -out key.pem"
_MAKE_PUBLIC = "make one with: openssl pkey -in key.pem -pubout -out key.pub"


@dataclass(frozen=True, slots=True)
class _Signature:
    """The content of signature.json. results: SHA-256 by name. public_key, manifest: fingerprints, for messages only."""

    version: int
    value: bytes
    results: Mapping[str, str]
    public_key: str
    manifest: str

    def message(self, manifest: bytes) -> bytes:
        """Return the signed bytes for the bytes of a manifest.json."""
        return manifest if self.version == 1 else signed_text(manifest, self.results)


def signed_text(manifest: bytes, results: Mapping[str, str]) -> bytes:
    """Return the bytes that a signature of format 2 signs: a title line, then the output of sha256sum for the files.

    manifest: the bytes of manifest.json. results: SHA-256, in hex, by name.
    """
    lines = {MANIFEST: hashlib.sha256(manifest).hexdigest()} | {name: results[name] for name in sorted(results)}
    return "".join(
        [f"vegrt-bundle-signature {FORMAT_VERSION}\n", *(f"{lines[name]}  {name}\n" for name in lines)]
    ).encode()


def sign(path: Path, key: Path) -> str:
    """Verify a bundle, write its signature.json, and return the fingerprint of the public key.

    The signature covers the manifest and the current result files. key: ed25519 private key, PEM, without a passphrase.
    """
    private = _private_key(key)
    with exclusive(path):
        bundle = open_bundle(path)
        manifest = (path / MANIFEST).read_bytes()
        results = {name: sha256_of(path / name) for name in result_names(path)}
        body = {
            "algorithm": ALGORITHM,
            "format_version": FORMAT_VERSION,
            "public_key_sha256": _fingerprint(private.public_key()),
            "manifest_sha256": bundle.digest,
            "results": results,
            "signature": base64.b64encode(private.sign(signed_text(manifest, results))).decode("ascii"),
        }
        write_json(path / SIGNATURE, body)
    return str(body["public_key_sha256"])[:_DIGITS]


def open_signed(path: Path, key: Path | None, *, verify: bool = True) -> Bundle:
    """Return the bundle at `path` as `open_bundle` does; with a key, only if that key signed its manifest.

    key: ed25519 public key, PEM; with it, results that the signature does not cover are ignored. Raises BundleError if the
    signature is missing, was made with another key or does not match, if the manifest was changed, and as `open_bundle` does.
    """
    bundle = open_bundle(path, verify=verify)
    return bundle if key is None else replace(bundle, signed=_check(bundle, key))


def open_again(bundle: Bundle) -> Bundle:
    """Return the current bundle at the path of `bundle`, opened with the same key."""
    return open_signed(bundle.path, bundle.signed.key if bundle.signed else None)


def changed_results(bundle: Bundle) -> list[str]:
    """Return one line for each result file that differs from the signature: its name and the difference."""
    signed = bundle.signed.results if bundle.signed else {}
    present = {name: sha256_of(bundle.path / name) for name in result_names(bundle.path)}
    changes = dict.fromkeys(signed.keys() - present.keys(), "was removed")
    changes |= {name: "was changed" for name in signed.keys() & present.keys() if signed[name] != present[name]}
    changes |= dict.fromkeys(present.keys() - signed.keys(), "is not covered")
    return [f"{name} {changes[name]}" for name in sorted(changes)]


def _check(bundle: Bundle, key: Path) -> Signed:
    public = _public_key(key)
    manifest, signature = _manifest(bundle), _signature(bundle.path / SIGNATURE)
    from cryptography.exceptions import InvalidSignature

    fingerprint = _fingerprint(public)
    try:
        public.verify(signature.value, signature.message(manifest))
    except InvalidSignature as error:
        raise BundleError(f"{bundle.path}: {_reason(signature, bundle, fingerprint, key)}; do not trust it") from error
    return Signed(key, fingerprint[:_DIGITS], signature.version, signature.results)


def _manifest(bundle: Bundle) -> bytes:
    """Return the bytes that the bundle's manifest was read from."""
    try:
        content = bundle.path_of(MANIFEST).read_bytes()
    except OSError as error:
        raise BundleError(f"{bundle.path}: {MANIFEST} cannot be read ({error.strerror}); make it readable") from error
    if hashlib.sha256(content).hexdigest() != bundle.digest:
        raise BundleError(f"{bundle.path}: changed while its signature was checked; repeat the command")
    return content


def _reason(signature: _Signature, bundle: Bundle, fingerprint: str, key: Path) -> str:
    if signature.public_key != fingerprint:
        return f"signed by another key ({signature.public_key[:_DIGITS]!r}) than {key} ({fingerprint[:_DIGITS]}…)"
    if signature.manifest != bundle.digest:
        return f"{MANIFEST} was changed after it was signed"
    return "the signature does not match"


def _signature(file: Path) -> _Signature:
    if not is_regular(file):
        raise BundleError(
            f"{file.parent}: no signature; the bundle's maker adds one with: vegrt bundle sign {file.parent} --key key.pem"
        )
    try:
        content = read_json(file, limit_bytes=_MAX_BYTES)
        if content["algorithm"] != ALGORITHM:
            raise BundleError(f"{file}: algorithm {content['algorithm']!r:.40}; expected {ALGORITHM}")
        if (version := content.get("format_version", 1)) not in (1, FORMAT_VERSION):
            raise BundleError(
                f"{file}: signature format {version!r:.40}; expected 1 or {FORMAT_VERSION}; upgrade vegrt to read it"
            )
        results = _results(content["results"]) if version == FORMAT_VERSION else {}
        value = base64.b64decode(content["signature"], validate=True)
        return _Signature(
            version, value, results, *(str(content.get(name)) for name in ("public_key_sha256", "manifest_sha256"))
        )
    except OSError as error:
        raise BundleError(f"{file}: cannot be read ({error.strerror}); make it readable") from error
    except (FormatError, ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise BundleError(f"{file}: damaged signature ({error!r}); sign the bundle again") from error


def _results(value: Any) -> dict[str, str]:
    """Return SHA-256 by name. Names and hashes are validated, so that two sets of files never have the same signed text."""
    for name, sha256 in value.items():
        if not RESULT.fullmatch(name) or not _SHA256.fullmatch(sha256):
            raise ValueError(f"results: {name!r} is not a result file with its SHA-256")
    return dict(value)


def _private_key(file: Path) -> Ed25519PrivateKey:
    require("cryptography", "sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = load_private_key(file, _MAKE_PRIVATE)
    if not isinstance(key, Ed25519PrivateKey):
        raise BundleError(f"{file}: not an ed25519 private key; {_MAKE_PRIVATE}")
    return key


def _public_key(file: Path) -> Ed25519PublicKey:
    require("cryptography", "sign")
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = load_public_key(file, _MAKE_PUBLIC)
    if not isinstance(key, Ed25519PublicKey):
        raise BundleError(f"{file}: not an ed25519 public key; {_MAKE_PUBLIC}")
    return key


def _fingerprint(key: Ed25519PublicKey) -> str:
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()
