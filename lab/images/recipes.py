"""What the lab's images are made of: pure reading of folders, no engine.

A recipe is a folder with an ordinary Dockerfile. An executable `prepare` beside it, where there is
one, is run on the host in a copy of the folder before the build, and adds files to it.
`compose/images/images.toml` names the recipes that the lab brings along.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lab.errors import LabError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose" / "images"
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt")


@dataclass(frozen=True, slots=True)
class ImageNeed:
    """An image somebody needs; `build` is the folder it is built from, None where it is not."""

    tag: str
    build: Path | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to get the image `tag`: from a registry as `public`, or built from `folder`.

    parents: tags of the recipes it builds on. package: the Debian package whose real version the
    image is labelled with. trust: it wants the host's certificates. digest: SHA-256 of everything
    that it is made from, its parents included; '' without a folder.
    """

    tag: str
    folder: Path | None
    public: str = ""
    package: str = ""
    trust: bool = False
    parents: tuple[str, ...] = ()
    digest: str = ""


class _Entry(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    recipe: str
    public: str = ""
    package: str = ""
    trust: bool = False


def own(folder: Path = FOLDER) -> dict[str, Recipe]:
    """Tag -> recipe, for the recipes in `folder`; raises LabError for a file that is not sound."""
    file = folder / "images.toml"
    try:
        entries = msgspec.toml.decode(file.read_bytes(), type=dict[str, _Entry])
    except (OSError, msgspec.DecodeError) as error:
        raise LabError(str(error), where=str(file)) from error
    found: dict[str, Recipe] = {}
    for tag, entry in entries.items():
        found[tag] = _complete(
            Recipe(tag, folder / entry.recipe, entry.public, entry.package, entry.trust), found
        )
    return found


def plan(needs: Sequence[ImageNeed], known: Mapping[str, Recipe]) -> dict[str, Recipe]:
    """The known recipes and the needs': a need without a folder or recipe comes from a registry."""
    found = dict(known)
    for need in needs:
        if need.build is not None:
            found[need.tag] = _complete(Recipe(need.tag, need.build), found)
        elif need.tag not in found:
            found[need.tag] = Recipe(need.tag, None, public=need.tag)
    return found


def host_certificates(environment: Mapping[str, str] = os.environ) -> Path:
    """The bundle of certificates this host trusts; raises LabError where there is none."""
    named = environment.get("SSL_CERT_FILE")
    for place in (*((named,) if named else ()), *_CA_BUNDLES):
        if Path(place).is_file():
            return Path(place)
    raise LabError("no bundle of trusted certificates on this host", mend="set SSL_CERT_FILE")


def arguments(folder: Path) -> frozenset[str]:
    """The names of the build arguments (`ARG`) that the folder's Dockerfile declares."""
    return frozenset(re.findall(r"(?mi)^\s*ARG\s+(\w+)", _dockerfile(folder)))


def _complete(recipe: Recipe, known: Mapping[str, Recipe]) -> Recipe:
    """The recipe with its parents and digest; a parent must be known before its children."""
    if recipe.folder is None:
        return recipe
    froms = re.findall(r"(?mi)^\s*FROM\s+(?:--\S+\s+)*(\S+)", _dockerfile(recipe.folder))
    parents = tuple(dict.fromkeys(tag for tag in froms if tag in known))
    digest = hashlib.sha256()
    for part in _parts(recipe.folder):
        digest.update(len(part).to_bytes(8, "big") + part)
    for tag in parents:
        digest.update(known[tag].digest.encode())
    if recipe.trust:
        digest.update(host_certificates().read_bytes())
    return Recipe(
        tag=recipe.tag,
        folder=recipe.folder,
        public=recipe.public,
        package=recipe.package,
        trust=recipe.trust,
        parents=parents,
        digest=digest.hexdigest(),
    )


def _dockerfile(folder: Path) -> str:
    file = folder / "Dockerfile"
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise LabError(f"no Dockerfile: {error.strerror}", where=str(file)) from error


def _parts(folder: Path) -> Iterator[bytes]:
    """Names, modes and contents of the folder's files, in the order of their names."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            mode = b"x" if os.access(path, os.X_OK) else b"-"
            yield path.relative_to(folder).as_posix().encode()
            yield mode + path.read_bytes()
