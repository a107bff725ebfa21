"""What nginx and Varnish are given: the usual ways to put a cache per user in front of an API. Pure."""

from pathlib import Path


def nginx(
    *,
    user: str,
    directory: Path,
    port: int,
    upstream_port: int,
    developer_token: str,
    fresh: int,
    stale: int,
) -> str:
    """`proxy_cache`, keyed by user and URL; times in seconds.

    One worker, connections to the upstream kept, equal requests collapsed by `proxy_cache_lock`, stale
    answers served while they are refreshed behind: what nginx can do, it may do. Its access log goes to
    /dev/null, as the gateway's log does.
    """
    return _NGINX.format(
        user=user,
        directory=directory,
        port=port,
        upstream_port=upstream_port,
        developer_token=developer_token,
        fresh=fresh,
        inactive=fresh + stale,
    )


def varnish(*, upstream_port: int, developer_token: str, fresh: int, stale: int) -> str:
    """The same as VCL: hashed by user and URL, `grace` for the stale time; times in seconds."""
    return f"""\
vcl 4.1;

backend apple {{ .host = "127.0.0.1"; .port = "{upstream_port}"; }}

sub vcl_recv {{
    unset req.http.Authorization;
    if (req.method != "GET") {{
        return (pass);
    }}
    return (hash);
}}

sub vcl_hash {{
    hash_data(req.http.Music-User-Token);
}}

sub vcl_backend_fetch {{
    set bereq.http.Authorization = "Bearer {developer_token}";
}}

sub vcl_backend_response {{
    if (beresp.status == 200 || beresp.status == 404) {{
        set beresp.ttl = {fresh}s;
        set beresp.grace = {stale}s;
        unset beresp.http.Vary;
        return (deliver);
    }}
}}
"""


_NGINX = """\
daemon off;
user {user};
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/nginx.error.log crit;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log /dev/null;
    client_body_temp_path {directory}/nginx.body;
    proxy_temp_path {directory}/nginx.proxy;
    fastcgi_temp_path {directory}/nginx.fastcgi;
    uwsgi_temp_path {directory}/nginx.uwsgi;
    scgi_temp_path {directory}/nginx.scgi;
    proxy_cache_path {directory}/nginx.cache levels=1:2 keys_zone=ratings:32m inactive={inactive}s;
    keepalive_requests 100000000;
    upstream apple {{ server 127.0.0.1:{upstream_port}; keepalive 64; keepalive_requests 1000000; }}
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        location / {{
            proxy_pass http://apple;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $host;
            proxy_set_header Authorization "Bearer {developer_token}";
            proxy_cache ratings;
            proxy_cache_key "$http_music_user_token $request_uri";
            proxy_cache_valid 200 404 {fresh}s;
            proxy_ignore_headers Cache-Control Expires Vary;
            proxy_cache_lock on;
            proxy_cache_use_stale updating error timeout;
            proxy_cache_background_update on;
        }}
    }}
}}
"""
