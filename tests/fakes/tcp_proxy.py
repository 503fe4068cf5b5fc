"""A process that passes bytes on to a server, and can be killed and started again while the server keeps its data.

    python -m tests.fakes.tcp_proxy LISTEN_PORT TARGET_PORT [--dies-at-put N] [--breaks N | --falls-silent N]

With `--dies-at-put` it dies by itself, as by SIGKILL, when so many requests to put a Parquet file have begun: the last
never arrives. With `--breaks` and `--falls-silent` its first N connections end, or hang, after 10,000 bytes of answers.
"""

import argparse
import asyncio
import os
import re
import signal

_GCS_CONDITION = re.compile(rb"x-goog-if-generation-match: 0", re.IGNORECASE)
_BYTES_BEFORE_FAULT = 10_000


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


async def _fail_midway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int, hang: bool) -> None:
    while left and (data := await reader.read(left)):
        left -= len(data)
        writer.write(data)
        await writer.drain()
    if hang and not left:
        await asyncio.Event().wait()
    writer.close()


async def _main(args: argparse.Namespace) -> None:
    seen, faults = 0, args.breaks or args.falls_silent

    def count(data: bytes) -> None:
        nonlocal seen
        seen += data.startswith(b"PUT ") and b".parquet" in data.split(b"\r\n", 1)[0]
        if seen == args.dies_at_put:
            os.kill(os.getpid(), signal.SIGKILL)

    async def answer(reader, writer):
        nonlocal faults
        first = await reader.read(_BYTES_BEFORE_FAULT)
        writer.write(first)
        faults -= bool(first)  # who only looks whether this listens asks for nothing
        if first and faults >= 0:
            await _fail_midway(reader, writer, _BYTES_BEFORE_FAULT - len(first), bool(args.falls_silent))
        else:
            await _pass_on(reader, writer)

    async def serve(reader, writer):
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", args.target_port)
        await asyncio.gather(_pass_on(reader, target_writer, count), answer(target_reader, writer))

    async with await asyncio.start_server(serve, "127.0.0.1", args.listen_port) as server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("listen_port", type=int)
    parser.add_argument("target_port", type=int)
    parser.add_argument("--dies-at-put", type=int)
    parser.add_argument("--breaks", type=int, default=0)
    parser.add_argument("--falls-silent", type=int, default=0)
    asyncio.run(_main(parser.parse_args()))
