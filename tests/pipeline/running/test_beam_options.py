import pytest
from apache_beam.options.pipeline_options import PortableOptions, StandardOptions
from labelbeam.pipeline.running.beam_options import parse_beam_options
from labelbeam.storage.errors import UsageError

OWN = ["--min-score", "--output"]


def test_beams_options_reach_beam():
    options = parse_beam_options(["--runner=PortableRunner", "--environment_type", "LOOPBACK"], OWN)
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    assert options.view_as(PortableOptions).environment_type == "LOOPBACK"


def test_the_default_runner_is_named_so_that_nothing_is_downloaded():
    assert parse_beam_options([], OWN).view_as(StandardOptions).runner == "FnApiRunner"


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
