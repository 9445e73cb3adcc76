"""vegrt bundle pack, unpack and sign: a bundle on its way to another machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import BundleArgument, JsonOption, OverwriteFileOption, show

app = typer.Typer(no_args_is_help=True, help="Pack a bundle into one file, unpack it, sign it.")


@app.command()
def pack(
    bundle: BundleArgument,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="File to write: .zip or .tar.zst.")],
    overwrite: OverwriteFileOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bundle as one file.

    What the manifest lists, the results and the signature; the same bundle gives the same bytes.
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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `vegrt bundle pack` wrote.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to make; must not exist or be empty.")],
    as_json: JsonOption = False,
) -> None:
    """Make a bundle of such a file.

    It appears only after every file in it has the size and SHA-256 of the manifest.
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
    key: Annotated[Path, typer.Option(help="Ed25519 private key, PEM: openssl genpkey -algorithm ed25519.")],
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle's manifest, which pins every file.

    `vegrt verify BUNDLE --public-key KEY` checks it. Any later change of the bundle needs a new signature.
    """
    from vegrt.bundle.signature import sign as run_sign

    fingerprint = run_sign(bundle, key)
    if as_json:
        show({"bundle": str(bundle), "public_key_sha256_begins": fingerprint}, True)
    else:
        typer.echo(f"{bundle}: signed by key {fingerprint}")
