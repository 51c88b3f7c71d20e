"""The templates of pages, read once in a process."""

from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template
from markupsafe import Markup

from analysis.reporting.advice import with_code, with_links

HERE = Path(__file__).parent


@cache
def template(name: str, folder: Path = HERE) -> Template:
    """The template of this name in a folder; what it includes may lie in this one as well. All
    that is filled in is escaped, but what says that it has been.
    """
    environment = Environment(loader=FileSystemLoader([folder, HERE]), autoescape=True)
    environment.filters["linked"] = lambda text: Markup(with_links(text))
    environment.filters["coded"] = lambda text: Markup(with_code(text))
    return environment.get_template(name)
