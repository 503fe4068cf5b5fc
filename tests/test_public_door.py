"""`import labelbeam`: what it offers, what it costs, and that what its documentation shows works."""

import doctest
import inspect
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import labelbeam
from tests.fakes.output_folders import detections, labelled, write_part

ROOT = Path(__file__).parents[1]


def run(code, cwd=None):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_costs_next_to_nothing():
    code = (
        "import sys, time; started = time.process_time(); import labelbeam; print(time.process_time() - started)\n"
        "assert not {'numpy', 'pyarrow', 'apache_beam', 'tensorflow'} & set(sys.modules)"
    )
    assert float(run(code)) < 0.2


def test_settings_need_neither_beam_nor_tensorflow_nor_pillow():
    run(
        "import sys, labelbeam\n"
        "labelbeam.LabelConfig('demo'), labelbeam.ExecutionOptions(), labelbeam.ListOptions(), labelbeam.Detector\n"
        "assert not {'PIL', 'pyarrow', 'apache_beam', 'tensorflow'} & set(sys.modules)"
    )


def test_a_label_set_is_read_without_beam_and_tensorflow(tmp_path):
    write_part(tmp_path / "out", [labelled("a.jpg", (30, 40), detections([0.9]))])
    read = (
        "import sys, labelbeam\n"
        f"print(labelbeam.open_label_set({str(tmp_path / 'out')!r}).arrow('images').num_rows)\n"
        "assert not {'apache_beam', 'tensorflow'} & set(sys.modules)"
    )
    assert int(run(read)) > 0


def test_a_checkout_works_without_installation(tmp_path):
    shutil.copytree(ROOT / "labelbeam", tmp_path / "labelbeam")
    for room in ("pipeline", "storage", "detectors", "labelset", "transforms", "configs"):
        (tmp_path / room).symlink_to(ROOT / room)
    shutil.copy(ROOT / "setup.py", tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "sys.meta_path = [finder for finder in sys.meta_path if 'Editable' not in getattr(finder, '__name__', '')]\n"
        "import labelbeam.pipeline.settings as settings; print(settings.__file__)"
    )
    assert run(code) == str(tmp_path / "pipeline" / "settings.py")


def test_python_m_labelbeam_is_the_command():
    done = subprocess.run([sys.executable, "-m", "labelbeam", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"labelbeam {labelbeam.__version__}"


def test_names_that_are_not_there():
    with pytest.raises(AttributeError, match="no attribute 'lable'"):
        labelbeam.lable  # noqa: B018
    assert set(labelbeam.__all__) <= set(dir(labelbeam))


@pytest.mark.parametrize("name", sorted(set(labelbeam.__all__) - {"__version__"}))
def test_every_name_is_documented(name):
    text = inspect.getdoc(getattr(labelbeam, name))
    sections = {"label": 4, "export": 4, "LabelImages": 4, "open_label_set": 4}.get(name, 1)
    assert sum(f"\n{heading}:\n" in text for heading in ("Args", "Returns", "Raises", "Example")) >= sections, text


@pytest.mark.heavy
def test_the_examples_of_the_documentation_work(tmp_path, monkeypatch):
    import apache_beam as beam
    import numpy as np

    (tmp_path / "photos").mkdir()
    for image in sorted((ROOT / "pipeline" / "demo_images").glob("*.jpg"))[:3]:
        shutil.copy(image, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    names = {"labelbeam": labelbeam, "beam": beam, "np": np}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    tried = 0
    for name in ("label", "open_label_set", "export", *labelbeam.__all__):  # the first makes what others read
        if name not in names and name != "__version__":
            for test in doctest.DocTestFinder(recurse=False).find(getattr(labelbeam, name), name, globs=names):
                tried += runner.run(test).attempted
            names[name] = getattr(labelbeam, name)
    assert runner.summarize(verbose=False).failed == 0 and tried >= 12
