"""A hook of mkdocs: every notebook is run from an empty folder, and becomes a page with what it
showed. A cell that fails ends the build.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import get_plugin_logger
from mkdocs.structure.files import File, Files
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

log = get_plugin_logger("notebooks")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Puts a page, and its pictures, in the place of each notebook."""
    for source in [file for file in files if file.src_uri.endswith(".ipynb")]:
        files.remove(source)
        began = time.monotonic()
        page, pictures = executed(Path(config.docs_dir) / source.src_uri)
        log.info(f"{source.src_uri} ran in {time.monotonic() - began:.0f} s")
        name = source.src_uri.removesuffix(".ipynb")
        files.append(File.generated(config, f"{name}.md", content=page))
        for picture, content in pictures.items():
            uri = f"{Path(name).parent.as_posix()}/{picture}"
            files.append(File.generated(config, uri, content=content))
    return files


def on_page_markdown(markdown: str, **about: Any) -> str:
    """Links to a notebook, which lead to its file elsewhere, lead to its page here."""
    return markdown.replace(".ipynb)", ".md)")


def executed(path: Path) -> tuple[str, dict[str, bytes]]:
    """The page of a notebook, and its pictures by name."""
    book = nbformat.read(path, 4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(book, timeout=600, resources={"metadata": {"path": folder}}).execute()
    about: dict[str, Any] = {"unique_key": path.stem, "output_files_dir": "."}
    page, resources = MarkdownExporter().from_notebook_node(book, about)
    return page, resources["outputs"]
