/**
 * `npm run bench -- install`: a whole installation onto a loop device (or a file, where there are none), beside what the
 * machine's own programs need to move the same bytes. In turn, so that a busy minute of the machine falls on all.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync, readSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { nodeDisk } from '../../platform/disk.ts';
import { writeDurably } from '../../platform/durable-file.ts';
import { emulatedPaths, encodeBooted, writeBootEnv } from '../../platform/emulated-boot-env.ts';
import { EXIT, Fault } from '../../platform/fault.ts';
import { BUNDLES } from '../../scripts/build.ts';
import { needProgram, runProgram } from '../../scripts/programs.ts';
import { NOW_UNIX_S, TestMaker } from '../sim/release-fixture.ts';
import type { Findings } from './agent-bench.ts';
import { medianOf, type Row, rowOf } from './measure.ts';

const MIB = 1024 * 1024;
const MEMORY_AIM_MB = 80;

interface Measured {
  readonly wallS: number[];
  readonly cpuS: number[];
  readonly peakMb: number[];
}

interface Bench {
  readonly directory: string;
  readonly image: string;
  readonly slot: string;
  readonly sizeBytes: number;
  readonly digest: string;
  readonly action: string;
  readonly program: string;
  readonly factoryRoot: Uint8Array;
}

export async function benchInstall(
  directory: string,
  imageMib: number,
  runs: number,
  progress: (line: string) => void,
): Promise<Findings> {
  const place = await mkdtemp(join(directory, 'holdfast-install-'));
  const slot = await makeSlot(place, imageMib);
  try {
    progress(`an image of ${imageMib} MiB of this machine's own files, and a release of it`);
    const bench = await prepare(place, slot.path, imageMib);
    const found = new Map<string, Measured>();
    for (let run = 0; run < runs; run += 1) {
      progress(`run ${run + 1} of ${runs}`);
      for (const [name, command] of await commandsOf(bench, run)) {
        await clearSlot(bench);
        const into = found.get(name) ?? { wallS: [], cpuS: [], peakMb: [] };
        found.set(name, into);
        await measure(command, bench.directory, into);
        if (name.startsWith('agent') || name.startsWith('dd')) await needImage(bench, name);
      }
    }
    return findingsOf(found, slot.isLoop ? 'loop device' : 'file');
  } finally {
    await slot.close();
    await rm(place, { recursive: true, force: true });
  }
}

async function makeSlot(place: string, imageMib: number) {
  const file = join(place, 'slot');
  await needProgram('fallocate', ['-l', `${imageMib}M`, file]);
  const loop = await runProgram('losetup', ['--find', '--show', '--direct-io=on', file]).catch(() => undefined);
  if (loop?.status !== 0) return { path: file, isLoop: false, close: async () => {} };
  const path = loop.stdout.trim();
  return { path, isLoop: true, close: async () => void (await runProgram('losetup', ['-d', path])) };
}

async function prepare(directory: string, slot: string, imageMib: number): Promise<Bench> {
  const image = join(directory, 'image');
  // Programs, libraries and documents: it compresses as a root filesystem does.
  await needProgram('sh', ['-c', `tar -C / -cf - usr 2>/dev/null | head -c ${imageMib * MIB} > "$0"`, image]);
  const rootfs = new Uint8Array(await readFile(image));
  if (rootfs.length !== imageMib * MIB) throw tooSmall(rootfs.length);
  await needProgram('zstd', ['-q', '-3', '-f', image, '-o', `${image}.zst`]);
  const maker = new TestMaker();
  const action = maker.release({ sequence: 2, version: '2.0.0', images: { rootfs } });
  for (const [name, bytes] of maker.metadata) await place(join(directory, 'release/metadata', name), bytes);
  for (const [path, bytes] of maker.files) await place(join(directory, 'release/targets', path), bytes);
  const program = join(directory, 'install-agent.mjs');
  await build({
    ...BUNDLES.agent,
    plugins: [...BUNDLES.agent.plugins],
    entryPoints: ['test/bench/install-agent.ts'],
    outfile: program,
  });
  return {
    directory,
    image,
    slot,
    sizeBytes: rootfs.length,
    digest: createHash('sha256').update(rootfs).digest('hex'),
    action: JSON.stringify({ ...action, nowUnixMs: NOW_UNIX_S * 1000 }),
    program,
    factoryRoot: maker.factoryRoot,
  };
}

const tooSmall = (found: number): Fault =>
  new Fault({
    code: 'image-too-small',
    what: `/usr has only ${Math.floor(found / MIB)} MiB to make an image of`,
    cure: 'Give a smaller --image-mib.',
    exitStatus: EXIT.environment,
  });

async function place(path: string, bytes: Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}

type Command = readonly [file: string, ...args: string[]];

async function commandsOf(bench: Bench, run: number): Promise<[string, Command][]> {
  const { image, slot, program, directory, action } = bench;
  const device = await makeDevice(bench, run);
  const node = process.execPath;
  return [
    ['agent: verify, write, read back', [node, program, device, join(directory, 'release'), action]],
    ['dd bs=1M conv=fsync', ['dd', `if=${image}`, `of=${slot}`, 'bs=1M', 'conv=fsync,notrunc', 'status=none']],
    [
      'dd bs=1M oflag=direct',
      ['dd', `if=${image}`, `of=${slot}`, 'bs=1M', 'oflag=direct', 'conv=notrunc', 'status=none'],
    ],
    ['sha256sum', ['sha256sum', image]],
    ['zstd -d (-3), to nothing', ['zstd', '-q', '-d', '-f', `${image}.zst`, '-o', '/dev/null']],
  ];
}

/** A fresh device, so that no run finds what another has journaled. Its slot b is the loop device. */
async function makeDevice(bench: Bench, run: number): Promise<string> {
  const device = join(bench.directory, `device-${run}`);
  for (const folder of ['board/slots/a', 'board/slots/b', 'factory', 'data']) {
    await mkdir(join(device, folder), { recursive: true });
  }
  await writeDurably(nodeDisk, join(device, 'factory/root.json'), bench.factoryRoot);
  await writeBootEnv(nodeDisk, device, { order: ['a', 'b'], trial: null });
  await writeDurably(
    nodeDisk,
    emulatedPaths(device).booted,
    encodeBooted({ bootId: 'boot-1', slot: 'a', trial: false }),
  );
  await symlink(bench.slot, join(device, 'board/slots/b/rootfs.img'));
  return device;
}

async function clearSlot({ slot, sizeBytes }: Bench): Promise<void> {
  const count = `count=${sizeBytes / MIB}`;
  await needProgram('dd', [
    'if=/dev/zero',
    `of=${slot}`,
    'bs=1M',
    count,
    'oflag=direct',
    'conv=notrunc,fsync',
    'status=none',
  ]);
}

async function measure(command: Command, directory: string, into: Measured): Promise<void> {
  const said = join(directory, 'time');
  await needProgram('/usr/bin/time', ['-o', said, '-f', '%e %U %S %M', ...command]);
  const [wallS = 0, userS = 0, systemS = 0, peakKb = 0] = (await readFile(said, 'utf8')).trim().split(' ').map(Number);
  into.wallS.push(wallS);
  into.cpuS.push(userS + systemS);
  into.peakMb.push((peakKb * 1024) / 1e6);
}

/** A program that did not write the image was not measured doing so. */
async function needImage({ slot, sizeBytes, digest }: Bench, name: string): Promise<void> {
  const hash = createHash('sha256');
  const piece = Buffer.alloc(MIB);
  const file = openSync(slot, 'r');
  try {
    for (let at = 0; at < sizeBytes; ) {
      const got = readSync(file, piece, 0, Math.min(piece.length, sizeBytes - at), at);
      if (got === 0) break;
      hash.update(piece.subarray(0, got));
      at += got;
    }
  } finally {
    closeSync(file);
  }
  if (hash.digest('hex') !== digest) throw new Error(`${name} left something else in the slot than the image`);
}

function findingsOf(found: ReadonlyMap<string, Measured>, where: string): Findings {
  const rows: Row[] = [];
  for (const [subject, { wallS, cpuS, peakMb }] of found) {
    rows.push(rowOf(`install to a ${where}: wall`, subject, wallS, 's'));
    rows.push(rowOf(`install to a ${where}: CPU`, subject, cpuS, 's'));
    rows.push(rowOf(`install to a ${where}: peak memory`, subject, peakMb, 'MB'));
  }
  const median = (subject: string, of: keyof Measured): number => medianOf(found.get(subject)?.[of] ?? []);
  const agent = 'agent: verify, write, read back';
  const ratio = (name: string, value: number, aim: string, met: boolean) => ({
    name,
    value: Math.round(value * 100) / 100,
    aim,
    met,
  });
  const peak = median(agent, 'peakMb');
  const against = (other: string, of: 'wallS' | 'cpuS') => median(agent, of) / median(other, of);
  return {
    rows,
    ratios: [
      ratio('agent, peak memory in MB', peak, `<= ${MEMORY_AIM_MB}`, peak <= MEMORY_AIM_MB),
      ratio('agent / dd conv=fsync, wall', against('dd bs=1M conv=fsync', 'wallS'), 'for comparison', true),
      ratio('agent / dd oflag=direct, wall', against('dd bs=1M oflag=direct', 'wallS'), 'for comparison', true),
      ratio('agent / sha256sum, CPU', against('sha256sum', 'cpuS'), 'for comparison', true),
    ],
  };
}

/** The programs that this benchmark stands beside; a Fault names the one that is missing. */
export function needPeers(): void {
  const missing = ['/usr/bin/time', '/usr/bin/zstd'].find((file) => !existsSync(file));
  if (missing === undefined) return;
  throw new Fault({
    code: 'program-missing',
    what: 'a program to measure with is missing',
    where: missing,
    cure: 'Install the packages time and zstd.',
    exitStatus: EXIT.environment,
  });
}
