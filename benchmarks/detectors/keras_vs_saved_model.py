"""How much faster is engine keras than engine saved_model, with the same weights, images and machine?

    python -m benchmarks.detectors.keras_vs_saved_model SAVED_MODEL_FOLDER --detector centernet_resnet50v2_512x512 \\
        [--precision float32 bfloat16] [--batch 1 4] [--kept 10 100] [--rounds 3] [--images 4]

Each engine runs in a process of its own (so that peak memory is its own), one after the other, round by round; a row
gives the median seconds an image, the ratio to the published graph in the same round, and the peak memory. `kept`
bounds the detections that get masks. Without bfloat16 instructions (see the first line) bfloat16 is no gain.
"""

import multiprocessing
import statistics
import tempfile
import time
from pathlib import Path

from labelbeam.detectors.protocol import DetectOptions

from ..figures import Figure, arguments, peak_mib, processor_name, publish
from ..photos import photos


def serve(engine, precision, batch, kept, args, weights_file, connection):
    """A process with one engine: at each request labels all images, answers seconds an image and peak memory."""
    options = DetectOptions(min_score=0.0, max_detections=kept)
    if engine == "keras":
        from labelbeam.detectors.keras.detector import KerasDetector

        detector = KerasDetector(args.detector, weights_file, options, precision=precision, max_batch_size=batch)
    else:
        from labelbeam.detectors.saved_model import SavedModelDetector

        detector = SavedModelDetector(args.saved_model, options)
    images = photos(max(args.images, batch))
    detector.detect(images[:batch])  # traces and compiles
    connection.send("ready")
    while connection.recv() == "go":
        began = time.perf_counter()
        for start in range(0, len(images), batch):
            detector.detect(images[start : start + batch])
        seconds = (time.perf_counter() - began) / len(images)
        connection.send((seconds, peak_mib() / 1024))


def start(*settings):
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(*settings, there), daemon=True)
    process.start()
    assert here.recv() == "ready"
    return process, here


def cpu_line():
    info = Path("/proc/cpuinfo").read_text()
    flags = ", ".join(f"{flag}: {flag in info}" for flag in ("avx512_bf16", "amx_bf16"))
    return f"{processor_name() or 'unknown CPU'}; {flags}; cores: {multiprocessing.cpu_count()}"


def main():
    parser = arguments(__doc__)
    parser.add_argument("saved_model", help="folder of the published SavedModel")
    parser.add_argument("--detector", required=True)
    parser.add_argument("--precision", nargs="+", help="default: float32 bfloat16, with --quick float32")
    parser.add_argument("--batch", nargs="+", type=int, help="default: 1 4, with --quick 4")
    parser.add_argument("--kept", nargs="+", type=int, help="default: 10 100, with --quick 10")
    parser.add_argument("--rounds", type=int, help="default: 3, with --quick 2")
    parser.add_argument("--images", type=int, default=4)
    args = parser.parse_args()
    for name, whole, quick in (
        ("precision", ["float32", "bfloat16"], ["float32"]),
        ("batch", [1, 4], [4]),
        ("kept", [10, 100], [10]),
        ("rounds", 3, 2),
    ):
        setattr(args, name, getattr(args, name) or (quick if args.quick else whole))
    figures = []
    print(cpu_line())
    with tempfile.TemporaryDirectory() as folder:
        from labelbeam.detectors.keras.weights import cached_weights

        weights_file = cached_weights(args.detector, args.saved_model, folder)
        published = start("saved_model", "float32", 1, max(args.kept), args, weights_file)
        print(
            "| precision | batch | kept | published s/image | keras s/image | ratio | published GiB "
            "| keras GiB |\n|---|---|---|---|---|---|---|---|"
        )
        for precision in args.precision:
            for batch in args.batch:
                for kept in args.kept:
                    figures.append(
                        compare(
                            args.detector,
                            published,
                            start("keras", precision, batch, kept, args, weights_file),
                            args.rounds,
                            (precision, batch, kept),
                        )
                    )
        stop(published)
    print()
    publish(figures, args.json)


def compare(name, published, keras, rounds, settings) -> Figure:
    """Alternates the two engines and prints a row."""
    answers = [[], []]
    for _ in range(rounds):
        for engine, seen in zip((published, keras), answers, strict=True):
            engine[1].send("go")
            seen.append(engine[1].recv())
    stop(keras)
    (p_seconds, p_memory), (n_seconds, n_memory) = (zip(*seen, strict=True) for seen in answers)
    ratio = statistics.median(p / n for p, n in zip(p_seconds, n_seconds, strict=True))
    print(
        f"| {' | '.join(map(str, settings))} | {statistics.median(p_seconds):.3f} "
        f"| {statistics.median(n_seconds):.3f} | {ratio:.2f} | {max(p_memory):.1f} "
        f"| {max(n_memory):.1f} |",
        flush=True,
    )
    precision, batch, kept = settings
    return Figure(
        f"{name}, engine keras in {precision}, batch {batch}, {kept} kept",
        "the published graph",
        "s an image",
        statistics.median(n_seconds),
        statistics.median(p_seconds),
        False,
        1024 * max(n_memory),
        1024 * max(p_memory),
    )


def stop(engine):
    process, connection = engine
    connection.send("stop")
    process.join()


if __name__ == "__main__":
    main()
