"""Settings with credentials and nothing else."""

from gateway.sandbox import Credentials
from gateway.settings import Settings, load

CREDENTIALS = Credentials.generate()


def settings(**more: object) -> Settings:
    """The defaults with credentials; `cache__fresh_seconds=1` sets one more."""
    required = {
        "apple__team_id": CREDENTIALS.team_id,
        "apple__key_id": CREDENTIALS.key_id,
        "apple__private_key": CREDENTIALS.private_key_pem,
    }
    return load(None, {f"GATEWAY_{name.upper()}": str(value) for name, value in (required | more).items()})
