"""Packaging: the folders of the checkout become the packages `labelbeam.pipeline`, `labelbeam.transforms`, … .

The folders lie at the top of the repository; they are installed below one name, `labelbeam`, so that words as common
as `transforms` never collide with another distribution's. Beam's `--setup_file ./setup.py` ships the same
distribution to workers.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOMS = ("pipeline", "results", "transforms", "labelset", "detectors", "storage", "configs")

VERSION = re.search(r'^__version__ = "(.+)"$', Path("labelbeam/__init__.py").read_text(encoding="utf-8"), re.M)[1]

packages = ["labelbeam"]
for room in ROOMS:
    packages.append(f"labelbeam.{room}")
    packages.extend(f"labelbeam.{room}.{name}" for name in find_packages(room))

setup(
    name="labelbeam",
    version=VERSION,
    description="Labels images at scale, offline: image URIs in, Parquet tables of detections and mask references out.",
    long_description=Path(__file__).with_name("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    author="The labelbeam authors",
    keywords=["apache-beam", "object-detection", "instance-segmentation", "batch-inference", "parquet", "keras"],
    project_urls={
        "Documentation": "https://labelbeam.github.io/labelbeam",
        "Source": "https://github.com/labelbeam/labelbeam",
        "Changelog": "https://github.com/labelbeam/labelbeam/blob/main/CHANGELOG.md",
        "Issues": "https://github.com/labelbeam/labelbeam/issues",
    },
    classifiers=[
        "Development Status :: 4 - Beta",
        "Environment :: Console",
        "Intended Audience :: Developers",
        "Intended Audience :: Science/Research",
        "Operating System :: MacOS",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Scientific/Engineering :: Image Recognition",
    ],
    python_requires=">=3.10",
    packages=packages,
    package_dir={"labelbeam": "labelbeam", **{f"labelbeam.{room}": room for room in ROOMS}},
    package_data={
        "labelbeam.configs": ["**/*.yaml"],
        "labelbeam.detectors": ["demo/model/**/*"],
        "labelbeam.pipeline": ["demo_images/*.jpg"],
        "labelbeam.results": ["**/*.j2"],
    },
    install_requires=[
        "apache-beam>=2.77,<3",
        "h5py>=3.11",
        "Jinja2>=3.1",
        "keras>=3.10,<3.16",  # layers' arithmetic and weights files, checked up to here
        "numpy>=2",
        "obstore>=0.11,<0.13",  # tells what happened by the texts of its errors alone
        "packaging>=22",
        "pillow>=12,<13",  # its registries of formats: docs/architecture.md, "Private APIs"
        "protobuf>=5",
        "pyarrow>=20",
        "pycurl>=7.45.6",
        "PyYAML>=6",
        "rich>=13",
        "simplejpeg>=1.9",
        "tensorflow>=2.21",
        "tensorflow-hub>=0.16.1",
    ],
    extras_require={
        "aws": ["apache-beam[aws]>=2.77,<3", "boto3>=1.36"],
        "evaluate": ["hotcoco>=1.3,<2"],
        "delta": ["deltalake>=1.6,<2"],
        "iceberg": ["pyiceberg[pyarrow,sql-sqlite]>=0.12,<0.13"],  # below 1, its releases change what we call
        "kaggle": ["kagglehub>=0.3"],
        "onnx": ["onnxruntime>=1.20"],
        "export": ["scikit-image>=0.24"],
        "gcp": ["apache-beam[gcp]>=2.77,<3", "google-auth>=2", "google-cloud-storage>=3,<4"],
        "heif": ["pillow-heif>=0.20"],
        "completion": ["shtab>=1.7"],
        # Linters and a type checker with what it knows of pyarrow.
        "check": ["pyarrow-stubs>=20", "pyright[nodejs]>=1.1.400", "ruff>=0.12"],
        "docs": ["mkdocs-material>=9.6,<10"],
        # Of apache-beam[gcp] what builds a Dataflow job offline; all of it would be 150 MB more.
        "test": [
            "albumentations>=2",
            "apache-beam[yaml]>=2.77,<3",
            "av>=14",
            "boto3>=1.36",
            "deltalake>=1.6,<2",
            "duckdb>=1",
            "google-apitools>=0.5.31",
            "google-auth-httplib2>=0.1",
            "google-cloud-dataflow-client>=0.8.6",
            "google-cloud-storage>=3,<4",
            "hotcoco>=1.3,<2",
            "hypothesis>=6.100",
            "jax>=0.6",
            "kagglehub>=0.3",
            "matplotlib>=3.9",
            "onnx>=1.17",
            "onnxruntime>=1.20",
            "moto[server]>=5",
            "pandas>=2",
            "pillow-heif>=0.20",
            "playwright>=1.50",
            "pycocotools>=2.0.8",
            "pyiceberg[pyarrow,sql-sqlite]>=0.12,<0.13",
            "pytest>=8",
            "pytest-xdist>=3.6",
            "scikit-image>=0.24",
            "shtab>=1.7",
            "supervision>=0.26",
        ],
        "video": ["av>=14"],
        "yaml": ["apache-beam[yaml]>=2.77,<3"],
    },
    entry_points={"console_scripts": ["labelbeam = labelbeam.pipeline.cli:run_command"]},
)
