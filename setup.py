"""What setup.cfg cannot say: a README whose links lead somewhere on an index page, too."""

import configparser
import pathlib
import re

from setuptools import setup

ROOT = pathlib.Path(__file__).parent
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")


def absolute(match: re.Match) -> str:
    """A link or a picture of the repository, by its address."""
    kind = "raw" if match[1] else "blob"
    return f"{match[1]}[{match[2]}]({CONFIG['metadata']['url']}/{kind}/main/{match[3]})"


README = (ROOT / "README.md").read_text(encoding="utf-8")
setup(
    long_description=re.sub(r"(!?)\[([^]]*)\]\((?!https?:|#)([^)]+)\)", absolute, README),
    long_description_content_type="text/markdown",
)
