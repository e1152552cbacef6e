"""pymemcache against a memcached port: `pymemcache_client.py HOST PORT [REDIS_PORT] [--full]`.

With REDIS_PORT, the port at which the same server speaks RESP, redis-py checks that both protocols see one
keyspace.
"""

import time

import redis
from checks import Skip, arguments, check, run, until
from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError, MemcacheUnknownCommandError
from pymemcache.serde import pickle_serde

OPTIONS = arguments("host", "port", "?redis_port")
EVERY_BYTE = bytes(range(256))


def connect(kind=Client, **settings):
    """A client that waits for every answer."""
    return kind((OPTIONS.host, int(OPTIONS.port)), default_noreply=False, timeout=20, **settings)


@check
def values_are_stored_under_conditions(m):
    assert m.set("k", "a") is True and m.get("k") == b"a" and m.get("none") is None
    assert m.add("k", "b") is False and m.add("new", "b") is True
    assert m.replace("none", "b") is False and m.replace("k", "c") is True
    assert m.append("k", "d") and m.prepend("k", "b") and m.get("k") == b"bcd"
    assert m.append("none", "x") is False
    value, token = m.gets("k")
    assert value == b"bcd" and m.cas("k", "e", token) is True and m.cas("k", "f", token) is False
    assert m.cas("none", "f", token) is None
    assert m.delete("k") is True and m.delete("k") is False


@check
def many_keys_travel_at_once(m):
    pairs = {f"key{i}": str(i).encode() for i in range(500)}
    assert m.set_many(pairs) == []
    assert m.get_many(list(pairs) + ["none"]) == pairs
    assert len(m.gets_many(["key1", "key2"])) == 2
    assert m.delete_many(["key1", "key2"]) and m.get("key1") is None


@check
def counters_count(m):
    m.set("n", "10")
    assert m.incr("n", 5) == 15 and m.decr("n", 100) == 0 and m.incr("none", 1) is None
    m.set("n", str(2**64 - 1))
    assert m.incr("n", 1) == 0
    m.set("word", "ten")
    try:
        m.incr("word", 1)
    except MemcacheClientError as error:
        assert b"non-numeric" in error.args[0]
    else:
        raise AssertionError("a word was incremented")


@check
def items_expire_and_are_touched(m):
    assert m.set("gone", "v", expire=-1) is True and m.get("gone") is None
    assert m.set("k", "v", expire=int(time.time()) + 1000) and m.get("k") == b"v"
    assert m.touch("k", 100) is True and m.touch("none", 100) is False
    assert m.raw_command(b"gat 200 k none", b"END\r\n") == b"VALUE k 0 1\r\nv\r\n"
    assert m.raw_command(b"mg k t").startswith((b"HD t200", b"HD t199"))
    assert m.set("soon", "v", expire=1)
    until(lambda: m.get("soon") is None)


@check
def flags_come_back_as_they_went(_):
    m = connect(serde=pickle_serde)
    for value in (b"bytes", "text", 7, {"a": [1, 2.5, None]}):
        assert m.set("k", value) and m.get("k") == value
    m.close()


@check
def keys_and_values_are_checked(m):
    assert m.set("k", EVERY_BYTE) and m.get("k") == EVERY_BYTE
    assert m.set("k", b"") and m.get("k") == b""
    assert m.set("x" * 250, "v") and m.get("x" * 250) == b"v"
    large = EVERY_BYTE * 3600
    assert m.set("large", large) and m.get("large") == large
    try:
        m.raw_command(b"get " + b"x" * 251)
    except MemcacheClientError:
        assert m.version()
    else:
        raise AssertionError("a key of 251 bytes was accepted")


@check
def meta_commands_answer(m):
    m.set("k", "hello")
    assert m.raw_command(b"mg k v", b"hello\r\n").startswith(b"VA 5")
    assert m.raw_command(b"mg none v") == b"EN"
    assert m.raw_command(b"ms n 2 T100\r\n42").startswith(b"HD")
    assert m.raw_command(b"md n") == b"HD"
    assert m.raw_command(b"mn") == b"MN"


@check
def statistics_are_told(m):
    m.set("k", "v")
    m.get("k")
    m.get("none")
    stats = m.stats()
    for field in (b"pid", b"uptime", b"version", b"curr_items", b"get_hits", b"get_misses", b"cmd_get", b"cmd_set", b"limit_maxbytes", b"bytes", b"curr_connections", b"evictions", b"threads"):
        assert field in stats, field
    assert stats[b"curr_items"] == 1 and stats[b"get_hits"] >= 1 and stats[b"get_misses"] >= 1
    assert m.version()


@check
def silent_commands_keep_the_connection_in_step(_):
    m = connect()
    for i in range(1_000):
        m.set(f"key{i}", str(i), noreply=True)
    m.delete("key0", noreply=True)
    m.set("n", "1", noreply=True)
    m.incr("n", 1, noreply=True)
    assert m.get("key999") == b"999" and m.get("key0") is None and m.get("n") == b"2"
    m.close()


@check
def pooled_clients_share_the_server(_):
    pooled = connect(PooledClient, max_pool_size=4)
    assert pooled.set("k", "v") and pooled.get("k") == b"v"
    pooled.close()


@check
def unknown_commands_are_errors(m):
    try:
        m.raw_command(b"nonsense")
    except MemcacheUnknownCommandError:
        assert m.version()
    else:
        raise AssertionError("nonsense was accepted")


@check
def both_protocols_see_one_keyspace(m):
    if OPTIONS.redis_port is None:
        raise Skip("no RESP port")
    r = redis.Redis(host=OPTIONS.host, port=int(OPTIONS.redis_port))
    m.set("from-memcached", EVERY_BYTE, expire=100)
    assert r.get("from-memcached") == EVERY_BYTE and 0 < r.ttl("from-memcached") <= 100
    r.set("from-resp", b"v")
    assert m.get("from-resp") == b"v"
    _, token = m.gets("from-resp")
    r.set("from-resp", b"w")
    assert m.cas("from-resp", "x", token) is False
    r.delete("from-resp")
    assert m.get("from-resp") is None
    r.close()


if __name__ == "__main__":
    CLIENT = connect()
    run(CLIENT, CLIENT.flush_all, OPTIONS.full)
