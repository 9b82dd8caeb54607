import { execFileSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const projectRoot = join(dirname(fileURLToPath(import.meta.url)), '../../..');
/** node-forge keeps one object for all its modules, so each buffer gets a process of its own. */
const run = (module: string): string =>
  execFileSync(process.execPath, ['-e', PROBE], {
    cwd: projectRoot,
    env: { ...process.env, MODULE: module },
    encoding: 'utf8',
  });

const PROBE = `
require(process.env.MODULE);
const { util } = require('node-forge/lib/forge.js');
const out = [];
const buffer = util.createBuffer('\\x80\\xff\\x01\\x02abcdef');
out.push(buffer.length(), buffer.getByte(), buffer.getInt(16), buffer.getSignedInt(8), buffer.bytes(2), buffer.getBytes(3), buffer.read, buffer.length(), buffer.getBytes(), buffer.length());
const written = util.createBuffer().putByte(0x30).putBytes('xyz').putInt(0x010203, 24).putSignedInt(-2, 8);
written.putBuffer(util.createBuffer('tail'));
out.push(util.bytesToHex(written.getBytes()), util.decodeUtf8('\\xc3\\xa9'), util.isArray([]), util.isArray('x'));
out.push(util.createBuffer(util.createBuffer('copied')).getBytes());
process.stdout.write(JSON.stringify(out));
`;

describe("the shipped agent's byte buffer", () => {
  it('gives what the original of node-forge gives', () => {
    const original = createRequire(import.meta.url).resolve('node-forge/lib/util.js');
    expect(run(join(projectRoot, 'scripts/build/byte-string-buffer.cjs'))).toBe(run(original));
  });
});
