// node-redis against a RESP server: `node_redis.mjs HOST PORT PROTOCOL [--full]`, PROTOCOL being 2 or 3.
import assert from "node:assert/strict";
import { check, fails, load, needs, run, Skip, until, words } from "./checks.mjs";

const { createClient, RESP_TYPES, WatchError } = load("redis");

const [host, port, protocol] = words;
const everyByte = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
const connect = async (settings = {}) => {
  const client = createClient({ socket: { host, port: Number(port), reconnectStrategy: false }, RESP: Number(protocol), ...settings });
  client.on("error", () => {});
  return client.connect();
};
const r = await connect();
const binary = r.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer });

check("connects and identifies itself", async () => {
  assert.equal(await r.ping(), "PONG");
  assert.equal(await r.echo("hello"), "hello");
  const info = await r.clientInfo();
  assert.equal(info.resp, Number(protocol));
  const [mine] = (await r.sendCommand(["CLIENT", "INFO"])).match(/lib-name=\S+/) ?? [];
  if (mine === undefined) throw new Skip("CLIENT SETINFO");
  assert.match(mine, /^lib-name=node-redis/);
});

check("set honours its options", async () => {
  assert.equal(await r.set("k", "a"), "OK");
  assert.equal(await r.set("k", "b", { condition: "NX" }), null);
  assert.equal(await r.set("new", "b", { condition: "XX" }), null);
  assert.equal(await r.set("k", "b", { GET: true }), "a");
  assert.equal(await r.set("k", "c", { expiration: { type: "EX", value: 100 } }), "OK");
  assert.equal(await r.set("k", "d", { expiration: { type: "KEEPTTL" } }), "OK");
  assert.ok((await r.ttl("k")) > 0);
  const at = Math.floor(Date.now() / 1000) + 3600;
  await r.set("k", "e", { expiration: { type: "EXAT", value: at } });
  assert.equal(await r.expireTime("k"), at);
  await r.set("k", "f", { expiration: { type: "PXAT", value: at * 1000 + 5 } });
  assert.equal(await r.pExpireTime("k"), at * 1000 + 5);
});

check("strings, counters and bits", async () => {
  await r.mSet({ a: "1", b: "2" });
  assert.deepEqual(await r.mGet(["a", "none", "b"]), ["1", null, "2"]);
  assert.equal(await r.incrBy("a", 41), 42);
  assert.equal(Number(await r.incrByFloat("a", 0.5)), 42.5);
  await fails("value is not an integer or out of range", r.incr("a"));
  assert.equal(await r.append("s", "Hello"), 5);
  assert.equal(await r.setRange("s", 5, " World"), 11);
  assert.equal(await r.getRange("s", -5, -1), "World");
  assert.equal(await r.getEx("b", { type: "EX", value: 60 }), "2");
  assert.equal(await r.getDel("b"), "2");
  assert.equal(await r.setBit("bits", 7, 1), 0);
  assert.equal(await r.bitCount("bits"), 1);
  await r.set("x", "ohmytext");
  await r.set("y", "mynewtext");
  assert.equal(await r.lcs("x", "y"), "mytext");
});

check("expiry", async () => {
  await r.set("k", "v");
  assert.equal(await r.expire("k", 100, "NX"), 1);
  assert.equal(await r.expire("k", 50, "GT"), 0);
  assert.equal(await r.persist("k"), 1);
  assert.equal(await r.ttl("k"), -1);
  await r.pExpire("k", 3);
  await until(async () => (await r.get("k")) === null);
});

check("scan iterates over every key", async () => {
  await Promise.all(Array.from({ length: 10_000 }, (_, i) => r.set(`key:${i}`, String(i))));
  const seen = new Set();
  for await (const keys of r.scanIterator({ COUNT: 211 })) keys.forEach((key) => seen.add(key));
  assert.equal(seen.size, 10_000);
  const matched = new Set();
  for await (const keys of r.scanIterator({ MATCH: "key:99*", COUNT: 1000 })) keys.forEach((key) => matched.add(key));
  assert.equal(matched.size, 111);
});

check("hashes and their fields' expiry", async () => {
  assert.equal(await r.hSet("h", { a: "1", b: "two" }), 2);
  assert.deepEqual({ ...(await r.hGetAll("h")) }, { a: "1", b: "two" });
  assert.deepEqual(await r.hmGet("h", ["a", "z"]), ["1", null]);
  assert.equal(await r.hIncrBy("h", "a", 4), 5);
  const fields = [];
  for await (const entries of r.hScanIterator("h")) fields.push(...entries.map(({ field }) => field));
  assert.deepEqual(fields.sort(), ["a", "b"]);
  await fails("WRONGTYPE", r.get("h"));
  assert.deepEqual(await needs("HEXPIRE", r.hExpire("h", ["a", "z"], 100)), [1, -2]);
  assert.ok((await r.hTTL("h", ["a"]))[0] > 0);
  assert.deepEqual(await r.hPersist("h", ["a"]), [1]);
  assert.deepEqual(await r.hpExpire("h", ["b"], 2), [1]);
  await until(async () => (await r.hGet("h", "b")) === null);
  assert.equal(await r.hSetEx("h", { c: "v" }, { expiration: { type: "EX", value: 60 } }), 1);
  assert.deepEqual(await r.hGetEx("h", ["c"], { expiration: "PERSIST" }), ["v"]);
});

check("pipelines answer in order", async () => {
  const answers = await Promise.all(
    Array.from({ length: 2_000 }, (_, i) => [r.set(`p${i}`, String(i)), r.get(`p${i}`)]).flat(),
  );
  answers.forEach((value, i) => assert.equal(value, i % 2 === 0 ? "OK" : String((i - 1) / 2)));
});

check("transactions and watched keys", async () => {
  assert.deepEqual(await r.multi().set("a", "1").incr("a").get("a").exec(), ["OK", 2, "2"]);
  const watcher = await connect();
  await watcher.watch("a");
  await r.set("a", "9");
  await assert.rejects(watcher.multi().set("a", "10").exec(), WatchError);
  assert.equal(await r.get("a"), "9");
  watcher.destroy();
});

check("messages by channel and pattern", async () => {
  const subscriber = await connect();
  const got = [];
  await subscriber.subscribe("news", (message, channel) => got.push([channel, message]));
  await subscriber.subscribe("binary", (message) => got.push(["binary", message]), true);
  await subscriber.pSubscribe("n?ws", (message, channel) => got.push(["pattern", channel, message]));
  await subscriber.sSubscribe("shard", (message) => got.push(["shard", message]));
  assert.equal(await r.publish("news", "one"), 2);
  assert.equal(await r.publish("binary", everyByte), 1);
  assert.equal(await r.sPublish("shard", "two"), 1);
  await until(() => got.length === 4);
  assert.deepEqual(got.find(([kind]) => kind === "binary"), ["binary", everyByte]);
  assert.deepEqual(got.find(([kind]) => kind === "shard"), ["shard", "two"]);
  await subscriber.unsubscribe();
  await subscriber.pUnsubscribe();
  await subscriber.sUnsubscribe();
  assert.equal(await r.publish("news", "two"), 0);
  assert.equal(await subscriber.get("none"), null);
  subscriber.destroy();
});

check("clients are named, listed and killed", async () => {
  const victim = await connect({ name: "victim" });
  assert.equal(await victim.clientGetName(), "victim");
  const listed = (await r.clientList()).filter(({ name }) => name === "victim");
  assert.equal(listed.length, 1);
  const ended = new Promise((resolve) => victim.once("error", resolve));
  assert.equal(await r.clientKill({ filter: "ID", id: listed[0].id }), 1);
  await ended;
  victim.destroy();
});

check("a client-side cache follows writes", async () => {
  if (protocol !== "3") return;
  const cached = await connect({ clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU", recordStats: true } });
  await r.set("k", "1");
  assert.equal(await cached.get("k"), "1");
  assert.equal(await cached.get("k"), "1");
  await r.set("k", "2");
  await until(async () => (await cached.get("k")) === "2");
  await r.flushAll();
  await until(async () => (await cached.get("k")) === null);
  cached.destroy();
});

check("keys and values are binary-safe, large and unicode", async () => {
  await binary.set(everyByte, everyByte);
  assert.deepEqual(await binary.get(everyByte), everyByte);
  const large = Buffer.alloc(1 << 20, everyByte);
  await r.set("large", large);
  assert.ok(large.equals(await binary.get("large")));
  await r.set("clé:日本語:🐦", "wärme 🔥");
  assert.equal(await r.get("clé:日本語:🐦"), "wärme 🔥");
});

check("errors, configuration, commands and information", async () => {
  await fails("unknown command 'FOO', with args beginning with: 'a'", r.sendCommand(["FOO", "a"]));
  await fails("wrong number of arguments for 'get' command", r.sendCommand(["GET"]));
  assert.ok("maxmemory" in (await r.configGet("maxmemory")));
  assert.equal(await r.configSet("slowlog-max-len", "128"), "OK");
  const [get] = await r.commandInfo(["get"]);
  assert.equal(get.arity, 2);
  assert.ok((await r.commandCount()) > 100);
  assert.match(await r.info(), /# Server\r\n/);
  assert.deepEqual(await r.commandGetKeys(["MSET", "a", "1", "b", "2"]), ["a", "b"]);
});

await run(() => r.flushAll());
