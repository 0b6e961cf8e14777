# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false
"""The keeper: a container of a run that holds its loop disks and its services' clocks.

Its disks free themselves with it: the kernel gives a loop device back with the last user of it, so
that the sweep of a run needs to know nothing of disks. The recipe is `compose/images/fittings`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from lab.engine.api import Engine, told
from lab.errors import LabError

KEEPER_IMAGE = "crosstalk/fittings:1"
KEEPER = "keeper"
CLOCK_FOLDER = "/crosstalk/clock"

_WORK = ("perl", "/crosstalk/disk")
_LOOP_DEVICES = ("b 7:* rwm", "c 10:237 rwm")


def start_keeper(
    engine: Engine, name: str, marks: Mapping[str, str], clock_volume: str = ""
) -> str:
    """Start a keeper; returns its id. `clock_volume`: what the services' clocks are shared by.

    It alone of a run may mount, and it has no network.
    """
    client = engine.client

    def work() -> str:
        host = client.create_host_config(
            cap_drop=["ALL"],
            cap_add=["SYS_ADMIN", "MKNOD", "DAC_OVERRIDE"],
            device_cgroup_rules=list(_LOOP_DEVICES),
            security_opt=["apparmor=unconfined"],
            network_mode="none",
            init=True,
            cgroupns="host",
            binds=[f"{clock_volume}:{CLOCK_FOLDER}"] if clock_volume else None,
        )
        made = client.create_container(
            KEEPER_IMAGE, name=name, labels=dict(marks), host_config=host
        )
        client.start(made["Id"])
        return str(made["Id"])

    return told(work)


def on_disk(engine: Engine, keeper: str, *words: str) -> str:
    """Have the keeper do something to a loop disk (`compose/images/fittings/disk`); what it says.

    Raises LabError with the keeper's own words when it fails.
    """
    status, output = engine.execute(keeper, [*_WORK, *words])
    said = output.decode(errors="replace").strip()
    if status != 0:
        raise LabError(f"the disk could not {words[0]}: {said or status}", where=words[1])
    return said


def mount_disk(engine: Engine, volume: str, device: str, marks: Mapping[str, str]) -> None:
    """A volume that is the file system on `device`; the engine mounts it with its container.

    After an error it is read-only, as on any server with `errors=remount-ro`.
    """
    options = {"type": "ext4", "device": device, "o": "errors=remount-ro"}
    told(
        lambda: engine.client.create_volume(
            volume, driver="local", driver_opts=options, labels=dict(marks)
        )
    )


def disks(engine: Engine, volumes: Collection[str]) -> dict[str, str]:
    """Volume -> the loop device it is on, for those of these names that are there."""
    there = told(engine.client.volumes)["Volumes"] or []
    options = {each["Name"]: each.get("Options") or {} for each in there if each["Name"] in volumes}
    return {name: str(found["device"]) for name, found in options.items() if "device" in found}


def set_clock(engine: Engine, keeper: str, service: str, offset_seconds: float) -> None:
    """Write the offset that the service's processes add to the time of day; 0 is the true time.

    The processes have the file mapped, so it is written in place: eight bytes, little endian.
    """
    packed = round(offset_seconds * 1e9).to_bytes(8, "little", signed=True)
    octal = "".join(f"\\{byte:03o}" for byte in packed)
    script = f"printf '{octal}' | dd of={CLOCK_FOLDER}/{service} conv=notrunc status=none"
    status, output = engine.execute(keeper, ["sh", "-c", f"{{ {script}; }} 2>&1"])
    if status != 0:
        raise LabError(f"the clock could not be set: {output.decode().strip()}", where=service)


def clocks(engine: Engine, keeper: str) -> dict[str, float]:
    """Service -> the offset that was last set for it, in seconds."""
    script = 'for f in *; do [ "$f" = clock.so ] || echo "$f $(od -An -td8 "$f")"; done'
    status, output = engine.execute(keeper, ["sh", "-c", f"cd {CLOCK_FOLDER} && {script}"])
    if status != 0:
        raise LabError("the clocks cannot be read", where="the run's keeper")
    rows = (line.split() for line in output.decode().splitlines())
    return {row[0]: int(row[1]) / 1e9 for row in rows if len(row) == 2}
