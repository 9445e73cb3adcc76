"""vegrt bundle pack, unpack, sbom and sign: move a bundle to another machine, and say what it is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vegrt.commands.options.shared import BundleArgument, JsonOption, OverwriteFileOption, show

app = typer.Typer(no_args_is_help=True, help="Pack, unpack, describe and sign bundles.")


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
def sbom(
    bundle: BundleArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it to this file and leave the bundle as it is.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--license", help="Licence of the weights, such as Apache-2.0; default: stated as unknown.")
    ] = "",
    dataset: Annotated[str, typer.Option(help="Name of the data set; default: stated as unnamed.")] = "",
    dataset_licence: Annotated[
        str, typer.Option("--dataset-license", help="Licence of the data set; default: stated as unknown.")
    ] = "",
    overwrite: OverwriteFileOption = False,
    as_json: JsonOption = False,
) -> None:
    """Write a bill of materials (CycloneDX 1.6 ML-BOM) into a bundle, as sbom.cdx.json.

    Lists every artifact with its SHA-256, the data with their fingerprints, tools and licences, and has a model card. The same
    bundle gives the same bytes. A later change of the bundle removes it; sign the bundle afterwards.
    """
    from vegrt.bundle.bundle import open_bundle
    from vegrt.bundle.entries import SBOM
    from vegrt.bundle.overwriting import check_no_file
    from vegrt.bundle.sbom import Licences, is_signed, save_sbom, write_sbom

    licences = Licences(licence, dataset, dataset_licence)
    if out is not None:
        check_no_file(out, overwrite=overwrite)
        opened = open_bundle(bundle)
        save_sbom(opened, out, licences)
    else:
        opened = write_sbom(bundle, licences)
    file, void = out or bundle / SBOM, out is None and is_signed(opened)
    count = sum(artifact.role != "sbom" for artifact in opened.manifest.artifacts)
    if as_json:
        show({"sbom": str(file), "artifacts": count, "signature_is_void": void}, True)
    else:
        typer.echo(f"{file}: {count} artifacts{'; the signature is void: sign the bundle again' if void else ''}")


@app.command()
def sign(
    bundle: BundleArgument,
    key: Annotated[
        Path,
        typer.Option(
            help="Private key (PEM file): ed25519, made by: openssl genpkey -algorithm ed25519; with --model-signing an elliptic "
            "curve's."
        ),
    ],
    model_signing: Annotated[
        bool,
        typer.Option(
            "--model-signing",
            help="Write model.sig by OpenSSF model signing, which covers all files, in place of signature.json.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Sign a bundle's manifest, which lists the SHA-256 of every artifact, and its results.

    Check the signature with `vegrt verify BUNDLE --public-key KEY`. Sign again after every change of the bundle. A signature by
    --model-signing is checked with `vegrt verify BUNDLE --model-signing-key KEY`, and by `model_signing verify key`.
    """
    if model_signing:
        from vegrt.bundle.model_signature import sign_model as run_sign
    else:
        from vegrt.bundle.signature import sign as run_sign

    fingerprint = run_sign(bundle, key)
    if as_json:
        show({"bundle": str(bundle), "public_key_sha256_begins": fingerprint}, True)
    else:
        typer.echo(f"{bundle}: signed by key {fingerprint}")
