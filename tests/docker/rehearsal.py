"""The stack of the end-to-end tests with each role in a container of its own, as docker/compose.yaml says.

Owns the mapping from roles to services and from the home on this machine to the volume inside. Judges nothing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.docker.compose import local_environ, seconds, services
from tests.docker.engine import Containers, Image
from tests.e2e.stack import Stack, free_port

SERVICES = {"exchange": "exchange", "collect": "collector", "publish": "publisher", "serve": "server"}
INSIDE = "/var/lib/kalshibook"


class Rehearsal(Stack):
    """A stack whose processes are containers of ``image`` over one volume."""

    def __init__(self, image: Image, folder: Path, **more: Any) -> None:
        volume, work = folder / "volume", folder / "containers"
        volume.mkdir()
        work.mkdir()
        super().__init__(volume, **more)
        self.told: dict[str, str] = {}
        self.containers = Containers(image, volume, work)
        self.env |= {"KALSHIBOOK_EXCHANGE_WS_PORT": str(free_port()), "KALSHIBOOK_EXCHANGE_HTTP_PORT": str(free_port())}

    def service(self, role: str) -> dict[str, Any]:
        """Return the service of a role as compose would run it with this stack's settings."""
        return services({**local_environ(), **self.env})[SERVICES[role]]

    def is_well(self, role: str) -> bool:
        """Run a role's health check where it is to be run, inside its container; ``told`` keeps what it said."""
        well, self.told[role] = self.containers.health(role, self.service(role))
        return well

    def stop(self, role: str) -> int:
        """Stop a role as compose would, within its grace; return its exit code."""
        self.processes.pop(role)
        return self.containers.stop(role, seconds(self.service(role)["stop_grace_period"]))

    def _start(self, role: str, *arguments: str) -> None:
        service = self.service(role)
        if (
            role == "exchange"
        ):  # on a network of their own containers may listen everywhere; on the machine's they don't
            service["command"] = ["127.0.0.1" if word == "0.0.0.0" else word for word in service["command"]]
        more = [word.replace(str(self.home), INSIDE) for word in arguments[1:]]
        own = {"KALSHIBOOK_HOST": "127.0.0.1", "KALSHIBOOK_PORT": self.env["KALSHIBOOK_PORT"]}
        with (self.home / f"{role}.err").open("ab") as err, (self.home / f"{role}.out").open("ab") as out:
            self.processes[role] = self.containers.run(role, service, out, err, more=more, **own)


@contextmanager
def rehearsed(image: Image, folder: Path, **more: Any) -> Iterator[Rehearsal]:
    """Give a rehearsal and end whatever of it still runs."""
    stack = Rehearsal(image, folder, **more)
    try:
        yield stack
    finally:
        stack.http.close()
        stack.control.close()
        stack.containers.close()
