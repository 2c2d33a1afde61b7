"""A server of gRPC on a loopback port: bytes in, bytes out. Says on standard output what it does. `server.py PORT` speaks
without TLS, `server.py PORT KEY CERTIFICATE` (files in PEM) with it and not without."""

import concurrent.futures
import sys
import threading
import time

import grpc


def say(word):
    print(word, flush=True)


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    known = sorted(key for key in metadata if key.startswith("cf-access-client"))
    context.send_initial_metadata((("x-before", "first"),))
    context.set_trailing_metadata((("x-after", "last"), ("x-bytes-bin", bytes(range(256))), ("access-user-email", "x")))
    return b"%s|%s|%s" % (request, metadata.get("x-mine", "").encode(), ",".join(known).encode())


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "100 % of it: \u3042")


def down(request, context):
    for n in range(int(request)):
        yield b"%d:" % n + b"x" * 10_000


def up(requests, context):
    pieces = [len(piece) for piece in requests]
    return b"%d %d" % (len(pieces), sum(pieces))


def both(requests, context):
    for piece in requests:
        yield b"heard " + piece


def slow(request, context):
    over = threading.Event()
    if not context.add_callback(over.set):
        return
    say("slow begins: " + request.decode())
    yield b"begun"
    over.wait()
    say("slow ends: " + request.decode())


def late(request, context):
    for n in range(2):
        time.sleep(float(request))
        yield b"%d" % n


METHODS = {
    "/t.T/Unary": grpc.unary_unary_rpc_method_handler(unary),
    "/t.T/Fail": grpc.unary_unary_rpc_method_handler(fail),
    "/t.T/Down": grpc.unary_stream_rpc_method_handler(down),
    "/t.T/Up": grpc.stream_unary_rpc_method_handler(up),
    "/t.T/Both": grpc.stream_stream_rpc_method_handler(both),
    "/t.T/Late": grpc.unary_stream_rpc_method_handler(late),
    "/t.T/Slow": grpc.unary_stream_rpc_method_handler(slow),
}


def read(name):
    with open(name, "rb") as file:
        return file.read()


class Handlers(grpc.GenericRpcHandler):
    def service(self, details):
        return METHODS.get(details.method)


server = grpc.server(concurrent.futures.ThreadPoolExecutor(max_workers=32))
server.add_generic_rpc_handlers((Handlers(),))
address, files = "127.0.0.1:" + sys.argv[1], sys.argv[2:]
if files:
    key, certificate = map(read, files)
    port = server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port(address)
if port == 0:
    sys.exit("no port")
server.start()
say("ready")
server.wait_for_termination()
