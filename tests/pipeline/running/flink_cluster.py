"""A Flink session cluster, a job manager and its task managers, from the jars of `make flink`."""

import contextlib
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
jobmanager.rpc.address: {host}
jobmanager.rpc.port: {rpc_port}
jobmanager.bind-host: {bind}
jobmanager.memory.process.size: 1g
rest.address: {host}
rest.port: {rest_port}
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
restart-strategy.type: fixed-delay
restart-strategy.fixed-delay.attempts: {restarts}
restart-strategy.fixed-delay.delay: 3 s
cluster.evenly-spread-out-slots: true
"""


def why_none() -> str | None:
    """Why no cluster can be started here."""
    if shutil.which("java") is None:
        return "there's no java in PATH"
    return None if JOB_SERVER.is_file() else "there's no build/flink/job-server.jar: make flink"


@dataclass(frozen=True)
class JobManager:
    """A job manager that runs.

    Attributes:
      folder: of its configuration, which its task managers take over, and of all logs.
      host, rest_port: where it is asked.
      slots: of each task manager.
    """

    folder: Path
    host: str
    rest_port: int
    slots: int

    @property
    def master(self) -> str:
        """What `--flink_master` is to say."""
        return f"{self.host}:{self.rest_port}"

    def free_slots(self) -> int:
        try:
            with urllib.request.urlopen(f"http://{self.master}/overview", timeout=5) as answer:
                return json.load(answer)["slots-available"]
        except (urllib.error.URLError, ConnectionError):
            return 0


@contextlib.contextmanager
def session_cluster(folder: Path, slots: int = 2) -> Iterator[str]:
    """Gives the address of the job manager's REST port, once a task manager on this machine has offered its slots."""
    with job_manager(folder, slots=slots) as manager, task_manager(manager):
        yield manager.master


@contextlib.contextmanager
def job_manager(folder: Path, host: str = "localhost", slots: int = 2, restarts: int = 0) -> Iterator[JobManager]:
    """A job manager without task managers.

    Args:
      folder: which it makes.
      host: its address, as task managers see it.
      slots: of each task manager.
      restarts: how often a job may begin a stage again.
    """
    folder.mkdir()
    manager = JobManager(folder, host, free_port(), slots)
    bind = host if host == "localhost" else "0.0.0.0"  # it reaches its own BlobServer at localhost
    ports = {"rpc_port": free_port(), "rest_port": manager.rest_port}
    (folder / "config.yaml").write_text(_CONFIG.format(host=host, bind=bind, slots=slots, restarts=restarts, **ports))
    with _running(_JOB_MANAGER, folder / "job-manager.log", "-c", str(folder)):
        yield manager


@contextlib.contextmanager
def task_manager(
    manager: JobManager, host: str = "localhost", prefix: Sequence[str] = ()
) -> Iterator[subprocess.Popen]:
    """A task manager, from when its slots are free.

    Args:
      host: its address, as the others see it.
      prefix: of its command, such as `ip netns exec NAME`.
    """
    before, log = manager.free_slots(), manager.folder / f"task-manager-{host}.log"
    command = ("-c", str(manager.folder), "-D", f"taskmanager.host={host}")
    with _running(_TASK_MANAGER, log, *command, prefix=prefix) as process:
        deadline = time.monotonic() + _START_S
        while manager.free_slots() < before + manager.slots:
            logs = [path.read_text()[-2000:] for path in manager.folder.glob("*.log")]
            assert process.poll() is None and time.monotonic() < deadline, logs
            time.sleep(0.2)
        yield process


@contextlib.contextmanager
def _running(main_class: str, log: Path, *arguments: str, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen]:
    with log.open("w") as output:
        command = [*prefix, *_JAVA, "-cp", str(JOB_SERVER), main_class, *arguments]
        process = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            yield process
        finally:
            process.kill()
            process.wait()
