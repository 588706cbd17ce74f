"""Every option of every command: each name once, with a help text, and README asks only for options that exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from test_cli import refused, run
from tinyworld import write_images, write_model

from medadv.cli import app
from medadv.reports.robustness import Attacked

COMMANDS = {
    " ".join(words): command
    for name, group in typer.main.get_command(app).commands.items()  # type: ignore[attr-defined]
    for words, command in (
        [((name, under), one) for under, one in group.commands.items()]
        if hasattr(group, "commands")
        else [((name,), group)]
    )
}
README = (Path(__file__).parents[1] / "README.md").read_text()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("options")
    write_model(root / "model")
    write_images(root / "data" / "skin", n=16)
    return root


@pytest.fixture(autouse=True)
def _here(world, monkeypatch):
    monkeypatch.setenv("MEDADV_DATA", str(world / "data"))
    monkeypatch.setenv("COLUMNS", "140")


def options(name: str) -> list[Any]:
    found = [one for one in COMMANDS[name].params if one.param_type_name == "option"]
    assert found
    return found


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_has_names_of_its_own_and_says_what_it_does(name):
    names = [said for one in options(name) for said in (*one.opts, *one.secondary_opts)]
    assert len(names) == len(set(names))
    for one in options(name):
        assert one.help, one.name


def test_the_same_name_means_the_same_in_every_command():
    """`-n` for the number of images beside `--n` for the number of votes planned 100 images at 1,000 votes."""
    meaning: dict[str, set[str]] = {}
    for name in COMMANDS:
        for one in options(name):
            for said in one.opts:
                meaning.setdefault(said, set()).add(str(one.name))
    assert {said: sorted(names) for said, names in meaning.items() if len(names) > 1} == {}
    short = {said.lstrip("-") for said in meaning if not said.startswith("--")}
    clash = {said for said in short if f"--{said}" in meaning and meaning[f"--{said}"] != meaning[f"-{said}"]}
    assert clash == set()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option(name):
    shown = run(*name.split(), "--help").stdout
    for one in options(name):
        assert all(said in shown for said in one.opts), one.opts


def test_readme_asks_only_for_options_that_exist():
    lines = re.findall(r"^\S*medadv ([a-z]+ .*)$", README, flags=re.MULTILINE)
    assert len(lines) >= 8
    for line in lines:
        name, *words = shlex.split(line, comments=True)
        if name not in COMMANDS:
            name = f"{name} {words[0] if words and f'{name} {words[0]}' in COMMANDS else 'show'}"
        known = {said for one in options(name) for said in one.opts}
        asked = {word for word in words if re.fullmatch(r"--?[a-z][a-z0-9-]*", word)}
        assert asked <= known, line


def test_votes_and_images_do_not_share_a_name(world):
    got = run("certify", "-m", f"local-dir:{world / 'model'}", "-n", 100, code=2)
    assert "No such option" in got.stderr


def test_eight_bits_on_the_command_line(world, tmp_path):
    words = ("attack", "-m", f"local-dir:{world / 'model'}", "-d", "skin", "--split", "all", "--attack", "fgsm")
    got = run(*words, "--save-8bit", "--out", tmp_path)
    report = Attacked.load(tmp_path / "attack.json")
    assert report["robust accuracy", "linf:1/255", "fgsm, 8-bit"].value <= report["accuracy"].value
    assert "8-bit" in got.stdout
    assert "n/255" in got.stdout.replace("\n", "")
    assert "8-bit" in (tmp_path / "attack.html").read_text()
    refused(*words, "--region", "mask", match="needs a mask for every image")
    refused(*words, "--region", "lesion", match="one of mask, outside")
    for more in (("--save-8bit",), ("--region", "mask")):
        refused("attack", "--task", "retrieval", "-m", f"local-dir:{world / 'model'}", *more, match=more[0])


def test_a_folder_of_one_class_is_refused_before_the_attack(world, tmp_path):
    folder = write_images(tmp_path / "one", n=16)
    table = (folder / "metadata.csv").read_text().replace("melanoma", "naevus").replace(",1,", ",0,")
    (folder / "metadata.csv").write_text(table)
    model = ("-m", f"local-dir:{world / 'model'}", "-d", folder, "--split", "all")
    for command in ("attack", "zeroshot"):
        said = refused(command, *model, match="two classes or more")
        assert "'naevus'" in said
