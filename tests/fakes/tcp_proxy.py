"""A process that passes bytes on to a server, and can be killed and started again while the server keeps its data.

    python -m tests.fakes.tcp_proxy LISTEN_PORT TARGET_PORT [PUTS]

With PUTS it dies by itself, as by SIGKILL, when so many requests to put a Parquet file have begun: the last never
arrives.
"""

import asyncio
import os
import re
import signal
import sys

_GCS_CONDITION = re.compile(rb"x-goog-if-generation-match: 0", re.IGNORECASE)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, watch=lambda data: None) -> None:
    try:
        while data := await reader.read(1 << 16):
            watch(data)
            writer.write(_GCS_CONDITION.sub(b"if-none-match: *", data))
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _main(listen_port: int, target_port: int, puts: int | None) -> None:
    seen = 0

    def count(data: bytes) -> None:
        nonlocal seen
        seen += data.startswith(b"PUT ") and b".parquet" in data.split(b"\r\n", 1)[0]
        if seen == puts:
            os.kill(os.getpid(), signal.SIGKILL)

    async def serve(reader, writer):
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target_port)
        await asyncio.gather(_pass_on(reader, target_writer, count), _pass_on(target_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", listen_port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*map(int, sys.argv[1:3]), int(sys.argv[3]) if len(sys.argv) > 3 else None))
