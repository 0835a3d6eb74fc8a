"""Sphinx for the sources that scripts/make_docs.py lays out; nothing is fetched, built or shown."""

from __future__ import annotations

import json
import re
from importlib.metadata import distribution
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.nodes import make_refnode

import rankbound

# one file, which draws formulas as SVG and needs no fonts
_found = distribution("sphinx-mathjax-offline")
MATHJAX = Path(_found.locate_file("sphinx-mathjax-offline/static/mathjax/tex-svg.js"))

project = "rankbound"
author = copyright = "The rankbound developers"
version = release = rankbound.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
]
exclude_patterns = ["README.md"]
default_role = "py:obj"  # in docstrings: a link where there is something of this name
highlight_language = "none"
smartquotes = False
myst_enable_extensions = ["dollarmath", "fieldlist"]
myst_heading_anchors = 3
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # would come from elsewhere
autosummary_generate = False
toc_object_entries = False
autodoc_typehints = "none"  # the docstrings say what is taken
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "rankbound"
html_static_path = [str(Path(__file__).parent / "static"), str(MATHJAX)]
mathjax_path = MATHJAX.name
mathjax3_config = {
    "options": {"enableMenu": False},  # it would load more
    "tex": {"packages": {"[-]": ["noundefined"]}},  # an unknown command is an error
}
html_css_files = ["rankbound.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "logo": {"text": "rankbound"},
    "header_links_before_dropdown": 8,
    "show_prev_next": False,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "show_version_warning_banner": False,
}
html_context = {"default_mode": "auto"}
html_sidebars = {page: [] for page in ("index", "papers", "atlas", "faq")}

DOLLARS = re.compile(r"\$([^$<>]+)\$")
PAGE = re.compile(r"docs/([a-z-]+)\.md(?:, (section) (\d))?")


def tidy(app: Sphinx, doctree: nodes.document) -> None:
    """Mathematics in the HTML that a notebook's outputs bring along; no empty last line of code."""
    for node in doctree.findall(nodes.literal_block):
        if len(node) == 1 and node.rawsource == node.astext():
            node.rawsource = node.astext().rstrip()
            node[:] = [nodes.Text(node.rawsource)]
    for node in doctree.findall(nodes.raw):
        if node.get("format") == "html" and "$" in node.astext():
            text = DOLLARS.sub(r'<span class="math">\\(\1\\)</span>', node.astext())
            node.replace_self(nodes.raw("", text, format="html"))


def link_names(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Links from names in code to where they stand, and from docs/PAGE.md to the page."""
    known = json.loads((Path(app.srcdir) / "links.json").read_text("utf-8"))
    for node in list(doctree.findall(nodes.literal)):
        if outside_links(node):
            page, anchor = known.get(node.astext().partition("(")[0], ("", ""))
            if page:
                node.replace_self(refer(app, docname, page, anchor, node.deepcopy()))
    for node in list(doctree.findall(nodes.Text)):
        if outside_links(node) and PAGE.search(node):
            node.parent.replace(node, list(pages_in(app, docname, str(node))))


def outside_links(node: nodes.Node) -> bool:
    """Whether a node may become a link: no link, title or block of code holds it."""
    held = (nodes.reference, nodes.literal_block, nodes.doctest_block, nodes.raw, nodes.title)
    while node := node.parent:
        if isinstance(node, held):
            return False
    return True


def refer(app: Sphinx, docname: str, page: str, anchor: str, child: nodes.Node) -> nodes.Node:
    """A link to a place of a page."""
    return make_refnode(app.builder, docname, page, anchor or None, child)


def pages_in(app: Sphinx, docname: str, text: str):
    """A text in pieces: the pages that it names are links."""
    at = 0
    for found in PAGE.finditer(text):
        if found[1] in app.env.found_docs:
            yield nodes.Text(text[at : found.start()])
            anchor = f"{found[1]}-section-{found[3]}" if found[3] else ""
            yield refer(app, docname, found[1], anchor, nodes.Text(found[0]))
            at = found.end()
    yield nodes.Text(text[at:])


def setup(app: Sphinx) -> None:
    """Links from code, and what is mended in pages."""
    app.connect("doctree-read", tidy)
    app.connect("doctree-resolved", link_names)
