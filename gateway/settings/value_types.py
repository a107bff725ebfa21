"""Types of values that several settings share: how each is validated, and what it accepts in words."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from gateway.settings import values
from gateway.settings.values import Accepts

Fraction = Annotated[float, Field(ge=0, le=1)]
Port = Annotated[int, Field(ge=0, le=65_535)]
Host = Annotated[str, AfterValidator(values.host), Accepts("an IP address or a host name, without port")]
ReadableFile = Annotated[
    Path | None, AfterValidator(values.readable), Accepts("the path of a file that can be read")
]
Authorities = Annotated[
    Path | None,
    AfterValidator(values.readable),
    AfterValidator(values.authorities),
    Accepts("the path of a file that can be read and contains certificates as PEM"),
]
AppleId = Annotated[
    str,
    BeforeValidator(values.stripped),
    Field(pattern=r"^[A-Z0-9]{10}$"),
    Accepts("10 characters of A-Z and 0-9, as Apple's developer site shows it"),
]
Token = Annotated[SecretStr, BeforeValidator(values.stripped), AfterValidator(values.token)]
