"""Names of keys, owner tags and the meta field. Rolling upgrades depend on them: they stay as they are."""

import hashlib
from collections.abc import Callable

import pytest

from gateway.cache.redis.errors import RedisFailed
from gateway.cache.redis.layout import TICKS, Keys, Meta, owner_tag, read_meta, variant_name
from gateway.cache.write_rule import PairedWrite
from gateway.model import Kind, Variant
from tests.cache.redis.harness import GERMAN, OTHER, USER

TAG = owner_tag(USER.key, Kind.ALBUMS)


def test_a_main_key_names_namespace_user_and_type() -> None:
    digest = hashlib.sha256(USER.token.encode()).hexdigest()[:32]
    assert Keys("ratings").main(USER.key, Kind.ALBUMS) == f"ratings:{{{digest}}}:albums"


def test_a_variant_is_named_by_a_digest() -> None:
    assert variant_name(GERMAN.variant) == hashlib.blake2b(b"l=de", digest_size=8).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        lambda: owner_tag(OTHER.key, Kind.ALBUMS),
        lambda: owner_tag(USER.key, Kind.SONGS),
        lambda: owner_tag(USER.key, Kind.ALBUMS, Variant("l=de")),
    ],
    ids=["user", "type", "variant"],
)
def test_users_types_and_variants_have_different_tags(other: Callable[[], bytes]) -> None:
    assert other() != TAG


@pytest.mark.parametrize(
    ("field", "meta"),
    [
        (b"7", Meta(b"7")),
        (b"7 5 1000 2000", Meta(b"7", PairedWrite(5, 1000 / TICKS, 2000 / TICKS))),
        (b"7 0 0 0 aa bb", Meta(b"7", None, (b"aa", b"bb"))),
    ],
    ids=["version alone", "paired write", "variants"],
)
def test_the_meta_has_version_paired_write_and_variants(field: bytes, meta: Meta) -> None:
    assert read_meta(TAG + field) == meta


@pytest.mark.parametrize("field", [b"", b"version"])
def test_a_meta_without_a_version_is_refused(field: bytes) -> None:
    with pytest.raises(RedisFailed, match="owner"):
        read_meta(TAG + field)


@pytest.mark.parametrize("field", [b"1 2", b"1 2 3 x"])
def test_a_meta_with_a_malformed_paired_write_is_refused(field: bytes) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        read_meta(TAG + field)
