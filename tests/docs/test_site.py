"""The site of the documents, built as CI builds it."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_page_can_be_found_from_the_index(site):
    index = (site / "index.html").read_text()
    pages = [path.parent.name for path in site.glob("*/index.html")]
    assert len(pages) > 15 and [page for page in pages if f'href="{page}/"' not in index] == []


def test_the_command_reference_has_every_command(site):
    page = (site / "commands" / "index.html").read_text()
    for command in ("label", "estimate", "weights import", "export", "compare"):
        assert f"labelbeam {command}</h2>" in page or f'labelbeam {command}<a class="headerlink"' in page
    assert "--min-score" in page and "--runner-config" in page
