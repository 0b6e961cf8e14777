"""The images a run needs: found, else pulled where a registry answers, else built here.

A built image carries a label with the digest of what it was made from (`recipes.py`), so that a
changed recipe is built again, with all that stands on it, and nothing else is.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any, cast

import anyio
from anyio import to_thread

from lab.engine.hostlock import try_lock
from lab.errors import LabError
from lab.images import build, recipes
from lab.images.recipes import ImageNeed, Recipe

__all__ = ["ImageNeed", "ensure", "own", "survey"]

REGISTRY_SECONDS = 3.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Present:
    """An image that is in the engine; `digest` is our label, '' where the lab did not make it."""

    id: str
    digest: str


async def ensure(needs: Sequence[ImageNeed], say: Say) -> Mapping[str, str]:
    """Make sure of every image; returns tag -> image id.

    say: gets a line when the making of an image begins and when it ends. What is missing is made
    side by side, parents first. Raises LabError with the image, the last line of the failing step
    and the file of the full log. A second lab waits until the first has made its images.
    """
    plan = recipes.plan(needs, recipes.own())
    wanted = tuple(dict.fromkeys(need.tag for need in needs))
    here = await to_thread.run_sync(_present)
    if not all(_fresh(plan[tag], here) for tag in wanted):
        async with _alone(say):
            here = await to_thread.run_sync(_present)
            await _make_all(wanted, plan, here, say)
            here = await to_thread.run_sync(_present)
    return {tag: here[tag].id for tag in wanted}


def own() -> tuple[ImageNeed, ...]:
    """Every image of the lab's own recipes that something can run on; not the stones beneath."""
    known = recipes.own()
    stones = {parent for recipe in known.values() for parent in recipe.parents}
    return tuple(ImageNeed(tag) for tag, r in known.items() if tag not in stones or r.trust)


def survey() -> tuple[tuple[str, ...], bool]:
    """The tags of the lab's own images that are not here, and whether a registry answers."""
    known, here = recipes.own(), _present()
    public = next(recipe.public for recipe in known.values() if recipe.public)
    missing = tuple(need.tag for need in own() if not _fresh(known[need.tag], here))
    return missing, _in_registry(public)


def _fresh(recipe: Recipe, here: Mapping[str, Present]) -> bool:
    """Whether the image is here and right; a public one without our label was pulled, and is."""
    image = here.get(recipe.tag)
    return image is not None and image.digest in (
        {recipe.digest, ""} if recipe.public else {recipe.digest}
    )


def _present() -> dict[str, Present]:
    """Tag -> image, for all images of the engine; `name:latest` can be called `name` too."""
    with _engine() as client:
        images: list[dict[str, Any]] = client.images()
    return {
        name: Present(
            image["Id"], dict[str, str](image["Labels"] or {}).get(build.RECIPE_LABEL, "")
        )
        for image in images
        for tag in image["RepoTags"] or ()
        for name in {tag, tag.removesuffix(":latest")}
    }


@contextmanager
def _engine(timeout_seconds: float = 60) -> Generator[Any]:
    import docker
    from docker.errors import DockerException
    from requests import RequestException

    client = None
    try:
        client = docker.APIClient(
            base_url=os.environ.get("DOCKER_HOST"), timeout=int(timeout_seconds)
        )
        yield client
    except (DockerException, RequestException, OSError) as error:
        raise LabError(
            f"the container engine failed: {error}", mend="`lab doctor` says what is wrong"
        ) from error
    finally:
        if client is not None:
            client.close()


def _in_registry(public: str) -> bool:
    """Whether a registry has this tag, as the engine sees it; any error means it cannot be had."""
    try:
        with _engine(REGISTRY_SECONDS) as client:
            client.inspect_distribution(public)
    except LabError:
        return False
    return True


@asynccontextmanager
async def _alone(say: Say) -> AsyncGenerator[None]:
    """Only one lab of this machine makes images at a time; clears what a killed one left."""
    told = False
    while (lock := try_lock("images")) is None:
        if not told:
            say("waiting for another lab that is making images ...")
            told = True
        await anyio.sleep(0.2)
    with lock:
        await to_thread.run_sync(_clear)
        yield


def _clear() -> None:
    """Remove the folders of killed builds; never into a file system that was mounted there."""
    left = Path(tempfile.gettempdir()).glob(f"{build.TEMPORARY}*")
    subprocess.run(["rm", "-rf", "--one-file-system", "--", *left], check=False)


async def _make_all(
    wanted: Sequence[str], plan: Mapping[str, Recipe], here: Mapping[str, Present], say: Say
) -> None:
    """Make what is missing, each as soon as its parents are there; the first failure ends all."""
    answers: dict[str, bool] = {}

    async def look(tag: str) -> None:
        with anyio.move_on_after(REGISTRY_SECONDS):
            answers[tag] = await to_thread.run_sync(
                _in_registry, plan[tag].public, abandon_on_cancel=True
            )

    needed = missing(wanted, plan, here, frozenset())
    async with anyio.create_task_group() as group:
        for tag in needed:
            if plan[tag].public:
                group.start_soon(look, tag)
    pulled = frozenset(tag for tag, answer in answers.items() if answer)
    done = {tag: anyio.Event() for tag in missing(wanted, plan, here, pulled)}

    async def make(tag: str) -> None:
        for parent in plan[tag].parents:
            if parent in done and tag not in pulled:
                await done[parent].wait()
        await _make(plan[tag], tag in pulled, here.get(tag), say)
        done[tag].set()

    try:
        async with anyio.create_task_group() as group:
            for tag in done:
                group.start_soon(make, tag)
    except BaseExceptionGroup as failures:
        raise _first(failures) from None


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first plain exception of a group: the others are its consequences."""
    first: BaseException = failures
    while isinstance(first, BaseExceptionGroup):
        first = cast("BaseException", first.exceptions[0])
    return first


def missing(
    wanted: Sequence[str],
    plan: Mapping[str, Recipe],
    here: Mapping[str, Present],
    pulled: frozenset[str],
) -> tuple[str, ...]:
    """What has to be made, parents first; a pulled image needs no parents."""
    found: dict[str, None] = {}

    def visit(tag: str) -> None:
        if tag in found or _fresh(plan[tag], here):
            return
        for parent in plan[tag].parents if tag not in pulled else ():
            visit(parent)
        found[tag] = None

    for tag in wanted:
        visit(tag)
    return tuple(found)


async def _make(recipe: Recipe, pull: bool, before: Present | None, say: Say) -> None:
    """Get one image and say how long it took; the image it replaces is removed."""
    began, how, version = monotonic(), "pull" if pull else "build", ""
    log = build.new_log(recipe.tag)
    say(f"image {recipe.tag}: {how} begins")
    if pull:
        await build.pull(recipe, log)
    else:
        version = await build.build(recipe, log)
    if before is not None and before.digest:  # one without our label is somebody else's
        await to_thread.run_sync(_forget, before.id, recipe.tag)
    say(f"image {recipe.tag}: {how} took {monotonic() - began:.1f} s{version and f' ({version})'}")


def _forget(image: str, tag: str) -> None:
    """Remove an image that lost its tag to a newer one; one in use stays until it is not."""
    from docker.errors import APIError

    if _present()[tag].id == image:
        return
    with _engine() as client, suppress(APIError):
        client.remove_image(image, noprune=True)
