"""What MkDocs does beside making pages of docs/*.md: the command reference, and links to files of the repository."""

import posixpath
import re
from pathlib import Path

from command_reference import command_reference  # MkDocs has put docs/site on the path
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "https://github.com/labelbeam/labelbeam/blob/main/"
_LINK = re.compile(r"\]\((\.\./[^)#]*)")


def on_files(files, config):
    """Adds `commands.md`, from the parser."""
    files.append(File.generated(config, "commands.md", content=command_reference()))
    return files


def on_page_markdown(markdown, page, **_):
    """Links out of docs/ lead to the repository; one that leads nowhere fails the build."""

    def to_source(link):
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), link[1]))
        if not (ROOT / path).exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {path}, which doesn't exist")
        return f"]({SOURCE}{path}"

    return _LINK.sub(to_source, markdown)
