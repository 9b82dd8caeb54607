/**
 * A processor without SHA instructions (a Raspberry Pi 4), as far as OpenSSL is concerned: `OPENSSL_ia32cap` hides them
 * from it, and so from Node, rauc and swupdate. The proof is printed: rates with and without.
 */
import { needProgram } from '../../scripts/programs.ts';
import type { Row } from './measure.ts';
import { rowOf } from './measure.ts';

/** Bit 29 of CPUID leaf 7's EBX: SHA. AVX2 stays, which a Pi 4 has nothing like. */
export const SHA_MASK = { OPENSSL_ia32cap: ':~0x20000000' } as const;
const NODE_RATE = `
  const { createHash } = require('node:crypto');
  const block = Buffer.alloc(2 ** 20);
  const begun = performance.now();
  let blocks = 0;
  for (; performance.now() - begun < 1000; blocks += 1) createHash('sha256').update(block).digest();
  console.log((blocks * block.length) / 1e3 / (performance.now() - begun));`;

export async function proveMask(runs: number): Promise<Row[]> {
  const rates = { openssl: [[], []] as number[][], node: [[], []] as number[][] };
  for (let run = 0; run < runs; run += 1) {
    for (const [at, env] of [{}, SHA_MASK].entries()) {
      rates.openssl[at]?.push(await opensslRate(env));
      const said = await needProgram(process.execPath, ['-e', NODE_RATE], { env });
      rates.node[at]?.push(Number(said.stdout));
    }
  }
  return [
    ...[' ', ' with SHA masked'].flatMap((how, at) => [
      rowOf('SHA-256 in one thread: rate', `openssl speed, 16 KiB${how}`.trim(), rates.openssl[at] ?? [], 'MB/s'),
      rowOf('SHA-256 in one thread: rate', `node:crypto, 1 MiB${how}`.trim(), rates.node[at] ?? [], 'MB/s'),
    ]),
  ];
}

async function opensslRate(env: Readonly<Record<string, string>>): Promise<number> {
  const args = ['speed', '-evp', 'sha256', '-bytes', '16384', '-seconds', '1'];
  return parseSpeed((await needProgram('openssl', args, { env })).stdout);
}

/** MB/s of the last line of `openssl speed`: `sha256 554571.97k`. */
export function parseSpeed(text: string): number {
  const thousands = /([\d.]+)k\s*$/.exec(text.trim())?.[1];
  if (thousands === undefined) throw new Error(`openssl speed wrote ${JSON.stringify(text)}`);
  return Number(thousands) / 1000;
}
