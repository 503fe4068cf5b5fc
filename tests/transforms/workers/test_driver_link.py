import pytest
from labelbeam.transforms.workers.driver_link import DriverLink


@pytest.mark.parametrize("on_this_machine", [True, False])
def test_workers_are_asked_to_stop_wherever_they_are(tmp_path, on_this_machine):
    (tmp_path / "link").mkdir()
    driver = DriverLink(str(tmp_path / "link"), str(tmp_path / "out/stop"))
    worker = driver if on_this_machine else DriverLink(str(tmp_path / "elsewhere"), driver.stop_file)
    assert not worker.is_stopping() and not worker.stop_check()()
    driver.ask_to_stop()
    assert worker.is_stopping() and worker.stop_check()()


def test_a_check_looks_once_in_a_while(tmp_path):
    driver = DriverLink(str(tmp_path))
    check = driver.stop_check()
    assert not check()
    driver.ask_to_stop()
    assert not check(), "it has just looked"


def test_nobody_to_ask():
    DriverLink().ask_to_stop()
    assert not DriverLink().is_stopping()
