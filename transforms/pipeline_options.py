"""labelbeam's own options among Beam's, which Beam hands to each worker."""

from apache_beam.options.pipeline_options import PipelineOptions


class StorageOptions(PipelineOptions):
    """`--storage_option KEY=VALUE`, which `storage.stores.options` looks for."""

    @classmethod
    def _add_argparse_args(cls, parser) -> None:
        parser.add_argument("--storage_option", action="append", default=None, help="KEY=VALUE, see docs/stores.md")
