"""How the site is built: python -m sphinx -W -b html docs build/docs."""

import os
import pathlib
import re
import textwrap

from sphinx.util import logging

import kinpose
from kinpose.apps._opening import open_clip
from kinpose.page import save_page

DOCS = pathlib.Path(__file__).resolve().parent
REPOSITORY = "https://github.com/kinpose/kinpose"

project = "kinpose"
author = "The maintainers of kinpose"
version = release = kinpose.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["*.py"]  # this folder's scripts; those of tutorials/ are pages

# Pages

myst_enable_extensions = ["substitution"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

nb_custom_formats = {".py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "off"  # with their outputs: -D nb_execution_mode=cache
nb_execution_timeout = 900
nb_execution_raise_on_error = True

ANIMATION = "_static/walk.html"
"""A page of its own, as `kinpose view --export` writes it."""

walk = open_clip(str(DOCS.parent / "data" / "motions" / "walk.bvh"))
save_page(DOCS / ANIMATION, [walk], title="walk")
front = f'<iframe class="animation" src="{ANIMATION}" title="A walk, animated"></iframe>'
myst_substitutions = {"front": front}

# The reference

autodoc_default_options = {"members": True, "member-order": "bysource", "no-value": True}
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 80
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
default_role = "py:obj"  # of `names` in docstrings
toc_object_entries_show_parents = "hide"

# Looks

html_theme = "sphinx_book_theme"
html_title = "kinpose"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_copyright = False
html_theme_options = {
    "repository_url": REPOSITORY,
    "path_to_docs": "docs",
    "use_repository_button": True,
    "show_toc_level": 2,
    "navbar_persistent": [],  # the sidebar has the search
}

_LINK = re.compile(r"(\]\()(?!https?:|mailto:|#)([^)#\s]+)((?:#[^)\s]*)?\))")
_ARRAY_LIKE = re.compile(
    r"[~\w.]*Array \| [~\w.]*ndarray \| [~\w.| ]*complex(?: \| [~\w.]*TypedNdArray)?"
)
_RESULTS = re.compile(r"(?m)^(Returns|Yields):\n((?:[ ]+.*\n|\n(?=[ ]))+)")
_RESULT = re.compile(r"(?m)^(\w+): ")
_log = logging.getLogger(__name__)


def _links_of_the_repository(docname: str, text: str, folder: pathlib.Path) -> str:
    """Links of a page as the site has them: to pages, or to the repository's files.

    Pages and what they include are read in the repository, too, where links are paths.
    """
    here = (DOCS / docname).parent

    def lead(match: re.Match) -> str:
        path = (folder / match[2]).resolve()
        if not path.exists():
            _log.warning("%s is no file of the repository", match[2], location=docname)
        if path.is_relative_to(DOCS):
            return match[1] + os.path.relpath(path, here) + match[3]
        return f"{match[1]}{REPOSITORY}/blob/main/{path.relative_to(DOCS.parent)}{match[3]}"

    return _LINK.sub(lead, text)


def _read_page(app, docname: str, source: list[str]) -> None:
    folder, text = (DOCS / docname).parent, source[0]
    whole = r"(?m)^#.*$" if app.env.doc2path(docname).suffix == ".py" else r"(?s).+"
    source[0] = re.sub(  # of a tutorial the comments
        whole, lambda part: _links_of_the_repository(docname, part[0], folder), text
    )


def _read_included(app, path: pathlib.Path, docname: str, content: list[str]) -> None:
    folder = (DOCS / path).resolve().parent
    content[0] = _links_of_the_repository(docname, content[0], folder)


def _prepare_docstring(app, what, name, obj, options, lines: list[str]) -> None:
    """Results become a field, one bullet for each that has a name; |x| is a length.

    Napoleon would take what stands before a colon for a type.
    """
    text = "\n".join(lines)
    text = re.sub(r"(?m)^(?!\s*(?:>>>|\.\.\.)).*$", lambda line: _escape_bars(line[0]), text)
    lines[:] = _RESULTS.sub(_results, text).split("\n")


def _escape_bars(line: str) -> str:
    return re.sub(r"`[^`]*`|\|", lambda part: r"\|" if part[0] == "|" else part[0], line)


def _results(section: re.Match) -> str:
    body = textwrap.dedent(section[2])
    if len(_RESULT.findall(body)) > 1:
        body = _RESULT.sub(r"* **\1**: ", body)
        body = re.sub(r"(?m)^(?![*\s])", "  ", body)
        body = "\n" + re.sub(r"(?m)^\* ", r"\n* ", body)
    return f":{section[1].lower()}: " + textwrap.indent(body.rstrip(), "  ").lstrip(" ") + "\n\n"


def _shorten_signature(app, what, name, obj, options, signature, result):
    """What JAX takes for an array is a union of eight types."""
    return tuple(text and _ARRAY_LIKE.sub("ArrayLike", text) for text in (signature, result))


def _skip_fields(app, what, name, obj, skip, options):
    """Fields of named tuples are told by the docstring of the tuple."""
    return skip or type(obj).__name__ == "_tuplegetter"


def setup(app) -> None:
    """Connects the above."""
    app.connect("source-read", _read_page)
    app.connect("include-read", _read_included)
    app.connect("autodoc-process-docstring", _prepare_docstring, priority=400)  # before Napoleon
    app.connect("autodoc-process-signature", _shorten_signature)
    app.connect("autodoc-skip-member", _skip_fields)
