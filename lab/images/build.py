"""Getting one image: its own processes, its log, and why it failed in one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import anyio
from anyio import to_thread

from lab.errors import LabError
from lab.images import recipes
from lab.images.childprocess import OUT_OF_TIME, run_logged
from lab.images.recipes import Recipe

RECIPE_LABEL = "crosstalk.recipe"
VERSION_LABEL = "crosstalk.version"
STEP_SECONDS = 1200
TEMPORARY = f"crosstalk-build-{os.getuid()}-"
LOGS = recipes.ROOT / "runs" / "images"
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
_PIP_SETTINGS = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_TRUSTED_HOST")


def new_log(tag: str) -> Path:
    """An empty file for the full log of what is done for this image."""
    name = re.sub(r"[^\w.-]+", "-", tag)
    log = LOGS / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    return log


async def pull(recipe: Recipe, log: Path) -> None:
    """Get the public image, and give it the recipe's tag. Raises LabError."""
    await _docker(["pull", "-q", recipe.public], recipe, log)
    if recipe.public != recipe.tag:
        await _docker(["tag", recipe.public, recipe.tag], recipe, log)


async def build(recipe: Recipe, log: Path) -> str:
    """Build one image; returns its package's real version, with which it is labelled too.

    What the build adds to the recipe's folder lies in a temporary copy. Raises LabError.
    """
    if recipe.folder is None:
        raise LabError(
            "no registry answers, and the lab has no recipe for it",
            where=f"image {recipe.tag}",
            mend="load the image into the engine, or add a recipe to compose/images",
        )
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, ignore_cleanup_errors=True) as temporary:
        context = Path(temporary, "context")
        # Everyone may look inside: the package manager reads as a user of its own.
        os.chmod(temporary, 0o755)
        shutil.copytree(recipe.folder, context, ignore=shutil.ignore_patterns("__pycache__"))
        if recipe.trust:
            shutil.copyfile(recipes.host_certificates(), context / "host-ca.crt")
        if (context / "prepare").is_file():
            extra = {"TMPDIR": temporary, "LAB_PYTHON": sys.executable}
            await _step(["./prepare"], recipe, log, cwd=context, extra=extra)
        arguments = await to_thread.run_sync(_build_arguments, recipe.folder)
        named = [part for name in arguments for part in ("--build-arg", name)]
        label = f"{RECIPE_LABEL}={recipe.digest}"
        command = ["build", "--network=host", "--force-rm", "--label", label, "-t", recipe.tag]
        await _docker([*command, *named, str(context)], recipe, log, extra=arguments)
        if not recipe.package:
            return ""
        return await _label_version(recipe, Path(temporary), log)


async def _label_version(recipe: Recipe, folder: Path, log: Path) -> str:
    """Label the image with the version of its package, which follows the host's sources."""
    query = ["--entrypoint=dpkg-query", recipe.tag, "-W", "-f", "${Version}", recipe.package]
    answer = await anyio.run_process(["docker", "run", "--rm", "--network=none", *query])
    version = answer.stdout.decode()
    (folder / "Dockerfile").write_text(f"FROM {recipe.tag}\n")
    label = f"{VERSION_LABEL}={version}"
    empty = folder / "empty"
    empty.mkdir()
    file = str(folder / "Dockerfile")
    command = ["build", "-q", "--label", label, "-t", recipe.tag, "-f", file, str(empty)]
    await _docker(command, recipe, log)
    return version


def _build_arguments(folder: Path) -> dict[str, str]:
    """Proxies, and this host's package index where the Dockerfile asks for it with ARG.

    They are passed through the environment, so that no process list shows them.
    """
    found = {name: os.environ[name] for name in _PROXIES if name in os.environ}
    for name in recipes.arguments(folder) & set(_PIP_SETTINGS):
        if value := os.environ.get(name) or _pip_setting(name):
            found[name] = value
    return found


def _pip_setting(name: str) -> str:
    key = f"global.{name.removeprefix('PIP_').lower().replace('_', '-')}"
    command = [sys.executable, "-m", "pip", "config", "get", key]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


async def _docker(
    command: Sequence[str], recipe: Recipe, log: Path, extra: Mapping[str, str] | None = None
) -> None:
    # The classic builder is the one every engine has.
    environment = {"DOCKER_BUILDKIT": "0", **(extra or {})}
    await _step(["docker", *command], recipe, log, extra=environment)


async def _step(
    command: Sequence[str],
    recipe: Recipe,
    log: Path,
    *,
    cwd: Path | None = None,
    extra: Mapping[str, str],
) -> None:
    """One process of a build; raises LabError with its last line where it fails."""
    code = await run_logged(command, log, cwd=cwd, extra=extra, limit_seconds=STEP_SECONDS)
    if code != 0:
        raise LabError(reason(log, code), where=f"image {recipe.tag}", mend=f"see {log}")


def reason(log: Path, code: int) -> str:
    """Why a build failed, in one line: the disk, the time, or the last line of the step."""
    text = log.read_text(encoding="utf-8", errors="replace")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    if "no space left on device" in text.lower():
        return "the disk is full"
    if code == OUT_OF_TIME:
        return f"a step took over {STEP_SECONDS} s"
    noise = ("The command '", "Removing intermediate", "---> Removed", "DEPRECATED", "BuildKit is")
    telling = [line for line in lines if not line.startswith(noise)]
    return (telling or lines or [f"exit status {code} without a word"])[-1][:240]
