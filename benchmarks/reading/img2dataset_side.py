"""The other side of `benchmarks.reading.fetching`: img2dataset downloads a list of URLs into Parquet, in an environment
of its own.

    PYTHON_WITH_IMG2DATASET benchmarks/reading/img2dataset_side.py URLS.txt OUTPUT_FOLDER THREADS

Ends by printing a line of JSON: images downloaded, seconds that its worker says it took for them (without the start
of the program and of its worker process), and peak memory of the larger of the two processes in MiB.
"""

import json
import resource
import sys
from pathlib import Path


def main() -> None:
    from img2dataset import download  # here: its worker process imports this module, too

    urls, output, threads = sys.argv[1:]
    download(
        url_list=urls,
        input_format="txt",
        output_folder=output,
        output_format="parquet",
        processes_count=1,
        thread_count=int(threads),
        disable_all_reencoding=True,
        compute_hash="sha256",
    )
    shards = [json.loads(path.read_text()) for path in Path(output).glob("*_stats.json")]
    peak_kib = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(
        json.dumps(
            {
                "images": sum(shard["successes"] for shard in shards),
                "seconds": sum(shard["duration"] for shard in shards),
                "peak_mib": peak_kib / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
