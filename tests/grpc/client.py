"""A client of gRPC at the edge. `client.py all` tries every kind of call; `client.py HOST CODE` wants to be turned away by
that code; `client.py stay` keeps a call open until it is cut; `client.py silent SECONDS` has calls in which nobody says
anything for that long. The credential is in the environment, if there is one."""

import concurrent.futures
import os
import queue
import sys
import time

import grpc

HOST = "grpc.example.test"


def connect(host):
    with open(os.environ["EDGE_CA"], "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    options = [("grpc.ssl_target_name_override", host), ("grpc.default_authority", host), ("grpc.enable_retries", 0)]
    return grpc.secure_channel("127.0.0.1:443", credentials, options)


def credential():
    token = os.environ.get("TOKEN_ID"), os.environ.get("TOKEN_SECRET")
    if not all(token):
        return ()
    return (("cf-access-client-id", token[0]), ("cf-access-client-secret", token[1]))


def say(word):
    print(word, flush=True)


def refused(call, code):
    try:
        call()
    except grpc.RpcError as error:
        assert error.code() == code, error
        return error
    raise AssertionError("it was served, and not refused by %s" % code)


def everything():
    channel = connect(HOST)
    mine = credential() + (("x-mine", "yes"),)
    unary = channel.unary_unary("/t.T/Unary")
    answer, call = unary.with_call(b"hello", metadata=mine, timeout=20)
    assert answer == b"hello|yes|", answer
    before, after = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert before["x-before"] == "first", before
    assert after["x-after"] == "last" and after["x-bytes-bin"] == bytes(range(256)), after
    assert "access-user-email" not in after, after
    big = os.urandom(3_000_000)
    assert unary(big, metadata=mine, timeout=30) == big + b"|yes|"
    say("unary")

    error = refused(lambda: channel.unary_unary("/t.T/Fail")(b"", metadata=mine, timeout=20), grpc.StatusCode.FAILED_PRECONDITION)
    assert error.details() == "100 % of it: \u3042", error.details()
    refused(lambda: channel.unary_unary("/t.T/None")(b"", metadata=mine, timeout=20), grpc.StatusCode.UNIMPLEMENTED)
    say("errors")

    pieces = list(channel.unary_stream("/t.T/Down")(b"200", metadata=mine, timeout=30))
    assert [int(piece.split(b":")[0]) for piece in pieces] == list(range(200))
    assert channel.stream_unary("/t.T/Up")((b"y" * 5000 for _ in range(200)), metadata=mine, timeout=30) == b"200 1000000"
    say("streams")

    # One word at a time, each answered before the next is said.
    words = queue.Queue()
    answers = channel.stream_stream("/t.T/Both")(iter(words.get, None), metadata=mine, timeout=30)
    for n in range(50):
        words.put(b"%d" % n)
        assert next(answers) == b"heard %d" % n
    words.put(None)
    assert list(answers) == [] and answers.code() == grpc.StatusCode.OK
    say("both ways")

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        ask = lambda n: unary(b"%d" % n, metadata=mine, timeout=30)
        assert list(pool.map(ask, range(300))) == [b"%d|yes|" % n for n in range(300)]
    say("many")

    slow = channel.unary_stream("/t.T/Slow")
    call = slow(b"cancelled", metadata=mine, timeout=60)
    assert next(call) == b"begun"
    call.cancel()
    call = slow(b"late", metadata=mine, timeout=3)
    assert next(call) == b"begun"
    refused(lambda: next(call), grpc.StatusCode.DEADLINE_EXCEEDED)
    say("ends")


def stay():
    words = queue.Queue()
    answers = connect(HOST).stream_stream("/t.T/Both")(iter(words.get, None), metadata=credential(), timeout=60)
    words.put(b"1")
    assert next(answers) == b"heard 1"
    say("open")
    try:
        next(answers)
    except grpc.RpcError as error:
        assert error.code() != grpc.StatusCode.DEADLINE_EXCEEDED, error
        say("cut: %s" % error.code().name)
    words.put(None)


def silent(seconds):
    channel = connect(HOST)

    def late():
        # Not even the head of the answer comes before its first word.
        call = channel.unary_stream("/t.T/Late")(b"%f" % seconds, metadata=credential(), timeout=90)
        assert list(call) == [b"0", b"1"]

    def unheard():
        words = queue.Queue()
        call = channel.stream_unary("/t.T/Up")
        answer = call.future(iter(words.get, None), metadata=credential(), timeout=90)
        time.sleep(seconds)
        words.put(b"first")
        words.put(b"second")
        time.sleep(seconds)
        words.put(None)
        assert answer.result() == b"2 11"

    def between():
        words = queue.Queue()
        answers = channel.stream_stream("/t.T/Both")(iter(words.get, None), metadata=credential(), timeout=90)
        for n in range(2):
            words.put(b"%d" % n)
            assert next(answers) == b"heard %d" % n
            time.sleep(seconds)
        words.put(None)
        assert list(answers) == []

    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for done in [pool.submit(call) for call in (late, unheard, between)]:
            done.result()
    say("spoken")


def turned_away(host, code):
    call = lambda: connect(host).unary_unary("/t.T/Unary")(b"", metadata=credential(), timeout=20)
    error = refused(call, getattr(grpc.StatusCode, code))
    say(error.details())


if sys.argv[1] == "all":
    everything()
elif sys.argv[1] == "stay":
    stay()
elif sys.argv[1] == "silent":
    silent(float(sys.argv[2]))
else:
    turned_away(*sys.argv[1:])
