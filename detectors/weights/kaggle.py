"""Models of Kaggle, where TF Hub's have gone: their handles in every form that people have, and fetching them."""

import re
from pathlib import Path

from ...storage.errors import WeightsError
from ...storage.installation import install_hint
from .whole import check_whole

SCHEME = "kaggle://"
_FRAMEWORKS = (
    "tensorFlow2",
    "tensorFlow1",
    "tfLite",
    "tfJs",
    "keras",
    "jax",
    "pyTorch",
    "onnx",
    "other",
    "transformers",
)
_PART = r"[A-Za-z0-9._-]+"
_FORMS = (
    rf"kaggle://(?P<owner>{_PART})/(?P<model>{_PART})/(?P<framework>{_PART})/(?P<variation>{_PART})(/(?P<version>\d+))?",
    rf"https?://(www\.)?kaggle\.com/models/(?P<owner>{_PART})/(?P<model>{_PART})/(?P<framework>{_PART})"
    rf"/(?P<variation>{_PART})(/(?P<version>\d+))?",
    rf"https?://(www\.)?kaggle\.com/models/(?P<owner>{_PART})/(?P<model>{_PART})/frameworks/(?P<framework>{_PART})"
    rf"/variations/(?P<variation>{_PART})(/versions/(?P<version>\d+))?",
    rf"(?P<owner>{_PART})/(?P<model>{_PART})/(?P<framework>{_PART})/(?P<variation>{_PART})(/(?P<version>\d+))?",
)


def canonical(weights: str) -> str:
    """`kaggle://OWNER/MODEL/FRAMEWORK/VARIATION[/VERSION]` of a handle or a page's URL; anything else as it is.

    A bare handle, without `kaggle://`, is one if its third part is a framework of Kaggle's and there's no such path.
    """
    for form in _FORMS:
        if found := re.fullmatch(form, weights.split("?")[0].rstrip("/")):
            framework = {name.lower(): name for name in _FRAMEWORKS}.get(found["framework"].lower())
            if framework is None or (form is _FORMS[-1] and Path(weights).exists()):
                return weights
            version = f"/{found['version']}" if found["version"] else ""
            return f"{SCHEME}{found['owner']}/{found['model']}/{framework}/{found['variation']}{version}"
    return weights


def fetch(handle: str) -> str:
    """The folder of a model, downloaded by kagglehub into its own cache (`KAGGLEHUB_CACHE`) where it isn't there.

    Args:
      handle: as `canonical` gives it.

    Raises:
      WeightsError: if kagglehub isn't installed, or can't fetch it.
    """
    page = "https://www.kaggle.com/models/" + handle.removeprefix(SCHEME)
    by_hand = f"download it from {page} and give the archive or the folder with --weights"
    try:
        import kagglehub
    except ImportError as error:
        raise WeightsError(f"weights {handle}: needs kagglehub: {install_hint('kaggle')}; or {by_hand}") from error
    name = handle.removeprefix(SCHEME)
    try:
        folder = kagglehub.model_download(name)
        if Path(folder, "saved_model.pb").is_file():
            try:
                check_whole(folder, f"weights {handle}")
            except WeightsError:  # the cache has lost files
                folder = kagglehub.model_download(name, force_download=True)
    except WeightsError:
        raise
    except Exception as error:  # requests', kagglehub's own and those of the disk
        text = " ".join(str(error).split())[:300]
        raise WeightsError(
            f"weights {handle}: kagglehub can't fetch it ({type(error).__name__}: {text}). Some models want a login "
            f"(KAGGLE_USERNAME and KAGGLE_KEY) or that you accept a licence on their page; or {by_hand}"
        ) from error
    return folder
