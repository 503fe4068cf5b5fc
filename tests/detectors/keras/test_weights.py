import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from labelbeam.detectors.keras import networks, published, weights
from labelbeam.storage.errors import UsageError, WeightsError

from tests.detectors.keras.support.checkpoints import centernet_zoo_keys, mask_rcnn_zoo_keys, write_checkpoint
from tests.detectors.keras.support.filled_networks import CENTERNET, MASK_RCNN
from tests.standins import standin


@pytest.fixture
def zoo(tmp_path, centernet):
    """Writes CenterNet's variables, changed by `change(variables)`, as a zoo checkpoint; gives its path."""

    def write(change=lambda variables: None, keys=None):
        variables = dict(centernet.variables)
        change(variables)
        write_checkpoint(tmp_path / "ckpt-0", variables, keys or centernet_zoo_keys())
        return str(tmp_path / "ckpt-0")

    return write


@pytest.mark.heavy
def test_imports_a_zoo_checkpoint(centernet, centernet_file):
    network = networks.build_network(CENTERNET)
    assert weights.load_weights(network, centernet_file) == centernet.fingerprint
    assert weights.read_fingerprint(centernet_file, CENTERNET) == centernet.fingerprint
    for loaded, expected in zip(network.variables, centernet.network.variables, strict=True):
        np.testing.assert_array_equal(loaded, expected)


def test_names_that_count_from_elsewhere_are_numbered_anew(tmp_path, centernet, centernet_file):
    def shifted(name):
        return re.sub(
            r"^(conv2d|conv2d_transpose|batch_normalization)(?:_(\d+))?(?=/|$)",
            lambda m: f"{m[1]}_{int(m[2] or 0) + 17}",
            name,
        )

    write_checkpoint(
        tmp_path / "ckpt-0",
        {shifted(n): v for n, v in centernet.variables.items()},
        {shifted(n): k for n, k in centernet_zoo_keys().items()},
    )
    weights.import_weights(CENTERNET, str(tmp_path), str(tmp_path / "again.weights.h5"))
    assert (tmp_path / "again.weights.h5").read_bytes() == Path(centernet_file).read_bytes()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda v: v.pop("conv4_block2_1_bn/beta"), "it lacks conv4_block2_1_bn/beta"),
        (lambda v: v.update({"conv1_conv/gamma": np.zeros(3, np.float32)}), "it has conv1_conv/gamma, for which"),
        (
            lambda v: v.update({"conv2d_4/kernel": np.zeros((3, 3, 64, 255), np.float32)}),
            r"conv2d_4/kernel: expected float32 \[3, 3, 64, 256\], got float32 \[3, 3, 64, 255\]",
        ),
        (lambda v: v.update({"conv2d_4/bias": np.full(256, np.nan, np.float32)}), "conv2d_4/bias holds NaN"),
        (lambda v: v.update({"conv2_block1_1_bn/moving_variance": np.full(64, -1, np.float32)}), "negative variance"),
    ],
)
def test_a_wrong_source_is_refused_by_its_first_difference(zoo, tmp_path, change, message):
    with pytest.raises(WeightsError, match=message):
        weights.import_weights(CENTERNET, zoo(change), str(tmp_path / "x.weights.h5"))
    assert not list(tmp_path.glob("x.weights.h5*"))


@pytest.mark.heavy
def test_the_other_detectors_weights_are_refused(zoo, tmp_path):
    with pytest.raises(WeightsError, match=r"not those of this network: it lacks .* more differences"):
        weights.import_weights(MASK_RCNN, zoo(), str(tmp_path / "x.weights.h5"))


def test_a_damaged_checkpoint_is_refused(zoo, tmp_path):
    source = zoo()
    data = tmp_path / "ckpt-0.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:10_000_000])
    with pytest.raises(WeightsError, match="damaged"):
        weights.import_weights(CENTERNET, source, str(tmp_path / "x.weights.h5"))


def test_a_damaged_weights_file_is_refused(centernet_file, tmp_path):
    damaged = tmp_path / "damaged.weights.h5"
    damaged.write_bytes(Path(centernet_file).read_bytes())
    with h5py.File(damaged, "a") as file:
        file["conv1_conv/bias"][0] += 1
    with pytest.raises(WeightsError, match="damaged"):
        weights.load_weights(networks.build_network(CENTERNET), str(damaged))
    damaged.write_bytes(b"not HDF5")
    with pytest.raises(WeightsError, match="can't be read as HDF5"):
        weights.read_fingerprint(str(damaged), CENTERNET)


@pytest.mark.heavy
def test_a_weights_file_fits_its_own_network_only(centernet_file):
    with pytest.raises(WeightsError, match=f"expected weights of {MASK_RCNN}, it holds those of {CENTERNET}"):
        weights.load_weights(networks.build_network(MASK_RCNN), centernet_file)


def test_sources_that_are_none(tmp_path):
    with pytest.raises(WeightsError, match="it has neither"):
        published.checkpoint_prefix(str(tmp_path))
    with pytest.raises(WeightsError, match=r"there's no file .*nothing.index"):
        published.checkpoint_prefix(str(tmp_path / "nothing"))
    (tmp_path / "ckpt-0.index").touch()
    (tmp_path / "ckpt-1.index").touch()
    with pytest.raises(WeightsError, match=r"it has ckpt-0.index, ckpt-1.index"):
        published.checkpoint_prefix(str(tmp_path))


def test_the_cache_imports_once(zoo, tmp_path):
    source = zoo()
    file = weights.cached_weights(CENTERNET, source, str(tmp_path / "cache"))
    made = (tmp_path / "cache" / file.split("/")[-1]).stat()
    assert weights.cached_weights(CENTERNET, source, str(tmp_path / "cache")) == file
    assert (tmp_path / "cache" / file.split("/")[-1]).stat().st_mtime_ns == made.st_mtime_ns


def test_unknown_networks_and_precisions():
    with pytest.raises(UsageError, match="did you mean 'centernet_resnet50v2_512x512'"):
        networks.build_network("centernet_resnet50v2_512")
    with pytest.raises(UsageError, match="float16: expected one of float32, bfloat16"):
        networks.build_network(CENTERNET, "float16")


@pytest.mark.heavy
@pytest.mark.parametrize(
    "detector, name, keys",
    [(CENTERNET, "centernet", centernet_zoo_keys()), (MASK_RCNN, "mask_rcnn", mask_rcnn_zoo_keys())],
)
def test_saved_model_and_checkpoint_give_the_same_file(detector, name, keys, tmp_path, request):
    saved_model = standin(name)
    weights.import_weights(detector, saved_model, str(tmp_path / "a.weights.h5"))
    variables = published.read_variables(saved_model)
    write_checkpoint(tmp_path / "ckpt-0", variables, keys, extra={"save_counter": np.int64(1)})
    weights.import_weights(detector, str(tmp_path / "ckpt-0"), str(tmp_path / "b.weights.h5"))
    assert (tmp_path / "a.weights.h5").read_bytes() == (tmp_path / "b.weights.h5").read_bytes()
    # The golden files' weights are the stand-ins' own.
    assert (
        weights.read_fingerprint(str(tmp_path / "a.weights.h5"), detector) == request.getfixturevalue(name).fingerprint
    )
