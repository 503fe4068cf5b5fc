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
            assert [backend, "golden", network] in found
            of_network = [step[3:] for step in found if step[:3] == [backend, "network", network]]
            assert {precision for precision, _ in of_network} == {"float32", "tf32", "bfloat16"}
            assert ["bfloat16", "1"] in of_network and ["float32", "1"] in of_network
    assert ["jax", "network", gpu.CENTERNET, "bfloat16", "64"] in found
    assert [step for step in found if step[1] == "job"] == [["jax", "job", gpu.CENTERNET, "bfloat16", "64", "100"]]
