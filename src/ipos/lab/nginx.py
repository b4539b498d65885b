# SPDX-License-Identifier: Apache-2.0
"""nginx as a server's application: Debian's, unmodified, with a configuration of its own.

It answers what it can by itself: `/`, small `/bytes/N`, and `/files/N`, the same bytes for the
sizes that have a file. The rest it passes to the built-in application over a Unix socket and puts
its own headers on the answer, so that `X-Client` is always the address that nginx's accept() gave.

nginx gives a file up when its client half-closes before all of it is in the socket's buffer. So
large `/bytes/N` come from the built-in application, and no answer of that is buffered, because a
buffer may be a temporary file. `/files/N` is what nginx is fastest at, to be measured with.

Ports 443 and 8443 speak TLS, with a certificate of the lab's own, and HTTP/1.1 or HTTP/2 in it as
the client asks; port 8082 speaks HTTP/2 with prior knowledge alone. All others speak HTTP/1.1.
"""

import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from ipos.lab.errors import LabError
from ipos.lab.places import Place, tail_of

TLS_PORTS = (443, 8443)
H2_PORT = 8082

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
{certificate}
        add_header X-Served-By {name} always;
        add_header X-Client $remote_addr always;
        location = / {{
            default_type text/plain;
            return 200 "{name}\\n";
        }}
        proxy_http_version 1.1;
        proxy_buffering off;
        proxy_request_buffering off;
        proxy_ignore_client_abort on;
        proxy_read_timeout 3600s;
        proxy_set_header Connection "";
        proxy_set_header X-Real-IP $remote_addr;
        proxy_hide_header X-Served-By;
        proxy_hide_header X-Client;
        location ~ "^/bytes/[0-9]{{1,5}}$" {{
            root {files};
            try_files $uri @builtin;
        }}
        location /files/ {{
            alias {files}/bytes/;
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


_NAMES = "DNS:farm.example,DNS:*.farm.example,DNS:example.org,DNS:*.example.org"


def make_certificate(directory: Path) -> Path:
    """A key and a certificate that it signed itself, in one file, made once.

    LabError with openssl's own words.
    """
    file = directory / "certificate.pem"
    if file.exists():
        return file
    if shutil.which("openssl") is None:
        raise LabError("openssl is missing; run: apt install openssl, or serve no port 443 or 8443")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "3650", "-subj", "/CN=farm.example"]
    command += ["-addext", f"subjectAltName={_NAMES}", "-keyout", "-", "-out", "-"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise LabError(f"openssl made no certificate: {done.stderr.strip()}")
    file.touch(mode=0o600)
    file.write_text(done.stdout)
    return file


def _listen(address: str) -> str:
    """A line of the server's. Newer nginx says `http2 on`, but understands this as well."""
    port = int(address.rpartition(":")[2])
    spoken = " ssl http2" if port in TLS_PORTS else " http2" if port == H2_PORT else ""
    return f"        listen {address} backlog=4096{spoken};"


def configuration(
    name: str,
    directory: Path,
    listen: Iterable[str],
    socket: Path,
    files: Path,
    certificate: Path | None = None,
) -> str:
    """The text of nginx.conf.

    listen: "address:port"; socket: where the built-in application listens; files: the pattern's;
    certificate: with its key; used on the ports that speak TLS.
    """
    lines = [
        f"        {each} {certificate};" for each in ("ssl_certificate", "ssl_certificate_key")
    ]
    lines.append("        ssl_protocols TLSv1.2 TLSv1.3;")  # older nginx leaves out 1.3
    return _TEMPLATE.format(
        name=name,
        directory=directory,
        listens="\n".join(map(_listen, listen)),
        certificate="\n".join(lines if certificate else ()),
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
    addresses = tuple(listen)
    secure = any(int(each.rpartition(":")[2]) in TLS_PORTS for each in addresses)
    certificate = make_certificate(place.run_dir.parent) if secure else None
    file.write_text(configuration(place.node, directory, addresses, socket, files, certificate))
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
