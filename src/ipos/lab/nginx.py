# SPDX-License-Identifier: Apache-2.0
"""nginx as a server's application: Debian's, unmodified, with a configuration of its own.

It answers what it can by itself: `/`, and `/bytes/N` for the sizes that have a file. The rest it
passes to the built-in application over a Unix socket and puts its own headers on the answer, so
that `X-Client` is always the address that nginx's accept() gave.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of

_TEMPLATE = """\
user www-data;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{
    worker_connections 16384;
}}
http {{
    log_format lab '$msec $remote_addr:$remote_port $server_addr:$server_port '
                   '"$request" $status $body_bytes_sent';
    access_log {directory}/access.log lab;
    default_type application/octet-stream;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    sendfile on;
    tcp_nopush on;
    keepalive_timeout 3600s;
    keepalive_requests 1000000000;
    large_client_header_buffers 4 32k;
    client_max_body_size 0;
    upstream builtin {{
        server unix:{socket};
        keepalive 16;
    }}
    server {{
{listens}
        add_header X-Served-By {name} always;
        add_header X-Client $remote_addr always;
        location = / {{
            default_type text/plain;
            return 200 "{name}\\n";
        }}
        proxy_http_version 1.1;
        proxy_request_buffering off;
        proxy_ignore_client_abort on;
        proxy_read_timeout 3600s;
        proxy_set_header Connection "";
        proxy_set_header X-Real-IP $remote_addr;
        proxy_hide_header X-Served-By;
        proxy_hide_header X-Client;
        location /bytes/ {{
            root {files};
            try_files $uri @builtin;
        }}
        location / {{
            proxy_pass http://builtin;
        }}
        location @builtin {{
            proxy_pass http://builtin;
        }}
    }}
}}
"""


def configuration(
    name: str, directory: Path, listen: Iterable[str], socket: Path, files: Path
) -> str:
    """The text of nginx.conf.

    listen: "address:port"; socket: where the built-in application listens; files: the pattern's.
    """
    return _TEMPLATE.format(
        name=name,
        directory=directory,
        listens="\n".join(f"        listen {address} backlog=4096;" for address in listen),
        socket=socket,
        files=files.parent,  # the directory is called `bytes`, as the path is
    )


def start(place: Place, listen: Iterable[str], socket: Path, files: Path) -> None:
    """Start nginx in a server; it is bound and accepting on return. LabError with its own words."""
    if shutil.which("nginx") is None:
        raise LabError("nginx is missing; run: apt install nginx-light, or use --app builtin")
    directory = place.run_dir / "nginx"
    directory.mkdir(exist_ok=True)
    file = directory / "nginx.conf"
    file.write_text(configuration(place.node, directory, listen, socket, files))
    log = directory / "error.log"
    # nginx goes into the background by itself, and only after it has bound its addresses.
    place.app_cgroup.mkdir(parents=True, exist_ok=True)
    command = ["nginx", "-p", str(directory), "-e", str(log), "-c", str(file)]
    with log.open("ab") as output:
        done = place.run(
            command,
            cgroup=place.app_cgroup,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    if done.returncode != 0:
        raise LabError(f"nginx in {place.node} did not start{tail_of(log)}")
