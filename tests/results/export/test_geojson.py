import json

import numpy as np
import pytest
from skimage.draw import polygon2mask

from tests.results.export.outputs import labels_by_name, make_output, run_export


@pytest.mark.parametrize("mask_format", ["rle", "none"])
def test_features_are_what_was_labelled(tmp_path, mask_format):
    output, to = make_output(tmp_path, mask_format), tmp_path / "to"
    assert run_export(output, "geojson", to) == 0
    for name, labels in labels_by_name(output).items():
        collection = json.loads((to / "labels" / f"{name}.geojson").read_text())
        assert collection["type"] == "FeatureCollection" and collection["uri"] == labels.uri
        assert len(collection["features"]) == len(labels.scores)
        for rank, feature in enumerate(collection["features"]):
            left, top, right, bottom = feature["bbox"]
            np.testing.assert_allclose([left, top, right - left, bottom - top], labels.boxes_xywh[rank], atol=0.01)
            assert feature["properties"]["classification"]["name"] == labels.class_names[rank]
            assert np.float32(feature["properties"]["score"]) == labels.scores[rank]
            kind, coordinates = feature["geometry"]["type"], feature["geometry"]["coordinates"]
            if mask_format == "none":
                assert kind == "Polygon" and coordinates[0][0] == coordinates[0][4] == [left, top]
                continue
            assert kind == "MultiPolygon"
            mask = np.zeros(labels.size_hw, bool)
            for exterior, *holes in coordinates:
                assert exterior[0] == exterior[-1] and area(exterior) > 0 and all(area(hole) < 0 for hole in holes)
                mask |= pixels_of(exterior, labels) & ~np.any(
                    [pixels_of(hole, labels) for hole in holes] or [False], axis=0
                )
            np.testing.assert_array_equal(mask, labels.mask(rank))


def pixels_of(ring, labels):
    return polygon2mask(labels.size_hw, np.array(ring)[:, ::-1] - 0.5)


def area(ring):
    """Positive if counter-clockwise, as RFC 7946 wants exteriors."""
    x, y = np.array(ring).T
    return np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2
