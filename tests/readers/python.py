"""Says how the web server of Python's library reads a request: `python.py PORT`."""

import http.server
import json
import posixpath
import sys
import urllib.parse

ANSWERED = 0


class Handler(http.server.BaseHTTPRequestHandler):
    # As it comes: HTTP/1.0, a connection for each request.
    server_version = "reader-python"

    def __getattr__(self, name):
        # Every method is served, as that of programs that look at `command` themselves.
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self):
        global ANSWERED
        ANSWERED += 1
        # The path as `translate_path` of the library's own handler makes it.
        path = self.path.split("?", 1)[0].split("#", 1)[0]
        reading = {
            "method": self.command,
            "target": self.raw_requestline.split()[1].decode("latin-1"),
            "host": self.headers.get_all("Host"),
            "path": posixpath.normpath(urllib.parse.unquote_to_bytes(path).decode("latin-1")),
            "body": self.body().decode("latin-1"),
            "answered": ANSWERED,
        }
        said = json.dumps(reading).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)

    def body(self):
        # The library leaves it to programs, to the letter of chunks.
        if not self.headers.get("Transfer-Encoding"):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            assert self.rfile.readline() == b"\r\n"
        assert self.rfile.readline() == b"\r\n"
        return body

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
