import argparse
import zipfile

from benchmarks import gpu


def test_wheels_travel_as_one_archive_without_tests(tmp_path):
    with zipfile.ZipFile(tmp_path / "a-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("a/__init__.py", "x = 1\n")
        wheel.writestr("a/sub_test.py", "x = 2\n")
    gpu.pack(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [gpu.PACKED]
    gpu.unpack(tmp_path, tmp_path / "site")
    assert [path.name for path in (tmp_path / "site").rglob("*.py")] == ["__init__.py"]
    gpu.unpack(tmp_path / "nowhere", tmp_path / "site")  # once is enough


def test_the_steps_are_of_both_networks_on_both_backends():
    found = gpu.steps(argparse.Namespace(backends=["jax", "torch"], batches=[1, 8, 64], images=100))
    for backend in ("jax", "torch"):
        for network in (gpu.CENTERNET, gpu.MASK_RCNN):
            of_network = [step[3:] for step in found if step[:3] == [backend, "network", network]]
            assert {precision for precision, _ in of_network} == {"float32", "tf32", "bfloat16"}
            assert ["bfloat16", "1"] in of_network and ["float32", "1"] in of_network
        assert [backend, "network", gpu.CENTERNET, "bfloat16", "64"] in found
        assert [backend, "job", gpu.CENTERNET, "bfloat16", "64", "100"] in found
    assert len(set(map(tuple, found))) == len(found)


def test_a_second_start_goes_on_and_tries_again_last_what_failed(tmp_path, monkeypatch, capsys):
    wanted = gpu.steps(argparse.Namespace(backends=["jax"], batches=[1], images=16))
    answers = [{"images_s": 2.0}, {"note": gpu.FAILED + "OOM"}, gpu.TIMED_OUT, *([{"images_s": 1.0}] * len(wanted))]
    ran = []

    def run(step, folder, site, log, seconds):
        ran.append(step)
        log.write_text("what it said\n")
        return answers[len(ran) - 1]

    monkeypatch.setattr(gpu, "run", run)
    monkeypatch.setattr(gpu, "unpack", lambda wheels, site: None)
    monkeypatch.setenv("OUT", str(tmp_path / "out"))
    (tmp_path / "out").mkdir()
    options = ["--results", str(tmp_path / "results"), "--backends", "jax", "--batches", "1", "--images", "16"]
    monkeypatch.setattr("sys.argv", ["gpu.py", *options, "--minutes", "0"])
    gpu.main()
    assert ran == [] and capsys.readouterr().out.count("no time left") == len(wanted)
    monkeypatch.setattr("sys.argv", ["gpu.py", *options])
    gpu.main()
    assert ran == wanted
    for file in (tmp_path / "out").iterdir():  # it's another folder each time
        file.unlink()
    gpu.main()
    assert ran == [*wanted, *wanted[1:3]]
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[1].strip().split() for line in lines if line.startswith("| jax")][-2:] == wanted[1:3]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["gpu.jsonl", "gpu.log"]
