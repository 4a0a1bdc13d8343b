"""Requests whole and broken: what a front must answer to bytes on the wire.

Each case: name, bytes, the statuses that must come back in order. ``ok`` cases echo what was understood as
``METHOD path?query [body]``; for refused ones the connection must end after the last status.
"""

from __future__ import annotations

from dataclasses import dataclass

HOST = b"Host: a.example:8000\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    data: bytes
    statuses: tuple[int, ...]
    echoes: tuple[str, ...] = ()
    closes: bool = False


def good(name: str, data: bytes, *echoes: str, closes: bool = False) -> Case:
    return Case(name, data, (200,) * len(echoes), echoes, closes)


def bad(name: str, data: bytes, status: int, *echoes: str) -> Case:
    return Case(name, data, (*(200,) * len(echoes), status), echoes, closes=True)


def get(target: bytes, version: bytes = b"HTTP/1.1", rest: bytes = HOST) -> bytes:
    return b"GET " + target + b" " + version + b"\r\n" + rest + b"\r\n"


def post(fields: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return b"POST /p " + version + b"\r\n" + HOST + fields + b"\r\n" + body


CHUNKED = b"Transfer-Encoding: chunked\r\n"
SMUGGLED = get(b"/smuggled")

GOOD = [
    good("plain get", get(b"/"), "GET / []"),
    good("query", get(b"/a?b=c&d=%20"), "GET /a?b=c&d=%20 []"),
    good("empty query", get(b"/a?"), "GET /a []"),
    good("percent decoding", get(b"/a%20b/%C3%A9"), "GET /a b/é []"),
    good("escaped slash and percent stay escaped", get(b"/a%2fb%2541"), "GET /a%2Fb%2541 []"),
    good("dots inside a name", get(b"/.a/..b/c.."), "GET /.a/..b/c.. []"),
    good("colon in a segment", get(b"/v1/models/m:predict"), "GET /v1/models/m:predict []"),
    good("absolute form", get(b"http://a.example:8000/x?y"), "GET /x?y []"),
    good("absolute form without a path", get(b"http://A.example:8000?y"), "GET /?y []"),
    good("asterisk", b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", "OPTIONS /* []"),
    good("leading empty lines", b"\r\n\r\n" + get(b"/"), "GET / []"),
    good("length", post(b"Content-Length: 3\r\n", b"abc"), "POST /p [abc]"),
    good("length zero", post(b"Content-Length: 0\r\n"), "POST /p []"),
    good("length with spaces around", post(b"Content-Length:  3 \t\r\n", b"abc"), "POST /p [abc]"),
    good("length with leading zeros", post(b"Content-Length: 003\r\n", b"abc"), "POST /p [abc]"),
    good("body of a get", b"GET /g HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc" + get(b"/b"), "GET /g [abc]", "GET /b []"),
    good("a request as a body stays a body", post(b"Content-Length: %d\r\n" % len(SMUGGLED), SMUGGLED), f"POST /p [{SMUGGLED.decode()}]"),
    good("chunked", post(CHUNKED, b"3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n"), "POST /p [abc0123456789]"),
    good("chunked in capitals", post(b"transfer-encoding: CHUNKED\r\n", b"0\r\n\r\n"), "POST /p []"),
    good("chunk extensions are skipped", post(CHUNKED, b"3;a=b;c=\"d e\"\r\nabc\r\n0 ;x\r\n\r\n"), "POST /p [abc]"),
    good("chunk size with leading zeros", post(CHUNKED, b"0003\r\nabc\r\n000\r\n\r\n"), "POST /p [abc]"),
    good("trailers are dropped", post(CHUNKED, b"1\r\na\r\n0\r\nX-T: 1\r\nContent-Length: 9\r\n\r\n") + get(b"/b"),
         "POST /p [a]", "GET /b []"),
    good("pipelined", get(b"/1") + post(b"Content-Length: 1\r\n", b"2") + post(CHUNKED, b"1\r\n3\r\n0\r\n\r\n") + get(b"/4"),
         "GET /1 []", "POST /p [2]", "POST /p [3]", "GET /4 []"),
    good("nothing after a close is read", get(b"/1", rest=HOST + b"Connection: close\r\n") + SMUGGLED, "GET /1 []", closes=True),
    good("close among options", get(b"/1", rest=HOST + b"Connection: foo, Close\r\n") + SMUGGLED, "GET /1 []", closes=True),
    good("1.0 closes", get(b"/1", b"HTTP/1.0") + SMUGGLED, "GET /1 []", closes=True),
    good("1.0 without a host", get(b"/1", b"HTTP/1.0", b""), "GET /1 []", closes=True),
    good("1.0 kept", get(b"/1", b"HTTP/1.0", HOST + b"Connection: keep-alive\r\n") + get(b"/2"), "GET /1 []", "GET /2 []"),
    good("h2c offer is ignored and its body read",
         post(b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nContent-Length: 3\r\n", b"abc") + get(b"/b"),
         "POST /p [abc]", "GET /b []"),
    good("upgrade without the option is ignored", post(b"Upgrade: websocket\r\nContent-Length: 3\r\n", b"abc"), "POST /p [abc]"),
    good("obs-text in a value", get(b"/", rest=HOST + b"X: caf\xe9\r\n"), "GET / []"),
    good("empty value", get(b"/", rest=HOST + b"X:\r\n"), "GET / []"),
]  # fmt: skip

BAD = [
    bad("no host", get(b"/", rest=b""), 400),
    bad("two hosts", get(b"/", rest=HOST + b"Host: b\r\n"), 400),
    bad("two equal hosts", get(b"/", rest=HOST + HOST), 400),
    bad("host list", get(b"/", rest=b"Host: a, b\r\n"), 400),
    bad("host with a path", get(b"/", rest=b"Host: a/b\r\n"), 400),
    bad("host with user", get(b"/", rest=b"Host: a@b\r\n"), 400),
    bad("hosts on 1.0", get(b"/", b"HTTP/1.0", HOST + HOST), 400),
    bad("absolute form of another host", get(b"http://b.example/x"), 400),
    bad("absolute form without host", get(b"http:///x"), 400),
    bad("absolute form of another scheme", get(b"ftp://a.example:8000/x"), 400),
    bad("length and chunked", post(b"Content-Length: 3\r\n" + CHUNKED, b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked and length", post(CHUNKED + b"Content-Length: 3\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("two lengths", post(b"Content-Length: 3\r\nContent-Length: 5\r\n", b"abcde"), 400),
    bad("two equal lengths", post(b"Content-Length: 3\r\nContent-Length: 3\r\n", b"abc"), 400),
    bad("length list", post(b"Content-Length: 3, 3\r\n", b"abc"), 400),
    bad("length with plus", post(b"Content-Length: +5\r\n", b"abcde"), 400),
    bad("length with minus", post(b"Content-Length: -5\r\n", b"abcde"), 400),
    bad("length in hexadecimal", post(b"Content-Length: 0x5\r\n", b"abcde"), 400),
    bad("length with an underscore", post(b"Content-Length: 1_0\r\n", b"abcde"), 400),
    bad("length in two parts", post(b"Content-Length: 5 5\r\n", b"abcde"), 400),
    bad("empty length", post(b"Content-Length: \r\n", b"abcde"), 400),
    bad("length over 64 bits", post(b"Content-Length: 99999999999999999999999\r\n"), 400),
    bad("length over the limit", post(b"Content-Length: 9999999\r\n"), 413),
    bad("chunk over the limit", post(CHUNKED, b"FFFFFF\r\n"), 413),
    bad("chunks over the limit", post(CHUNKED, b"8000\r\n" + b"x" * 0x8000 + b"\r\n8001\r\n"), 413),
    bad("chunked on 1.0", post(CHUNKED, b"0\r\n\r\n" + SMUGGLED, b"HTTP/1.0"), 400),
    bad("unknown coding", post(b"Transfer-Encoding: gzip\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("coding before chunked", post(b"Transfer-Encoding: gzip, chunked\r\n", b"0\r\n\r\n" + SMUGGLED), 501),
    bad("chunked not last", post(b"Transfer-Encoding: chunked, gzip\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked twice", post(CHUNKED + CHUNKED, b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked with a parameter", post(b"Transfer-Encoding: chunked;x=1\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked misspelt", post(b"Transfer-Encoding: xchunked\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked in quotes", post(b'Transfer-Encoding: "chunked"\r\n', b"0\r\n\r\n" + SMUGGLED), 400),
    bad("chunked after a vertical tab", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("empty coding", post(b"Transfer-Encoding:\r\n", b"0\r\n\r\n" + SMUGGLED), 400),
    bad("identity coding", post(b"Transfer-Encoding: identity\r\nContent-Length: 3\r\n", b"abc" + SMUGGLED), 400),
    bad("chunk size with plus", post(CHUNKED, b"+3\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size with minus", post(CHUNKED, b"-3\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size with 0x", post(CHUNKED, b"0x3\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size with a space before", post(CHUNKED, b" 3\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size with a space after", post(CHUNKED, b"3 \r\nabc\r\n0\r\n\r\n"), 400),
    bad("empty chunk size", post(CHUNKED, b"\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size over 64 bits", post(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\n"), 400),
    bad("chunk size ended by a bare LF", post(CHUNKED, b"3\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk size ended by a bare CR", post(CHUNKED, b"3\rabc\r\n0\r\n\r\n"), 400),
    bad("LF in a chunk extension", post(CHUNKED, b"3;a\nabc\r\n0\r\n\r\n"), 400),
    bad("CR in a chunk extension", post(CHUNKED, b"3;a\rb\r\nabc\r\n0\r\n\r\n"), 400),
    bad("NUL in a chunk extension", post(CHUNKED, b"3;a\0\r\nabc\r\n0\r\n\r\n"), 400),
    bad("chunk longer than it says", post(CHUNKED, b"3\r\nabcd\r\n0\r\n\r\n"), 400),
    bad("chunk ended by a bare LF", post(CHUNKED, b"3\r\nabc\n0\r\n\r\n"), 400),
    bad("long chunk extension", post(CHUNKED, b"3;" + b"a" * 1100 + b"\r\nabc\r\n0\r\n\r\n"), 400),
    bad("trailer without a colon", post(CHUNKED, b"0\r\nfoo\r\n\r\n"), 400),
    bad("trailer with white space before the colon", post(CHUNKED, b"0\r\nfoo : 1\r\n\r\n"), 400),
    bad("folded trailer", post(CHUNKED, b"0\r\nfoo: 1\r\n 2\r\n\r\n"), 400),
    bad("trailers over the limit", post(CHUNKED, b"0\r\n" + b"X: aaaaaaaaaaaaaaaa\r\n" * 110 + b"\r\n"), 431),
    bad("white space before the colon", get(b"/", rest=HOST + b"X : 1\r\n"), 400),
    bad("empty name", get(b"/", rest=HOST + b": 1\r\n"), 400),
    bad("no colon", get(b"/", rest=HOST + b"foo\r\n"), 400),
    bad("folded field", get(b"/", rest=HOST + b"X: 1\r\n 2\r\n"), 400),
    bad("white space before the first field", get(b"/", rest=b" X: 1\r\n" + HOST), 400),
    bad("NUL in a value", get(b"/", rest=HOST + b"X: a\0b\r\n"), 400),
    bad("control character in a value", get(b"/", rest=HOST + b"X: a\x01b\r\n"), 400),
    bad("DEL in a value", get(b"/", rest=HOST + b"X: a\x7fb\r\n"), 400),
    bad("NUL in a name", get(b"/", rest=HOST + b"X\0: 1\r\n"), 400),
    bad("delimiter in a name", get(b"/", rest=HOST + b"X(: 1\r\n"), 400),
    bad("high byte in a name", get(b"/", rest=HOST + b"X\xe9: 1\r\n"), 400),
    bad("bare LF after the request line", b"GET / HTTP/1.1\n" + HOST + b"\r\n", 400),
    bad("bare LF after a field", get(b"/", rest=b"Host: a\nX: 1\r\n"), 400),
    bad("bare CR in a field", get(b"/", rest=b"Host: a\rX: 1\r\n"), 400),
    bad("head ended by CR LF LF", b"GET / HTTP/1.1\r\nHost: a\r\n\n" + SMUGGLED, 400),
    bad("head ended by CR CR LF", b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n" + SMUGGLED, 400),
    bad("leading bare LF", b"\n" + get(b"/"), 400),
    bad("leading space", b" " + get(b"/"), 400),
    bad("two spaces before the target", get(b" /"), 400),
    bad("two spaces after the target", get(b"/ "), 400),
    bad("space after the version", get(b"/", b"HTTP/1.1 "), 400),
    bad("tabs in the request line", b"GET\t/\tHTTP/1.1\r\n" + HOST + b"\r\n", 400),
    bad("lower-case version", get(b"/", b"http/1.1"), 400),
    bad("two digits in the version", get(b"/", b"HTTP/1.10"), 400),
    bad("another protocol", get(b"/", b"RTSP/1.0"), 400),
    bad("no version", b"GET /\r\n\r\n", 400),
    bad("0.9", get(b"/", b"HTTP/0.9"), 505),
    bad("1.2", get(b"/", b"HTTP/1.2"), 505),
    bad("2.0", get(b"/", b"HTTP/2.0"), 505),
    bad("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    bad("TLS instead of HTTP", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    bad("lower-case method", b"get / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    bad("unknown method", b"FOO / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    bad("known method that is not served", b"PROPFIND / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    bad("trace", b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    bad("connect", b"CONNECT a:80 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED, 501),
    bad("connect with a path", b"CONNECT / HTTP/1.1\r\n" + HOST + b"\r\n", 501),
    bad("upgrade to a websocket", post(b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", b"abc" + SMUGGLED), 501),
    bad("asterisk with get", get(b"*"), 400),
    bad("relative target", get(b"a/b"), 400),
    bad("fragment", get(b"/a#b"), 400),
    bad("NUL in the target", get(b"/a\0b"), 400),
    bad("high bytes in the target", get(b"/\xc3\xa9"), 400),
    bad("half an escape", get(b"/a%4"), 400),
    bad("escape that is none", get(b"/a%zz"), 400),
    bad("escape that is none in the query", get(b"/a?b=%zz"), 400),
    bad("escaped NUL", get(b"/a%00"), 400),
    bad("escaped line break", get(b"/a%0d%0ab"), 400),
    bad("escaped high byte that is not UTF-8", get(b"/%ff"), 400),
    bad("overlong UTF-8", get(b"/%c0%ae%c0%ae/"), 400),
    bad("dot segment", get(b"/a/../b"), 400),
    bad("single dot segment", get(b"/a/./b"), 400),
    bad("dot segment at the end", get(b"/a/.."), 400),
    bad("escaped dot segment", get(b"/a/%2e%2E/b"), 400),
    bad("dot segment between escaped slashes", get(b"/a%2f..%2fb"), 400),
    bad("backslash", get(b"/a\\..\\b"), 400),
    bad("escaped backslash", get(b"/a%5cb"), 400),
    bad("long target", get(b"/" + b"a" * 600), 414),
    bad("endless target", b"GET /" + b"a" * 3000, 414),
    bad("head over the limit", get(b"/", rest=HOST + b"X: " + b"a" * 2100 + b"\r\n"), 431),
    bad("endless head", b"GET / HTTP/1.1\r\n" + b"X: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 70, 431),
    bad("too many fields", get(b"/", rest=HOST + b"".join(b"X%d: 1\r\n" % n for n in range(40))), 431),
    bad("too many fields of one name", get(b"/", rest=HOST + b"X: 1\r\n" * 40), 431),
    bad("unknown expectation", post(b"Expect: 200-ok\r\nContent-Length: 3\r\n", b"abc"), 417),
    bad("a good request, then a bad one", get(b"/1") + get(b"/2", rest=b""), 400, "GET /1 []"),
    bad("garbage after a body", post(b"Content-Length: 3\r\n", b"abcX") + get(b"/2"), 501, "POST /p [abc]"),
    bad("garbage after chunks", post(CHUNKED, b"0\r\n\r\n}\r\n\r\n"), 400, "POST /p []"),
]  # fmt: skip
