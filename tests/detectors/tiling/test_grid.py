import numpy as np
import pytest
from labelbeam.detectors.tiling.grid import Window, windows
from labelbeam.detectors.tiling.options import TileOptions, tile_options
from labelbeam.storage.errors import UsageError


@pytest.mark.parametrize("size_hw", [(384, 384), (385, 384), (1000, 3000), (10_000, 20_000), (500, 90), (1, 5000)])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 1 / 3, 0.8])
def test_tiles_cover_the_image_and_overlap_as_asked(size_hw, overlap):
    tiles = windows(size_hw, TileOptions((384, 384), overlap, larger_tiles=False))
    for axis in (0, 1):
        spans = sorted({(window[axis], window[axis + 2]) for window in tiles})
        assert spans[0][0] == 0 and spans[-1][1] == size_hw[axis]
        assert {end - start for start, end in spans} == {min(384, size_hw[axis])}
        common = [first[1] - second[0] for first, second in zip(spans, spans[1:], strict=False)]
        assert all(c >= int(384 * overlap) for c in common)
    assert len(set(tiles)) == len(tiles)


def test_an_image_no_larger_than_a_tile_is_one():
    assert windows((300, 384), TileOptions((384, 384))) == [Window(0, 0, 300, 384)]


def test_larger_tiles_up_to_the_whole_image():
    found = windows((900, 1500), TileOptions((384, 384), 0.25))
    sizes = [(window.ymax - window.ymin, window.xmax - window.xmin) for window in found]
    assert sizes == [(384, 384)] * 15 + [(768, 768)] * 6 + [(900, 1500)]
    assert windows((700, 384), TileOptions((384, 384), 0.25))[-1] == Window(0, 0, 700, 384)


def test_a_window_is_a_view():
    image = np.zeros((10, 10, 3), np.uint8)
    assert Window(2, 3, 5, 9).of(image).shape == (3, 6, 3) and np.shares_memory(Window(2, 3, 5, 9).of(image), image)


def test_options():
    assert tile_options("auto", 0.25, False, (512, 640)) == TileOptions((512, 640), 0.25, True)
    assert tile_options(300, 0.25, True, None) == TileOptions((300, 300), 0.25, False)
    with pytest.raises(UsageError, match="--tiles auto: the detector's configuration doesn't say"):
        tile_options("auto", 0.25, False, None)
    with pytest.raises(UsageError, match="--tiles 20: expected 64 pixels or more"):
        tile_options(20, 0.25, False, None)
    with pytest.raises(UsageError, match=r"--tile-overlap 1\.0: expected a share"):
        tile_options(300, 1.0, False, None)
