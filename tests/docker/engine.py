"""Images built by buildah and containers run by crun, as a compose file says they are to be run.

Owns the image store, the containers' configuration and their processes. Knows nothing of what runs in them. The
containers share the machine's network, so that tests reach them on loopback; everything else of theirs is their own:
processes, a root that is read-only where compose says so, no capability that is not left to them.
"""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml

from tests.docker.compose import COMPOSE, ROOT

TOOLS = ("buildah", "mmdebstrap", "crun", "unshare")
BASE = "kalshibook-base"
CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""What lets this machine reach its package index, lent to the build and not kept in the image."""
CGROUPS = 'umount /sys/fs/cgroup/unified 2>/dev/null; exec "$@"'
"""crun refuses a machine that has both kinds of control groups; it is shown one."""


def missing() -> str | None:
    """Say what this machine lacks to build and run an image; None where nothing."""
    absent = [name for name in TOOLS if shutil.which(name) is None]
    if absent:
        return f"no {', '.join(absent)} here (Debian: apt-get install buildah mmdebstrap crun)"
    return None if os.geteuid() == 0 else "it takes root to mount an image"


@dataclass(frozen=True)
class Image:
    """A built image: where its files are mounted, its configuration, and its size in bytes."""

    root: Path
    config: dict[str, Any]
    size_bytes: int

    @property
    def environ(self) -> dict[str, str]:
        """The environment that it sets."""
        return dict(one.split("=", 1) for one in self.config["Env"])


@contextmanager
def built() -> Iterator[Image]:
    """Build the base and the image of this checkout, give it mounted, and remove all of it afterwards."""
    store = Path(tempfile.mkdtemp(prefix="kalshibook-image-"))
    settings = store / "storage.conf"
    settings.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{store}/graph"\nrunroot = "{store}/run"\n')
    environ = {**os.environ, "CONTAINERS_STORAGE_CONF": str(settings), "BUILDER": "buildah"}
    lent = [f"--volume={path}:{path}:ro" for path in CERTIFICATES if Path(path).exists()]

    def told(*argv: str) -> str:
        done = subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{argv[0]} {argv[1]}: {(done.stdout + done.stderr)[-4000:]}"
        return done.stdout

    try:
        told("tests/docker/base", BASE)
        told("make", "image", f"ARGS=--build-arg BASE=localhost/{BASE} {' '.join(lent)}")
        (listed,) = json.loads(told("buildah", "images", "--json", "localhost/kalshibook"))
        inspected = json.loads(told("buildah", "inspect", "--type", "image", "localhost/kalshibook"))
        container = told("buildah", "from", "localhost/kalshibook").strip()
        root = Path(told("buildah", "mount", container).strip())
        yield Image(root, inspected["Docker"]["config"], _bytes(listed["size"]))
        told("buildah", "umount", container)
    finally:
        shutil.rmtree(store)


class Containers:
    """Containers of one image over one volume, as a compose service each; ``stop`` them or leave them to ``close``."""

    def __init__(self, image: Image, volume: Path, work: Path) -> None:
        """Take ``volume`` as the folder behind the named volume; it is given to the image's user."""
        self._image = image
        self._volume = volume
        self._work = work
        self._uid, self._gid = map(int, image.config["User"].split(":"))
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        os.chown(volume, self._uid, self._gid)
        volume.chmod(0o700)

    def run(
        self,
        name: str,
        service: Mapping[str, Any],
        out: IO[bytes],
        err: IO[bytes],
        *,
        more: Sequence[str] = (),
        **environ: str,
    ) -> subprocess.Popen[bytes]:
        """Run a service; ``more`` is added to its command, ``environ`` to its environment."""
        bundle = self._work / name
        bundle.mkdir(exist_ok=True)
        config = self._config(name, service, more, environ)
        (bundle / "config.json").write_text(json.dumps(config))
        argv = self._crun("run", "--bundle", str(bundle), name)
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        self._running[name] = process
        return process

    def execute(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command inside a container, as its user and with its environment."""
        inside = self._crun("exec", "--user", f"{self._uid}:{self._gid}", name, *argv)
        return subprocess.run(inside, capture_output=True, text=True, timeout=60, check=False)

    def health(self, name: str, service: Mapping[str, Any]) -> tuple[bool, str]:
        """Run a container's health check: the service's own, else the image's."""
        kind, *argv = service.get("healthcheck", {}).get("test") or self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        done = self.execute(name, *argv)
        return done.returncode == 0, done.stdout + done.stderr

    def signal(self, name: str, number: str) -> None:
        """Send process 1 of a container a signal."""
        subprocess.run(self._crun("kill", name, number), check=True, capture_output=True)

    def stop(self, name: str, within_s: float) -> int:
        """Ask a container to stop by the image's signal; return its exit code. Raises TimeoutExpired after that."""
        process = self._running[name]
        self.signal(name, self._image.config["StopSignal"])
        code = process.wait(within_s)
        del self._running[name]
        return code

    def close(self) -> None:
        """Kill what still runs."""
        for name, process in self._running.items():
            if process.poll() is None:
                subprocess.run(self._crun("kill", name, "KILL"), check=False, capture_output=True)
                process.wait(20)
        self._running.clear()

    def _crun(self, *argv: str) -> list[str]:
        state = ["crun", "--root", str(self._work / "state"), "--cgroup-manager=disabled"]
        return ["unshare", "--mount", "sh", "-c", CGROUPS, "sh", *state, *argv]

    def _config(
        self, name: str, service: Mapping[str, Any], more: Sequence[str], environ: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return a service as the runtime is told it. Asserts what compose would give and this cannot."""
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        ((volume, place),) = (one.split(":") for one in service["volumes"])
        assert volume in yaml.safe_load(COMPOSE.read_text())["volumes"]
        command = service.get("command", self._image.config["Cmd"])
        told = {**self._image.environ, **service.get("environment", {}), **environ}
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": self._uid, "gid": self._gid},
                "args": [*self._image.config["Entrypoint"], *command, *more],
                "env": [f"{key}={value}" for key, value in told.items()],
                "cwd": self._image.config["WorkingDir"],
                "capabilities": {kind: [] for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")},
                "noNewPrivileges": True,
            },
            "root": {"path": str(self._image.root), "readonly": service["read_only"]},
            "hostname": name,
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                *({"destination": path, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}
                  for path in service["tmpfs"]),
                {"destination": place, "type": "bind", "source": str(self._volume), "options": ["rbind", "nosuid"]},
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "mount", "ipc", "uts")]},
        }  # fmt: skip


def _bytes(text: str) -> int:
    number, unit = text.split()
    return int(float(number) * {"B": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9}[unit.upper()])
