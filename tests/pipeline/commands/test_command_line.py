"""What a person types: inputs that come first, mistakes answered in three lines, help, completion, streams that end."""

import subprocess
import sys

import pytest
from labelbeam.pipeline.cli import COMMANDS, build_parser, main, parse

from tests.fakes.output_folders import detections, failed, labelled, write_part


def usage_error(arguments, capsys):
    try:
        code = main(arguments)
    except SystemExit as error:
        code = error.code
    assert code == 2
    return capsys.readouterr().err


class TestInputs:
    @pytest.mark.parametrize(
        "arguments, inputs, beam",
        [
            (["photos/", "list.csv", "-o", "out", "--detector", "demo"], ["photos/", "list.csv"], []),
            (["-o", "out", "--detector", "demo", "photos/"], ["photos/"], []),
            (["--input", "a", "b", "-o", "out", "--detector", "demo"], ["a", "b"], []),
            (["a", "--input", "b", "-o", "out", "--detector", "demo"], ["b", "a"], []),
            (
                ["a", "-o", "out", "--direct_num_workers", "4", "--detector", "demo"],
                ["a"],
                ["--direct_num_workers", "4"],
            ),
        ],
    )
    def test_come_first_or_after_their_option(self, arguments, inputs, beam):
        args = parse(["label", *arguments])
        assert (args.input, args.beam_arguments) == (inputs, beam)

    def test_after_beams_options_are_a_mistake(self, capsys):
        said = usage_error(
            ["label", "-o", "o", "--detector", "demo", "--runner", "FnApiRunner", "a/", "--input", "b"], capsys
        )
        assert "'a/' after --runner: inputs come first" in said

    def test_none_at_all(self, capsys):
        assert "no INPUT" in usage_error(["label", "-o", "o", "--detector", "demo"], capsys)


class TestMistakes:
    def test_do_not_repeat_passwords(self, capsys):
        said = usage_error(["status", "https://user:pa55word@host/labels?sig=t0ken"], capsys)
        assert "https://host/labels" in said and "pa55word" not in said and "t0ken" not in said

    @pytest.mark.parametrize(
        "arguments", [["label"], ["lable"], ["status"], ["export", "out", "--format", "docx"], ["demo", "--frobnicate"]]
    )
    def test_are_answered_in_three_lines(self, arguments, capsys):
        lines = usage_error(arguments, capsys).splitlines()
        assert len(lines) == 3 and lines[0].startswith("labelbeam") and "labelbeam help" in lines[2]

    @pytest.mark.parametrize(
        "arguments, near",
        [(["lable"], "label"), (["export", "out", "--format", "label-studo"], "label-studio"), (["xyz"], None)],
    )
    def test_in_words_of_a_few_are_answered_by_the_nearest(self, arguments, near, capsys):
        first, *_ = usage_error(arguments, capsys).splitlines()
        assert first.endswith(f"; did you mean {near}?") if near else "did you mean" not in first

    @pytest.mark.parametrize(
        "option, suggestion",
        [
            ("--dry_run", "labelbeam's own is --dry-run"),
            ("--min-scor", "did you mean --min-score?"),
            ("--max-detection", "did you mean --max-detections?"),
            ("--direct_num_worker", "did you mean --direct_num_workers?"),
        ],
    )
    def test_in_an_option_are_answered_by_one_that_works(self, option, suggestion, capsys):
        said = usage_error(["label", "a", "-o", "o", "--detector", "demo", f"{option}=1"], capsys)
        assert suggestion in said

    @pytest.mark.parametrize("option", ["--zone-of-class", "--workers"])
    def test_no_option_that_would_be_ignored_is_suggested(self, option, capsys):
        said = usage_error(["label", "a", "-o", "o", "--detector", "demo", option, "4"], capsys)
        assert "unknown option" in said and "--zone?" not in said and "--num_workers" not in said

    @pytest.mark.parametrize(
        "options, instead",
        [
            (["--num_workers", "4"], "--runner-config multi_process --direct_num_workers N"),
            (["--direct_num_workers", "4"], "--runner-config multi_process"),
            (["--runner-config", "prism", "--direct_num_workers", "4"], "one worker process"),
            (["--region", "europe-west4"], "ignores it"),
        ],
    )
    def test_beams_options_that_the_runner_ignores(self, options, instead, capsys):
        said = usage_error(["label", "a", "-o", "o", "--detector", "demo", *options], capsys)
        assert options[-2] in said and instead in said

    def test_options_of_runners_are_none_of_commands_that_read(self, capsys):
        said = usage_error(["status", "out", "--direct_num_workers", "4"], capsys)
        assert "unknown option --direct_num_workers" in said


class TestHelp:
    def test_of_a_command_is_help_command(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["help", "label"])
        assert ended.value.code == 0
        by_help = capsys.readouterr().out
        with pytest.raises(SystemExit):
            main(["label", "--help"])
        assert by_help == capsys.readouterr().out

    @pytest.mark.parametrize("command", [module.__name__.rpartition(".")[2] for module in COMMANDS])
    def test_of_each_command_has_an_example(self, command, capsys):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        printed = capsys.readouterr().out
        assert f"\n  labelbeam {command}" in printed.replace("[", "")

    def test_of_label_shows_defaults_and_what_everybody_needs_first(self, capsys):
        with pytest.raises(SystemExit):
            main(["help", "label"])
        printed = " ".join(capsys.readouterr().out.split())
        for default in (
            "(default: 0.3)",
            "(default: 100)",
            "(default: rle)",
            "(default: 268,435,456)",
            "(default: auto)",
        ):
            assert default in printed
        assert printed.index("--detector") < printed.index("--max-failed") < printed.index("--engine")

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion(self, shell, capsys):
        pytest.importorskip("shtab")
        assert main(["completion", shell]) == 0
        printed = capsys.readouterr().out
        assert "min-score" in printed and "evaluate" in printed

    @pytest.mark.parametrize(
        "typed, offered",
        [
            ("labelbeam la", "label"),
            ("labelbeam label --min", "--min-score"),
            ("labelbeam label photos/ --engine ", "saved_model keras onnx python"),
            ("labelbeam label pho", "photos"),
            ("labelbeam label photos/ -o pho", "photos"),
            ("labelbeam show pho", "photos"),
            ("labelbeam help sta", "status"),
        ],
    )
    def test_what_shells_offer(self, typed, offered, tmp_path, capsys):
        pytest.importorskip("shtab")
        assert main(["completion", "bash"]) == 0
        (tmp_path / "script").write_text(capsys.readouterr().out)
        (tmp_path / "photos").mkdir()
        *before, last = typed.split(" ")
        words = " ".join(f"'{word}'" for word in (*before, last))
        command = f"source ./script; COMP_WORDS=({words}); COMP_CWORD={len(before)}; "
        command += f"_shtab_labelbeam labelbeam '{last}' '{before[-1]}'; printf '%s\\n' \"${{COMPREPLY[@]}}\""
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True)
        assert set(offered.split()) <= set(done.stdout.splitlines()), done.stderr

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_completion_has_help_and_files(self, shell, capsys):
        shtab = pytest.importorskip("shtab")
        main(["completion", shell])
        printed = capsys.readouterr().out
        assert shell == "bash" or "explains a command" in printed
        assert printed.count(shtab.FILE[shell]) > 10


def test_every_command_has_its_module():
    named = build_parser().parse_args(["status", "out"])
    assert named.run.__module__ == "labelbeam.pipeline.commands.status"


class TestStreamsThatEnd:
    @pytest.fixture
    def folder(self, tmp_path):
        images = [labelled(f"ö{i}.jpg", (30, 40), detections([0.9])) for i in range(3)]
        write_part(tmp_path, images, engine="saved_model", precision="float32")
        return tmp_path

    def shell(self, command):
        return subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)

    def test_a_reader_that_goes_away(self, folder):
        done = self.shell(f"{sys.executable} -m labelbeam status {folder} --json | true; echo ${{PIPESTATUS[0]}}")
        assert done.stdout.strip() == "0" and done.stderr == ""

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    def test_a_full_disk_is_one_sentence_that_names_the_stream(self, folder, unbuffered):
        python = f"PYTHONUNBUFFERED={unbuffered} {sys.executable}"
        done = self.shell(f"{python} -m labelbeam status {folder} > /dev/full; echo $? >&2")
        sentence, code = done.stderr.splitlines()
        assert sentence.startswith("labelbeam: standard output can't be written (No space left") and code == "1"

    @pytest.mark.parametrize("unbuffered", ["", "1"])
    @pytest.mark.heavy
    def test_what_is_done_is_done_though_nobody_can_be_told(self, folder, tmp_path, unbuffered):
        command = f"-m labelbeam export {folder} --format coco --to {tmp_path / 'coco'}"
        done = self.shell(f"PYTHONUNBUFFERED={unbuffered} {sys.executable} {command} > /dev/full; echo $? >&2")
        assert done.stderr == "0\n" and list((tmp_path / "coco").rglob("*.json"))

    def test_names_that_terminals_would_obey(self, folder, capsys):
        image = failed("two\nlines\x1b[2J.jpg")
        write_part(folder, [image], engine="saved_model", precision="float32")
        assert main(["status", str(folder)]) == 0
        assert "two\\nlines\\x1b[2J.jpg" in capsys.readouterr().out

    def test_ascii(self, folder):
        done = self.shell(f"PYTHONIOENCODING=ascii {sys.executable} -m labelbeam status {folder}; echo $?")
        assert done.stdout.splitlines()[-1] == "0" and "3 ok" in done.stdout

    def test_closed_ones(self, folder):
        done = self.shell(f"{sys.executable} -m labelbeam status {folder} >&- 2>&- <&-; echo $?")
        assert done.stdout.strip() == "0"
