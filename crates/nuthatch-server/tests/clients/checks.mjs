// The runner that the Node programs share: `check` declares a behaviour, `run` executes all of them in order,
// each on an empty server, prints one line for each and exits with 1 if any failed. With `--full` on the
// command line a check may not be skipped for a feature that the server lacks.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const checks = [];
const full = process.argv.includes("--full");

export const words = process.argv.slice(2).filter((word) => !word.startsWith("--"));

// A client's package, from where scripts/client-tools has installed it.
export const load = createRequire(`${process.env.CLIENT_TOOLS}/package.json`);

export class Skip extends Error {}

export function check(name, body) {
  checks.push([name, body]);
}

// Asserts that `promise` is refused with a message that holds `text`.
export async function fails(text, promise) {
  await assert.rejects(promise, (error) => {
    assert.ok(error.message.includes(text), `expected ${JSON.stringify(text)}, got ${JSON.stringify(error.message)}`);
    return true;
  });
}

// Awaits `promise`; where the server does not know the command or the option, the check is skipped.
export async function needs(what, promise) {
  try {
    return await promise;
  } catch (error) {
    if (/unknown command|syntax error/i.test(error.message)) throw new Skip(what);
    throw error;
  }
}

// Polls `condition` until it is true and returns what it gave; fails after ten seconds.
export async function until(condition) {
  const deadline = Date.now() + 10_000;
  for (;;) {
    const value = await condition();
    if (value) return value;
    assert.ok(Date.now() < deadline, "the awaited condition never came true");
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

// Fails after two minutes, so that a check that hangs is seen.
function patience() {
  return new Promise((_, reject) => setTimeout(reject, 120_000, new Error("no end came")).unref());
}

export async function run(beforeEach) {
  let failed = 0;
  for (const [name, body] of checks) {
    try {
      await beforeEach();
      await Promise.race([body(), patience()]);
      console.log(`ok   ${name}`);
    } catch (error) {
      if (error instanceof Skip && !full) {
        console.log(`skip ${name}: ${error.message}`);
      } else {
        failed += 1;
        console.log(`FAIL ${name}: ${error.stack}`);
      }
    }
  }
  console.log(`${checks.length - failed} of ${checks.length} checks did not fail`);
  process.exit(failed === 0 ? 0 : 1);
}
