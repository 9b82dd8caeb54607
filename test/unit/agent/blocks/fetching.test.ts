/**
 * Whole updates of a simulated device whose source has smaller forms of the image, right ones and hostile ones. Each ends
 * with the right image in the slot; what differs is what was fetched.
 */
import { randomFillSync } from 'node:crypto';
import { zstdCompressSync } from 'node:zlib';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { InstallMemory } from '../../../../agent/block-memory.ts';
import { SPOOL_HEAD_BYTES } from '../../../../agent/blocks/recipe-spool.ts';
import { UpdateEngine } from '../../../../agent/update-engine.ts';
import { decodeRecipeIndex, type PackEntry, RECIPE_HEADER_BYTES } from '../../../../delta/format.ts';
import type { Disk, DiskFile } from '../../../../platform/disk.ts';
import type { Action } from '../../../../protocol/device-api.ts';
import { encodePackedIndex, PIECE_INDEX_HEADER_BYTES, transportPaths } from '../../../../protocol/image-transport.ts';
import { concat } from '../../../../trust/bytes.ts';
import { sha256Hex } from '../../../../trust/crypto.ts';
import { MemoryTransport, makeRecipe } from '../../../sim/memory-transport.ts';
import { MemorySource, TestMaker } from '../../../sim/release-fixture.ts';
import { DEVICE, makeFactoryDevice, SimulatedDevice } from '../../../sim/simulated-device.ts';
import { SimulatedDisk } from '../../../sim/simulated-disk.ts';

const MIB = 1024 * 1024;
const BLOCKS = 5;
const PACK_BYTES = 64 * 1024;

/** As random as anything, but for every second piece, which compresses; the last block is of zeros, then a short rest. */
function imageOf(): Uint8Array {
  const image = new Uint8Array(BLOCKS * MIB + 5000);
  for (let at = 0; at < (BLOCKS - 1) * MIB; at += 8192) {
    randomFillSync(image, at, 4096);
    image.fill(1 + ((at >> 13) % 251), at + 4096, at + 8192);
  }
  randomFillSync(image, BLOCKS * MIB, 5000);
  return image;
}

const OLD = imageOf();
/** Shifted by a piece, with some edits: nothing lies where it was, and the recipe is longer than its first range. */
const FRESH = (() => {
  const fresh = concat(OLD.subarray(MIB + 4096, 4 * MIB), OLD.subarray(0, MIB + 4096), OLD.subarray(4 * MIB));
  for (const at of [70_000, 1_500_000, 2_600_000, 3_900_000]) randomFillSync(fresh, at, 3000);
  return fresh;
})();
const NEW = sha256Hex(FRESH);
const PATHS = {
  recipe: transportPaths.recipe(NEW, sha256Hex(OLD)),
  packed: transportPaths.blocks(NEW, 'zstd'),
  pieces: transportPaths.pieces(NEW),
};
let recipe = new Uint8Array(0);
beforeAll(async () => {
  recipe = new Uint8Array(await makeRecipe(OLD, FRESH, PACK_BYTES));
});
afterEach(() => InstallMemory.release());

interface World {
  readonly disk: SimulatedDisk;
  readonly device: SimulatedDevice;
  readonly source: MemorySource;
  readonly transport: MemoryTransport;
  readonly action: Action;
}

async function makeWorld(wrap: (disk: SimulatedDisk) => Disk = (disk) => disk): Promise<World> {
  const maker = new TestMaker();
  maker.release({ sequence: 1, version: '1.0.0', images: { rootfs: OLD } });
  const action = maker.release({ sequence: 2, version: '2.0.0', images: { rootfs: FRESH } });
  const disk = new SimulatedDisk();
  await makeFactoryDevice(disk, { rootfs: OLD }, maker.factoryRoot);
  // The other slot holds nothing of use.
  await disk.place(`${DEVICE}/board/slots/b/rootfs.img`, new Uint8Array(4096));
  const source = new MemorySource(maker);
  const transport = new MemoryTransport();
  transport.addImage(FRESH);
  transport.files.set(PATHS.recipe, recipe);
  source.transport = transport;
  const device = new SimulatedDevice(wrap(disk), source);
  return { disk, device, source, transport, action };
}

/** Until the trial is armed; the slot then holds the image, byte for byte. */
async function update({ disk, device, action }: World): Promise<string> {
  await device.boot();
  const engine = await UpdateEngine.open(device.ports(), device.settings);
  await device.runEngine(engine, action);
  expect(engine.status().state).toBe('armed');
  const written = disk.contents().get(`${DEVICE}/board/slots/b/rootfs.img`) ?? new Uint8Array(0);
  expect(Buffer.from(written).equals(FRESH)).toBe(true);
  expect(Buffer.from(disk.contents().get(`${DEVICE}/board/slots/a/rootfs.img`) ?? '').length).toBe(OLD.length);
  return notices(device, 'image-transport')[0] ?? '';
}

function notices({ events }: SimulatedDevice, code: string): string[] {
  return events.flatMap((event) => (event.kind === 'notice' && event.code === code ? [event.detail] : []));
}

function packs(): readonly PackEntry[] {
  const index = decodeRecipeIndex(recipe, recipe.length);
  if (!index.ok) throw new Error(index.detail);
  return index.value.packs;
}

const wholeBlocks = ({ source }: World): number => source.ranges.length;

/** Reads of the running slot that touch one of these bytes end with EIO. */
function badBlocksAt(disk: SimulatedDisk, at: readonly number[]): Disk {
  const broken = (file: DiskFile): DiskFile =>
    new Proxy(file, {
      get(target, name: keyof DiskFile) {
        if (name !== 'readInto') return target[name]?.bind(target);
        return async (into: Uint8Array, position: number) => {
          const hit = at.some((byte) => byte >= position && byte < position + into.length);
          if (hit) throw Object.assign(new Error('EIO: bad block'), { code: 'EIO' });
          return target.readInto(into, position);
        };
      },
    });
  return new Proxy<Disk>(disk, {
    get(target, name: keyof Disk) {
      if (name !== 'open') return target[name]?.bind(target);
      return async (path: string, ...rest: [Parameters<Disk['open']>[1]]) => {
        const file = await target.open(path, ...rest);
        return path.includes('slots/a/rootfs') ? broken(file) : file;
      };
    },
  });
}

describe('an update whose source has a recipe', () => {
  it('fetches the recipe, once, and nothing else', async () => {
    const world = await makeWorld();
    const said = await update(world);
    expect(world.transport.bytesOf('/from/')).toBe(recipe.length);
    expect(world.transport.bytesOf('')).toBe(recipe.length);
    expect(wholeBlocks(world)).toBe(0);
    expect(said).toBe(`fetched ${recipe.length} of ${FRESH.length} bytes (recipe ${recipe.length})`);
    expect(notices(world.device, 'transport-fallback')).toEqual([]);
    expect([...world.disk.contents().keys()].filter((path) => path.endsWith('.recipe'))).toEqual([]);
  });

  it('fetches some pieces of the one block whose source changed in the running slot', async () => {
    const world = await makeWorld();
    const changed = OLD.slice();
    // Copied into block 0 of the new image, and read by nothing else.
    randomFillSync(changed, MIB + 4096 + 500_000, 100);
    await world.disk.place(`${DEVICE}/board/slots/a/rootfs.img`, changed);
    await update(world);
    expect(wholeBlocks(world)).toBe(0);
    expect(world.transport.bytesOf('/blocks')).toBe(0);
    const asked = world.transport.served.filter(({ path }) => path.startsWith('POST'));
    expect(asked.length).toBe(1);
    expect(asked[0]?.bytes).toBeLessThan(2 * 4096 + 100);
    // The digests of one block's pieces, and that is all.
    expect(world.transport.bytesOf('/pieces') - (asked[0]?.bytes ?? 0)).toBe(256 * 8);
    expect(world.transport.bytesOf('/from/')).toBe(recipe.length);
    expect(notices(world.device, 'transport-fallback').length).toBe(1);
  });

  it('goes round a place of the running slot that cannot be read', async () => {
    const world = await makeWorld((disk) => badBlocksAt(disk, [2 * MIB + 300_000]));
    await update(world);
    expect(wholeBlocks(world)).toBe(0);
    expect(world.transport.bytesOf('/from/')).toBe(recipe.length);
    expect(notices(world.device, 'transport-fallback').join()).toContain('source-unreadable');
    // A chunk of 64 KiB is read at a time: in one or two blocks, as many pieces are missing.
    expect(world.transport.bytesOf('/blocks')).toBe(0);
    expect(world.transport.bytesOf('/pieces')).toBeLessThan(96 * 1024);
  });

  it('goes on where the recipe was cut, wherever that is, also in another process', async () => {
    const lengths = [0, 50, RECIPE_HEADER_BYTES + 10, Math.floor(recipe.length / 2), recipe.length - 1];
    for (const cut of lengths) {
      const world = await makeWorld();
      world.transport.cutAfterBytes = cut;
      await world.device.boot();
      const first = await UpdateEngine.open(world.device.ports(), world.device.settings);
      await first.offer(world.action);
      expect((await first.run()).rest).toBe('retry');
      InstallMemory.release();
      await update(world);
      // Only of the short first range, which says how long it all is, anything comes twice.
      expect(world.transport.bytesOf('/from/')).toBeLessThanOrEqual(recipe.length + Math.min(cut, SPOOL_HEAD_BYTES));
      expect(wholeBlocks(world)).toBe(0);
    }
  });

  it.each([
    ['its index', () => RECIPE_HEADER_BYTES],
    ['its packs', () => packs()[0]?.offsetBytes],
  ])('does not believe what a power cut left of a recipe: %s', async (_, from) => {
    const world = await makeWorld();
    const spool = `${DEVICE}/data/transport/${NEW}-${sha256Hex(OLD)}-${recipe.length}.recipe`;
    await world.disk.makeDirectory(`${DEVICE}/data/transport`);
    const torn = recipe.slice();
    torn.fill(0xff, from());
    await world.disk.place(spool, torn);
    await update(world);
    expect(wholeBlocks(world)).toBe(0);
    expect(world.transport.bytesOf('/from/')).toBe(recipe.length);
    expect(world.transport.bytesOf('')).toBe(recipe.length);
  });

  it('does without a place to keep it', async () => {
    const world = await makeWorld(
      (disk) =>
        new Proxy<Disk>(disk, {
          get(target, name: keyof Disk) {
            if (name !== 'open') return target[name]?.bind(target);
            return async (path: string, ...rest: [Parameters<Disk['open']>[1]]) => {
              if (path.endsWith('.recipe')) throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
              return target.open(path, ...rest);
            };
          },
        }),
    );
    await update(world);
    // The pack that the short first range cut in two is fetched whole.
    const cut = packs().find(({ offsetBytes, sizeBytes }) => offsetBytes + sizeBytes > SPOOL_HEAD_BYTES);
    const twice = SPOOL_HEAD_BYTES - (cut?.offsetBytes ?? 0);
    expect(twice).toBeGreaterThan(0);
    expect(world.transport.bytesOf('')).toBe(recipe.length + twice);
    expect(wholeBlocks(world)).toBe(0);
  });

  it('waits for one that is being made, as long as it may, and then no longer', async () => {
    const world = await makeWorld();
    let asked = 0;
    world.transport.instead = (path) => {
      if (path !== PATHS.recipe) return undefined;
      asked += 1;
      return asked > 3 ? undefined : { found: 'later', afterMs: 5_000, why: 'transport-in-preparation' };
    };
    await update(world);
    expect(world.transport.bytesOf('')).toBe(recipe.length);
    expect(world.device.clock.monotonicMs()).toBe(15_000);

    const never = await makeWorld();
    let askedAgain = 0;
    never.transport.instead = (path) => {
      if (path !== PATHS.recipe) return undefined;
      askedAgain += 1;
      // The clock is simulated: nothing else would end an endless wait.
      if (askedAgain > 10_000) throw new Error('the agent waits without end');
      return { found: 'later', afterMs: 5_000, why: 'transport-in-preparation' };
    };
    const said = await update(never);
    expect(never.device.clock.monotonicMs()).toBe(20_000);
    expect(never.transport.bytesOf('/from/')).toBe(0);
    expect(wholeBlocks(never)).toBe(0);
    expect(said).toContain('pieces ');
  });
});

describe('an update without a recipe', () => {
  it('finds what the running slot holds anywhere, and asks for the other pieces together', async () => {
    const world = await makeWorld();
    world.transport.files.delete(PATHS.recipe);
    await update(world);
    expect(wholeBlocks(world)).toBe(0);
    expect(world.transport.bytesOf('/blocks')).toBe(0);
    // Six or so pieces are new, besides the index of all.
    expect(world.transport.bytesOf('POST')).toBeLessThan(14 * 4096);
    expect(world.transport.bytesOf('/pieces')).toBeLessThan(14 * 4096 + 256 * 8 * (BLOCKS + 1));
  });

  it('takes packed blocks where pieces are not to be had', async () => {
    const world = await makeWorld();
    for (const path of [PATHS.recipe, PATHS.pieces]) world.transport.files.delete(path);
    const said = await update(world);
    expect(wholeBlocks(world)).toBe(0);
    const packed = world.transport.files.get(PATHS.packed)?.length ?? 0;
    expect(world.transport.bytesOf('/blocks')).toBe(packed);
    expect(packed).toBeLessThan(FRESH.length * 0.6);
    expect(said).toContain('left out: rootfs: recipe transport-unknown, rootfs: pieces transport-unknown');
  });

  it('takes whole blocks from a source that has nothing else', async () => {
    const world = await makeWorld();
    world.transport.files.clear();
    await update(world);
    // But for the block of zeros.
    expect(wholeBlocks(world)).toBe(BLOCKS);
  });

  it('fetches nothing of an image that the running slot holds already', async () => {
    const maker = new TestMaker();
    maker.release({ sequence: 1, version: '1.0.0', images: { boot: OLD, rootfs: OLD } });
    const action = maker.release({ sequence: 2, version: '2.0.0', images: { boot: OLD, rootfs: FRESH } });
    const disk = new SimulatedDisk();
    await makeFactoryDevice(disk, { boot: OLD, rootfs: OLD }, maker.factoryRoot);
    await disk.place(`${DEVICE}/board/slots/b/boot.img`, new Uint8Array(4096));
    const source = new MemorySource(maker);
    const device = new SimulatedDevice(disk, source);
    await device.boot();
    const engine = await UpdateEngine.open(device.ports(), device.settings);
    await device.runEngine(engine, action);
    expect(engine.status().state).toBe('armed');
    expect(source.ranges.every((range) => range.includes('rootfs'))).toBe(true);
  });
});

describe('hostile forms cost bytes and nothing else', () => {
  const bomb = new Uint8Array(zstdCompressSync(new Uint8Array(16 * MIB)));
  const hostile: Record<string, (world: World) => void> = {
    'a recipe of noise': ({ transport }) => {
      transport.files.set(PATHS.recipe, randomFillSync(new Uint8Array(recipe.length)));
    },
    'a recipe for another image': ({ transport }) => {
      const other = recipe.slice();
      other[61] = (other[61] ?? 0) ^ 1;
      transport.files.set(PATHS.recipe, other);
    },
    'a recipe whose packs are noise': ({ transport }) => {
      const other = recipe.slice();
      randomFillSync(other, Math.floor(recipe.length / 2));
      transport.files.set(PATHS.recipe, other);
    },
    'a recipe longer than the image': ({ transport }) => {
      transport.files.set(PATHS.recipe, concat(recipe, new Uint8Array(FRESH.length)));
    },
    'a piece index of noise': ({ transport }) => {
      transport.files.delete(PATHS.recipe);
      const index = transport.files.get(PATHS.pieces)?.slice() ?? new Uint8Array(0);
      transport.files.set(PATHS.pieces, randomFillSync(index, PIECE_INDEX_HEADER_BYTES));
    },
    'a piece index of another length': ({ transport }) => {
      transport.files.delete(PATHS.recipe);
      transport.files.set(PATHS.pieces, transport.files.get(PATHS.pieces)?.subarray(0, 4000) ?? new Uint8Array(0));
    },
    'wrong pieces': ({ transport }) => {
      transport.files.delete(PATHS.recipe);
      transport.alterPieces = (plain) => plain.map((byte) => byte ^ 255);
    },
    'too few pieces': ({ transport }) => {
      transport.files.delete(PATHS.recipe);
      transport.alterPieces = (plain) => plain.subarray(1);
    },
    'a bomb for pieces': ({ transport }) => {
      transport.files.delete(PATHS.recipe);
      transport.alterPieces = (plain) => new Uint8Array(plain.length + 8 * MIB);
    },
    'packed blocks that are bombs': ({ transport }) => {
      transport.files.clear();
      const sizes = Array.from({ length: BLOCKS + 1 }, () => bomb.length);
      transport.files.set(PATHS.packed, concat(encodePackedIndex('zstd', sizes), ...sizes.map(() => bomb)));
    },
    'packed blocks of noise': ({ transport }) => {
      transport.files.clear();
      const sizes = Array.from({ length: BLOCKS + 1 }, () => 3000);
      transport.files.set(
        PATHS.packed,
        concat(encodePackedIndex('zstd', sizes), randomFillSync(new Uint8Array(3000 * (BLOCKS + 1)))),
      );
    },
    'a packed image that ends too soon': ({ transport }) => {
      const packed = transport.files.get(PATHS.packed) ?? new Uint8Array(0);
      transport.files.clear();
      transport.files.set(PATHS.packed, packed.subarray(0, MIB));
    },
    'packed blocks longer than blocks': ({ transport }) => {
      transport.files.clear();
      const sizes = Array.from({ length: BLOCKS + 1 }, () => 2 * MIB);
      transport.files.set(PATHS.packed, encodePackedIndex('zstd', sizes));
    },
    'blocks that are said to be zeros': ({ transport }) => {
      transport.files.clear();
      transport.files.set(PATHS.packed, encodePackedIndex('zstd', new Array(BLOCKS + 1).fill(0)));
    },
    'stored blocks with other bytes': ({ transport }) => {
      transport.files.clear();
      const sizes = [...new Array(BLOCKS).fill(MIB), 5000];
      transport.files.set(PATHS.packed, concat(encodePackedIndex('zstd', sizes), new Uint8Array(FRESH.length).fill(7)));
    },
  };

  it.each(Object.keys(hostile))('%s', async (name) => {
    const world = await makeWorld();
    hostile[name]?.(world);
    await update(world);
    const fetched = world.transport.bytesOf('') + wholeBlocks(world) * MIB;
    // Never much more than the image and one form of it that was of no use.
    expect(fetched).toBeLessThan(2.1 * FRESH.length);
    expect(notices(world.device, 'transport-fallback').length).toBeLessThan(12);
  });
});
