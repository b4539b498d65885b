# SPDX-License-Identifier: Apache-2.0
"""A server's application that is Apache Tomcat, from Debian's packages.

    python tomcat.py NIO_PORT NIO2_PORT

Both of Tomcat's connectors listen, each with a head of up to 16 KiB and a body of any length. The
files of ipos.lab.pattern are at `/files/SIZE`, sent by sendfile where a connector can. `/count.jsp`
reads a body as far as `available()` says that it is there, and answers with what it has read:
`HEADER of LENGTH`, the length of the header `X-Long`, and the number of bytes of the body.
`/through.jsp` answers with the body.
"""

import os
import sys
from pathlib import Path
from typing import Final

from ipos.lab import pattern

JAVA: Final = Path("/usr/bin/java")
HOME: Final = Path("/usr/share/tomcat10")  # where Debian's package has it

_SERVER = """\
<Server port="-1">
  <Service name="Catalina">
    <Connector port="{nio}" protocol="org.apache.coyote.http11.Http11NioProtocol" {limits}/>
    <Connector port="{nio2}" protocol="org.apache.coyote.http11.Http11Nio2Protocol" {limits}/>
    <Engine name="Catalina" defaultHost="localhost">
      <Host name="localhost" appBase="webapps" autoDeploy="false">
        <Context path="/files" docBase="{files}"/>
      </Host>
    </Engine>
  </Service>
</Server>
"""
_LIMITS = 'maxHttpHeaderSize="16384" maxThreads="8" minSpareThreads="1"'
_WEB = """\
<web-app xmlns="https://jakarta.ee/xml/ns/jakartaee" version="6.0">
  <servlet>
    <servlet-name>default</servlet-name>
    <servlet-class>org.apache.catalina.servlets.DefaultServlet</servlet-class>
  </servlet>
  <servlet>
    <servlet-name>jsp</servlet-name>
    <servlet-class>org.apache.jasper.servlet.JspServlet</servlet-class>
  </servlet>
  <servlet-mapping>
    <servlet-name>default</servlet-name>
    <url-pattern>/</url-pattern>
  </servlet-mapping>
  <servlet-mapping>
    <servlet-name>jsp</servlet-name>
    <url-pattern>*.jsp</url-pattern>
  </servlet-mapping>
</web-app>
"""
_COUNT = """\
<%@ page contentType="text/plain" session="false" trimDirectiveWhitespaces="true" %><%
java.io.InputStream in = request.getInputStream();
byte[] piece = new byte[65536];
String header = request.getHeader("X-Long");
long got = 0;
for (int n = 0; n >= 0; got += Math.max(n, 0))
    n = in.read(piece, 0, Math.max(1, Math.min(piece.length, in.available())));
String said = (header == null ? 0 : header.length()) + " of " + got;
response.setContentLength(said.length());
out.print(said);
%>"""
_THROUGH = """\
<%@ page contentType="application/octet-stream" session="false"
         trimDirectiveWhitespaces="true" %><%
byte[] body = request.getInputStream().readAllBytes();
response.setContentLength(body.length);
response.getOutputStream().write(body);
%>"""


def main(nio: int, nio2: int) -> None:
    base = Path(os.environ["IPOS_RUN_DIR"], "tomcat")
    files = pattern.make_files()
    contents = {
        "conf/server.xml": _SERVER.format(nio=nio, nio2=nio2, limits=_LIMITS, files=files),
        "conf/web.xml": _WEB,
        "webapps/ROOT/count.jsp": _COUNT,
        "webapps/ROOT/through.jsp": _THROUGH,
    }
    for name, text in contents.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    for name in ("temp", "logs"):
        (base / name).mkdir()
    os.execv(JAVA, [
        str(JAVA), "-Xmx192m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
        f"-Dcatalina.home={HOME}", f"-Dcatalina.base={base}", f"-Djava.io.tmpdir={base}/temp",
        "-Dtomcat.util.scan.StandardJarScanFilter.jarsToSkip=*.jar",
        "-cp", f"{HOME}/bin/bootstrap.jar:{HOME}/bin/tomcat-juli.jar",
        "org.apache.catalina.startup.Bootstrap", "start",
    ])  # fmt: skip


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
