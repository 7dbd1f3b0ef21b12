"""Holds docker/ to what it promises, without building anything."""

import json
import re
import runpy
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from ops.settings import VARIABLES
from tests.docker.compose import (
    COMPOSE,
    DOCKERFILE,
    LOCAL_ENV,
    ROOT,
    VARIABLE,
    MissingError,
    final_stage,
    instructions,
    local_environ,
    seconds,
    services,
)

ROLES = {"collector": "collect", "publisher": "publish", "server": "serve", "exchange": "exchange"}
NOT_FOR_SERVICES = {
    "KALSHIBOOK_HOME",  # the image says where it is: on the volume
    "KALSHIBOOK_HOST",  # the image says it: every network that the container is given
    "KALSHIBOOK_PORT",  # what is published is LISTEN's to say
    "PORT",
    "KALSHIBOOK_TEST_DATA",
    "KALSHI_PRIVATE_KEY_CONTENT",  # another name of KALSHI_PRIVATE_KEY
}
SERVICE_KEYS = {
    "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "logging", "ports", "profiles",
    "pull_policy", "read_only", "restart", "security_opt", "stop_grace_period", "tmpfs", "volumes",
}  # fmt: skip


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH: tests/docker/tools.txt says how to have it")
    return found


def run(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)


def test_hadolint_finds_nothing() -> None:
    done = run(tool("hadolint"), DOCKERFILE)

    assert (done.returncode, done.stdout) == (0, "")


def test_hadolint_would_find_something(tmp_path: Path) -> None:
    worse = tmp_path / "Dockerfile"
    worse.write_text(re.sub(r'CMD \["kalshibook", "health"\]', "CMD kalshibook health", DOCKERFILE.read_text()))

    assert run(tool("hadolint"), worse).returncode == 1


def test_the_compose_file_is_one_by_the_compose_specification(tmp_path: Path) -> None:
    check = (tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec")
    worse = tmp_path / "compose.yaml"
    worse.write_text(COMPOSE.read_text().replace("read_only: true", "readonly: true"))

    good, bad = run(*check, COMPOSE), run(*check, worse)

    assert good.returncode == 0, good.stdout
    assert bad.returncode == 1
    assert "readonly" in bad.stdout


def test_the_services_are_the_roles_each_hardened_and_looked_after() -> None:
    found = services(local_environ())

    assert set(found) == set(ROLES)
    for name, service in found.items():
        assert set(service) <= SERVICE_KEYS, name
        assert service["command"][0] == ROLES[name]
        assert service["healthcheck"] == {"test": ["CMD", "kalshibook", "health", ROLES[name]]}
        assert service["restart"] == "unless-stopped"
        assert service["pull_policy"] == "never"
        assert seconds(service["stop_grace_period"]) >= 30
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["volumes"] == ["state:/var/lib/kalshibook"]
        assert service["tmpfs"] == ["/tmp"]
        assert "profiles" not in service or name == "exchange"
    assert found["exchange"]["profiles"] == ["local"]
    whole = yaml.safe_load(COMPOSE.read_text())
    assert {key for key in whole if not key.startswith("x-")} == {"name", "services", "volumes"}
    assert list(whole["volumes"]) == ["state"]


def test_one_port_is_published_and_for_this_machine_alone_unless_said() -> None:
    assert services(local_environ())["server"]["ports"] == ["127.0.0.1:8000:8000"]
    assert services({**local_environ(), "LISTEN": "8080"})["server"]["ports"] == ["8080:8000"]
    assert all("ports" not in service for name, service in services(local_environ()).items() if name != "server")


def test_each_setting_reaches_a_service_and_each_variable_is_a_setting() -> None:
    handed = {name for service in services(local_environ()).values() for name in service["environment"]}
    asked = {match[1] for match in VARIABLE.finditer(COMPOSE.read_text())}

    assert handed == {variable.name for variable in VARIABLES} - NOT_FOR_SERVICES
    assert asked == handed - {"KALSHIBOOK_METRICS_HOST"} | {"IMAGE", "LISTEN"}
    said = {name: f"said of {name}" for name in asked}
    for service in services(said).values():
        for name, value in service["environment"].items():
            assert value == ("0.0.0.0" if name == "KALSHIBOOK_METRICS_HOST" else f"said of {name}")


def test_a_secret_is_handed_to_the_one_service_that_needs_it() -> None:
    found = services(local_environ())
    having = {
        variable.name: [name for name, service in found.items() if variable.name in service["environment"]]
        for variable in VARIABLES
        if variable.secret and variable.name not in NOT_FOR_SERVICES
    }

    assert having == {"KALSHI_PRIVATE_KEY": ["collector"], "KALSHIBOOK_API_KEY": ["server"]}


@pytest.mark.parametrize("name", ["KALSHI_API_KEY_ID", "KALSHIBOOK_API_KEY"])
def test_compose_refuses_to_go_on_without_what_a_service_would_refuse(name: str) -> None:
    with pytest.raises(MissingError, match=name):
        services({**local_environ(), name: ""})


def test_a_rehearsal_is_a_project_of_its_own_and_names_the_exchange_as_it_listens() -> None:
    environ = local_environ()
    exchange = services(environ)["exchange"]

    assert environ["COMPOSE_PROJECT_NAME"] != yaml.safe_load(COMPOSE.read_text())["name"]
    assert environ["COMPOSE_PROFILES"] == "local"
    ports = exchange["environment"]
    assert f"ws://exchange:{ports['KALSHIBOOK_EXCHANGE_WS_PORT']}/" in environ["KALSHI_WS_URL"]
    assert f"http://exchange:{ports['KALSHIBOOK_EXCHANGE_HTTP_PORT']}/" in environ["KALSHI_REST_URL"]
    assert exchange["command"] == ["exchange", "--host", "0.0.0.0"]


def test_the_image_runs_as_a_numbered_nobody_and_every_command_is_in_exec_form() -> None:
    stage = dict(final_stage())
    health = re.fullmatch(r"(?:--\S+ )+CMD (\[.*\])", stage["HEALTHCHECK"])

    assert stage["USER"] == "10001:10001"
    assert json.loads(stage["ENTRYPOINT"]) == ["kalshibook"]
    assert json.loads(stage["CMD"]) == ["up"]
    assert health is not None
    assert json.loads(health[1]) == ["kalshibook", "health"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "KALSHIBOOK_HOME=/var/lib/kalshibook" in stage["ENV"]
    assert "--mode 0700 /var/lib/kalshibook" in stage["RUN"]


def test_the_dockerfile_leaves_out_what_does_not_belong() -> None:
    found = instructions()
    keywords = [keyword for keyword, _ in found]

    assert "VOLUME" not in keywords  # some platforms refuse it, and it hides that the state has no place
    assert "ADD" not in keywords
    assert dict(found)["ARG"] == "BASE=python:3.11-slim-bookworm"
    assert [words for keyword, words in found if keyword == "FROM"] == ["${BASE} AS build", "${BASE}"]
    assert not re.search(r"\b(apt|apt-get|gcc|curl|wget|git|sudo)\b", DOCKERFILE.read_text())
    for _, words in found:
        for install in re.findall(r"pip(?: --python \S+)? install .*?(?=&&|$)", words):
            assert "--no-cache-dir" in install
            assert "--no-deps" in install
            assert "--require-hashes" in install or "--no-index" in install


@pytest.mark.parametrize(
    "path", [".dockerignore", "docker/Dockerfile", "docker/build", "docker/compose.yaml", "docker/locked.py"]
)
def test_no_address_stands_in_what_builds(path: str) -> None:
    assert "://" not in (ROOT / path).read_text()


def test_the_build_is_given_what_it_installs_and_nothing_else() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        *packages["packages"],
        *("pyproject.toml", "requirements.lock", "docker/locked.py", "sdk/pyproject.toml", "sdk/src"),
    }


def test_a_key_file_for_compose_is_not_committed() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert not re.search(r"BEGIN|kb-[0-9A-Za-z]{32}", LOCAL_ENV.read_text())


def builders(folder: Path, **stubs: str) -> str:
    """Make a PATH with these commands, each a line of shell, and what a shell script needs beside."""
    folder.mkdir()
    for name in ("bash", "dirname", "git"):
        (folder / name).symlink_to(shutil.which(name) or "/bin/false")
    for name, line in stubs.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    return str(folder)


TELLS = 'echo "$0" "$@" "${BUILDAH_ISOLATION:-}" "${STORAGE_DRIVER:-}"'


@pytest.mark.parametrize(
    ("stubs", "builder", "code", "told"),
    [
        ({"docker": TELLS, "buildah": TELLS}, "", 0, "docker build --file docker/Dockerfile --tag kalshibook "),
        ({"docker": "exit 1", "buildah": TELLS}, "", 0, "buildah build --format docker --file docker/Dockerfile "),
        ({"buildah": TELLS}, "", 0, " --build-arg BASE=other . chroot vfs"),
        ({"docker": TELLS, "buildah": TELLS}, "buildah", 0, "buildah build --format docker "),
        ({"docker": "exit 1"}, "", 1, "its daemon does not answer, and there is no buildah"),
        ({}, "", 1, "an image is built by docker or by buildah, and neither is here: install one of them"),
        ({"docker": TELLS}, "podman", 2, "BUILDER=podman is neither docker nor buildah"),
    ],
)
def test_the_builder_is_docker_else_buildah_else_said_to_be_missing(
    tmp_path: Path, stubs: dict[str, str], builder: str, code: int, told: str
) -> None:
    environ = {"PATH": builders(tmp_path / "bin", **stubs), "BUILDER": builder}
    argv = [ROOT / "docker" / "build", "--build-arg", "BASE=other"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


@pytest.fixture(name="needed")
def _needed() -> Callable[[str, set[str]], str]:
    found: Callable[[str, set[str]], str] = runpy.run_path(str(ROOT / "docker" / "locked.py"))["needed"]
    return found


LOCK = """\
# made by a tool
inner==1.0 ; python_version < '4' \\
    --hash=sha256:aa \\
    --hash=sha256:bb
    # via
    #   linter
    #   outer
linter==2 \\
    --hash=sha256:cc
    # via ours (pyproject.toml:dev)
outer==3 \\
    --hash=sha256:dd
    # via
    #   ours (pyproject.toml)
    #   ours (pyproject.toml:dev)
stray==4 \\
    --hash=sha256:ee
    # via linter
"""


def test_of_the_lock_an_image_installs_what_is_needed_with_hashes(needed: Callable[[str, set[str]], str]) -> None:
    inner, linter, outer, stray = re.split(r"(?m)^(?=linter|outer|stray)", LOCK.split("\n", 1)[1])

    assert needed(LOCK, {"ours"}) == inner + outer
    assert needed(LOCK, {"linter"}) == inner + linter + stray
    with pytest.raises(ValueError, match="nobody stands nowhere"):
        needed(LOCK, {"ours", "nobody"})


def test_of_the_real_lock_no_development_tool_is_installed(needed: Callable[[str, set[str]], str]) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())

    pins = set(re.findall(r"(?m)^([a-z0-9-]+)==", needed(lock, {"kalshibook-service", "kalshibook"})))

    assert pins >= set(project["project"]["dependencies"]) - {"kalshibook"}
    assert pins & set(project["dependency-groups"]["dev"]) == set()
