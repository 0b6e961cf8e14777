"""The stack file: what is accepted, what is refused, and how clearly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from lab.errors import UsageError
from lab.stack.document import interpolate
from lab.stack.file import load, load_driver
from lab.stack.plan import EDGE, ORIGIN, create_settings, plan, probe
from lab.stack.schema import Healthcheck, LabBlock, Service, size
from lab.system import Ability
from tests.stackfiles import complaint, folder

ROOT = Path(__file__).parents[3]
GOOD = """\
services:
  store:
    image: store:1
    healthcheck: {test: [CMD, ping]}
  app:
    image: app:1
    command: ["serve", "--run=${LAB_RUN}", "$${HOME}"]
    environment: {KEY: "${KEY}", LEVEL: "${LEVEL:-info}", FLAG: true}
    depends_on: {store: {condition: service_healthy}}
  worker:
    image: app:1
x-lab:
  variables: [KEY]
  links:
    store: {from: [app, worker], to: "store:6379", kind: redis}
  entrances:
    client: {to: "app:80", per_cohort: true}
    admin: {to: "app:81"}
  observers: {store: "store:6379"}
  modes: [process, shared]
"""


def test_a_good_file_becomes_a_system(tmp_path: Path) -> None:
    system = load(folder(tmp_path, GOOD))
    assert system.links["store"].consumers == ("app", "worker")
    assert system.abilities == {Ability.STORES}
    assert system.images() == (("store:1", None), ("app:1", None))
    assert system.view(frozenset({"read"})).links_of("redis") == ("store",)
    assert (system.chosen_mode(""), system.chosen_mode("shared")) == ("process", "shared")


def test_variables_are_filled_in_and_defaults_used(tmp_path: Path) -> None:
    app = load(folder(tmp_path, GOOD)).filled_services({"KEY": "k", "LAB_RUN": "r1"})["app"]
    made = create_settings(app, "app", tmp_path, "crosstalk-r1-")
    assert made.command == ["serve", "--run=r1", "${HOME}"]
    assert made.environment == {"KEY": "k", "LEVEL": "info", "FLAG": "true"}


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("    image: store:1", "    imge: store:1", 3, "did you mean `image`"),
        ("    image: store:1", "    ports: [80]\n    image: x", 3, "x-lab.entrances"),
        ("{test: [CMD, ping]}", "{tst: [CMD, ping]}", 4, "did you mean `test`"),
        ("    image: store:1", "    image: 7", 3, "Expected `str`, got `int`"),
        ('"${KEY}"', '"${KEZ}"', 8, "unknown variable `KEZ`"),
        ('"${KEY}"', '"a $ b"', 8, "lone `$`"),
        ("[app, worker]", "[app, workr]", 15, "did you mean `worker`"),
        ("kind: redis", "kind: rediss", 15, "Invalid enum value 'rediss'"),
        ('to: "store:6379"', 'to: "store"', 15, "must be `service:port`"),
        ('to: "store:6379"', 'to: "store:8474"', 15, "proxy's own"),
        ("    admin: {to", "    store: {to", 18, "also the name of a link"),
        ("    admin: {to", "    client: {to", 18, "given twice"),
        ("depends_on: {store:", "depends_on: {app:", 9, "circle"),
        ("service_healthy", "service_wealthy", 9, "Invalid enum value"),
        ("  modes:", "  moods:", 20, "did you mean `modes`"),
        ("  modes:", "  abilities: [agents]\n  modes:", 12, "need each other"),
        ("  modes:", "  defects: none.toml\n  modes:", 20, "does not exist"),
        ("services:\n", "services: [\n", 3, "is not YAML"),
        ("    image: store:1", "    image: x\n    mem_limit: lots", 4, "not a size such as"),
    ],
)
def test_what_does_not_fit_is_told_with_line_and_hint(
    tmp_path: Path, old: str, new: str, line: int, told: str
) -> None:
    assert old in GOOD
    said = complaint(tmp_path, GOOD.replace(old, new, 1))
    assert f"stack.yaml:{line}:" in said
    assert told in said


def test_two_links_of_one_consumer_cannot_share_a_port(tmp_path: Path) -> None:
    other = '    other: {from: [app], to: "worker:6379"}\n  entrances:'
    said = complaint(tmp_path, GOOD.replace("  entrances:", other, 1))
    assert "`store` both give `app` port 6379" in said


@pytest.mark.parametrize("bind", ["/etc:/x", "../out:/x", "./absent:/x", "data:/x", "data"])
def test_only_the_systems_own_files_and_volumes_are_mounted(tmp_path: Path, bind: str) -> None:
    volumes = f"    image: store:1\n    volumes: ['{bind}']"
    assert ":4:" in complaint(tmp_path, GOOD.replace("    image: store:1", volumes, 1))


def test_an_unknown_mode_or_defect_names_the_known_ones(tmp_path: Path) -> None:
    system = load(folder(tmp_path, GOOD))
    with pytest.raises(UsageError, match="did you mean `shared`"):
        system.chosen_mode("sharde")
    with pytest.raises(UsageError, match="no planted defects"):
        system.chosen_defects(["leak"])


def test_a_driver_is_loaded_by_path_and_must_define_driver(tmp_path: Path) -> None:
    assert callable(load_driver(load(folder(tmp_path, GOOD)).driver))
    (tmp_path / "driver.py").write_text("x = 1\n")
    with pytest.raises(UsageError, match="defines no `driver`"):
        load_driver(tmp_path / "driver.py")


def test_every_cohort_gets_its_own_way_in_and_every_consumer_its_own_proxy(tmp_path: Path) -> None:
    layout = plan(load(folder(tmp_path, GOOD)), ("quiet", "noisy"))
    assert layout.networks == (EDGE, ORIGIN, "app", "worker")
    assert layout.aliases == {ORIGIN: (), "app": ("store",), "worker": ("store",)}
    assert layout.faultable == (
        *("store@app", "store@worker"),
        *("client@quiet", "client@noisy", "admin"),
    )
    assert set(layout.entrances) == {("client", "quiet"), ("client", "noisy"), ("admin", "")}
    assert len(set(layout.published)) == 4


def test_without_cohorts_there_is_one_way_in(tmp_path: Path) -> None:
    assert set(plan(load(folder(tmp_path, GOOD)), ()).entrances) == {("client", ""), ("admin", "")}


def test_a_health_check_is_repeated_inside_the_container() -> None:
    argv = probe(Service(image="x", healthcheck=Healthcheck(test=("CMD", "ping", "a b"))))
    assert argv is not None
    assert argv[-2:] == ["ping", "a b"]
    text = probe(Service(image="x", healthcheck=Healthcheck(test="ping || exit 1")))
    assert text is not None
    assert "until { ping || exit 1" in text[-1]
    assert probe(Service(image="x")) is None


@given(st.text(alphabet=st.characters(exclude_characters="$")))
def test_text_without_a_dollar_is_left_alone(text: str) -> None:
    assert interpolate(text, lambda _, __: pytest.fail("looked up")) == text


@given(st.text())
def test_a_doubled_dollar_always_gives_the_text_back(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), lambda _, __: "") == text


@pytest.mark.parametrize(("text", "size_bytes"), [("256m", 256 << 20), ("1.5g", 3 << 29), (7, 7)])
def test_sizes_are_powers_of_1024(text: str | int, size_bytes: int) -> None:
    assert size(text) == size_bytes


@pytest.mark.parametrize(("heading", "kind"), [("Services", Service), ("x-lab", LabBlock)])
def test_the_documented_keys_are_the_supported_ones(
    heading: str, kind: type[Service] | type[LabBlock]
) -> None:
    text = (ROOT / "docs" / "stack-file.md").read_text(encoding="utf-8")
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| `([\w-]+)` \|", section, re.MULTILINE)
    assert documented == [field.encode_name for field in fields(kind)]


@pytest.mark.parametrize("path", sorted(ROOT.glob("compose/*/stack.yaml")), ids=str)
def test_every_system_of_the_repository_loads(path: Path) -> None:
    system = load(path.parent)
    assert callable(load_driver(system.driver))
    for name, service in system.filled_services(dict.fromkeys(system.variables, "x")).items():
        create_settings(service, name, path.parent, "crosstalk-r1-")
