// ioredis against a RESP server: `ioredis.mjs HOST PORT PROTOCOL [--full]`, PROTOCOL being 2 or 3.
import assert from "node:assert/strict";
import { check, fails, load, needs, run, until, words } from "./checks.mjs";

const { Redis } = load("ioredis");

const [host, port, protocol] = words;
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const connect = (settings = {}) =>
  new Redis({ host, port: Number(port), protocol: Number(protocol), retryStrategy: null, ...settings });
const r = connect();

check("connects with its ready check and identifies itself", async () => {
  assert.equal(await r.ping(), "PONG");
  assert.equal(await r.echo("hello"), "hello");
  assert.equal(r.status, "ready");
  assert.ok((await r.client("ID")) > 0);
  assert.match(await r.client("INFO"), new RegExp(`resp=${protocol}\\b`));
});

check("set honours every option", async () => {
  assert.equal(await r.set("k", "a"), "OK");
  assert.equal(await r.set("k", "b", "NX"), null);
  assert.equal(await r.set("new", "b", "XX"), null);
  assert.equal(await r.set("k", "b", "GET"), "a");
  assert.equal(await r.set("k", "c", "EX", 100, "XX"), "OK");
  assert.equal(await r.set("k", "d", "KEEPTTL"), "OK");
  assert.ok((await r.ttl("k")) > 0);
  assert.equal(await r.set("k", "e", "PX", 100_000), "OK");
  assert.ok((await r.pttl("k")) > 0);
  const at = Math.floor(Date.now() / 1000) + 3600;
  await r.set("k", "f", "EXAT", at);
  assert.equal(await r.expiretime("k"), at);
  await r.set("k", "g", "PXAT", at * 1000 + 5);
  assert.equal(await r.pexpiretime("k"), at * 1000 + 5);
  await fails("syntax error", r.call("SET", "k", "v", "NX", "XX"));
});

check("strings and counters", async () => {
  assert.equal(await r.mset({ a: 1, b: 2 }), "OK");
  assert.deepEqual(await r.mget("a", "none", "b"), ["1", null, "2"]);
  assert.equal(await r.incr("a"), 2);
  assert.equal(await r.incrby("a", 40), 42);
  assert.equal(Number(await r.incrbyfloat("a", 0.5)), 42.5);
  await fails("value is not an integer or out of range", r.incr("a"));
  assert.equal(await r.append("s", "Hello"), 5);
  assert.equal(await r.setrange("s", 5, " World"), 11);
  assert.equal(await r.getrange("s", -5, -1), "World");
  assert.equal(await r.strlen("s"), 11);
  assert.equal(await r.getdel("s"), "Hello World");
  assert.equal(await r.getex("b", "EX", 60), "2");
  assert.equal(await r.setbit("bits", 7, 1), 0);
  assert.equal(await r.bitcount("bits"), 1);
  assert.deepEqual(await r.bitfield("f", "SET", "u8", 0, 7, "INCRBY", "u8", 0, 1), [0, 8]);
});

check("expiry", async () => {
  await r.set("k", "v");
  assert.equal(await r.expire("k", 100, "NX"), 1);
  assert.equal(await r.expire("k", 50, "GT"), 0);
  assert.equal(await r.pexpire("k", 5000), 1);
  assert.equal(await r.persist("k"), 1);
  assert.equal(await r.ttl("k"), -1);
  await r.pexpire("k", 3);
  await until(async () => (await r.get("k")) === null);
  assert.equal(await r.ttl("k"), -2);
});

check("scan streams visit every key", async () => {
  const pipeline = r.pipeline();
  for (let i = 0; i < 10_000; i++) pipeline.set(`key:${i}`, i);
  await pipeline.exec();
  const seen = new Set();
  for await (const keys of r.scanStream({ count: 211 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 10_000);
  const matched = [];
  for await (const keys of r.scanStream({ match: "key:99*", count: 1000 })) matched.push(...keys);
  assert.equal(new Set(matched).size, 111);
});

check("hashes and their fields' expiry", async () => {
  assert.equal(await r.hset("h", { a: 1, b: "two" }), 2);
  assert.deepEqual(await r.hgetall("h"), { a: "1", b: "two" });
  assert.deepEqual(await r.hmget("h", "a", "z"), ["1", null]);
  assert.equal(await r.hincrby("h", "a", 4), 5);
  await fails("WRONGTYPE", r.get("h"));
  assert.deepEqual(await needs("HEXPIRE", r.call("HEXPIRE", "h", 100, "FIELDS", 2, "a", "z")), [1, -2]);
  assert.ok((await r.call("HTTL", "h", "FIELDS", 1, "a"))[0] > 0);
  assert.deepEqual(await r.call("HPEXPIRE", "h", 2, "FIELDS", 1, "b"), [1]);
  await until(async () => (await r.hlen("h")) === 1 || (await r.hget("h", "b")) === null);
  assert.equal(await r.call("HSETEX", "h", "EX", 60, "FIELDS", 1, "c", "v"), 1);
  assert.deepEqual(await r.call("HGETEX", "h", "PERSIST", "FIELDS", 1, "c"), ["v"]);
});

check("pipelines answer in order", async () => {
  const pipeline = r.pipeline();
  for (let i = 0; i < 2_000; i++) pipeline.set(`p${i}`, i).get(`p${i}`);
  const answers = await pipeline.exec();
  assert.equal(answers.length, 4_000);
  answers.forEach(([error, value], i) => {
    assert.equal(error, null);
    assert.equal(value, i % 2 === 0 ? "OK" : String((i - 1) / 2));
  });
});

check("automatic pipelining", async () => {
  const auto = connect({ enableAutoPipelining: true });
  const values = await Promise.all(Array.from({ length: 500 }, (_, i) => auto.set(`a${i}`, i).then(() => auto.get(`a${i}`))));
  assert.deepEqual(values, Array.from({ length: 500 }, (_, i) => String(i)));
  auto.disconnect();
});

check("transactions and watched keys", async () => {
  assert.deepEqual(await r.multi().set("a", 1).incr("a").get("a").exec(), [[null, "OK"], [null, 2], [null, "2"]]);
  const watcher = connect();
  await watcher.watch("a");
  await r.set("a", 9);
  assert.equal(await watcher.multi().set("a", 10).exec(), null);
  assert.equal(await r.get("a"), "9");
  await fails("EXECABORT", watcher.multi().set("a").exec());
  watcher.disconnect();
});

check("messages by channel and pattern", async () => {
  const subscriber = connect();
  const got = [];
  subscriber.on("messageBuffer", (channel, message) => got.push(["message", String(channel), message]));
  subscriber.on("pmessage", (pattern, channel, message) => got.push([pattern, channel, message]));
  assert.equal(await subscriber.subscribe("news", "binary"), 2);
  assert.equal(await subscriber.psubscribe("n?ws"), 3);
  assert.equal(await r.publish("news", "one"), 2);
  assert.equal(await r.publish("binary", everyByte), 1);
  await until(() => got.length === 3);
  assert.deepEqual(got.find(([kind]) => kind === "n?ws"), ["n?ws", "news", "one"]);
  assert.deepEqual(got.find(([, channel]) => channel === "binary"), ["message", "binary", everyByte]);
  assert.equal([await subscriber.ping()].flat()[0].toUpperCase(), "PONG");
  assert.equal(await subscriber.unsubscribe("news", "binary"), 1);
  assert.equal(await subscriber.punsubscribe("n?ws"), 0);
  assert.equal(await r.publish("news", "two"), 0);
  assert.equal(await subscriber.get("none"), null);
  subscriber.disconnect();
});

check("clients are named, listed and killed", async () => {
  const victim = connect({ connectionName: "victim" });
  await victim.ping();
  assert.equal(await victim.client("GETNAME"), "victim");
  assert.match(await r.client("LIST"), /name=victim /);
  const ended = new Promise((resolve) => victim.once("end", resolve));
  victim.on("error", () => {});
  assert.equal(await r.client("KILL", "ID", await victim.client("ID")), 1);
  await ended;
});

check("keys and values are binary-safe, large and unicode", async () => {
  await r.set(everyByte, everyByte);
  assert.deepEqual(await r.getBuffer(everyByte), everyByte);
  const large = Buffer.alloc(1 << 20, everyByte);
  await r.set("large", large);
  assert.ok(large.equals(await r.getBuffer("large")));
  await r.set("clé:日本語:🐦", "wärme 🔥");
  assert.equal(await r.get("clé:日本語:🐦"), "wärme 🔥");
});

check("errors read as clients expect", async () => {
  await fails("unknown command 'FOO', with args beginning with: 'a'", r.call("FOO", "a"));
  await fails("wrong number of arguments for 'get' command", r.call("GET"));
});

check("configuration and information", async () => {
  const settings = await r.config("GET", "maxmemory-policy");
  assert.ok(protocol === "3" && !Array.isArray(settings) ? "maxmemory-policy" in settings : settings.includes("maxmemory-policy"));
  const info = await r.info();
  for (const line of info.split("\r\n")) assert.match(line, /^(#.*|[^:]+:.*|)$/);
  assert.match(info, /# Server\r\n/);
  assert.match(info, /# Keyspace\r\n/);
});

await run(async () => r.flushall());
