from pathlib import Path

from tests.bench import configuration


def test_nginx_caches_by_user_and_url_and_collapses_equal_requests():
    text = configuration.nginx(
        user="me",
        directory=Path("/nowhere"),
        port=81,
        upstream_port=82,
        developer_token="abc",
        fresh=300,
        stale=30,
    )
    for line in (
        'proxy_cache_key "$http_music_user_token $request_uri";',
        "proxy_cache_lock on;",
        "proxy_cache_valid 200 404 300s;",
        'proxy_set_header Authorization "Bearer abc";',
        "listen 127.0.0.1:81",
        "server 127.0.0.1:82;",
        "inactive=330s",
    ):
        assert line in text


def test_varnish_hashes_the_user_too():
    text = configuration.varnish(upstream_port=82, developer_token="abc", fresh=300, stale=30)
    for line in (
        "hash_data(req.http.Music-User-Token);",
        '.port = "82";',
        "set beresp.ttl = 300s;",
        "set beresp.grace = 30s;",
        'set bereq.http.Authorization = "Bearer abc";',
    ):
        assert line in text
