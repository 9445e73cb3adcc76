"""Pairs of keys for signatures, as openssl writes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


@dataclass(frozen=True)
class Keys:
    """The files of a pair of keys, PEM."""

    private: Path
    public: Path


def write_keys(folder: Path, name: str = "key", *, curve: ec.EllipticCurve | None = None) -> Keys:
    """Write a new pair of keys, ed25519 or of an elliptic curve, and return its files."""
    private = ec.generate_private_key(curve) if curve else Ed25519PrivateKey.generate()
    keys = Keys(folder / f"{name}.pem", folder / f"{name}.pub")
    keys.private.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    keys.public.write_bytes(private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return keys
