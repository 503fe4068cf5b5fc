import platform
import subprocess
import sys
import textwrap

import pytest
from labelbeam.transforms.workers import malloc


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc alone is known")
def test_large_blocks_are_used_again_instead_of_asking_the_kernel():
    """In a process of its own: the settings can't be taken back."""
    script = textwrap.dedent("""
        import resource, sys, threading
        from labelbeam.transforms.workers.malloc import keep_large_blocks

        if sys.argv[1] == "keep":
            assert keep_large_blocks()

        def fill_blocks():
            b"a" * (80 << 20)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            for count in range(5):
                bytes([count]) * (80 << 20)
            print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

        thread = threading.Thread(target=fill_blocks)
        thread.start()
        thread.join()
    """)
    default, keep = (int(subprocess.check_output([sys.executable, "-c", script, mode])) for mode in ("default", "keep"))
    assert keep < default / 4


def test_where_there_is_no_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert malloc.keep_large_blocks.__wrapped__() is False
