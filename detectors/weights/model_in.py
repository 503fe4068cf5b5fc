"""What is in a folder or file that somebody calls weights: a SavedModel, a checkpoint, or something else."""

from pathlib import Path

from ...storage.errors import WeightsError

GRAPH = "saved_model.pb"
_DEPTH = 3  # levels of folders that archives and caches put around a model
_OTHERS = {
    ".keras": "a model of Keras; load it with keras.models.load_model and write a SavedModel with model.export(FOLDER)",
    ".h5": "weights or a model in Keras' older format; load them in Keras and write a SavedModel with "
    "model.export(FOLDER). Weights that `labelbeam weights import` wrote end in .weights.h5",
    ".tflite": "a TensorFlow Lite model, which can't be turned back; give the SavedModel that it was made from",
    ".pt": "weights of PyTorch; export the model with torch.onnx.export and give the .onnx file with --detector",
    ".pth": "weights of PyTorch; export the model with torch.onnx.export and give the .onnx file with --detector",
    ".safetensors": "weights without a graph; export the model to ONNX and give the .onnx file with --detector",
    ".pb": "a frozen graph of TensorFlow 1; give the folder saved_model/ that the Object Detection API's exporter "
    "wrote beside it",
    ".ckpt": "a checkpoint of TensorFlow 1; export a SavedModel with the Object Detection API's exporter",
    ".pbtxt": "a label map; give it with --labels",
    ".config": "a training configuration; give the folder with the saved_model/ that belongs to it",
}


def model_in(path: str, what: str) -> str:
    """The SavedModel's folder, the checkpoint (without endings) or the weights file that `path` means.

    Args:
      path: of a folder or a file on this machine: the model itself, its `saved_model.pb`, the folder of a model zoo's
        archive (`saved_model/`, `checkpoint/`), or folders around one model, as in kagglehub's cache.
      what: what the user calls it, for errors.

    Raises:
      WeightsError: says what it is instead, what was expected, and what to do.
    """
    place = Path(path)
    if place.name == GRAPH and place.is_file():
        return str(place.parent)
    if path.endswith((".weights.h5", ".onnx")) and place.is_file():
        return path
    if path.endswith(".weights.h5") or Path(f"{path}.index").is_file():
        return path
    if place.suffix == ".index" and place.is_file():
        return str(place.with_suffix(""))
    if place.is_file():
        kind = _OTHERS.get(
            place.suffix.lower(), "no model that labelbeam knows; give the model itself, and a label map with --labels"
        )
        raise WeightsError(
            f"{what}: expected a SavedModel's folder, an archive or an .onnx file; {place.name} is {kind}"
        )
    if not place.is_dir():
        raise WeightsError(
            f"{what}: found no such folder, checkpoint or file; expected a SavedModel, a folder with {GRAPH} and "
            "variables/, or for engine keras a checkpoint (FOLDER/ckpt-0) or a weights file"
        )
    return _in_folder(place, what, _DEPTH)


def _in_folder(folder: Path, what: str, depth: int) -> str:
    if (folder / GRAPH).is_file():
        return str(folder)
    if (folder / "saved_model" / GRAPH).is_file():
        return str(folder / "saved_model")
    for place in (folder / "checkpoint", folder):
        if place.is_dir() and (found := sorted(place.glob("*.index"))):
            return str(found[0].with_suffix("")) if len(found) == 1 else str(place)
    inside = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__MACOSX")))
    models = [path for path in inside if depth and _holds_model(path, depth - 1)]
    if len(models) == 1:
        return _in_folder(models[0], what, depth - 1)
    if models:
        names = ", ".join(path.name for path in models)
        raise WeightsError(f"{what}: there are several models in it, {names}; give the folder of one of them")
    there = sorted(path.name for path in folder.iterdir())[:10]
    hint = next((f" {name} is {_OTHERS[s]}." for name in there if (s := Path(name).suffix.lower()) in _OTHERS), "")
    raise WeightsError(
        f"{what}: expected a SavedModel, a folder with {GRAPH} and variables/; found {there or 'nothing'}.{hint}"
    )


def _holds_model(folder: Path, depth: int) -> bool:
    if (folder / GRAPH).is_file() or any(folder.glob("*.index")):
        return True
    return depth > 0 and any(path.is_dir() and _holds_model(path, depth - 1) for path in folder.iterdir())
