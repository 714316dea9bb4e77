"""A Triton as it stands in a company's network: with TLS, and with methods that need a header."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from connector.config import TritonSettings
from connector.errors import ServerUnavailableError, ServingError
from connector.serving import TritonClient
from connector.serving.environment import ServerEnvironment
from connector.serving.launch import Identity, triton_service
from connector.serving.service import SupervisedService
from tests.triton_fixtures import probe_contract, write_probe

pytestmark = pytest.mark.triton


@contextmanager
def started(environment: ServerEnvironment, folder: Path, *arguments: str) -> Iterator[int]:
    """A server with further arguments → its gRPC port."""
    write_probe(folder / "models")
    identity = Identity()
    spec = triton_service(environment, folder / "models", folder / "run", folder / "log", identity, grace_s=0.0)
    spec = replace(spec, command=[*spec.command, *arguments])
    service = SupervisedService(spec, identity.server_id, identity.shm_prefix, ready_timeout_s=60, max_restarts=0)
    service.start()
    try:
        deadline = time.monotonic() + 60
        while not service.state().ready and not service.failed_at_start and time.monotonic() < deadline:
            service.tick()
            time.sleep(0.02)
        assert service.state().ready, service.state().error
        yield service.state().ports["grpc"]
    finally:
        service.stop()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `key.pem` and a self-signed `cert.pem` for localhost."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*command.split(), *files], check=True, capture_output=True, timeout=60)
    return folder


def test_tls(triton_environment: ServerEnvironment, tmp_path: Path, certificate: Path) -> None:
    certificates = [f"--grpc-server-cert={certificate}/cert.pem", f"--grpc-server-key={certificate}/key.pem"]
    with started(triton_environment, tmp_path, "--grpc-use-ssl=true", *certificates) as port:
        settings = TritonSettings(tls=True, root_certificates=str(certificate / "cert.pem"), retries=1, timeout_s=5)
        with TritonClient(f"localhost:{port}", settings) as client:
            assert client.encoder(probe_contract()).encode(["a"]).shape == (1, 8)
        for other in (settings.model_copy(update={"tls": False}), TritonSettings(tls=True, retries=0, timeout_s=5)):
            with TritonClient(f"localhost:{port}", other) as client:
                assert not client.ready()
                with pytest.raises(ServerUnavailableError):
                    client.encoder(probe_contract())


def test_headers(triton_environment: ServerEnvironment, tmp_path: Path) -> None:
    restricted = "--grpc-restricted-protocol=inference,model-config:token=open sesame"
    with started(triton_environment, tmp_path, restricted) as port:
        headers = {"triton-grpc-protocol-token": "open sesame"}
        with TritonClient(f"127.0.0.1:{port}", TritonSettings(headers=headers)) as client:
            assert client.encoder(probe_contract()).encode(["a"]).shape == (1, 8)
        with TritonClient(f"127.0.0.1:{port}", TritonSettings(retries=0)) as client:
            with pytest.raises(ServingError, match="restricted") as caught:
                client.encoder(probe_contract())
            assert "\n" not in str(caught.value)
