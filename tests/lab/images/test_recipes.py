"""A recipe's digest covers everything its image is made from, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images import recipes
from lab.images.recipes import ImageNeed, Recipe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recipes, one on top of the other."""
    for name, parent in (("base", "scratch"), ("top", "own/base:1")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "Dockerfile").write_text(f"FROM {parent}\nARG PIP_INDEX_URL\n")
    (tmp_path / "images.toml").write_text(
        '["own/base:1"]\nrecipe = "base"\npublic = "base:1"\n["own/top:1"]\nrecipe = "top"\n'
    )
    return tmp_path


def digests(folder: Path) -> tuple[str, str]:
    known = recipes.own(folder)
    return known["own/base:1"].digest, known["own/top:1"].digest


def test_the_same_files_have_the_same_digest(folder: Path) -> None:
    assert digests(folder) == digests(folder)
    assert len(set(digests(folder))) == 2


def test_a_recipe_knows_its_parents(folder: Path) -> None:
    assert recipes.own(folder)["own/top:1"].parents == ("own/base:1",)


def test_a_changed_recipe_changes_its_children_and_never_its_parents(folder: Path) -> None:
    base, top = digests(folder)
    (folder / "top" / "more").write_text("x")
    same, changed = digests(folder)
    assert same == base
    assert changed != top
    (folder / "base" / "more").write_text("x")
    assert digests(folder)[0] != base
    assert digests(folder)[1] != changed


def test_a_mode_and_a_name_count_and_caches_do_not(folder: Path) -> None:
    file = folder / "top" / "prepare"
    file.write_text("x")
    _, plain = digests(folder)
    file.chmod(0o755)
    _, executable = digests(folder)
    assert executable != plain
    (folder / "top" / "__pycache__").mkdir()
    (folder / "top" / "__pycache__" / "x.pyc").write_text("x")
    assert digests(folder)[1] == executable


def test_a_need_with_a_folder_stands_on_the_known_recipes(folder: Path) -> None:
    mine = folder / "mine"
    mine.mkdir()
    (mine / "Dockerfile").write_text("FROM --platform=linux/amd64 own/top:1 AS build\nFROM x:1\n")
    plan = recipes.plan([ImageNeed("mine:1", mine)], recipes.own(folder))
    assert plan["mine:1"].parents == ("own/top:1",)
    assert plan["mine:1"].public == ""


def test_a_need_that_nobody_knows_comes_from_a_registry(folder: Path) -> None:
    plan = recipes.plan([ImageNeed("other:2")], recipes.own(folder))
    assert plan["other:2"] == Recipe("other:2", None, public="other:2")


def test_the_arguments_of_a_dockerfile_are_those_it_declares(folder: Path) -> None:
    assert recipes.arguments(folder / "top") == {"PIP_INDEX_URL"}


def test_a_folder_without_a_dockerfile_is_named(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no Dockerfile"):
        recipes.plan([ImageNeed("x:1", tmp_path)], {})


def test_an_unknown_key_in_the_table_is_named(folder: Path) -> None:
    (folder / "images.toml").write_text('["x:1"]\nrecipe = "base"\nsurprise = 1\n')
    with pytest.raises(LabError, match="surprise"):
        recipes.own(folder)


def test_the_hosts_certificates_are_the_ones_the_environment_names(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.crt"
    bundle.write_text("x")
    assert recipes.host_certificates({"SSL_CERT_FILE": str(bundle)}) == bundle


def test_the_labs_own_recipes_are_sound() -> None:
    known = recipes.own()
    assert {"python:3.11-slim-bookworm", "crosstalk/toxiproxy:2.12.0"} <= known.keys()
    assert all(len(recipe.digest) == 64 for recipe in known.values())
