"""What a deployment brings along, as tests need it."""

from pathlib import Path

import pytest

from gateway.sandbox import Credentials


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """A directory like the volume of the Secret `ratings-gateway`."""
    directory = tmp_path / "secrets"
    directory.mkdir()
    (directory / "private-key.p8").write_text(Credentials.generate().private_key_pem)
    return directory
