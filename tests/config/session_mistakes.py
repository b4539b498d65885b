# SPDX-License-Identifier: Apache-2.0
"""Sessions that fit nothing else, by one edit of the good configuration each."""

OTHERS = [
    ("redirect without names", "port = 80", 'port = 80\nsession = { kind = "redirect" }', 21,
     ('service "web" has a session by redirect and no names to send clients to; give the servers\' '
      'own in session.name, such as name = "{server}.example.org"')),
    ("names without redirect", "port = 80",
     'port = 80\nsession = { kind = "source", name = "{server}.org" }', 21,
     ('service "web" has session.name, which is where kind = "redirect" sends clients, and kind = '
      '"source"; leave it out')),
    ("a scheme without redirect", "port = 80",
     'port = 80\nsession = { kind = "insert", scheme = "https" }', 21,
     ('service "web" has session.scheme, which is where kind = "redirect" sends clients, and kind '
      '= "insert"; leave it out')),
    ("a cookie without a kind that has one", "port = 80",
     'port = 80\nsession = { kind = "source", cookie = "SID" }', 21,
     ('service "web" has session.cookie, which is the cookie that kind = "insert", "learn" or '
      '"identify" goes by, and kind = "source"; leave it out')),
    ("a learned cookie's life for an inserted one", "port = 80",
     'port = 80\nsession = { kind = "insert", expire_s = 60 }', 21,
     ('service "web" has session.expire_s, which is how long kind = "learn" or "identify" '
      'remembers a cookie, and kind = "insert"; leave it out')),
    ("a redirect's name for an identified session", "port = 80",
     'port = 80\nsession = { kind = "identify", name = "{server}.org" }', 21,
     ('service "web" has session.name, which is where kind = "redirect" sends clients, and kind = '
      '"identify"; leave it out')),
    ("identified on connection", "port = 25", 'port = 25\nsession = { kind = "identify" }', 27,
     ('service "mail" has a session by cookie and select = "connection", which decides before '
     'any cookie comes; say select = "request", or kind = "source"')),
    ("learning without a name", "port = 80", 'port = 80\nsession = { kind = "learn" }', 21,
     ('service "web" has a session by learning and no cookie to learn; give the name of the '
      'application\'s own in session.cookie, such as cookie = "JSESSIONID"')),
    ("redirect on connection", "port = 25",
     'port = 25\nsession = { kind = "redirect", name = "{server}.org" }', 27,
     ('service "mail" has a session by redirect and select = "connection", which decides before '
      'any request comes; say select = "request", or kind = "source"')),
    ("session on connection", "port = 25", 'port = 25\nsession = { kind = "insert" }', 27,
     ('service "mail" has a session by cookie and select = "connection", which decides before '
     'any cookie comes; say select = "request", or kind = "source"')),
    ("attribute of another session", "port = 80",
     'port = 80\nsession = { kind = "learn", secure = true }', 21,
     ('service "web" has session.secure, which is an attribute of cookies that kind = "insert" or '
     '"identify" makes, and kind = "learn"; leave it out')),
    ("same_site none", "port = 80",
     'port = 80\nsession = { kind = "insert", same_site = "none" }', 21,
     ('service "web" has session.same_site = "none" without secure = true; browsers throw such '
     "cookies away")),
]  # fmt: skip
