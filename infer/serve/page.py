"""The web page of a service, and the policy that lets a browser run nothing but its own style and script."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from vegrt.infer.api import Model
from vegrt.infer.serve.page_parts import BODY, SCRIPT, STYLE


def page_and_policy(model: Model) -> tuple[str, str]:
    """Return the HTML, and its Content-Security-Policy: everything forbidden but what the page holds and its own server."""
    name = escape(model.bundle.manifest.name)
    facts = escape(f"{len(model.classes)} classes, {model.variant} on {model.runtime}")
    page = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{name}: what is in a photo</title>\n<link rel="icon" href="data:,">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n{BODY.replace('{name}', name).replace('{facts}', facts)}\n<script>{SCRIPT}</script>\n</body>\n</html>\n"
    )
    allowed = f"script-src {_hash(SCRIPT)}; style-src {_hash(STYLE)}; img-src blob: data:; connect-src 'self'"
    return page, f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
