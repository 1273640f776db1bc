"""The command itself: what it costs to start, and how it ends when something is wrong."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import lamella
from lamella.cli import COMMANDS, main
from lamella.cli.info import info
from lamella.cli.messages import error_line
from lamella.errors import MetadataError, StorageError

PAGE = Path(__file__).parents[2] / "docs" / "command-line.md"
HEAVY = (
    "dask",
    "fsspec",
    "numba",
    "numpy",
    "pandas",
    "PIL",
    "rich",
    "tensorstore",
    "tifffile",
    "xarray",
    "zarr",
)


def commands_of(cell):
    """Return the commands that a cell of the page lists: `a`, `b`; all; all but `c`."""
    named = set(re.findall(r"`([a-z-]+)`", cell))
    return set(COMMANDS) - named if cell.startswith("all") else named


SHARED = {
    option: commands_of(cell)
    for option, cell in re.findall(
        r"^\| (?:`-\w`, )?`(--[a-z-]+)[^`]*` \|[^|]*\| (.*) \|$",
        PAGE.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
}
"""The options that the page says commands share."""


def run(*arguments, **options):
    return CliRunner().invoke(main, [str(argument) for argument in arguments], **options)


def ending_with(monkeypatch, error):
    """Let `lamella info` raise an error instead of doing its work."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(info, "callback", fail)
    return run("info", "anything")


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "image.zarr"
    with lamella.open_ome_zarr(
        path, layout="fov", mode="w", channel_names=["GFP"], axes=lamella.models.axes("cyx"), version="0.5"
    ) as position:
        position["0"] = np.ones((1, 8, 8), "uint16")
    return path


def test_version():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"lamella, version {lamella.__version__}\n"


def test_every_line_of_help_is_one_whole_line_at_80_columns():
    commands = run("--help", terminal_width=80).output.partition("Commands:\n")[2].splitlines()
    assert [line.split(maxsplit=1) for line in commands] == [list(item) for item in COMMANDS.items()]
    for name, purpose in COMMANDS.items():
        output = run(name, "--help", terminal_width=80).output
        assert output.startswith(f"Usage: lamella {name} ")
        assert output.splitlines()[2] == f"  {purpose}"
        options = re.search(r"Options:\n(.*?)(\n\n|$)", output, re.DOTALL)[1].splitlines()
        wrapped = [line for line in options if not line.startswith("  -") and line.strip() != "[required]"]
        assert wrapped == [], name


def test_an_option_that_commands_share_has_one_letter_and_one_text_and_is_on_the_page():
    assert {"--jobs", "--json", "--quiet", "--verbose", "--overwrite", "--in-place"} < set(SHARED)
    texts: dict[str, set[tuple[str, ...]]] = {}
    for name in COMMANDS:
        command = main.get_command(click.Context(main), name)
        for option in command.params:
            for shared in SHARED.keys() & set(option.opts):
                assert name in SHARED[shared], f"{PAGE} does not list {shared} for {name}"
                is_own = (name, shared) == ("info", "--verbose")  # it also prints more
                texts.setdefault(shared, set()).add(
                    ("", *option.opts) if is_own else (option.help, *option.opts)
                )
        listed = {shared for shared, names in SHARED.items() if name in names}
        assert listed <= {word for option in command.params for word in option.opts}, name
    assert {shared: len(found) for shared, found in texts.items()} == dict.fromkeys(SHARED, 1) | {
        "--verbose": 2
    }


def test_an_option_of_several_commands_is_one_that_the_page_lists():
    found: dict[str, set[str]] = {}
    for name in COMMANDS:
        for option in main.get_command(click.Context(main), name).params:
            for word in option.opts:
                if word.startswith("--"):
                    found.setdefault(word, set()).add(name)
    own = {
        "--channels",
        "--format",
        "--level",
        "--region",
        "--t",
        "--z",
        "--chunks",
        "--shards",
        "--version",
        "--output",
        "--levels",
        "--name",
        "--pixel-size",
        "--unit",
    }  # of what they write
    assert {word for word, names in found.items() if len(names) > 1} - own == set(SHARED)


def test_every_command_reaches_stores_with_credentials():
    for name in COMMANDS:
        options = {
            word for option in main.get_command(click.Context(main), name).params for word in option.opts
        }
        assert "--storage" in options, name


@pytest.mark.parametrize("arguments", [["--help"], ["info", "--help"], ["preview", "--help"]])
def test_help_loads_none_of_the_slow_libraries(arguments):
    code = (
        "import json, sys\nfrom lamella.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    print(json.dumps(sorted(sys.modules)))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    modules = json.loads(output.splitlines()[-1])
    assert not {name.split(".")[0] for name in modules} & set(HEAVY)
    assert "lamella.cli.convert" not in modules


def test_python_m_lamella_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "lamella", "--version"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"lamella, version {lamella.__version__}\n")


def test_a_shell_completes_commands_options_and_paths(tmp_path):
    def completed(words):
        env = {"_LAMELLA_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return run(env=env, prog_name="lamella").output.splitlines()

    assert completed("lamella re") == ["plain,rechunk", "plain,rename-well", "plain,repair"]
    assert completed("lamella rechunk --in") == ["plain,--in-place"]
    assert completed("lamella info plate") == ["file,plate"]
    for shell in ("bash", "zsh", "fish"):
        assert f"_LAMELLA_COMPLETE={shell}_source lamella" in PAGE.read_text(encoding="utf-8")


# -- errors and exit codes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["convrt"], "No such command 'convrt'. Did you mean 'convert'?"),
        (["--in-place"], "No such option"),
        (["info"], "Missing argument 'PATH'."),
        (["upgrade", "a.zarr", "--to", "7"], "'7' is not one of '0.4', '0.5', '0.6'."),
    ],
)
def test_a_usage_error_has_the_prefix_of_all_errors(arguments, text):
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    last = result.stderr.splitlines()[-1]
    assert last.startswith("lamella: error: ")
    assert text in last
    assert last.endswith((".", "?"))
    assert result.stderr.startswith("Usage: lamella ")


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MetadataError("The document\n  is damaged."), "The document is damaged."),
        (StorageError("the disk is full"), "The disk is full."),
        (FileNotFoundError(2, "No such file or directory", "a.tif"), "a.tif: No such file or directory."),
        (OSError("odd"), "Odd."),
        (OSError(), "OSError."),
    ],
)
def test_an_error_is_one_sentence_on_one_line(monkeypatch, error, text):
    result = ending_with(monkeypatch, error)
    assert result.exit_code == 2
    assert result.stderr == f"lamella: error: {text}\n"
    assert not result.stdout
    assert error_line(error) == text


def exits(path, missing):
    """For each exit code, commands that end with it."""
    new, chunk = (
        path.parent / "new.zarr",
        next(file for file in (path / "0" / "c").rglob("*") if file.is_file()),
    )

    def damage():
        chunk.write_bytes(b"junk")
        return ["verify", path]

    def break_a_must():
        document = path / "zarr.json"
        document.write_text(document.read_text().replace('"GFP"', "7"))
        return ["validate", path]

    yield from (
        (0, words)
        for words in (
            ["info", path],
            ["validate", path],
            ["status", path],
            ["verify", path],
            ["checksum", path],
            ["repair", path],
            ["preview", path, "-o", path.parent / "a.png"],
            ["upgrade", path, new, "--to", "0.6"],
            ["rechunk", path, "--in-place", "--chunks", "4,4"],
        )
    )
    yield 1, ["upgrade", path, new, "--to", "0.6"]  # the destination exists
    yield 1, ["rechunk", path, "--in-place", "--chunks", "4,4", "--shards", "6,6"]
    yield 1, ["convert", path.parent / "absent.tif", path.parent / "b.zarr"]
    yield 2, ["rechunk", path, "--chunks", "4,4"]
    for name in sorted(set(COMMANDS) - {"convert"}):
        more = {
            "preview": ["-o", "a.png"],
            "rechunk": [new, "--chunks", "4,4"],
            "upgrade": [new, "--to", "0.4"],
            "edit": ["--name", "a"],
            "measure": ["cells"],
            "rename-well": ["A/1", "A/2"],
        }
        yield 2, [name, missing, *more.get(name, [])]
    yield 1, damage()
    yield 1, ["status", path]
    yield 1, break_a_must()
    yield 1, ["repair", path, "--dry-run"]
    (path / "zarr.json").write_text("{")
    for name in ("info", "status", "validate", "repair"):
        yield 2, [name, path]


def test_exit_codes_are_those_of_the_page(image, monkeypatch):
    for code, words in exits(image, image.parent / "absent.zarr"):
        result = run(*words)
        assert result.exit_code == code, (words, result.output)
        if result.stderr:
            assert result.stderr.splitlines()[-1].startswith("lamella: error: "), words
    assert ending_with(monkeypatch, KeyboardInterrupt()).exit_code == 130
    monkeypatch.setattr(info, "callback", lambda *_, **__: os.kill(os.getpid(), signal.SIGTERM))
    assert run("info", "anything").exit_code == 143
    table = re.findall(r"^\| (\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert [int(code) for code in table] == [0, 1, 2, 130, 143]


def test_a_defect_keeps_its_traceback(monkeypatch):
    assert isinstance(ending_with(monkeypatch, RuntimeError("a defect")).exception, RuntimeError)


def test_ctrl_c_ends_in_one_word(monkeypatch):
    result = ending_with(monkeypatch, KeyboardInterrupt())
    assert (result.exit_code, result.stderr, result.stdout) == (130, "lamella: error: Interrupted.\n", "")


def test_a_warning_is_one_line_once_unless_only_errors_are_asked_for(monkeypatch):
    from lamella.cli.checking import status

    def warn(*_, **__):
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            for _ in range(2):
                warnings.warn("levels were\nleft out", UserWarning, stacklevel=1)

    monkeypatch.setattr(status, "callback", warn)
    result = run("status", "anything")
    assert result.exit_code == 0
    assert result.stderr == "lamella: warning: Levels were left out.\n"
    assert run("status", "anything", "--quiet").stderr == ""


def test_the_way_of_showing_warnings_is_put_back(monkeypatch):
    before = warnings.showwarning
    monkeypatch.setattr(info, "callback", lambda *_, **__: click.echo("done"))
    run("info", "anything")
    assert warnings.showwarning is before


@pytest.mark.skipif(os.name == "nt", reason="no pipes of this kind")
def test_a_reader_that_left_is_no_news(image):
    read_end, write_end = os.pipe()
    os.close(read_end)
    command = [sys.executable, "-m", "lamella", "info", str(image)]
    done = subprocess.run(command, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
@pytest.mark.parametrize(
    ("redirection", "code", "message"),
    [
        (">&-", 0, ""),
        (">/dev/full", 1, "lamella: error: Cannot write the standard output: No space left on device.\n"),
    ],
)
def test_an_output_that_is_closed_or_full_is_no_defect_of_the_store(image, redirection, code, message):
    command = (
        f"{shlex.quote(sys.executable)} -m lamella validate {shlex.quote(str(image))} --json {redirection}"
    )
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, message)


# -- quiet, progress and the log ---------------------------------------------------------------------------------


def test_quiet_prints_nothing_but_errors(image):
    shutil.copytree(image, image.parent / "b.zarr")
    for words in (
        ["validate", image, "--pixels"],
        ["status", image],
        ["verify", image],
        ["repair", image],
        ["rechunk", image, "--in-place", "--chunks", "4,4"],
        ["preview", image, "-o", image.parent / "a.png"],
    ):
        result = run(*words, "--quiet")
        assert (result.exit_code, result.output) == (0, ""), words
    assert "There is no store" in run("status", image.parent / "absent.zarr", "-q").stderr


def test_progress_is_a_bar_on_a_terminal_unless_only_errors_are_asked_for(image, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # for rich any stream is a terminal then, for us it is none
    words = ["rechunk", image, "--in-place", "--chunks", "4,4"]
    assert run(*words).stderr == ""
    monkeypatch.setattr("lamella.ops.execution.is_terminal", lambda: True)
    assert "pixels" in run(*words).stderr
    for name in ("status", "validate", "verify", "checksum", "repair"):
        assert re.search(r"(bytes|groups|images)", run(name, image).stderr), name
        assert run(name, image, "--quiet").stderr == "", name
    plate = image.parent / "plate.zarr"
    lamella.Plate.from_positions(plate, {"A/1/0": lamella.open_ome_zarr(image)}, progress=False)
    assert "positions" in run("info", plate).stderr
    assert "fields" in run("preview", plate, "-o", image.parent / "a.png").stderr
