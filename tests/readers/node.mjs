// Says how the web server of Node.js reads a request: `node node.mjs PORT`.

import http from "node:http";

let answered = 0;

/** The path as programs make it of `req.url`; where that is no path, there is none. */
function path(url) {
  try {
    return decodeURIComponent(new URL(`http://reader${url}`).pathname);
  } catch {
    return null;
  }
}

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    answered += 1;
    const raw = request.rawHeaders;
    const hosts = raw.filter((_, n) => n % 2 === 1 && raw[n - 1].toLowerCase() === "host");
    const reading = {
      method: request.method,
      target: request.url,
      host: hosts,
      path: path(request.url),
      body: Buffer.concat(pieces).toString("latin1"),
      answered,
    };
    response.setHeader("Server", "reader-node");
    response.end(JSON.stringify(reading));
  });
});

// What it cannot read it refuses, and says who it is.
server.on("clientError", (_, socket) => {
  const fields = "Server: reader-node\r\nContent-Length: 0\r\nConnection: close\r\n";
  if (socket.writable) socket.end(`HTTP/1.1 400 Bad Request\r\n${fields}\r\n`);
});

server.listen(Number(process.argv[2]), "127.0.0.1", () => console.log("ready"));
