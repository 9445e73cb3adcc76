"""vegrt bundle pack, unpack and sign: move a bundle to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import BundleArgument, JsonOption, OverwriteFileOption, show

app = typer.Typer(no_args_is_help=True, help="Pack, unpack and sign bundles.")


@app.command()
def pack(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Archive to write: .zip or .tar.zst.")],
    overwrite: OverwriteFileOption = False,
    as_json: JsonOption = False,
) -> None:
    """Pack a bundle into one file.

    The archive contains the files in the manifest, the results and the signature; the same bundle gives the same bytes.
    """
    from vegrt.bundle.overwriting import check_no_file
    from vegrt.bundle.pack import pack as run_pack
    from vegrt.files.hashing import sha256_of

    check_no_file(out, overwrite=overwrite)
    names = run_pack(bundle, out)
    size, digest = out.stat().st_size, sha256_of(out)
    if as_json:
        show({"archive": str(out), "files": names, "size_bytes": size, "sha256": digest}, True)
    else:
        typer.echo(f"{out}: {len(names)} files, {size / 1e6:.1f} MB, sha256 {digest}")


@app.command()
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Archive made by `vegrt bundle pack`.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to create; must be new or empty.")],
    as_json: JsonOption = False,
) -> None:
    """Unpack a bundle.

    The folder appears only after size and SHA-256 of every file match the manifest.
    """
    from vegrt.bundle.pack import unpack as run_unpack

    bundle = run_unpack(file, out)
    variants = list(bundle.variants())
    if as_json:
        show({"bundle": str(out), "variants": variants, "artifacts": len(bundle.manifest.artifacts)}, True)
    else:
        typer.echo(f"{out}: {len(bundle.manifest.artifacts)} artifacts verified ({', '.join(variants) or 'no model'})")


@app.command()
def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path, typer.Option(help="Ed25519 private key (PEM file), made by: openssl genpkey -algorithm ed25519.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle's manifest, which lists the SHA-256 of every artifact, and its results.

    Check the signature with `vegrt verify BUNDLE --public-key KEY`. Sign again after every change of the bundle.
    """
    from vegrt.bundle.signature import sign as run_sign

    fingerprint = run_sign(bundle, key)
    if as_json:
        show({"bundle": str(bundle), "public_key_sha256_begins": fingerprint}, True)
    else:
        typer.echo(f"{bundle}: signed by key {fingerprint}")
