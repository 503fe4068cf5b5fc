import pytest
import yaml
from labelbeam.pipeline.arguments.jobs import job_spec
from labelbeam.pipeline.cli import main, parse
from labelbeam.storage.errors import UsageError

LINE = ["label", "photos/", "list.csv", "-o", "out", "--detector", "demo", "--min-score", "0.5", "--keep", "a", "b"]
LINE += ["--background-rgb", "1,2,3", "--retry-failed", "--share-model", "--tiles", "auto", "--read-threads", "7"]


def test_what_is_saved_is_the_same_job(tmp_path):
    file = str(tmp_path / "job.yaml")
    saved = parse([*LINE, "--save-job", file, "--direct_num_workers", "4"])
    taken = parse(["label", "--job", file])
    assert job_spec(taken) == job_spec(saved)
    assert taken.beam_of_job == ["--direct_num_workers=4"]
    assert "verbose" not in yaml.safe_load((tmp_path / "job.yaml").read_text())


@pytest.mark.parametrize(
    "secret",
    [
        ["https://user:pa55word@host/a.jpg"],
        ["https://host/a.jpg?X-Amz-Signature=t0ken"],
        ["--storage-option", "secret_access_key=x"],
        ["--storage-option", "region=eu", "azure_account_key=x"],
        ["--s3_secret_access_key", "x"],
    ],
)
def test_credentials_are_not_saved(secret, tmp_path):
    file = tmp_path / "job.yaml"
    with pytest.raises(UsageError, match="holds credentials") as caught:
        line = ["photos/", "-o", "out", "--detector", "demo", "--save-job", str(file)]
        parse(["label", *line, *secret] if secret[0].startswith("--") else ["label", *secret, *line])
    assert not file.exists() and "pa55word" not in str(caught.value)
    parse(["label", "https://host/a.jpg?w=640", "-o", "out", "--detector", "demo", "--save-job", str(file)])
    assert file.exists()


def test_the_command_line_wins(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text("input: [a, b]\noutput: out\ndetector: demo\nmin-score: 0.5\nkeep: [x, y]\nbeam: [--streaming]\n")
    args = parse(["label", "c", "--job", str(file), "--min-score=0.7", "--keep", "z"])
    assert (args.input, args.min_score, args.keep, args.output) == (["c"], 0.7, ["z"], "out")
    assert parse(["label", f"--job={file}"]).input == ["a", "b"]
    assert parse(["label", "--job", str(file), "c"]).input == ["c"]


@pytest.mark.parametrize(
    "text, named",
    [
        ("min-scor: 1", "unknown key 'min-scor', did you mean 'min_score'"),
        ("min-score: {a: 1}", "min_score: expected a value"),
        ("- a", "expected a mapping"),
        ("output: a\noutput: b", "twice"),
    ],
)
def test_a_file_of_no_use(text, named, tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=named):
        parse(["label", "--job", str(file)])


def test_no_such_file(capsys):
    assert main(["label", "--job", "absent.yaml"]) == 2
    assert "absent.yaml: can't be read" in capsys.readouterr().err
