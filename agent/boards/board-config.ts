/**
 * The `board` of agent.json: which adapter, and where its slots and flags lie. Strict, like the rest of the file.
 * docs/BOARDS.md tells each field; paths are relative to agent.json.
 */
import * as v from 'valibot';
import { SLOTS, type SlotPaths } from './machine.ts';

const Path = v.pipe(v.string(), v.minLength(1), v.maxLength(1024));
const Images = v.record(v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9._-]{0,63}$/)), Path);
const Slots = v.pipe(
  v.strictObject({ a: Images, b: Images }),
  v.check(
    ({ a, b }) => Object.keys(a).sort().join() === Object.keys(b).sort().join() && Object.keys(a).length > 0,
    'both slots must name the same images, at least one',
  ),
  v.check(({ a, b }) => {
    const paths = [...Object.values(a), ...Object.values(b)];
    return new Set(paths).size === paths.length;
  }, 'no two images may share a place'),
);
const Partition = v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(128));
const procDirectory = v.optional(Path, '/proc');

export const BoardConfig = v.variant('kind', [
  v.strictObject({ kind: v.literal('emulated'), directory: Path }),
  v.strictObject({ kind: v.literal('none') }),
  v.strictObject({
    kind: v.literal('u-boot'),
    slots: Slots,
    environmentConfig: v.optional(Path, '/etc/fw_env.config'),
    defaultEnvironment: v.optional(Path, '/etc/u-boot-initial-env'),
    goodSlotFile: Path,
    procDirectory,
  }),
  v.strictObject({
    kind: v.literal('tryboot'),
    slots: Slots,
    autobootFile: Path,
    partitions: v.pipe(
      v.strictObject({ a: Partition, b: Partition }),
      v.check(({ a, b }) => a !== b, 'two slots cannot share a partition'),
    ),
    procDirectory,
  }),
  v.strictObject({
    kind: v.literal('exec'),
    slots: Slots,
    executable: Path,
    trialAttempts: v.pipe(v.number(), v.safeInteger(), v.minValue(1), v.maxValue(10)),
    deadlineMs: v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(100), v.maxValue(600_000)), 30_000),
    procDirectory,
  }),
]);
export type BoardConfig = v.InferOutput<typeof BoardConfig>;

const PATH_FIELDS = [
  'directory',
  'environmentConfig',
  'defaultEnvironment',
  'goodSlotFile',
  'autobootFile',
  'executable',
  'procDirectory',
];

/** The same with absolute paths. */
export function resolveBoard<T extends BoardConfig>(board: T, at: (relative: string) => string): T {
  const resolved = Object.entries(board).map(([name, value]) => [
    name,
    PATH_FIELDS.includes(name) ? at(String(value)) : value,
  ]);
  const slots = 'slots' in board ? { slots: resolveSlots(board.slots, at) } : {};
  return { ...Object.fromEntries(resolved), ...slots };
}

function resolveSlots(slots: SlotPaths, at: (relative: string) => string): SlotPaths {
  const [a = {}, b = {}] = SLOTS.map((slot) =>
    Object.fromEntries(Object.entries(slots[slot]).map(([component, path]) => [component, at(path)])),
  );
  return { a, b };
}
