"""Does a job on two machines come out as on one, whatever happens to them?  sudo python -m benchmarks.jobs.two_machines

Two network namespaces with a Flink task manager and a worker pool each, the job manager and an S3 (SeaweedFS) outside
of them: what `make flink` and `make store-servers` install. A detector sleeps 20 ms an image. Jobs over the same
images:

    reference  in one process, without Flink
    one, two   with one of the machines, and with both: how much faster two are
    killed     in the middle, the pool of one machine is killed with its workers; 5 s later another takes its port
    paused     one machine stops for two minutes, or until the job has ended if that takes longer, and then goes on
    laptop     the process that submitted the job is killed; another job is started on the folder meanwhile

Each must be complete, with the reference's tables and no image twice; then the same command again must have nothing
to do, and leave no file that doesn't count.
"""

import argparse
import contextlib
import itertools
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from labelbeam.labelset.heartbeat import read_heartbeat
from labelbeam.labelset.job_records import read_records
from labelbeam.labelset.log import read_log
from labelbeam.labelset.parts import list_parts
from labelbeam.results.reader import open_label_set
from labelbeam.storage import files

from tests.fakes.images import save_image
from tests.fakes.processes import WorkerPool, labelbeam, worker_pool
from tests.fakes.store_servers import new_bucket, s3_filesystem, seaweedfs_server
from tests.pipeline.running.flink_cluster import JOB_SERVER, JobManager, job_manager, task_manager
from tests.same_tables import TIMINGS

from ..figures import Figure, arguments, publish
from ..machines import HOST, Machine, network, send

POOL_PORT = 50_000
RESTARTS = 10
PAUSE_S = 120.0
REPLACED_AFTER_S = 5.0  # as whoever watches over containers does
WATCH_WOKEN_S = 30.0
DETECTOR = Path(__file__).parents[1] / "sleeping_detector.py"
SCENES = ("one", "two", "killed", "paused", "laptop")


@dataclass
class Running:
    """A machine with what runs on it: a task manager, and a pool of workers."""

    machine: Machine
    task_manager: subprocess.Popen
    folder: Path
    stack: contextlib.ExitStack
    pool: WorkerPool = field(init=False)

    def __post_init__(self):
        self._pools = itertools.count()
        self.start_pool()

    def start_pool(self) -> None:
        log = self.folder / f"pool-{self.machine.name}-{next(self._pools)}.log"
        self.pool = self.stack.enter_context(worker_pool(log, prefix=self.machine.prefix, port=POOL_PORT))

    @property
    def pids(self) -> list[int]:
        return [self.task_manager.pid, self.pool.pid]

    def log(self) -> str:
        return "".join(path.read_text() for path in self.folder.glob(f"pool-{self.machine.name}-*.log"))


@dataclass
class Scene:
    """One job on the machines.

    Attributes:
      inputs, output: folders in the store.
      machines: those that run.
      num_images: of the inputs.
      started: commands.
    """

    manager: JobManager
    inputs: str
    output: str
    machines: list[Running]
    num_images: int
    started: list[subprocess.Popen] = field(default_factory=list)

    def start(self) -> subprocess.Popen:
        """The command, on Flink."""
        options = [
            *("--runner-config", "flink", "--flink_job_server_jar", str(JOB_SERVER)),
            *("--flink_master", self.manager.master, "--environment_config", f"localhost:{POOL_PORT}"),
            *("--parallelism", str(len(self.machines))),
        ]
        self.started.append(labelbeam(*command(self.inputs, self.output), *options))
        return self.started[-1]

    def end(self) -> None:
        """Ends what goes on after an error."""
        send(signal.SIGKILL, [job.pid for job in self.started if job.poll() is None])

    def wait_for_parts(self, share: float, job: subprocess.Popen) -> None:
        """Until so much of the job is in parts."""
        while len(list_parts(self.output)) < share * self.num_images / 100:
            assert job.poll() is None, job.communicate()[1]
            time.sleep(0.5)

    @property
    def has_closed(self) -> bool:
        return read_log(self.output).open_job is None


def command(inputs: str, output: str) -> list[str]:
    detector = ["--detector", f"{DETECTOR.stem}:SleepingDetector", "--detector-package", str(DETECTOR)]
    return ["label", inputs, "-o", output, *detector, "--mask-format", "none", "--part-images", "100"]


def finish(job: subprocess.Popen) -> None:
    _, stderr = job.communicate(timeout=1800)
    if job.returncode:
        raise RuntimeError(stderr[-5000:])


def undisturbed(scene: Scene) -> str:
    finish(scene.start())
    return ""


def kill_a_pool(scene: Scene) -> str:
    """The pool and its workers; the task manager beside them lives."""
    job, victim = scene.start(), scene.machines[1]
    scene.wait_for_parts(0.4, job)
    killed = send(signal.SIGKILL, [victim.pool.pid])
    time.sleep(REPLACED_AFTER_S)
    victim.start_pool()
    finish(job)
    return f"{len(killed)} processes killed"


def pause_a_machine(scene: Scene) -> str:
    """Its pool, workers and task manager, and its network: a machine that sleeps answers nobody."""
    job, victim = scene.start(), scene.machines[1]
    scene.wait_for_parts(0.4, job)
    paused_at, stopped = time.monotonic(), send(signal.SIGSTOP, victim.pids)
    victim.machine.plug(False)
    try:
        finish(job)
        time.sleep(max(0.0, PAUSE_S - (time.monotonic() - paused_at)))
        assert scene.has_closed
    finally:
        victim.machine.plug(True)
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
    paused_s = time.monotonic() - paused_at
    time.sleep(WATCH_WOKEN_S)  # for what it had in flight
    lost = victim.log().count("JobLostError: ")
    strays = set(list_parts(scene.output)) - set(open_label_set(scene.output).parts)
    return f"paused for {paused_s:.0f} s; woken, it left {len(strays)} parts and was told {lost} times that it had lost"


def leave_with_the_laptop(scene: Scene) -> str:
    """The driver and its job server; the cluster goes on."""
    job = scene.start()
    scene.wait_for_parts(0.4, job)
    send(signal.SIGKILL, [job.pid])
    job_id, since = read_log(scene.output).open_job, time.monotonic()
    assert job_id is not None
    second = labelbeam(*command(scene.inputs, scene.output))
    last, last_at, longest_s, renewed_by = {}, since, 0.0, set()
    while not scene.has_closed:
        assert time.monotonic() - since < 900, "the job has not closed"
        if (content := read_heartbeat(scene.output, job_id)) != last and content:
            longest_s, last_at, last = max(longest_s, time.monotonic() - last_at), time.monotonic(), content
            renewed_by |= {content["renewed_by"]} if "renewed_by" in content else set()
        time.sleep(0.5)
    _, stderr = second.communicate(timeout=300)
    refused = second.returncode == 2 and "is at work on it" in stderr
    assert refused, stderr
    return (
        f"closed {time.monotonic() - since:.0f} s after its driver was killed; heartbeat renewed by "
        f"{', '.join(sorted(renewed_by))}, at most {longest_s:.0f} s apart; a second job was refused"
    )


def read_tables(output: str) -> dict[str, pa.Table]:
    """All rows that count, timings aside, in one order; no image twice, neither for us nor for plain globs."""
    label_set, found = open_label_set(output), {}
    for name, key in (("images", "image_id"), ("detections", "detection_id")):
        table = label_set.arrow(name).drop_columns(list(TIMINGS & set(label_set.arrow(name).column_names)))
        found[name] = table.sort_by(key)
        assert len(set(table[key].to_pylist())) == len(table), f"{output}: rows of {name} are there twice"
    return found


def check(scene: Scene, reference: dict[str, pa.Table]) -> str:
    """Raises unless a job came out as it should; says what it took."""
    [record] = read_records(scene.output)
    assert record["status"] == "complete", record
    for name, table in read_tables(scene.output).items():
        assert table.equals(reference[name]), f"{scene.output}: {name} differ"
    again = labelbeam(*command(scene.inputs, scene.output))
    finish(again)
    last = max(read_records(scene.output), key=lambda record: record["job_id"])
    assert (last["status"], last["written"], last["skipped"]) == ("complete", 0, scene.num_images), last
    strays = set(list_parts(scene.output)) - set(open_label_set(scene.output).parts)
    assert not strays, strays
    return f"{record['written']:,} rows, {record['repeats_removed']:,} repeats removed"


def rate(output: str) -> float:
    """Images a second, between a tenth and nine tenths of them."""
    times = (
        np.sort(open_label_set(output).arrow("images", ["labelled_at"])["labelled_at"].cast("int64").to_numpy()) / 1e6
    )
    first, last = len(times) // 10, len(times) * 9 // 10
    return (last - first) / (times[last] - times[first])


@contextlib.contextmanager
def cluster(folder: Path, count: int) -> Iterator[tuple[JobManager, list[Running]]]:
    with contextlib.ExitStack() as stack:
        machines = stack.enter_context(network(count))
        manager = stack.enter_context(job_manager(folder / "flink", HOST, slots=2, restarts=RESTARTS))
        running = [
            Running(machine, stack.enter_context(task_manager(manager, machine.address, machine.prefix)), folder, stack)
            for machine in machines
        ]
        yield manager, running


def write_images(folder: Path, to: str, count: int) -> None:
    """Small JPEGs, all different, into the store."""

    def write(number: int) -> None:
        path = save_image(folder / f"{number:06}.jpg", number)
        files.write_atomically(f"{to}/{path.name}", path.read_bytes())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(count)))


ACTS: dict[str, Callable[[Scene], str]] = {
    "one": undisturbed,
    "two": undisturbed,
    "killed": kill_a_pool,
    "paused": pause_a_machine,
    "laptop": leave_with_the_laptop,
}


def run(args: argparse.Namespace, folder: Path, port: int) -> list[Figure]:
    os.environ |= {
        "AWS_ENDPOINT_URL": f"http://{HOST}:{port}",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_REGION": "us-east-1",
        "LABELBEAM_CACHE": str(folder / "cache"),
    }
    bucket = f"s3://{new_bucket()}"
    s3_filesystem(port, bucket.removeprefix("s3://"))
    rates = {}
    with cluster(folder, 2) as (manager, machines):
        inputs = f"{bucket}/images"
        write_images(folder / "images", inputs, args.images)
        began = time.monotonic()
        finish(labelbeam(*command(inputs, f"{bucket}/reference")))
        reference = read_tables(f"{bucket}/reference")
        assert reference["images"]["status"].to_pylist() == ["ok"] * args.images
        print(f"reference: {time.monotonic() - began:.0f} s, {rate(f'{bucket}/reference'):.1f} images/s", flush=True)
        for name in args.only:
            used = machines[:1] if name == "one" else machines
            scene = Scene(manager, inputs, f"{bucket}/{name}", used, args.images)
            began = time.monotonic()
            try:
                told, seconds = ACTS[name](scene), time.monotonic() - began
            finally:
                scene.end()
            rates[name] = rate(scene.output)
            print(f"{name}: {seconds:.0f} s, {rates[name]:.1f} images/s; {check(scene, reference)}", flush=True)
            if told:
                print(f"  {told}", flush=True)
    if not {"one", "two"} <= rates.keys():
        return []
    what = f"{args.images:,} images, a detector that sleeps 20 ms, two machines with a worker pool each"
    return [Figure(what, "one of them", "images/s", rates["two"], rates["one"], higher_is_better=True, goal=1.8)]


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, metavar="N", help="default: 5,000; with --quick 1,500")
    parser.add_argument("--only", nargs="+", choices=SCENES, default=SCENES, metavar="SCENE", help="these jobs")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="for logs of pools and of Flink; it stays")
    args = parser.parse_args()
    args.images = args.images or (1_500 if args.quick else 5_000)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        (folder / "store").mkdir(parents=True, exist_ok=True)
        with seaweedfs_server(folder / "store", bind="0.0.0.0") as port:
            publish(run(args, folder, port), args.json)


if __name__ == "__main__":
    main()
