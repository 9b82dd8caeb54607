/**
 * Random damage to a whole signed world. What is listed as the property: nothing that differs from what was signed is
 * ever trusted. Runs in `required` mode, as devices do.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { refreshMetadata } from '../../../../trust/tuf/client.ts';
import { DEVICE_MODE, flipBit, makeRelease, TestRepository, testImage, unwrap } from '../release-fixture.ts';

const PRISTINE = new TestRepository()
  .add(makeRelease({ images: { boot: testImage('boot', 64) } }))
  .addRoot({})
  .publish();
const NAMES = [...PRISTINE.metadata.keys()].filter((name) => name !== '1.root.json');

async function refresh(name: string, bytes: Uint8Array) {
  const source = {
    fetchMetadata: async (asked: string, capBytes: number) =>
      asked === name
        ? { ok: true as const, value: bytes.slice(0, capBytes + 1) }
        : PRISTINE.source().fetchMetadata(asked, capBytes),
  };
  return refreshMetadata({ store: PRISTINE.store(), source, time: PRISTINE.time(), mode: DEVICE_MODE });
}

/** The signed parts, as a device would act on them. */
async function trustedParts(name: string, bytes: Uint8Array): Promise<string | undefined> {
  const verdict = await refresh(name, bytes);
  if (!verdict.ok) return undefined;
  const { root, timestamp, snapshot, targets } = verdict.value;
  return JSON.stringify([root, timestamp, snapshot, targets]);
}

const damage = () =>
  fc.oneof(
    fc.tuple(fc.nat(), fc.nat(7)).map(
      ([at, bit]) =>
        (bytes: Uint8Array) =>
          flipBit(bytes, at % bytes.length, bit),
    ),
    fc.tuple(fc.nat(), fc.nat(40)).map(([at, length]) => (bytes: Uint8Array) => {
      const start = at % bytes.length;
      return Uint8Array.of(...bytes.slice(0, start), ...bytes.slice(start + length));
    }),
    fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 20 })).map(([at, extra]) => (bytes: Uint8Array) => {
      const start = at % bytes.length;
      return Uint8Array.of(...bytes.slice(0, start), ...extra, ...bytes.slice(start));
    }),
    fc.tuple(fc.nat(), fc.constantFrom('1', '9', '0', '"', '}', ',', ' ', '\n', '\u0000')).map(
      ([at, text]) =>
        (bytes: Uint8Array) =>
          bytes.with(at % bytes.length, text.charCodeAt(0)),
    ),
  );

it('trusts nothing that differs from what was signed', async () => {
  const good = await trustedParts('none', new Uint8Array(0));
  expect(good).toBeDefined();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...NAMES), damage(), async (name, change) => {
      const trusted = await trustedParts(name, change(PRISTINE.file(name)));
      // Damage outside the signed part (white space, an extra signature) may pass; what is trusted may not change.
      if (trusted !== undefined) expect(trusted).toBe(good);
    }),
    { numRuns: 600 },
  );
});

it('the undamaged world is trusted', async () => {
  unwrap(await refresh('none', new Uint8Array(0)));
});
