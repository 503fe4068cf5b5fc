import pytest

from benchmarks.detectors import network_costs as costs


def by_name(parts):
    return {part.name: part for part in parts}


def test_centernet(centernet):
    parts = by_name(costs.centernet_parts(centernet.network))
    assert sum(p.plain_gmac for p in parts.values()) == pytest.approx(28.1, abs=0.1)
    assert sum(p.keras_gmac for p in parts.values()) == pytest.approx(23.3, abs=0.1)
    assert parts["ResNet50-v2"].plain_gmac == pytest.approx(18.2, abs=0.1)
    assert parts["neck"].plain_gmac == pytest.approx(2.3, abs=0.1)
    assert costs.parameters(centernet.network) == pytest.approx(29.9e6, rel=0.01)


def test_mask_rcnn():
    from labelbeam.detectors.keras.networks import build_network

    from tests.detectors.keras.support.filled_networks import MASK_RCNN

    network = build_network(MASK_RCNN)
    parts = costs.mask_rcnn_parts(network, num_masks=10)
    first, rpn, _, tower, _, masks_tower, mask_head = parts
    for part, gmac in ((first, 152.6), (rpn, 20.7), (tower, 759), (masks_tower, 253), (mask_head, 536)):
        assert part.plain_gmac == pytest.approx(gmac, rel=0.01), part.name
    assert sum(p.plain_gmac for p in parts) == pytest.approx(1722, rel=0.01)
    assert sum(p.keras_gmac for p in parts) == pytest.approx(900, rel=0.05)
    assert costs.parameters(network) == pytest.approx(65.0e6, rel=0.01)
