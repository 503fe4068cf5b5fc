"""Videos: some of their frames are images, `clip.mp4#t=12.480`; which, says `frames_every`.

The time is in seconds from the video's first frame, whatever the file counts from. Listing reads the times of the
packets and decodes nothing. Reading decodes forwards from the keyframe before a stretch's first frame, one frame after
the other, and leaves out what lies between frames' keyframes. By PyAV (extra `video`), whose FFmpeg may open no other
files than the one that it is given, and only containers of these formats.
"""

import contextlib
import io
import itertools
from collections import Counter, deque
from collections.abc import Iterator, MutableMapping
from fractions import Fraction
from typing import Any

from ....detectors.device_share import processors
from ....storage.file_info import FileVersion
from ....storage.read_options import ReadOptions
from ...elements import ImageReference
from ..frame_choice import FrameChoice
from ..inputs import InputError, check_can_read_videos
from .forward import ForwardReader
from .http_copies import open_at_any_place, version_of_opened
from .members import CHUNK_BYTES, CHUNK_IMAGES, problem_at
from .video_frames import Frames

_FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # FFmpeg's names: no playlists, which name other files
_BUFFER_BYTES = 1 << 18
_MAX_THREADS = 8  # of one decoder: each holds a frame
_CUT_OFF_S = 1.0  # by which a video may be shorter than its header says


def index(
    path: str, choice: FrameChoice = FrameChoice(), read: ReadOptions = ReadOptions()
) -> Iterator[ImageReference]:
    """Yields the frames of a video that are chosen, in their order, and a problem if the file is cut off.

    Args:
      path: absolute path or URI.
      choice: which frames.
      read: how videos on http(s) servers are read.

    Raises:
      InputError: if it is no video, has no frames, or PyAV isn't installed.
      OSError: if it can't be read; `StorageError` from a server.
    """
    frames = read_frames(path, read)
    chunk, images, begin = -1, CHUNK_IMAGES, 0
    for pts in choice.choose(frames.pts, frames.keyframes, frames.time_base):
        end = frames.bytes_up_to(pts)
        if images == CHUNK_IMAGES or end - begin > CHUNK_BYTES:
            chunk, images, begin = chunk + 1, 0, end
        images += 1
        yield frames.reference(pts, chunk)
    if frames.problem:
        yield problem_at(path, f"after {frames.name(frames.pts[-1])}", frames.problem)


def read_frames(path: str, read: ReadOptions = ReadOptions()) -> Frames:
    """Reads the times of a video's packets. Raises as `index`."""
    import av

    with contextlib.closing(Video(path, read)) as video:
        container, stream = video.container, video.stream
        sizes, keyframes, end_s, problem, num_packets = Counter(), [], 0.0, "", 0
        try:
            for packet in container.demux():
                if packet.size == 0 or packet.time_base is None:
                    continue
                if (at := _pts_of(packet)) is not None:
                    end_s = max(end_s, float((at + (packet.duration or 0)) * packet.time_base))
                if packet.stream_index != stream.index:
                    continue
                num_packets += 1
                if at is None or packet.is_discard:
                    continue
                sizes[at] += packet.size
                if packet.is_keyframe:
                    keyframes.append(at)
        except av.FFmpegError as error:
            problem = f"can't be read on ({error.strerror}): what follows is unknown"
        if not sizes:
            raise InputError(f"container {path}: a video without frames" + (f", or it {problem}" if problem else ""))
        length_s = _length_s(container, stream)
        if not problem and (num_packets < stream.frames or end_s < length_s - _CUT_OFF_S):
            problem = (
                f"cut off: it says that it has {stream.frames} frames, and has {num_packets}"
                if stream.frames
                else f"cut off: it says that it lasts {length_s:.3f} s, and ends at {end_s:.3f} s"
            )
        context = stream.codec_context
        in_order = sorted(sizes)
        return Frames(
            path,
            in_order,
            sorted(keyframes) or in_order[:1],
            stream.time_base or Fraction(1, 1000),
            list(itertools.accumulate(sizes[at] for at in in_order)),
            context.width * context.height * 3,
            problem,
        )


def _length_s(container: Any, stream: Any) -> float:
    """How long a Matroska file says that it is; 0 for others, which say how many frames they have."""
    if "matroska" not in container.format.name or not container.duration:
        return 0.0
    return container.duration / 1_000_000


def _pts_of(packet: Any) -> int | None:
    return packet.dts if packet.pts is None else packet.pts


class _File:
    """A file as FFmpeg reads it: what leads a damaged one to places before its start is no error of the disk."""

    def __init__(self, path: str, read: ReadOptions):
        self._file = open_at_any_place(path, read)
        self.read, self.tell, self.close = self._file.read, self._file.tell, self._file.close
        self.name = path
        self.version = version_of_opened(self._file, path, read)
        self._size = self._file.seek(0, io.SEEK_END)
        self._file.seek(0)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self._size}[whence]
        return self._file.seek(start + offset) if start + offset >= 0 else -1


class Video:
    """An open video.

    Raises:
      InputError: if it is none.
      OSError: if the file can't be read.
    """

    def __init__(self, path: str, read: ReadOptions):
        check_can_read_videos()
        import av

        self._file = _File(path, read)
        try:
            try:
                self.container = av.open(
                    self._file, mode="r", options={"format_whitelist": _FORMATS}, buffer_size=_BUFFER_BYTES
                )
            except (av.FFmpegError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise InputError(f"container {path}: no video, or damaged at its start ({reason})") from error
            self.stream = self._find_stream(path)
        except BaseException:
            self.close()
            raise

    @property
    def version(self) -> FileVersion:
        return self._file.version

    def _find_stream(self, path: str) -> Any:
        from av.stream import Disposition

        cover = Disposition.attached_pic
        streams = [stream for stream in self.container.streams.video if not stream.disposition & cover]
        if not streams:
            what = "only sound" if self.container.streams.audio else "no frames"
            raise InputError(f"container {path}: a video without images: there is {what} in it")
        stream = streams[0]
        if stream.codec_context is None:
            raise InputError(f"container {path}: a video whose codec is unknown here")
        # Threads that decode further frames: what they give is the same, in the same order.
        stream.codec_context.thread_type = "AUTO"
        stream.codec_context.thread_count = min(processors(), _MAX_THREADS)
        return stream

    def close(self) -> None:
        if (container := getattr(self, "container", None)) is not None:
            container.close()
        self._file.close()


class Reader(ForwardReader):
    """Decodes frames of a stretch of a video, `av.VideoFrame`. Not thread-safe."""

    _opened: Video | None = None

    @property
    def version(self) -> FileVersion:
        return self._video.version

    @property
    def _video(self) -> Video:
        assert self._opened is not None  # since the first `read`
        return self._opened

    def _open(self) -> None:
        if self._opened is None:
            self._opened = Video(self._path, self._options)

    def _decoded(self, keyframe: int, expected: MutableMapping[int, int]) -> Iterator[tuple[int, Any]]:
        """Those before the next keyframe that is needed are left out."""
        import av

        times = _FrameTimes(self._video)
        group, has_fed, is_damaged = None, False, False
        for packet in self._packets_from(keyframe):
            codec = self._video.stream.codec_context
            if packet is not None:
                if packet.is_keyframe:
                    group = _pts_of(packet)
                if group is None or group < min(expected.values(), default=group):
                    if has_fed:
                        codec.flush_buffers()
                        times.forget()
                        has_fed = is_damaged = False
                    continue
                times.feed(packet)
            has_fed = True
            try:
                decoded = codec.decode(packet)
            except av.FFmpegError:
                is_damaged = True  # and so is what is made from it, up to the next keyframe
                continue
            for frame in decoded:
                is_damaged = is_damaged and not frame.key_frame
                if (at := times.of(frame)) is not None:
                    yield at, None if is_damaged or frame.is_corrupt else frame

    def _packets_from(self, keyframe: int) -> Iterator[Any]:
        """Packets from a keyframe on, or from earlier; None behind the last."""
        import av

        stream = self._video.stream
        try:
            self._video.container.seek(keyframe, stream=stream)
            stream.codec_context.flush_buffers()
            packets = self._packets()
            first = next(packets)
            lands_behind = first is None or (_pts_of(first) or 0) > keyframe
        except av.FFmpegError:
            lands_behind, packets, first = True, iter(()), None
        if lands_behind:  # no index, or a wrong one: from the start
            self._video.close()
            self._opened = Video(self._path, self._options)
            packets = self._packets()
        else:
            yield first
        yield from packets

    def _packets(self) -> Iterator[Any]:
        import av

        with contextlib.suppress(av.FFmpegError):  # the file is cut off there, as listing has said
            for packet in self._video.container.demux(self._video.stream):
                if packet.size:
                    yield packet
        yield None

    def close(self) -> None:
        super().close()
        if self._opened is not None:
            self._opened.close()


class _FrameTimes:
    """The times of decoded frames, in the same units as those of packets.

    AVI files have times of packets only, in the order in which they are decoded. FFmpeg works out those of frames for
    most codecs; for H.264 and HEVC they are counted from the last keyframe.
    """

    def __init__(self, video: Video):
        self._counts = video.container.format.name == "avi" and video.stream.codec_context.name in ("h264", "hevc")
        self.forget()

    def forget(self) -> None:
        self._keyframes: deque[int] = deque()
        self._last: int | None = None
        self._step = 1

    def feed(self, packet: Any) -> None:
        self._step = packet.duration or self._step
        if packet.is_keyframe and (at := _pts_of(packet)) is not None:
            self._keyframes.append(at)

    def of(self, frame: Any) -> int | None:
        if not self._counts:
            return frame.dts if frame.pts is None else frame.pts
        if frame.key_frame and self._keyframes:
            self._last = self._keyframes.popleft()
        elif self._last is not None:
            self._last += self._step
        return self._last
