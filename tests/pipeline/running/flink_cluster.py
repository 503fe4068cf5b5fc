"""A Flink session cluster of two processes, job manager and task manager, from the jars of `make flink`."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.processes import free_port

JOB_SERVER = Path(__file__).parents[3] / "build" / "flink" / "job-server.jar"
_JOB_MANAGER = "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint"
_TASK_MANAGER = "org.apache.flink.runtime.taskexecutor.TaskManagerRunner"
_START_S = 120
# What Flink's own scripts give the JVM, and work out of the size of the machine, for Java 17.
_JAVA = [
    "java",
    "-Xmx512m",
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in ("lang", "util", "nio", "net")),
]
_CONFIG = """
jobmanager.rpc.address: localhost
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: localhost
jobmanager.memory.process.size: 1g
rest.address: localhost
rest.port: {rest_port}
taskmanager.host: localhost
taskmanager.numberOfTaskSlots: {slots}
taskmanager.cpu.cores: {slots}
taskmanager.memory.framework.heap.size: 128m
taskmanager.memory.framework.off-heap.size: 128m
taskmanager.memory.task.heap.size: 256m
taskmanager.memory.task.off-heap.size: 64m
taskmanager.memory.managed.size: 128m
taskmanager.memory.network.min: 256m
taskmanager.memory.network.max: 256m
taskmanager.memory.jvm-metaspace.size: 256m
taskmanager.memory.jvm-overhead.min: 192m
taskmanager.memory.jvm-overhead.max: 192m
"""


def why_none() -> str | None:
    """Why no cluster can be started here."""
    if shutil.which("java") is None:
        return "there's no java in PATH"
    return None if JOB_SERVER.is_file() else "there's no build/flink/job-server.jar: make flink"


@contextlib.contextmanager
def session_cluster(folder: Path, slots: int = 2) -> Iterator[str]:
    """Gives the address of the job manager's REST port, once the task manager has offered its slots."""
    folder.mkdir()
    rest_port = free_port()
    (folder / "config.yaml").write_text(_CONFIG.format(rpc_port=free_port(), rest_port=rest_port, slots=slots))
    with _running(_JOB_MANAGER, folder) as job_manager, _running(_TASK_MANAGER, folder) as task_manager:
        deadline = time.monotonic() + _START_S
        while _free_slots(rest_port) < slots:
            logs = [path.read_text()[-2000:] for path in folder.glob("*.log")]
            assert job_manager.poll() is None and task_manager.poll() is None, logs
            assert time.monotonic() < deadline, logs
            time.sleep(0.2)
        yield f"localhost:{rest_port}"


@contextlib.contextmanager
def _running(main_class: str, folder: Path) -> Iterator[subprocess.Popen]:
    with (folder / f"{main_class.rpartition('.')[2]}.log").open("w") as log:
        process = subprocess.Popen(
            [*_JAVA, "-cp", str(JOB_SERVER), main_class, "-c", str(folder)], stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _free_slots(rest_port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://localhost:{rest_port}/overview", timeout=5) as answer:
            return json.load(answer)["slots-available"]
    except (urllib.error.URLError, ConnectionError):
        return 0
