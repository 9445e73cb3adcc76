"""Signatures by OpenSSF model signing: model.sig beside the manifest, over all files of a bundle, by an elliptic curve's key.

It is what the package model-signing writes and verifies itself (`model_signing verify key`), for tools that know no vegrt. The
bundle's own signature (vegrt.bundle.signature) is another file, and neither covers the other.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vegrt.bundle.bundle import Bundle, open_bundle
from vegrt.bundle.change import exclusive
from vegrt.bundle.entries import MODEL_SIGNATURE, SIGNATURES, is_regular
from vegrt.bundle.pack import packed_names
from vegrt.bundle.pem_keys import load_private_key, load_public_key
from vegrt.errors import BundleError, require
from vegrt.files.atomic import write_text
from vegrt.files.temporary import working_folder
from vegrt.files.text import printable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

EXTRA = "supply-chain"
_DIGITS = 12
_MAX_BYTES = 16 << 20  # an entry of some 300 bytes for each file
_CURVES = ("secp256r1", "secp384r1", "secp521r1")  # those that model-signing takes
_MAKE_PRIVATE = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out ec.pem"
_MAKE_PUBLIC = "make one with: openssl ec -in ec.pem -pubout -out ec.pub"


def sign_model(path: Path, key: Path) -> str:
    """Verify a bundle, write its model.sig, and return the beginning of the SHA-256 of the public key (PEM), in hex.

    The signature covers every file of the folder but model.sig and signature.json. key: private key, PEM, without a
    passphrase, of NIST P-256, P-384 or P-521. Raises BundleError for another key, a damaged bundle, and one with files that
    would not travel with it; MissingExtraError without model-signing.
    """
    signing, hashing = _module("signing"), _module("hashing")
    public = _private_key(key).public_key()
    with exclusive(path):
        _check_content(open_bundle(path))
        config = signing.Config().use_elliptic_key_signer(private_key=key)
        config.set_hashing_config(hashing.Config().set_ignored_paths(paths=SIGNATURES, ignore_git_paths=False))
        with working_folder("signature") as folder:  # not in the bundle, all of whose files are signed
            signature = folder / MODEL_SIGNATURE
            config.sign(path, signature)
            write_text(path / MODEL_SIGNATURE, signature.read_text(encoding="utf-8"))
    return _fingerprint(public)


def check_model_signature(bundle: Bundle, key: Path) -> str:
    """Return the beginning of the SHA-256 of the public key whose signature covers the bundle's files as they are now.

    key: public key, PEM. Raises BundleError if model.sig is missing or damaged, was made with another key, or does not cover the
    files as they are; MissingExtraError without model-signing.
    """
    verifying, signature = _module("verifying"), bundle.path / MODEL_SIGNATURE
    public = _public_key(key)
    if not is_regular(signature):
        raise BundleError(
            f"{bundle.path}: no {MODEL_SIGNATURE}; the bundle's maker adds one with: "
            f"vegrt bundle sign {bundle.path} --model-signing --key ec.pem"
        )
    if signature.stat().st_size > _MAX_BYTES:
        raise BundleError(f"{signature}: has more than {_MAX_BYTES >> 20} MiB; do not trust the bundle")
    from cryptography.exceptions import InvalidSignature

    try:
        verifying.Config().use_elliptic_key_verifier(public_key=key).verify(bundle.path, signature)
    except InvalidSignature as error:
        raise BundleError(
            f"{signature}: was not made with the private key of {key}; do not trust the bundle"
        ) from error
    except Exception as error:  # its exceptions are those of its parsers: ValueError, KeyError, and others of protobuf
        raise BundleError(f"{signature}: does not match ({_one_line(error)}); do not trust the bundle") from error
    return _fingerprint(public)


def _one_line(error: Exception) -> str:
    """Return the beginning of what an error says, as one line; file names in it come from the bundle."""
    return printable(" ".join(str(error).split()) or type(error).__name__)[:120]


def _module(name: str) -> Any:
    return require(f"model_signing.{name}", EXTRA)


def _check_content(bundle: Bundle) -> None:
    """Raise BundleError for files that do not travel with the bundle: verification would miss them elsewhere."""
    files = [path for path in bundle.path.rglob("*") if not path.is_dir()]
    travelling = {*packed_names(bundle), MODEL_SIGNATURE}
    if others := sorted(name for path in files if (name := path.relative_to(bundle.path).as_posix()) not in travelling):
        raise BundleError(
            f"{bundle.path}: holds {printable(Path(others[0]))}, which is not part of the bundle ({len(others)} such files); "
            "delete them, as the signature covers all files"
        )


def _private_key(file: Path) -> EllipticCurvePrivateKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    key = load_private_key(file, _MAKE_PRIVATE)
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise BundleError(f"{file}: not a private key of NIST P-256, P-384 or P-521; {_MAKE_PRIVATE}")
    return key


def _public_key(file: Path) -> EllipticCurvePublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    key = load_public_key(file, _MAKE_PUBLIC)
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise BundleError(f"{file}: not a public key of NIST P-256, P-384 or P-521; {_MAKE_PUBLIC}")
    return key


def _fingerprint(public: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(pem).hexdigest()[:_DIGITS]
