import { expect, test } from 'vitest';
import {
  formName,
  formOfName,
  type TransportFacts,
  TransportPlan,
} from '../../../../update-server/core/transport-plan.ts';

const sha = (letter: string): string => letter.repeat(64);
const A = sha('a');
const B = sha('b');
const C = sha('c');
const D = sha('d');
const BOOT = sha('0');

type Facts = TransportFacts['releases'][number];

function release(sequence: number, rootfs: string, more: Partial<Facts> = {}): Facts {
  const hardwareClass = more.hardwareClass ?? 'acme-cam';
  return {
    releasePath: `releases/${hardwareClass}/stable/${sequence}/release.suit`,
    hardwareClass,
    channel: 'stable',
    version: `${sequence}.0.0`,
    sequence,
    floorSequence: 0,
    images: [{ component: 'rootfs', sizeBytes: 10, sha256: rootfs }],
    publishedUnixMs: sequence,
    withdrawn: false,
    ...more,
  };
}

const runs = (sequence: number, devices: number, hardwareClass = 'acme-cam') => ({
  hardwareClass,
  channel: 'stable',
  sequence,
  devices,
});

const recipe = (imageSha256: string, oldSha256: string) => ({ kind: 'recipe', imageSha256, oldSha256 }) as const;
/** Short: `c<b` is the recipe of C from B, `c.zstd` its blocks, `c.pieces` its index. */
const short = (plan: TransportPlan): string[] =>
  plan.wanted.map((form) => {
    const image = form.imageSha256[0];
    if (form.kind === 'recipe') return `${image}<${form.oldSha256[0]}`;
    return form.kind === 'blocks' ? `${image}.${form.coding}` : `${image}.pieces`;
  });

test('for the newest release everything, recipes first from what most devices run; older ones packed', () => {
  const facts = {
    releases: [release(1, A), release(2, B), release(3, C)],
    installed: [runs(1, 40), runs(2, 3), runs(3, 500)],
  };
  expect(short(new TransportPlan(facts, 3))).toEqual([
    'c.zstd',
    'c.pieces',
    'c<a',
    'c<b',
    'b.zstd',
    'b.pieces',
    'a.zstd',
    'a.pieces',
  ]);
});

test('the line with most devices to update goes first', () => {
  const hub = { hardwareClass: 'acme-hub' };
  const facts = {
    releases: [release(1, A), release(2, B), release(1, C, hub), release(2, D, hub)],
    installed: [runs(1, 1), runs(1, 2, 'acme-hub'), runs(2, 90)],
  };
  expect(short(new TransportPlan(facts, 1))).toEqual(['d.zstd', 'd.pieces', 'd<c', 'b.zstd', 'b.pieces', 'b<a']);
});

test('recipes come from the last so many releases only, from withdrawn ones too, and lead into none', () => {
  const facts = {
    releases: [release(1, A), release(2, B, { withdrawn: true }), release(3, C, { withdrawn: true }), release(4, D)],
    installed: [],
  };
  expect(short(new TransportPlan(facts, 2)).filter((name) => name.includes('<'))).toEqual(['d<c', 'd<b']);
  const plan = new TransportPlan(facts, 2);
  expect(plan.image(C)).toBeUndefined();
  expect(plan.keeps({ kind: 'pieces', imageSha256: C })).toBe(false);
  expect(plan.keeps(recipe(C, A))).toBe(false);
});

test('no recipes at all when none are wished for, and none where the image stayed the same', () => {
  const facts = { releases: [release(1, A), release(2, A), release(3, B)], installed: [] };
  expect(short(new TransportPlan(facts, 0))).toEqual(['b.zstd', 'b.pieces']);
  expect(new TransportPlan(facts, 0).allows(recipe(B, A), 'acme-cam')).toBe(false);
  const same = { releases: [release(1, A), release(2, A)], installed: [] };
  expect(short(new TransportPlan(same, 3))).toEqual(['a.zstd', 'a.pieces']);
});

test('components are compared with themselves; one that a release lacks has no recipe', () => {
  const images = (boot: string | null, rootfs: string) => ({
    images: [
      ...(boot === null ? [] : [{ component: 'boot', sizeBytes: 1, sha256: boot }]),
      { component: 'rootfs', sizeBytes: 10, sha256: rootfs },
    ],
  });
  const facts = { releases: [release(1, A, images(null, A)), release(2, B, images(BOOT, B))], installed: [] };
  expect(short(new TransportPlan(facts, 3)).filter((name) => name.includes('<'))).toEqual(['b<a']);
});

test('a device may ask for what its own class has: older releases too, into the newest ones', () => {
  const hub = { hardwareClass: 'acme-hub' };
  const facts = {
    releases: [release(1, A), release(2, B), release(3, C), release(4, D), release(9, BOOT, hub)],
    installed: [],
  };
  const plan = new TransportPlan(facts, 2);
  expect(plan.allows(recipe(D, A), 'acme-cam')).toBe(true);
  expect(plan.allows(recipe(C, D), 'acme-cam')).toBe(true);
  expect(plan.allows(recipe(B, A), 'acme-cam')).toBe(false);
  expect(plan.allows(recipe(D, A), 'acme-hub')).toBe(false);
  expect(plan.allows(recipe(D, BOOT), 'acme-cam')).toBe(false);
  expect(plan.allows(recipe(D, D), 'acme-cam')).toBe(false);
  expect(plan.allows(recipe(D, sha('9')), 'acme-cam')).toBe(false);
  expect(plan.allows({ kind: 'blocks', imageSha256: A, coding: 'gzip' }, 'acme-cam')).toBe(true);
  expect(plan.allows({ kind: 'blocks', imageSha256: A, coding: 'gzip' }, 'acme-hub')).toBe(false);
  expect(plan.keeps(recipe(D, A))).toBe(true);
  expect(plan.keeps(recipe(B, A))).toBe(false);
});

test('a name stands for one form, and nothing else is a name', () => {
  const forms = [
    recipe(A, B),
    { kind: 'pieces', imageSha256: A },
    { kind: 'blocks', imageSha256: A, coding: 'zstd' },
    { kind: 'blocks', imageSha256: A, coding: 'gzip' },
  ] as const;
  for (const form of forms) expect(formOfName(formName(form))).toEqual(form);
  for (const name of ['parts', A, `${A}.blocks`, `${A}.blocks-brotli`, `${A}.from-${B}x`, `../${A}.pieces`]) {
    expect(formOfName(name)).toBeUndefined();
  }
});
