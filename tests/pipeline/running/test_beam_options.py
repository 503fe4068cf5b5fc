import pytest
from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, StandardOptions
from labelbeam.pipeline.running.beam_options import parse_beam_options, use_store_options
from labelbeam.storage.errors import UsageError
from labelbeam.storage.stores import options as store_options

OWN = ["--min-score", "--output"]


def test_beams_options_reach_beam():
    options = parse_beam_options(["--runner=PortableRunner", "--environment_type", "LOOPBACK"], OWN)
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_the_default_runner_is_named_so_that_nothing_is_downloaded():
    assert parse_beam_options([], OWN).view_as(StandardOptions).runner == "FnApiRunner"


def test_a_job_has_its_own_options_of_stores_whatever_an_earlier_command_of_the_process_was_given():
    store_options.configure(["aws_region=eu-west-1"])
    try:
        use_store_options(PipelineOptions(["--s3_region_name=us-west-2"]))
        assert dict(store_options.current().s3)["region"] == "us-west-2"
    finally:
        use_store_options(PipelineOptions([]))


@pytest.mark.parametrize(
    "arguments, named",
    [
        (["--min-scor", "0.3"], r"--min-scor, did you mean --min-score\?"),
        (["--runer=FlinkRunner"], r"--runer, did you mean --runner\?"),
        (["--frobnicate"], "unknown option --frobnicate"),
        (["--direct_num_workers", "many"], "invalid int value: 'many'"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_a_misspelt_option_is_an_error(arguments, named):
    with pytest.raises(UsageError, match=named):
        parse_beam_options(arguments, OWN)
