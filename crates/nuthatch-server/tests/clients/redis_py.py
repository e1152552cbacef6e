"""redis-py against a RESP server: `redis_py.py HOST PORT PROTOCOL [--full]`, PROTOCOL being 2 or 3."""

import asyncio
import time

import redis
import redis.asyncio
from checks import Skip, arguments, check, run, until
from redis.cache import CacheConfig
from redis.commands.core import HashDataPersistOptions

OPTIONS = arguments("host", "port", "protocol")
PROTOCOL = int(OPTIONS.protocol)
EVERY_BYTE = bytes(range(256))
UNKNOWN = ("unknown command", "syntax error")


def connect(**settings):
    """A client of its own connection pool; it never retries, so that a failure shows as what it is."""
    return redis.Redis(
        host=OPTIONS.host, port=int(OPTIONS.port), protocol=PROTOCOL, socket_timeout=20, **settings
    )


def needs(what, call):
    """Calls `call`; a server that does not know the command or the option makes the check skip."""
    try:
        return call()
    except redis.ResponseError as error:
        if any(text in str(error).lower() for text in UNKNOWN):
            raise Skip(what) from error
        raise


def fails(texts, call):
    """Asserts that `call` is answered by an error that holds one of `texts`."""
    try:
        answer = call()
    except redis.RedisError as error:
        got = str(error)
    else:
        raise AssertionError(f"expected the error {texts!r}, got {answer!r}")
    assert any(text in got for text in ([texts] if isinstance(texts, str) else texts)), (texts, got)


def text(value):
    """`value` as a string, whichever of the two the protocol gave."""
    return value.decode() if isinstance(value, bytes) else value


def text_keys(mapping):
    """A map of the reply with its keys as strings."""
    return {text(key): value for key, value in mapping.items()}


@check
def connects_and_identifies_itself(r):
    assert r.ping() is True
    assert r.echo("hello") == b"hello"
    mine = r.client_info()
    if "lib-name" not in mine:
        raise Skip("CLIENT SETINFO")
    assert mine["lib-name"].startswith("redis-py"), mine
    assert mine["lib-ver"] == redis.__version__
    assert int(mine["resp"]) == PROTOCOL
    assert int(mine["db"]) == 0
    assert r.client_id() > 0
    hello = r.execute_command("HELLO")
    if isinstance(hello, list):
        hello = dict(zip(hello[::2], hello[1::2]))
    hello = text_keys(hello)
    assert hello["proto"] == PROTOCOL
    assert text(hello["role"]) == "master"
    assert text(hello["mode"]) == "standalone"
    assert r.select(0)


@check
def set_honours_every_option(r):
    assert r.set("k", "a") is True
    assert r.set("k", "b", nx=True) is None
    assert r.set("new", "b", xx=True) is None
    assert r.set("new", "b", nx=True) is True
    assert r.set("k", "c", xx=True) is True
    assert r.set("k", "d", get=True) == b"c"
    assert r.set("none", "d", get=True) is None
    assert r.set("k", "e", nx=True, get=True) == b"d"
    assert r.get("k") == b"d"
    assert r.set("k", "e", ex=100) and 0 < r.ttl("k") <= 100
    assert r.set("k", "f", keepttl=True) and 0 < r.ttl("k") <= 100
    assert r.set("k", "g") and r.ttl("k") == -1
    assert r.set("k", "h", px=100_000) and 0 < r.pttl("k") <= 100_000
    in_an_hour = int(time.time()) + 3600
    assert r.set("k", "i", exat=in_an_hour) and r.expiretime("k") == in_an_hour
    assert r.set("k", "j", pxat=in_an_hour * 1000 + 7)
    assert r.pexpiretime("k") == in_an_hour * 1000 + 7
    assert r.set("k", "k", exat=1) is True and r.exists("k") == 0
    fails("syntax error", lambda: r.execute_command("SET", "k", "v", "NX", "XX"))
    fails("syntax error", lambda: r.execute_command("SET", "k", "v", "EX", "10", "KEEPTTL"))
    fails("invalid expire time in 'set' command", lambda: r.set("k", "v", ex=0))
    fails("not an integer", lambda: r.execute_command("SET", "k", "v", "EX", "ten"))


@check
def set_compares_before_it_writes(r):
    r.set("k", "a")
    assert needs("SET IFEQ", lambda: r.execute_command("SET", "k", "b", "IFEQ", "x")) is None
    assert r.execute_command("SET", "k", "b", "IFEQ", "a")
    assert r.get("k") == b"b"


@check
def strings_are_read_and_written_in_every_way(r):
    assert r.mset({"a": "1", "b": "2", "c": "3"})
    assert r.mget("a", "none", "c") == [b"1", None, b"3"]
    assert not r.msetnx({"c": "9", "d": "9"}) and r.get("d") is None
    assert r.msetnx({"d": "4", "e": "5"})
    assert r.getset("a", "7") == b"1"
    assert r.getdel("a") == b"7" and r.get("a") is None
    assert r.getex("b", ex=50) == b"2" and 0 < r.ttl("b") <= 50
    assert r.getex("b", persist=True) == b"2" and r.ttl("b") == -1
    assert r.setnx("b", "x") is False and r.setnx("f", "x") is True
    assert r.execute_command("SETEX", "g", 60, "v") and 0 < r.ttl("g") <= 60
    assert r.execute_command("PSETEX", "g", 60_000, "v") and 0 < r.pttl("g") <= 60_000
    assert r.append("s", "Hello") == 5 and r.append("s", " World") == 11
    assert r.strlen("s") == 11 and r.strlen("none") == 0
    assert r.getrange("s", 0, 4) == b"Hello" and r.getrange("s", -5, -1) == b"World"
    assert r.substr("s", 0, 3) == b"Hell"
    assert r.setrange("s", 6, "Redis") == 11 and r.get("s") == b"Hello Redis"
    assert r.setrange("hole", 3, "x") == 4 and r.get("hole") == b"\0\0\0x"
    r.mset({"x": "ohmytext", "y": "mynewtext"})
    assert r.lcs("x", "y") == b"mytext"
    assert r.lcs("x", "y", len=True) == 6


@check
def counters_count_and_refuse_to_overflow(r):
    assert r.incr("n") == 1 and r.incrby("n", 41) == 42
    assert r.decr("n") == 41 and r.decrby("n", 1) == 40
    assert r.incrbyfloat("f", 10.5) == 10.5 and r.incrbyfloat("f", -0.25) == 10.25
    r.set("n", 2**63 - 1)
    fails("increment or decrement would overflow", lambda: r.incr("n"))
    r.set("n", "ten")
    fails("value is not an integer or out of range", lambda: r.incr("n"))
    fails("value is not a valid float", lambda: r.incrbyfloat("n", 1.0))


@check
def bits_are_set_counted_and_combined(r):
    assert r.setbit("b", 7, 1) == 0 and r.setbit("b", 7, 1) == 1
    assert r.getbit("b", 7) == 1 and r.getbit("b", 100) == 0
    r.set("s", "foobar")
    assert r.bitcount("s") == 26 and r.bitcount("s", 1, 1) == 6
    assert r.bitcount("s", 5, 30, "BIT") == 17
    r.set("p", b"\xff\xf0\x00")
    assert r.bitpos("p", 0) == 12 and r.bitpos("p", 1, 2) == -1
    r.mset({"x": b"\xf0", "y": b"\x0f"})
    assert r.bitop("OR", "z", "x", "y") == 1 and r.get("z") == b"\xff"
    assert r.bitop("NOT", "z", "x") == 1 and r.get("z") == b"\x0f"
    assert r.bitfield("f").set("u8", 0, 255).incrby("u8", 0, 1).get("u8", 0).execute() == [0, 0, 0]
    overflow = r.bitfield("f", "SAT").incrby("u4", 8, 20).execute()
    assert overflow == [15], overflow
    fails("bit offset is not an integer or out of range", lambda: r.setbit("b", 2**33, 1))


@check
def expiry_is_set_compared_read_and_removed(r):
    r.set("k", "v")
    assert r.ttl("k") == -1 and r.ttl("none") == -2 and r.expire("none", 10) is False
    assert r.expire("k", 100, xx=True) is False and r.expire("k", 100, nx=True) is True
    assert r.expire("k", 50, gt=True) is False and r.expire("k", 50, lt=True) is True
    assert 0 < r.ttl("k") <= 50
    assert r.pexpire("k", 30_000) and 0 < r.pttl("k") <= 30_000
    at = int(time.time()) + 500
    assert r.expireat("k", at) and r.expiretime("k") == at
    assert r.pexpireat("k", at * 1000 + 1) and r.pexpiretime("k") == at * 1000 + 1
    assert r.persist("k") is True and r.persist("k") is False and r.ttl("k") == -1
    assert r.expire("k", -1) is True and r.exists("k") == 0
    r.set("soon", "v", px=5)
    until(lambda: r.get("soon") is None)
    assert r.exists("soon") == 0 and r.ttl("soon") == -2


@check
def keys_are_renamed_copied_typed_and_dumped(r):
    r.set("a", "1", ex=100)
    assert r.rename("a", "b") and r.get("a") is None and 0 < r.ttl("b") <= 100
    r.set("c", "2")
    assert r.renamenx("b", "c") is False and r.renamenx("b", "d") is True
    fails("no such key", lambda: r.rename("none", "x"))
    assert r.copy("c", "e") and not r.copy("c", "e") and r.copy("c", "e", replace=True)
    r.hset("h", "f", "v")
    assert r.type("c") == b"string" and r.type("h") == b"hash" and r.type("none") == b"none"
    assert r.exists("c", "c", "none") == 2 and r.touch("c", "none") == 1
    assert sorted(r.keys("[ce]")) == [b"c", b"e"]
    assert r.randomkey() in (b"c", b"d", b"e", b"h")
    assert r.dbsize() == 4
    r.restore("copied", 0, r.dump("c"))
    assert r.get("copied") == b"2"
    r.restore("hash", 0, r.dump("h"))
    assert r.hgetall("hash") == {b"f": b"v"}
    fails("BUSYKEY", lambda: r.restore("copied", 0, r.dump("c")))
    fails("checksum", lambda: r.restore("bad", 0, b"\x00\x01garbage\xff\xff"))
    assert r.dump("none") is None
    assert r.unlink("c", "none") == 1 and r.delete("e", "d") == 2
    assert r.object("refcount", "h") >= 1
    assert text(r.object("encoding", "h"))
    r.set("number", 12345)
    assert text(r.object("encoding", "number")) == "int"
    assert r.memory_usage("h") > 0
    assert r.flushdb() and r.dbsize() == 0


@check
def scan_visits_every_key_once_at_rest(r):
    pipe = r.pipeline(transaction=False)
    for i in range(10_000):
        pipe.set(f"key:{i}", i)
    pipe.hset("a hash", "f", "v")
    pipe.execute()
    seen = list(r.scan_iter(count=137))
    assert len(set(seen)) == 10_001 and len(seen) == len(set(seen))
    assert len(set(r.scan_iter(match="key:99*", count=1000))) == 111
    assert list(r.scan_iter(_type="hash", count=1000)) == [b"a hash"]
    cursor, _ = r.scan(0)
    assert isinstance(cursor, int) and cursor != 0
    fails("invalid cursor", lambda: r.execute_command("SCAN", "x"))


@check
def scan_finds_what_stays_while_others_come_and_go(r):
    pipe = r.pipeline(transaction=False)
    for i in range(3_000):
        pipe.set(f"stays:{i}", i)
    pipe.execute()
    cursor, seen, round_number = 0, set(), 0
    while True:
        cursor, keys = r.scan(cursor, count=50)
        seen.update(key for key in keys if key.startswith(b"stays:"))
        pipe = r.pipeline(transaction=False)
        for i in range(60):
            pipe.set(f"new:{round_number}:{i}", i)
            pipe.delete(f"new:{round_number - 2}:{i}")
        pipe.execute()
        round_number += 1
        if cursor == 0:
            break
    assert len(seen) == 3_000, len(seen)


@check
def hashes_hold_fields(r):
    assert r.hset("h", mapping={"a": 1, "b": "two", "c": "3.5"}) == 3
    assert r.hset("h", "a", 2) == 0
    assert r.hget("h", "a") == b"2" and r.hget("h", "z") is None
    assert r.hmget("h", "a", "z", "b") == [b"2", None, b"two"]
    assert r.hgetall("h") == {b"a": b"2", b"b": b"two", b"c": b"3.5"} and r.hgetall("none") == {}
    assert sorted(r.hkeys("h")) == [b"a", b"b", b"c"] and sorted(r.hvals("h")) == [b"2", b"3.5", b"two"]
    assert r.hlen("h") == 3 and r.hexists("h", "a") and not r.hexists("h", "z")
    assert r.hstrlen("h", "b") == 3
    assert r.hincrby("h", "a", 5) == 7 and r.hincrbyfloat("h", "c", 0.25) == 3.75
    fails("hash value is not an integer", lambda: r.hincrby("h", "b", 1))
    assert not r.hsetnx("h", "a", 0) and r.hsetnx("h", "d", 0)
    assert r.hrandfield("h") in (b"a", b"b", b"c", b"d")
    assert len(r.hrandfield("h", 2)) == 2 and len(r.hrandfield("h", -9)) == 9
    assert r.hdel("h", "a", "z") == 1
    assert r.hdel("h", "b", "c", "d") == 3 and r.exists("h") == 0
    r.hset("big", mapping={f"field:{i}": i for i in range(2_000)})
    assert len(dict(r.hscan_iter("big", count=100))) == 2_000
    assert len(dict(r.hscan_iter("big", match="field:19*"))) == 111


@check
def hash_fields_expire_one_by_one(r):
    r.hset("h", mapping={"a": 1, "b": 2, "c": 3})
    assert needs("HEXPIRE", lambda: r.hexpire("h", 100, "a", "none")) == [1, -2]
    assert r.httl("h", "b", "none") == [-1, -2]
    assert 0 < r.httl("h", "a")[0] <= 100 and 0 < r.hpttl("h", "a")[0] <= 100_000
    assert r.hexpire("h", 50, "a", gt=True) == [0] and r.hexpire("h", 50, "a", lt=True) == [1]
    assert r.hexpire("h", 50, "b", xx=True) == [0] and r.hpexpire("h", 50_000, "b", nx=True) == [1]
    at = int(time.time()) + 1000
    assert r.hexpireat("h", at, "a") == [1] and r.hexpiretime("h", "a") == [at]
    assert r.hpexpireat("h", at * 1000 + 3, "a") == [1] and r.hpexpiretime("h", "a") == [at * 1000 + 3]
    assert r.hpersist("h", "a", "c") == [1, -1]
    assert r.hpexpire("h", 3, "b") == [1]
    until(lambda: r.hget("h", "b") is None)
    assert r.hgetall("h") == {b"a": b"1", b"c": b"3"} and r.hexists("h", "b") is False
    assert r.hexpire("h", 0, "a") == [2]
    assert r.hpexpire("h", 3, "c") == [1]
    until(lambda: r.exists("h") == 0)


@check
def hash_fields_are_read_and_written_with_expiry(r):
    assert needs("HSETEX", lambda: r.hsetex("h", mapping={"a": 1, "b": 2}, ex=100)) == 1
    assert all(0 < ttl <= 100 for ttl in r.httl("h", "a", "b"))
    fnx, fxx = HashDataPersistOptions.FNX, HashDataPersistOptions.FXX
    assert r.hsetex("h", "a", 9, data_persist_option=fnx) == 0 and r.hget("h", "a") == b"1"
    assert r.hsetex("h", "z", 9, data_persist_option=fxx) == 0 and r.hget("h", "z") is None
    assert r.hsetex("h", "a", 9, keepttl=True) == 1 and 0 < r.httl("h", "a")[0] <= 100
    assert r.hgetex("h", "a", "z", persist=True) == [b"9", None] and r.httl("h", "a") == [-1]
    assert r.hgetex("h", "a", px=50_000) == [b"9"] and 0 < r.hpttl("h", "a")[0] <= 50_000


@check
def hash_fields_are_taken(r):
    r.hset("h", mapping={"a": 1, "b": 2})
    assert needs("HGETDEL", lambda: r.hgetdel("h", "a", "z")) == [b"1", None]
    assert r.hgetdel("h", "b") == [b"2"] and r.exists("h") == 0


@check
def pipelines_answer_in_order(r):
    pipe = r.pipeline(transaction=False)
    for i in range(5_000):
        pipe.set(f"p{i}", i).get(f"p{i}").incr(f"p{i}")
    answers = pipe.execute()
    assert answers == [answer for i in range(5_000) for answer in (True, str(i).encode(), i + 1)]
    pipe = r.pipeline(transaction=False)
    pipe.set("s", "x").incr("s").get("s")
    stored, error, value = pipe.execute(raise_on_error=False)
    assert stored is True and isinstance(error, redis.ResponseError) and value == b"x"


@check
def transactions_are_atomic_and_watched(r):
    pipe = r.pipeline()
    assert pipe.set("a", 1).incr("a").get("a").execute() == [True, 2, b"2"]
    assert pipe.set("s", "x").incr("s").get("s").execute(raise_on_error=False)[2] == b"x"
    with r.pipeline() as pipe:
        pipe.watch("a")
        value = int(pipe.get("a"))
        r.set("a", 99)
        pipe.multi()
        pipe.set("a", value + 1)
        try:
            pipe.execute()
        except redis.WatchError:
            pass
        else:
            raise AssertionError("EXEC went through although a watched key had changed")
    assert r.get("a") == b"99"
    r.transaction(lambda p: (p.get("a"), p.multi(), p.set("a", 100)), "a")
    assert r.get("a") == b"100"
    with r.client() as one:
        assert text(one.execute_command("MULTI")) == "OK"
        assert one.execute_command("GET", "a") == b"QUEUED"
        fails("unknown command", lambda: one.execute_command("NOSUCHCOMMAND"))
        fails("Transaction discarded because of previous errors", lambda: one.execute_command("EXEC"))
        fails("without MULTI", lambda: one.execute_command("EXEC"))
        one.execute_command("MULTI")
        fails(("MULTI calls can not be nested", "'multi' not allowed inside"), lambda: one.execute_command("MULTI"))
        assert text(one.execute_command("DISCARD")) == "OK"
    assert r.get("a") == b"100"


@check
def messages_reach_channels_and_patterns(r):
    p = r.pubsub()
    p.subscribe("news", "bin\r\n")
    p.psubscribe("n?ws*")
    events = [until(lambda: p.get_message(timeout=1)) for _ in range(3)]
    assert [event["type"] for event in events] == ["subscribe", "subscribe", "psubscribe"]
    assert [event["data"] for event in events] == [1, 2, 3]
    assert r.publish("news", "one") == 2 and r.publish("bin\r\n", EVERY_BYTE) == 1
    assert r.publish("nobody", "x") == 0
    got = [until(lambda: p.get_message(timeout=1)) for _ in range(3)]
    assert {(m["type"], m["pattern"], m["channel"], m["data"]) for m in got} == {
        ("message", None, b"news", b"one"),
        ("pmessage", b"n?ws*", b"news", b"one"),
        ("message", None, b"bin\r\n", EVERY_BYTE),
    }
    assert r.pubsub_channels("n*") == [b"news"] and r.pubsub_numpat() == 1
    assert r.pubsub_numsub("news", "x") == [(b"news", 1), (b"x", 0)]
    p.ping()
    assert until(lambda: p.get_message(timeout=1))["type"] == "pong"
    p.unsubscribe()
    p.punsubscribe()
    events = [until(lambda: p.get_message(timeout=1)) for _ in range(3)]
    assert sorted(event["type"] for event in events) == ["punsubscribe", "unsubscribe", "unsubscribe"]
    assert r.publish("news", "two") == 0
    p.close()


@check
def shard_channels_deliver(r):
    p = r.pubsub()
    p.ssubscribe("orders")
    assert until(lambda: p.get_message(timeout=1))["type"] == "ssubscribe"
    assert r.spublish("orders", "x") == 1
    assert until(lambda: p.get_message(timeout=1))["data"] == b"x"
    assert r.pubsub_shardchannels() == [b"orders"]
    p.close()


@check
def clients_are_named_listed_and_killed(r):
    victim = connect(client_name="victim", single_connection_client=True)
    victim.ping()
    assert victim.client_getname() in ("victim", b"victim")
    found = [client for client in r.client_list() if client["name"] == "victim"]
    assert len(found) == 1 and int(found[0]["id"]) == victim.client_id()
    assert found[0]["cmd"].startswith("client|"), found[0]
    assert {"addr", "laddr", "fd", "age", "idle", "flags", "db", "sub", "psub", "multi", "resp"} <= set(found[0])
    assert [c["name"] for c in r.client_list(client_id=[found[0]["id"]])] == ["victim"]
    assert victim.client_setname("renamed") and victim.client_getname() in ("renamed", b"renamed")
    fails("cannot contain spaces", lambda: victim.client_setname("two words"))
    assert r.client_kill_filter(_id=victim.client_id()) == 1
    until(lambda: not [client for client in r.client_list() if client["name"] == "renamed"])
    fails("No such client", lambda: r.client_kill("127.0.0.1:1"))
    assert r.client_no_evict("ON") and r.client_no_evict("OFF")
    assert r.client_pause(1) and r.client_unpause()
    assert r.client_unblock(1 << 40) in (False, 0)


@check
def invalidations_follow_writes(r):
    if PROTOCOL != 3:
        return
    cached = connect(cache_config=CacheConfig())
    r.set("k", "1")
    try:
        assert cached.get("k") == b"1"
    except redis.ConnectionError as error:
        raise Skip(str(error)) from error
    assert cached.get_cache().size == 1
    reads = r.info("commandstats")["cmdstat_get"]["calls"]
    assert cached.get("k") == b"1" and r.info("commandstats")["cmdstat_get"]["calls"] == reads
    r.set("k", "2")
    until(lambda: cached.get("k") == b"2")
    r.hset("h", "f", "1")
    assert cached.hget("h", "f") == b"1"
    r.flushall()
    until(lambda: cached.get("k") is None and cached.hget("h", "f") is None)
    cached.close()


@check
def invalidations_are_redirected_to_a_subscriber(r):
    if PROTOCOL != 2:
        return
    with r.pubsub() as p, r.client() as tracked:
        p.subscribe("__redis__:invalidate")
        until(lambda: p.get_message(timeout=1))
        target = int(r.client_list(_type="pubsub")[0]["id"])
        assert tracked.client_tracking_on(clientid=target)
        assert tracked.client_getredir() == target
        r.set("t", "1")
        tracked.get("t")
        r.set("t", "2")
        message = until(lambda: p.get_message(timeout=1))
        assert message["data"] == [b"t"], message
        assert tracked.client_tracking_off()
        assert tracked.client_tracking_on(clientid=target, bcast=True, prefix=["user:"])
        r.set("other", "1")
        r.set("user:1", "1")
        message = until(lambda: p.get_message(timeout=1))
        assert message["data"] == [b"user:1"], message
        r.flushall()
        assert until(lambda: p.get_message(timeout=1))["data"] is None
        assert tracked.client_tracking_off()


@check
def keys_and_values_are_binary_safe(r):
    r.set(EVERY_BYTE, EVERY_BYTE)
    assert r.get(EVERY_BYTE) == EVERY_BYTE and r.keys("*") == [EVERY_BYTE]
    r.set(b"", b"")
    assert r.get(b"") == b"" and r.exists(b"") == 1
    r.hset("h", EVERY_BYTE, EVERY_BYTE)
    assert r.hgetall("h") == {EVERY_BYTE: EVERY_BYTE}
    decoded = connect(decode_responses=True)
    decoded.set("clé:日本語:🐦", "wärme 🔥 значение")
    assert decoded.get("clé:日本語:🐦") == "wärme 🔥 значение"
    assert decoded.keys("clé:*") == ["clé:日本語:🐦"]
    decoded.close()


@check
def large_values_travel_whole(r):
    large = EVERY_BYTE * 4096
    r.set("large", large)
    assert r.strlen("large") == 1 << 20 and r.get("large") == large
    assert r.append("large", large) == 2 << 20 and r.getrange("large", (1 << 20) - 1, 1 << 20) == b"\xff\x00"
    pipe = r.pipeline(transaction=False)
    for i in range(4):
        pipe.set(f"large:{i}", large).get(f"large:{i}")
    assert pipe.execute() == [True, large] * 4


@check
def errors_read_as_clients_expect(r):
    r.hset("h", "f", "v")
    fails("WRONGTYPE Operation against a key holding the wrong kind of value", lambda: r.get("h"))
    r.set("s", "x")
    fails("WRONGTYPE Operation against", lambda: r.hget("s", "f"))
    fails("unknown command 'FOO', with args beginning with: 'a' 'b' ", lambda: r.execute_command("FOO", "a", "b"))
    fails("wrong number of arguments for 'get' command", lambda: r.execute_command("GET"))
    fails("wrong number of arguments for 'set' command", lambda: r.execute_command("SET", "k"))
    fails("unknown subcommand 'NOPE'", lambda: r.execute_command("CLIENT", "NOPE"))
    fails("syntax error", lambda: r.execute_command("SET", "k", "v", "WAT"))
    fails("offset is out of range", lambda: r.setrange("s", -1, "x"))
    fails("without any password configured", lambda: r.execute_command("AUTH", "secret"))
    fails("DB index is out of range", lambda: r.execute_command("SELECT", "99999"))
    fails("NOPROTO unsupported protocol version", lambda: r.execute_command("HELLO", "9"))


@check
def users_log_in_with_their_rights_only(r):
    r.acl_setuser(
        "reader", enabled=True, passwords=["+pass"], categories=["+@read"], commands=["+ping"], keys=["app:*"],
        reset=True,
    )
    try:
        r.mset({"app:1": "1", "other": "2"})
        reader = connect(username="reader", password="pass")
        assert reader.ping() and reader.get("app:1") == b"1"
        fails("", lambda: reader.get("other"))
        fails("", lambda: reader.set("app:1", "2"))
        assert "reader" in [text(user) for user in r.acl_users()] and text(r.acl_whoami()) == "default"
        reader.close()
        fails("invalid username-password pair", lambda: connect(username="reader", password="wrong").ping())
    finally:
        assert r.acl_deluser("reader") == 1
    assert text(r.acl_whoami()) == "default"


@check
def configuration_is_read_and_changed(r):
    before = r.config_get("maxmemory*")
    assert "maxmemory" in before and "maxmemory-policy" in before
    assert r.config_set("slowlog-max-len", 77)
    assert r.config_get("slowlog-max-len") == {"slowlog-max-len": "77"}
    assert r.config_set("slowlog-max-len", 128)
    assert r.config_get("no-such-setting") == {}
    fails("Unknown option", lambda: r.config_set("no-such-setting", "1"))
    assert r.config_resetstat()


@check
def info_parses_into_sections(r):
    r.set("k", "v", ex=100)
    r.get("k")
    r.get("none")
    info = r.info()
    for field in (
        "redis_version", "tcp_port", "uptime_in_seconds", "process_id", "run_id", "connected_clients",
        "used_memory", "used_memory_rss", "maxmemory", "maxmemory_policy", "total_commands_processed",
        "keyspace_hits", "keyspace_misses", "expired_keys", "evicted_keys", "role", "cluster_enabled",
        "instantaneous_ops_per_sec", "total_connections_received", "loading", "used_cpu_user", "arch_bits",
    ):
        assert field in info, field
    assert info["role"] == "master" and info["cluster_enabled"] == 0
    assert info["tcp_port"] == int(OPTIONS.port)
    assert info["db0"]["keys"] == 1
    assert set(r.info("keyspace")) == {"db0"}
    assert "used_memory" in r.info("memory") and "role" not in r.info("memory")
    assert r.info("commandstats")["cmdstat_get"]["calls"] >= 2
    seconds, microseconds = r.time()
    assert abs(seconds - time.time()) < 60 and 0 <= microseconds < 1_000_000


@check
def the_server_describes_itself(r):
    assert r.command_count() > 100
    commands = r.command()
    assert commands["get"]["arity"] == 2 and commands["get"]["first_key_pos"] == 1
    assert {"readonly", "fast"} <= {text(flag) for flag in commands["get"]["flags"]}
    assert r.command_getkeys("MSET", "a", "1", "b", "2") in ([b"a", b"b"], ["a", "b"])
    assert "get" in [text(name).lower() for name in r.command_list()]
    docs = r.execute_command("COMMAND DOCS", "GET")
    docs = dict(zip(docs[::2], docs[1::2])) if isinstance(docs, list) else docs
    assert list(text_keys(docs)) == ["get"]
    assert r.slowlog_reset() and isinstance(r.slowlog_get(), list) and r.slowlog_len() == 0
    assert r.wait(0, 1) == 0
    assert r.lastsave()
    assert isinstance(r.memory_stats(), dict)
    assert r.latency_reset() == 0


@check
def monitor_shows_commands(r):
    with r.monitor() as monitor:
        r.set("seen", "a b")
        event = monitor.next_command()
        while "seen" not in event["command"]:
            event = monitor.next_command()
        assert event["command"].upper().startswith("SET SEEN"), event


@check
def the_asyncio_client_works_alike(_):
    async def session():
        r = redis.asyncio.Redis(host=OPTIONS.host, port=int(OPTIONS.port), protocol=PROTOCOL)
        await asyncio.gather(*(r.set(f"a{i}", i) for i in range(50)))
        values = await asyncio.gather(*(r.get(f"a{i}") for i in range(50)))
        assert values == [str(i).encode() for i in range(50)]
        async with r.pipeline(transaction=True) as pipe:
            assert await pipe.incr("n").incr("n").execute() == [1, 2]
        async with r.pubsub() as p:
            await p.subscribe("ch")
            assert (await p.get_message(timeout=10))["type"] == "subscribe"
            await r.publish("ch", "hello")
            assert (await p.get_message(timeout=10))["data"] == b"hello"
        assert len([key async for key in r.scan_iter(count=10)]) == 51
        await r.aclose()

    asyncio.run(session())


if __name__ == "__main__":
    CLIENT = connect()

    def fresh():
        """An empty server, and connections that no earlier check has left in a state."""
        CLIENT.connection_pool.disconnect()
        CLIENT.flushall()

    run(CLIENT, fresh, OPTIONS.full)
