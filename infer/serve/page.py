"""The web page of a service, and its Content-Security-Policy, which allows only the page's own style and script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from importlib.resources import files
from string import Template

from vegrt.infer.api import Model


def page_and_policy(model: Model) -> tuple[str, str]:
    """Return the HTML and its policy: style and script by their hashes, images from memory, requests to this server only."""
    folder = files("vegrt.infer.serve")
    template, style, script = (
        folder.joinpath(name).read_text(encoding="utf-8") for name in ("page.html", "page.css", "page.js")
    )
    page = Template(template).substitute(
        name=escape(model.bundle.manifest.name),
        facts=escape(f"{len(model.classes)} classes, {model.variant} on {model.runtime}"),
        style=style,
        script=script,
    )
    allowed = f"script-src {_hash(script)}; style-src {_hash(style)}; img-src blob: data:; connect-src 'self'"
    return page, f"default-src 'none'; {allowed}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
