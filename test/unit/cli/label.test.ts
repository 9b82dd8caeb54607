/** Labels are read back from the picture itself, by a decoder that shares nothing with what drew it. */
import { readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import jsQR from 'jsqr';
import * as v from 'valibot';
import { beforeAll, describe, expect, it } from 'vitest';
import { qrCode, qrSvg, qrText } from '../../../cli/qr-picture.ts';
import { ClaimFile } from '../../../protocol/enrolment.ts';
import { decodeLabelVerifier, isLabelOf, LabelText } from '../../../protocol/label.ts';
import { workshop } from '../keys/workshop.ts';
import { documentOf, runHoldfast } from './run-holdfast.ts';

/** Its types describe another module format than the one it has. */
const readQr = jsQR as unknown as typeof jsQR.default;
const PIXELS = 4;
type Grid = boolean[][];

/** What a camera sees: white, and black where the picture is dark. */
function seen(grid: Grid, invert = false): string | undefined {
  const [height, width] = [grid.length * PIXELS, (grid[0]?.length ?? 0) * PIXELS];
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let at = 0; at < width * height; at += 1) {
    const dark = grid[Math.floor(at / width / PIXELS)]?.[Math.floor((at % width) / PIXELS)] === true;
    pixels.set(dark !== invert ? [0, 0, 0, 255] : [255, 255, 255, 255], at * 4);
  }
  return readQr(pixels, width, height)?.data;
}

/** Draws the path of the SVG as a renderer would: the runs that it fills, on the view box that it names. */
function drawn(svg: string): Grid {
  const [, width = '0', height = '0'] = /viewBox="0 0 (\d+) (\d+)"/.exec(svg) ?? [];
  const grid: Grid = Array.from({ length: Number(height) }, () => new Array<boolean>(Number(width)).fill(false));
  for (const [, x = '', y = '', length = ''] of svg.matchAll(/M(\d+) (\d+)h(\d+)v1h-\3z/g)) {
    grid[Number(y)]?.fill(true, Number(x), Number(x) + Number(length));
  }
  return grid;
}

function typed(text: string): Grid {
  return text
    .split('\n')
    .flatMap((line) => [
      [...line].map((char) => char === ' ' || char === '▄'),
      [...line].map((char) => char === ' ' || char === '▀'),
    ]);
}

describe('a QR code', () => {
  it('reads back as what went in, from the picture and from the terminal', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1, maxLength: 200, unit: 'grapheme-ascii' }), (text) => {
        const code = qrCode(text);
        expect(seen(drawn(qrSvg(code, 'cam-0001')))).toBe(text);
        expect(seen(typed(qrText(code)))).toBe(text);
      }),
      { numRuns: 12 },
    );
  });

  it('keeps the quiet zone of four modules on every side', () => {
    const { dark, size } = qrCode('x');
    const rim = dark.flatMap((row, y) => row.filter((_, x) => Math.min(x, y, size - 1 - x, size - 1 - y) < 4));
    expect(rim.some(Boolean)).toBe(false);
    expect(dark[4]?.slice(4, 11)).toEqual(new Array(7).fill(true));
  });

  it('reads with a corner of it scratched away', () => {
    const grid = drawn(qrSvg(qrCode('holdfast '.repeat(12)), 'x'));
    const middle = Math.floor((grid[0]?.length ?? 0) / 2);
    for (let y = middle; y < middle + 5; y += 1) grid[y]?.fill(false, middle, middle + 6);
    expect(seen(grid)).toBe('holdfast '.repeat(12));
  });

  it('writes a caption that no device id can break out of', () => {
    expect(qrSvg(qrCode('x'), '<a&b>')).toContain('&lt;a&amp;b&gt;');
    expect(qrSvg(qrCode('x'), 'x'.repeat(64))).toContain('textLength');
  });
});

describe('holdfast label', () => {
  let home: string;
  const claim = {
    format: 'holdfast-claim-1',
    claimId: 'cam-0001',
    hardwareClass: 'acme-cam',
    secret: 'A'.repeat(43),
    expiresUnixMs: 1_790_000_000_000,
  };
  const run = (...args: string[]) => runHoldfast(['label', ...args], { home });
  beforeAll(async () => {
    home = await workshop();
    await writeFile(join(home, 'claim.json'), JSON.stringify(claim, null, 2));
  });

  it('makes a picture (0600) of a random secret, and a file by which the device knows it, without the secret', async () => {
    const made = await run('--device', 'cam-0001', '--svg', 'one.svg', '--json');
    expect(documentOf(made)).toMatchObject({ ok: true, device: 'cam-0001', kind: 'label' });
    const file = await readFile(join(home, 'cam-0001.label.json'));
    const scan = async (name: string) => seen(drawn(await readFile(join(home, name), 'utf8'))) ?? '';
    const label = v.parse(LabelText, JSON.parse(await scan('one.svg')));
    expect((await stat(join(home, 'one.svg'))).mode & 0o777).toBe(0o600);
    expect(made.stdout + made.stderr + file).not.toContain(label.secret);
    expect(Buffer.from(label.secret, 'base64url')).toHaveLength(24);
    await run('--device', 'cam-0001', '--svg', 'two.svg', '--out', 'two.json', '--json');
    const verifier = decodeLabelVerifier(file);
    if (verifier === undefined) throw new Error('no verifier');
    expect([isLabelOf(await scan('one.svg'), verifier), isLabelOf(await scan('two.svg'), verifier)]).toEqual([
      true,
      false,
    ]);
    const moved = JSON.stringify({ ...label, deviceId: 'cam-0002' });
    for (const text of ['', label.secret, moved]) expect(isLabelOf(text, verifier), text).toBe(false);
    expect(isLabelOf(moved, { ...verifier, deviceId: 'cam-0002' })).toBe(false);
  });

  it('draws a claim as the text of the claim file', async () => {
    const made = await run('--claim', 'claim.json', '--svg', 'claim.svg', '--json');
    expect(documentOf(made)).toMatchObject({ ok: true, device: 'cam-0001', kind: 'claim', file: null });
    const read = seen(drawn(await readFile(join(home, 'claim.svg'), 'utf8'))) ?? '';
    expect(v.parse(ClaimFile, JSON.parse(read))).toEqual(claim);
    expect(made.stdout + made.stderr).not.toContain(claim.secret);
  });

  it.each<[string, string[], string]>([
    ['a pipe', ['--device', 'cam-0009'], 'secrets-need-a-place'],
    ['no device', ['--svg', 'x.svg'], 'device-id-malformed'],
    ['a device id that is none', ['--device', 'A B', '--svg', 'x.svg'], 'device-id-malformed'],
    [
      'the claim of another device',
      ['--claim', 'claim.json', '--device', 'cam-2', '--svg', 'x.svg'],
      'claim-of-another-device',
    ],
    ['a claim that is none', ['--claim', 'cam-0001.label.json', '--svg', 'x.svg'], 'claim-malformed'],
    [
      'a claim and a file for a new secret',
      ['--claim', 'claim.json', '--out', 'x.svg', '--svg', 'y.svg'],
      'options-conflict',
    ],
    ['a picture that exists', ['--device', 'cam-0003', '--svg', 'one.svg'], 'file-exists'],
  ])('refuses %s, and leaves nothing behind', async (_what, args, code) => {
    expect(documentOf(await run(...args, '--json'))).toMatchObject({ ok: false, code });
    for (const name of ['x.svg', 'cam-0009.label.json', 'cam-0003.label.json'])
      await expect(stat(join(home, name)), name).rejects.toThrow('ENOENT');
  });
});
