"""nginx as the provider and as the bare proxy, with a configuration, ports and directories of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import payloads
from benchmarks.processes import CannotRun, Child, free_port, need, running, wait_for_port

_MODULES = Path("/usr/lib/nginx/modules")

_HINT = "Streams need nginx's Lua module: apt-get install libnginx-mod-http-lua"

_CONFIG = """\
{modules}
{user}
daemon off;
pid {root}/{name}.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {root}/{name}-body;
    proxy_temp_path {root}/{name}-proxy;
    fastcgi_temp_path {root}/{name}-fastcgi;
    uwsgi_temp_path {root}/{name}-uwsgi;
    scgi_temp_path {root}/{name}-scgi;
    keepalive_timeout 600s;
    keepalive_requests 1000000000;
    tcp_nodelay on;
{body}
}}
"""

_UPSTREAM = """\
    init_by_lua_block {{
        EVENTS = {{}}
        for number = 1, {events} do
            local file = assert(io.open("{root}/event-" .. number, "rb"))
            EVENTS[number] = file:read("*a")
            file:close()
        end
    }}
    server {{
        listen 127.0.0.1:{port};
        location /json/ {{
            default_type application/json;
            add_header request-id req_bench;
            return 200 '{answer}';
        }}
        location /stream/ {{
            default_type "text/event-stream; charset=utf-8";
            add_header request-id req_bench;
            add_header cache-control no-cache;
            content_by_lua_block {{
                ngx.req.discard_body()
                for number = 1, {events} do
                    ngx.print(EVENTS[number])
                    ngx.flush(true)
                end
            }}
        }}
    }}"""

# Buffering is off for streams, as anyone who proxies events must have it; on (the default) for JSON.
_PROXY = """\
    upstream provider {{ server 127.0.0.1:{upstream}; keepalive 128; keepalive_requests 1000000000; }}
    server {{
        listen 127.0.0.1:{port};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        location /json/ {{ proxy_pass http://provider; }}
        location /stream/ {{ proxy_pass http://provider; proxy_buffering off; }}
    }}"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """A running nginx with one worker."""

    port: int
    child: Child

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def upstream(root: Path) -> Iterator[Nginx]:
    """The provider: `/json/…` answers with a static message, `/stream/…` with 100 events, each flushed by itself.

    Raises:
        CannotRun: nginx or its Lua module is missing.
    """
    need("nginx")
    for number, event in enumerate(payloads.events(), 1):
        (root / f"event-{number}").write_bytes(event)
    port = free_port()
    body = _UPSTREAM.format(root=root, port=port, events=payloads.EVENTS, answer=payloads.answer().decode())
    with _started("upstream", root, port, body, lua=True) as found:
        yield found


@contextlib.contextmanager
def proxy(root: Path, to: Nginx) -> Iterator[Nginx]:
    """The bare proxy that a gateway is compared with: proxy_pass over kept connections, no log."""
    port = free_port()
    with _started("proxy", root, port, _PROXY.format(port=port, upstream=to.port), lua=False) as found:
        yield found


@contextlib.contextmanager
def _started(name: str, root: Path, port: int, body: str, *, lua: bool) -> Iterator[Nginx]:
    config = root / f"{name}.conf"
    modules = "\n".join(_modules()) if lua else ""
    user = "user root;" if os.geteuid() == 0 else ""  # else the worker could not write its temporary directories
    config.write_text(_CONFIG.format(name=name, root=root, modules=modules, user=user, body=body))
    program = shutil.which("nginx") or "nginx"
    checked = subprocess.run([program, "-t", "-q", "-p", str(root), "-c", str(config)], capture_output=True, text=True)
    if checked.returncode:
        raise CannotRun(f"nginx does not take the benchmark's configuration: {checked.stderr.strip()}\n{_HINT}")
    command = [program, "-p", str(root), "-c", str(config)]
    with running(command, cwd=root, log=root / f"{name}.log") as child:
        wait_for_port(port, child.process)
        yield Nginx(port, child)


def _modules() -> Iterator[str]:
    for name in ("ndk_http_module.so", "ngx_http_lua_module.so"):
        if (_MODULES / name).exists():
            yield f"load_module {_MODULES / name};"
