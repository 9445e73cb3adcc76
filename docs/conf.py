"""Settings of the documentation site, which `make docs` builds into build/docs (docs/decisions/0044).

Nothing is loaded from a network: no fonts, no scripts and no formulas of other servers.
"""

from vegrt.version import __version__

project = "vegrt"
version = release = __version__
language = "en"

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_heading_anchors = 4  # pages link to headings as on GitHub
highlight_language = "text"  # indented blocks are shell, TOML, JSON and CSV
add_module_names = False  # the headings of the API reference have the names that users type
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
smartquotes = False  # quotes and dashes of commands stay as they are

html_theme = "furo"
html_title = "vegrt"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_show_search_summary = False  # a browser does not let a page that was opened from a disk fetch the others
