"""Videos for tests, made by PyAV: each frame has one colour, which tells its number."""

from fractions import Fraction

import av
import numpy as np

SIZE_WH = (64, 48)
_STEPS = 24  # levels of red, and of green, that encoders keep apart


def colour(number):
    """RGB of the frame with this number; the same again after 576."""
    number %= _STEPS**2
    return (number % _STEPS * 10 + 10, number // _STEPS * 10 + 10, 60)


def number_of(pixels):
    """Of a frame, from its pixels."""
    red, green, _ = np.median(pixels.reshape(-1, 3), axis=0)
    return round((red - 10) / 10) + _STEPS * round((green - 10) / 10)


def write_video(
    path, frames=60, rate=25, codec="mpeg4", times_ms=None, gop=12, bframes=0, turned=0, size_wh=SIZE_WH, sound=False,
    options=None,
):  # fmt: skip
    """Writes a video.

    Args:
      path: its extension tells the container.
      frames: how many.
      rate: frames a second.
      codec: FFmpeg's name of an encoder.
      times_ms: when each frame is shown, instead of `rate`.
      gop: a keyframe each so many frames.
      bframes: between others, at most.
      turned: degrees by which viewers turn it, as phones write them.
      sound: whether silence is in it as well.
      options: of the container.
    """
    with av.open(str(path), "w", options=options or {}) as container:
        no_scenes = {"mpeg4": {"sc_threshold": "1000000000"}, "libx264": {"sc_threshold": "0"}}
        stream = container.add_stream(codec, rate=rate, options={"bf": str(bframes), **no_scenes.get(codec, {})})
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.bit_rate = 4_000_000
        time_base = Fraction(1, 1000) if times_ms else Fraction(1, rate)
        if times_ms:
            stream.codec_context.time_base = time_base
        if turned:
            stream.set_display_rotation(turned)
        track = container.add_stream("aac", rate=8000) if sound else None
        for number in range(len(times_ms or range(frames))):
            pixels = np.full((size_wh[1], size_wh[0], 3), colour(number), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = times_ms[number] if times_ms else number
            frame.time_base = time_base
            container.mux(stream.encode(frame))
        if not frames:
            container.start_encoding()
        container.mux(stream.encode())
        if track is not None:
            _add_silence(container, track)
    return path


def write_sound(path):
    """A file without images."""
    with av.open(str(path), "w") as container:
        _add_silence(container, container.add_stream("aac", rate=8000))
    return path


def _add_silence(container, track):
    for number in range(8):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, number * 1024, Fraction(1, 8000)
        container.mux(track.encode(frame))
    container.mux(track.encode())
