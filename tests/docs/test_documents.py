"""What the documents say can be done: commands parse, links lead somewhere, the README's own snippet runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from labelbeam.pipeline.cli import build_parser
from labelbeam.pipeline.running.beam_flags import beam_flags

from docs.site.command_reference import command_reference

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r"^(?:\s*[$>] )?\s*(?:\.venv/bin/)?labelbeam ((?:.*\\\n)*.*)$", re.MULTILINE)
_OPTION = re.compile(r"(?<![\w-])--[a-z][a-z0-9_-]+(?![\w…])")
# Of pip, docker, gcloud, Beam's own programs, the Object Detection API, and scripts of ours.
OF_OTHERS = {
    "--constraint",
    "--build-arg",
    "--gpus",
    "--service_port",
    "--worker_pool",
    "--input_type",
    "--out",
    "--saved-model",
    "--seeds",
}
OF_OTHERS |= {"--main-thread", "--device-ms"}
OF_OTHERS |= {"--tile", "--jinja_variables", "--yaml_pipeline_file", "--images", "--kill"}
OF_OTHERS |= {"--image", "--launcher-machine-type", "--max-workers", "--metadata-file"}
OF_OTHERS |= {"--parameters", "--sdk-language", "--template-file-gcs-location"}
_CODE = re.compile(r"^```\w*\n(.*?)^```|((?:^    .*\n|^\n)+)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_of(document: Path) -> str:
    return "\n".join(fenced or indented for fenced, indented in _CODE.findall(document.read_text() + "\n"))


def commands_of(document: Path) -> list[list[str]]:
    """Arguments of each `labelbeam …` in the document's code; what has an … in it is no whole command."""
    found = []
    for text in _COMMAND.findall(code_of(document)):
        words = shlex.split(text.replace("\\\n", " "), comments=True)
        words = words[
            : min((i for i, word in enumerate(words) if word.startswith((">", "2>", "|", ";"))), default=None)
        ]
        if not any("…" in word or "[" in word for word in words):
            found.append(words)
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_can_be_parsed(document, capsys):
    parser = build_parser()
    for command in commands_of(document):
        try:
            _, rest = parser.parse_known_args(command)
        except SystemExit as stopped:
            assert stopped.code == 0, f"labelbeam {shlex.join(command)}: {capsys.readouterr().err}"
        else:
            assert not rest or command[0] in ("label", "stage", "estimate"), f"labelbeam {command}: unknown {rest}"


def test_options_that_are_named_exist():
    known = {*_OPTION.findall(command_reference()), *beam_flags(), *OF_OTHERS}
    named = {
        document.name: set(_OPTION.findall(document.read_text())) for document in [*DOCUMENTS, ROOT / "CHANGELOG.md"]
    }
    assert {name: options - known for name, options in named.items() if options - known} == {}


def test_commands_are_found_in_documents():
    assert len(commands_of(ROOT / "docs" / "tutorial.md")) > 6


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_files_lead_somewhere(document):
    targets = [link.partition("#")[0] for link in _LINK.findall(document.read_text()) if "://" not in link]
    made = {"commands.md"}  # by docs/site
    assert [
        target for target in targets if target and target not in made and not (document.parent / target).exists()
    ] == []


@pytest.mark.heavy
def test_the_readmes_first_commands_work(tmp_path):
    """Word by word but for `make demo`, which would build an environment: what it runs is run instead."""
    [snippet] = re.findall(r"^```sh\n(make demo.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    lines = [shlex.split(line, comments=True) for line in snippet.strip().splitlines()]
    assert lines[0] == ["make", "demo"]
    lines[0] = [".venv/bin/labelbeam", "demo", "--output", "demo-labels"]
    (tmp_path / "pipeline").symlink_to(ROOT / "pipeline")
    for line in lines:
        assert line[0] == ".venv/bin/labelbeam"
        done = subprocess.run(
            [sys.executable, "-m", "labelbeam.pipeline.cli", *line[1:]], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").stat().st_size > 10_000 and (tmp_path / "out" / "detections").is_dir()
