import subprocess
import sys

import pytest
from labelbeam.detectors.config import detector_names
from labelbeam.pipeline.cli import main


def test_detectors_are_listed_with_what_one_needs_to_choose(capsys):
    assert main(["detectors"]) == 0
    printed = capsys.readouterr().out
    for name in detector_names():
        assert name in printed
    assert (
        printed.index("ssd_mobilenet_v2_320x320") < printed.index("efficientdet_d0") < printed.index("efficientdet_d7")
    )
    assert "1024×1024" in printed and "39.0/34.6 on COCO 2017 test set" in printed


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["label", "--help"],
        ["estimate", "--help"],
        ["demo", "--help"],
        ["report", "--help"],
        ["show", "--help"],
        ["detectors", "--help"],
        ["--version"],
    ],
)
def test_help_needs_neither_beam_nor_tensorflow(arguments):
    code = (
        "import sys; from labelbeam.pipeline.cli import main\n"
        f"try: main({arguments!r})\nexcept SystemExit as e: assert e.code == 0\n"
        "assert not {'apache_beam', 'tensorflow', 'PIL', 'pyarrow'} & set(sys.modules), sorted(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "labelbeam" in done.stdout


@pytest.mark.parametrize(
    "arguments, named",
    [
        ([], "COMMAND"),
        (["lable"], "invalid choice: 'lable'"),
        (["demo", "--min-score", "0.5"], "unrecognized arguments: --min-score 0.5"),
        (["status"], "OUT"),
        (["label", "--input", "a.jpg"], "-o/--output, --detector"),
    ],
)
def test_a_command_that_is_not_understood_exits_with_2(arguments, named, capsys):
    with pytest.raises(SystemExit) as raised:
        main(arguments)
    assert raised.value.code == 2 and named in capsys.readouterr().err


def test_what_libraries_do_as_python_ends_changes_no_exit_code(tmp_path):
    """As those do whose threads are still starting then: they end the process with SIGABRT."""
    script = (
        "import atexit, os, sys\n"
        "atexit.register(os.abort)\n"  # which Python does after what is registered later
        "from labelbeam.pipeline.cli import run_command\n"
        "sys.exit(run_command())"
    )
    done = subprocess.run([sys.executable, "-c", script, "status", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 2 and "not the output folder of a label set" in done.stderr
